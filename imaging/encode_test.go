package imaging

import (
	"bytes"
	"image"
	"image/color"
	"math/rand/v2"
	"path/filepath"
	"testing"
)

// TestEncodeRoundTrip writes every golden file as PNG, which must keep the pixels, and as JPEG, which must come close.
func TestEncodeRoundTrip(t *testing.T) {
	d, again := NewDecoder(DefaultLimits()), NewDecoder(DefaultLimits())
	for _, path := range goldenNames(t, "testdata/pillow", 85) {
		if notRead[filepath.Base(path)] {
			continue
		}
		p, err := d.Decode(readFile(t, path))
		if err != nil {
			t.Fatal(err)
		}
		want, got := make([]byte, 3*p.Width*p.Height), make([]byte, 3*p.Width*p.Height)
		p.Over(want, White)
		var file bytes.Buffer
		if err := p.EncodePNG(&file); err != nil {
			t.Fatal(path, err)
		}
		back, err := again.Decode(file.Bytes())
		if err != nil {
			t.Fatal(path, err)
		}
		back.Over(got, White)
		if e := diff(t, got, want); e.max > 0 || back.HasAlpha() != p.HasAlpha() {
			t.Errorf("%s as PNG: %v, alpha %v", path, e, back.HasAlpha())
		}
		file.Reset()
		if err := p.EncodeJPEG(&file, 98); err != nil {
			t.Fatal(path, err)
		}
		if back, err = again.Decode(file.Bytes()); err != nil {
			t.Fatal(path, err)
		}
		back.Over(got, White)
		// Hard edges of colour lose much at half chroma: 13/255 in the mean, as with Pillow's encoder.
		limit := 16.0
		if back.Mode == Gray {
			limit = 2
		}
		if e := diff(t, got, want); e.mean > limit || p.Mode == Gray && !p.KeyAlpha && back.Mode != Gray {
			t.Errorf("%s as JPEG: %v", path, e)
		}
	}
	p, err := d.Decode(readFile(t, "testdata/astronaut.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := p.EncodeJPEG(&file, 92); err != nil {
		t.Fatal(err)
	}
	if back, err := again.Decode(file.Bytes()); err != nil || diff(t, back.Pix, p.Pix).mean > 2 {
		t.Errorf("photograph as JPEG: %v, %v", err, diff(t, back.Pix, p.Pix))
	}
	if err := (&Picture{}).EncodeJPEG(&bytes.Buffer{}, 0); err == nil {
		t.Error("quality 0 was accepted")
	}
}

func TestFromImage(t *testing.T) {
	drawn := image.NewRGBA(image.Rect(2, 3, 5, 5))
	drawn.Set(3, 4, color.NRGBA{R: 200, G: 100, B: 50, A: 128})
	for name, img := range map[string]image.Image{"RGBA": drawn, "any": struct{ image.Image }{drawn}} {
		p := FromImage(img)
		if p.Mode != RGBA || p.Width != 3 || p.Height != 2 {
			t.Fatalf("%s: %s %d×%d", name, p.Mode, p.Width, p.Height)
		}
		px := p.Pix[4*4:]
		if e := diff(t, px[:4], []byte{200, 100, 50, 128}); e.max > 1 || p.Pix[3] != 0 {
			t.Errorf("%s: pixel %v", name, px[:4])
		}
	}
	grey := image.NewGray(image.Rect(0, 0, 2, 2))
	grey.Pix[3] = 77
	if p := FromImage(grey); p.Mode != Gray || p.Pix[3] != 77 {
		t.Errorf("grey: %s %v", p.Mode, p.Pix)
	}
}

// TestDHash holds the values that Pillow gives for imagehash's formula: the picture as "L" resized to 9×8 by LANCZOS,
// a bit for each pixel that is brighter than the one on its left.
func TestDHash(t *testing.T) {
	var r Resizer
	d := NewDecoder(DefaultLimits())
	for path, want := range map[string]uint64{
		"testdata/astronaut.jpg":       0xcd8dd91d897293a7,
		"testdata/pillow/jpeg_420.jpg": 0xdf8f8ebbb3b3f6f3,
		"testdata/pillow/png_gray.png": 0xe190e3658d830f7e,
	} {
		p, err := d.Decode(readFile(t, path))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.DHash(p); got != want {
			t.Errorf("%s: %016x, want %016x", path, got, want)
		}
	}
	p, err := d.Decode(readFile(t, "testdata/astronaut.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	original := r.DHash(p)
	var file bytes.Buffer
	if err := r.Fit(p, 100, false, Bicubic).EncodeJPEG(&file, 60); err != nil {
		t.Fatal(err)
	}
	small, err := NewDecoder(DefaultLimits()).Decode(file.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if n := HashDistance(original, r.DHash(small)); n > 4 {
		t.Errorf("a small copy differs in %d bits", n)
	}
	noise := &Picture{Mode: RGB, Width: 40, Height: 40, Pix: make([]byte, 4800)}
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range noise.Pix {
		noise.Pix[i] = byte(rng.Uint32())
	}
	if n := HashDistance(original, r.DHash(noise)); n < 16 {
		t.Errorf("another picture differs in %d bits only", n)
	}
}

func TestFit(t *testing.T) {
	var r Resizer
	p := &Picture{Mode: Palette, Width: 200, Height: 100, Pix: make([]byte, 20000), Orientation: 6}
	for _, test := range []struct {
		size    int
		longest bool
		w, h    int
		mode    Mode
	}{{50, false, 50, 100, RGB}, {50, true, 25, 50, RGB}, {300, true, 100, 200, Palette}} {
		got := r.Fit(p, test.size, test.longest, Bicubic)
		if got.Width != test.w || got.Height != test.h || got.Mode != test.mode || got.Orientation != 1 {
			t.Errorf("%+v: %s %d×%d, orientation %d", test, got.Mode, got.Width, got.Height, got.Orientation)
		}
	}
	thin := &Picture{Mode: Gray, Width: 1000, Height: 1, Pix: make([]byte, 1000), Orientation: 1}
	if got := r.Fit(thin, 10, true, Bicubic); got.Width != 10 || got.Height != 1 || got.Mode != Gray {
		t.Errorf("thin: %s %d×%d", got.Mode, got.Width, got.Height)
	}
}
