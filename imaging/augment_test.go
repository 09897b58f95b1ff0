package imaging

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tandem/internal/npy"
)

// TestColourAsPillow compares the colour operations with ImageEnhance and torchvision's hue on a PIL picture.
func TestColourAsPillow(t *testing.T) {
	golden, err := npy.ReadZip("testdata/pillow/enhance.npz")
	if err != nil {
		t.Fatal(err)
	}
	source := bytesOf(t, golden["source"])
	checked := 0
	for name, a := range golden {
		kind, value, _ := strings.Cut(name, "/")
		var f float64
		if _, err := fmt.Sscan(value, &f); err != nil {
			continue
		}
		checked++
		pix := slices.Clone(source)
		switch kind {
		case "brightness":
			brightness(pix, float32(f))
		case "contrast":
			contrast(pix, float32(f))
		case "saturation":
			saturation(pix, float32(f))
		case "hue":
			shiftHue(pix, f)
		}
		// Hue goes through single-precision HSV, whose last bit the compilers round differently.
		if e := diff(t, pix, bytesOf(t, a)); e.max > 0 && kind != "hue" || e.max > 2 || e.mean > 0.001 {
			t.Errorf("%s: %v", name, e)
		}
	}
	if checked < 19 {
		t.Errorf("only %d arrays checked", checked)
	}
	desaturate(source)
	for i, l := range bytesOf(t, golden["grey"]) {
		if source[3*i] != l || source[3*i+1] != l || source[3*i+2] != l {
			t.Fatalf("grey of pixel %d is %v, want %d", i, source[3*i:3*i+3], l)
		}
	}
}

// pattern is a picture without symmetry.
func pattern(n int) []uint8 {
	pix := make([]uint8, n*n*3)
	rng := rand.New(rand.NewPCG(7, 7))
	for i := range pix {
		pix[i] = uint8(rng.Uint32())
	}
	return pix
}

func TestFlip(t *testing.T) {
	for _, n := range []int{1, 2, 5, 8} {
		pix := pattern(n)
		want := slices.Clone(pix)
		flip(pix, n)
		for y := range n {
			for x := range n {
				if [3]uint8(pix[(y*n+x)*3:]) != [3]uint8(want[(y*n+n-1-x)*3:]) {
					t.Fatalf("n %d: pixel %d, %d", n, x, y)
				}
			}
		}
	}
}

// TestAffineKnownMaps: the identity changes nothing, a quarter turn moves pixels to their places, a shift shows the
// background or repeats the edge.
func TestAffineKnownMaps(t *testing.T) {
	const n = 9
	var g augmenter
	source := pattern(n)
	same := slices.Clone(source)
	g.affine(Affine{}.draw(n, rand.New(rand.NewPCG(1, 1))), same, n, nil)
	if e := diff(t, same, source); e.max > 0 {
		t.Errorf("identity: %v", e)
	}
	turned := slices.Clone(source)
	c := float64(n-1) / 2
	g.affine([6]float64{0, 1, 0, -1, 0, 2 * c}, turned, n, nil) // x' = y, y' = 2c - x
	for y := range n {
		for x := range n {
			if [3]uint8(turned[(y*n+x)*3:]) != [3]uint8(source[((n-1-x)*n+y)*3:]) {
				t.Fatalf("quarter turn: pixel %d, %d", x, y)
			}
		}
	}
	background := [3]uint8{1, 2, 3}
	for _, back := range []*[3]uint8{nil, &background} {
		shifted := slices.Clone(source)
		g.affine([6]float64{1, 0, -4, 0, 1, 0}, shifted, n, back)
		want := [3]uint8(source)
		if back != nil {
			want = background
		}
		if [3]uint8(shifted) != want || [3]uint8(shifted[4*3:]) != [3]uint8(source) {
			t.Errorf("shift: %v then %v, want %v then %v", shifted[:3], shifted[12:15], want, source[:3])
		}
	}
}

// TestAffineDraw: the centre stays where the shift puts it, and the scale is the determinant's root.
func TestAffineDraw(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	f := Affine{Rotate: 30, Translate: 0.1, Scale: [2]float64{0.5, 2}, Shear: 20}
	for range 200 {
		m := f.draw(100, rng)
		if det := m[0]*m[4] - m[1]*m[3]; det < 1/4.01 || det > 4.01 {
			t.Fatalf("determinant %v", det)
		}
		// The point that maps to the centre lies within the shift of the centre.
		det := m[0]*m[4] - m[1]*m[3]
		bx, by := 49.5-m[2], 49.5-m[5]
		x, y := (m[4]*bx-m[1]*by)/det, (m[0]*by-m[3]*bx)/det
		if math.Abs(x-49.5) > 10.001 || math.Abs(y-49.5) > 10.001 {
			t.Fatalf("centre goes to %v, %v", x, y)
		}
	}
}

func TestBlurOutlineErase(t *testing.T) {
	const n = 16
	var g augmenter
	flat := slices.Repeat([]uint8{10, 200, 255}, n*n)
	blurred := slices.Clone(flat)
	g.blur(blurred, n, 1.5)
	if e := diff(t, blurred, flat); e.max > 0 {
		t.Errorf("blur of one colour: %v", e)
	}
	dot := make([]uint8, n*n*3)
	dot[(8*n+8)*3] = 255
	g.blur(dot, n, 1)
	sum := 0
	for i := 0; i < len(dot); i += 3 {
		sum += int(dot[i])
	}
	if peak := dot[(8*n+8)*3]; peak < 39 || peak > 42 || sum < 230 || sum > 280 { // 255/(2π) = 40.6
		t.Errorf("blur of a dot: peak %d, sum %d", peak, sum)
	}
	g.outline(flat, n)
	if slices.Min(flat) != 255 {
		t.Error("outline of one colour is not white")
	}
	half := make([]uint8, n*n*3)
	for i := range half {
		half[i] = uint8(i / 3 % n / 8 * 255)
	}
	g.outline(half, n)
	if half[7*3] != 0 || half[8*3] != 0 || half[0] != 255 || half[15*3] != 255 {
		t.Errorf("outline of an edge: %v", half[:n*3])
	}
	rng := rand.New(rand.NewPCG(1, 9))
	for range 50 {
		pix := slices.Repeat([]uint8{1, 2, 3}, n*n)
		Erase{Prob: 1, Area: [2]float64{0.25, 0.25}, Ratio: [2]float64{1, 1}}.apply(pix, n, rng)
		covered := 0
		for i := 0; i < len(pix); i += 3 {
			if [3]uint8(pix[i:]) != [3]uint8{1, 2, 3} {
				covered++
			}
		}
		if covered != 64 {
			t.Fatalf("%d pixels erased, want 64", covered)
		}
	}
}

// everything turns each part on.
var everything = Augment{
	Flip: 0.5, Affine: Affine{Prob: 0.5, Rotate: 20, Translate: 0.1, Scale: [2]float64{0.8, 1.2}, Shear: 10},
	Jitter: Jitter{Prob: 0.5, Brightness: 0.4, Contrast: 0.4, Saturation: 0.4, Hue: 0.1},
	Gray:   0.2, Invert: 0.2, Outline: 0.2, Blur: Blur{Prob: 0.5, Sigma: [2]float64{0.1, 2}}, Erase: Erase{Prob: 0.5, Area: [2]float64{0.02, 0.3}},
}

// TestAugmentIsPure: the same numbers give the same pixels, and nothing on draws nothing.
func TestAugmentIsPure(t *testing.T) {
	if err := everything.Validate(); err != nil {
		t.Fatal(err)
	}
	const n = 24
	seen := map[string]bool{}
	for seed := range uint64(30) {
		a, b := pattern(n), pattern(n)
		var g, h augmenter
		h.blur(pattern(n), n, 3) // used buffers must not show
		g.apply(&everything, a, n, nil, rand.New(rand.NewPCG(seed, 1)))
		h.apply(&everything, b, n, nil, rand.New(rand.NewPCG(seed, 1)))
		if e := diff(t, a, b); e.max > 0 {
			t.Errorf("seed %d: %v", seed, e)
		}
		seen[string(a)] = true
	}
	if len(seen) < 25 {
		t.Errorf("%d different results of 30", len(seen))
	}
	rng := rand.New(rand.NewPCG(1, 1))
	var g augmenter
	pix := pattern(n)
	g.apply(&Augment{}, pix, n, nil, rng)
	if e := diff(t, pix, pattern(n)); e.max > 0 || rng.Uint64() != rand.New(rand.NewPCG(1, 1)).Uint64() {
		t.Error("an augmentation that is off changed pixels or drew a number")
	}
}
