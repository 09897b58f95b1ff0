package imaging

import (
	"image"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
)

func newTrainer(t testing.TB, c TrainConfig) *Trainer {
	t.Helper()
	trainer, err := NewTrainer(c, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return trainer
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestTrainFileAndPicture: decoding the crop alone gives the pixels of decoding everything and cropping, for each kind
// of file and every orientation.
func TestTrainFileAndPicture(t *testing.T) {
	c := DefaultTrainConfig(20)
	c.Scale = [2]float64{0.2, 1}
	a, b := newTrainer(t, c), newTrainer(t, c)
	d := NewDecoder(DefaultLimits())
	got, want := make([]uint8, 20*20*3), make([]uint8, 20*20*3)
	for _, path := range goldenNames(t, "testdata/pillow", 85) {
		if notRead[filepath.Base(path)] {
			continue
		}
		data := readFile(t, path)
		for seed := range uint64(6) {
			if err := a.Decode(data, rand.New(rand.NewPCG(seed, 1)), got); err != nil {
				t.Fatal(path, err)
			}
			p, err := d.Decode(data)
			if err != nil {
				t.Fatal(path, err)
			}
			if err := b.Apply(p, rand.New(rand.NewPCG(seed, 1)), want); err != nil {
				t.Fatal(path, err)
			}
			if e := diff(t, got, want); e.max > 0 {
				t.Errorf("%s, seed %d: %v", path, seed, e)
			}
		}
	}
}

// TestStoredRectangle: a crop of the upright picture is the upright crop of the stored one.
func TestStoredRectangle(t *testing.T) {
	p := &Picture{Mode: Gray, Width: 7, Height: 5, Pix: make([]byte, 35)}
	for i := range p.Pix {
		p.Pix[i] = byte(i)
	}
	var upright, part, got Picture
	for o := 1; o <= 8; o++ {
		p.Orientation = o
		orient(&upright, p)
		r := image.Rect(1, 2, 4, 4)
		s := stored(r, p.Width, p.Height, o)
		part.resize(Gray, s.Dx(), s.Dy())
		part.Orientation = o
		for y := range s.Dy() {
			copy(part.row(y), p.row(s.Min.Y + y)[s.Min.X:s.Max.X])
		}
		orient(&got, &part)
		for y := range r.Dy() {
			if e := diff(t, got.row(y), upright.row(r.Min.Y + y)[r.Min.X:r.Max.X]); e.max > 0 {
				t.Errorf("orientation %d row %d: %v", o, y, e)
			}
		}
	}
}

// TestRandomCrop holds torchvision's rules: bounds, area and ratio of what is drawn, and the fallback for panoramas.
func TestRandomCrop(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	scale, ratio := [2]float64{0.3, 0.8}, [2]float64{3. / 4, 4. / 3}
	areas := 0.0
	const n = 4000
	for range n {
		r := randomCrop(640, 480, scale, ratio, rng)
		if !r.In(image.Rect(0, 0, 640, 480)) {
			t.Fatalf("%v is outside the picture", r)
		}
		area, wh := float64(r.Dx()*r.Dy())/(640*480), float64(r.Dx())/float64(r.Dy())
		if area < 0.298 || area > 0.802 || wh < 0.74 || wh > 1.345 {
			t.Fatalf("%v: area %.3f, ratio %.3f", r, area, wh)
		}
		areas += area / n
	}
	if math.Abs(areas-0.55) > 0.05 { // some of the largest do not fit and are drawn again
		t.Errorf("mean area %.3f, want about 0.55", areas)
	}
	for _, test := range []struct {
		w, h int
		want image.Rectangle
	}{
		{1000, 50, image.Rect(466, 0, 533, 50)}, // 50·4/3 = 67 wide, centred
		{50, 1000, image.Rect(0, 466, 50, 533)},
		{1, 1, image.Rect(0, 0, 1, 1)},
	} {
		if got := randomCrop(test.w, test.h, [2]float64{0.99, 1}, ratio, rng); got != test.want {
			t.Errorf("%d×%d: %v, want %v", test.w, test.h, got, test.want)
		}
	}
}

// TestFastIsClose bounds what Fast costs on a photograph-like picture: mean within 1/255.
func TestFastIsClose(t *testing.T) {
	data := readFile(t, "testdata/astronaut.jpg")
	const n = 168 // the smallest crops of 512 pixels are just large enough to be halved
	c := DefaultTrainConfig(n)
	exact := newTrainer(t, c)
	c.Fast = true
	fast := newTrainer(t, c)
	a, b := make([]uint8, n*n*3), make([]uint8, n*n*3)
	for seed := range uint64(5) {
		if err := exact.Decode(data, rand.New(rand.NewPCG(seed, 3)), a); err != nil {
			t.Fatal(err)
		}
		if err := fast.Decode(data, rand.New(rand.NewPCG(seed, 3)), b); err != nil {
			t.Fatal(err)
		}
		e := diff(t, b, a)
		t.Logf("seed %d: %v", seed, e)
		if e.mean > 1 || e.mean == 0 {
			t.Errorf("seed %d: %v, want a mean within 1 and not 0", seed, e)
		}
	}
}

// TestBackground: a transparent picture shows the background that is asked for, also around an affine map.
func TestBackground(t *testing.T) {
	clear := &Picture{Mode: RGBA, Width: 4, Height: 4, Pix: make([]byte, 64), Orientation: 1}
	dst := make([]uint8, 8*8*3)
	c := DefaultTrainConfig(8)
	c.Augment.Affine = Affine{Prob: 1, Rotate: 45}
	colours := map[[3]uint8]int{}
	for seed := range uint64(20) {
		for alpha, want := range map[AlphaMode][3]uint8{AlphaWhite: White, AlphaDrop: {}} {
			c.Alpha = alpha
			if err := newTrainer(t, c).Apply(clear, rand.New(rand.NewPCG(seed, 5)), dst); err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(dst); i += 3 {
				if [3]uint8(dst[i:]) != want {
					t.Fatalf("%s: pixel %d is %v, want %v", alpha, i/3, dst[i:i+3], want)
				}
			}
		}
		c.Alpha = AlphaRandom
		if err := newTrainer(t, c).Apply(clear, rand.New(rand.NewPCG(seed, 5)), dst); err != nil {
			t.Fatal(err)
		}
		colours[[3]uint8(dst)]++
		for i := 3; i < len(dst); i += 3 {
			if [3]uint8(dst[i:]) != [3]uint8(dst) {
				t.Fatalf("random background is not one colour")
			}
		}
	}
	if len(colours) < 19 {
		t.Errorf("%d random backgrounds of 20", len(colours))
	}
}

func TestTrainConfigValidate(t *testing.T) {
	for _, test := range []struct {
		yaml, want string
	}{
		{"{}", ""},
		{"scale: [0.5, 1.0]\nratio: [1, 1]\nalpha: random", ""},
		{"augment: {flip: 0.5, affine: {prob: 1, rotate: 15, scale: [0.8, 1.2]}, blur: {prob: 0.1, sigma: [0.1, 2]}}", ""},
		{"size: 0", "size"},
		{"scale: [0, 1]", "scale"},
		{"scale: [1, 0.5]", "scale"},
		{"ratio: [2, 1]", "ratio"},
		{"interpolation: cubic", "interpolation"},
		{"alpha: black", "alpha"},
		{"augment: {flip: 1.5}", "augment.flip"},
		{"augment: {affine: {prob: 0.5, rotate: 270}}", "affine.rotate"},
		{"augment: {affine: {scale: [2, 1]}}", "affine.scale"},
		{"augment: {jitter: {hue: 0.7}}", "jitter.hue"},
		{"augment: {jitter: {contrast: -1}}", "jitter.contrast"},
		{"augment: {blur: {prob: 1}}", "blur.sigma"},
		{"augment: {erase: {prob: 1, area: [0.5, 2]}}", "erase.area"},
		{"augment: {erase: {ratio: [0, 2]}}", "erase.ratio"},
	} {
		c := DefaultTrainConfig(224)
		if err := yaml.UnmarshalWithOptions([]byte(test.yaml), &c, yaml.Strict()); err != nil {
			t.Fatal(test.yaml, err)
		}
		err := c.Validate()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: error %v, want %q", test.yaml, err, test.want)
		}
	}
}

// TestWorkers: workers that share the files but not the trainer give the same pixels.
func TestWorkers(t *testing.T) {
	data := readFile(t, "testdata/pillow/jpeg_420.jpg")
	c := DefaultTrainConfig(32)
	c.Augment = everything
	const workers, views = 4, 20
	results := make([][]byte, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			trainer, err := NewTrainer(c, DefaultLimits())
			if err != nil {
				t.Error(err)
				return
			}
			batch := make([]uint8, views*32*32*3)
			for i := range views {
				i = (i + w*5) % views // each in an order of its own
				if err := trainer.Decode(data, rand.New(rand.NewPCG(uint64(i), 1)), batch[i*32*32*3:(i+1)*32*32*3]); err != nil {
					t.Error(err)
				}
			}
			results[w] = batch
		})
	}
	wg.Wait()
	for w := range workers {
		if e := diff(t, results[w], results[0]); e.max > 0 {
			t.Errorf("worker %d: %v", w, e)
		}
	}
}

// TestFitViewChangesNothingElse: fitting before the training transform neither turns pictures nor lays them over white where
// the transform would not.
func TestFitViewChangesNothingElse(t *testing.T) {
	const side, fit = 32, 16
	p := &Picture{Orientation: 3}
	p.resize(RGBA, side, side)
	for i := range side * side {
		copy(p.Pix[4*i:], []byte{200, 100, 50, 0}) // a colour under full transparency
		if i < side*side/2 {
			copy(p.Pix[4*i:], []byte{10, 20, 30, 255})
		}
	}
	for _, c := range []TrainConfig{
		{Alpha: AlphaDrop}, {Alpha: AlphaDrop, Orient: true}, {Alpha: AlphaWhite}, {Alpha: AlphaWhite, Orient: true},
	} {
		c.Size, c.Scale, c.Ratio = 8, [2]float64{1, 1}, [2]float64{1, 1}
		trainer, err := NewTrainer(c.WithDefaults(), DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		view := func(p *Picture) []uint8 {
			dst := make([]uint8, 8*8*3)
			if err := trainer.Apply(p, rand.New(rand.NewPCG(1, 2)), dst); err != nil {
				t.Fatal(err)
			}
			return dst
		}
		want := view(p.Clone())
		got := view(new(Resizer).FitView(p.Clone(), fit, c))
		for _, at := range []int{0, 7 * 8 * 3} { // the first pixels of the first and last row, far from the edge between the halves
			for k := range 3 {
				if d := int(got[at+k]) - int(want[at+k]); d < -2 || d > 2 {
					t.Errorf("alpha %s, orient %v: row %d is %v fitted and %v otherwise", c.Alpha, c.Orient, at/(8*3), got[at:at+3], want[at:at+3])
					break
				}
			}
		}
	}
}
