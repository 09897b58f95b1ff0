package imaging

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// pngHeader is a PNG file that promises w×h pixels and holds none.
func pngHeader(w, h uint32) []byte {
	b := []byte("\x89PNG\r\n\x1a\n")
	body := append([]byte("IHDR"), make([]byte, 13)...)
	binary.BigEndian.PutUint32(body[4:], w)
	binary.BigEndian.PutUint32(body[8:], h)
	body[12], body[13] = 8, 2
	b = binary.BigEndian.AppendUint32(b, 13)
	b = append(b, body...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(body))
}

// TestBombs: pictures over the limits are refused by their headers, at once and without memory.
func TestBombs(t *testing.T) {
	patch := func(name string, at int, with ...byte) []byte {
		data := readFile(t, filepath.Join("testdata/pillow", name))
		copy(data[at:], with)
		return data
	}
	jpegAt := bytes.Index(readFile(t, "testdata/pillow/jpeg_420.jpg"), []byte{0xFF, 0xC0}) + 5
	webp := readFile(t, "testdata/pillow/webp_lossless.webp")
	binary.LittleEndian.PutUint32(webp[21:], 0x0FFFFFFF) // 16384 × 16384
	for name, data := range map[string][]byte{
		"png":  pngHeader(30000, 30000),
		"jpeg": patch("jpeg_420.jpg", jpegAt, 0xFF, 0xDC, 0xFF, 0xDC),
		"gif":  patch("gif_plain.gif", 6, 0xFF, 0xFF, 0xFF, 0xFF),
		"bmp":  patch("bmp_rgb.bmp", 18, 0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0, 0),
		"webp": webp,
	} {
		d := NewDecoder(DefaultLimits())
		start := time.Now()
		allocated := testing.AllocsPerRun(1, func() {
			if _, err := d.Decode(data); Reason(err) != "too_large" {
				t.Errorf("%s: error %v, want one that says too large", name, err)
			}
		})
		if spent := time.Since(start); allocated > 100 || spent > time.Second {
			t.Errorf("%s: refusing took %v and %.0f allocations", name, spent, allocated)
		}
	}
}

func TestLimits(t *testing.T) {
	data := readFile(t, "testdata/astronaut.jpg")
	for name, test := range map[string]struct {
		limits Limits
		want   string
	}{
		"fits":   {DefaultLimits(), ""},
		"bytes":  {Limits{MaxBytes: 100, MaxPixels: 1 << 30, MaxMemory: 1 << 30}, "file of 61368 bytes, limit 100"},
		"pixels": {Limits{MaxBytes: 1 << 30, MaxPixels: 512*512 - 1, MaxMemory: 1 << 30}, "512×512 pixels, limit 262143"},
		"memory": {Limits{MaxBytes: 1 << 30, MaxPixels: 1 << 30, MaxMemory: 1 << 20}, "takes about 1 MiB"},
	} {
		_, err := NewDecoder(test.limits).Decode(data)
		if test.want == "" && err != nil || test.want != "" && (Reason(err) != "too_large" || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
	if (Limits{}).Validate() == nil || DefaultLimits().Validate() != nil {
		t.Error("Validate does not tell good limits from none")
	}
}

// TestMemoryIsGivenBack: a decoder does not sit on what one huge picture took.
func TestMemoryIsGivenBack(t *testing.T) {
	d := NewDecoder(DefaultLimits())
	huge := &Picture{Mode: Gray, Width: 6000, Height: 4000, Pix: make([]byte, 24_000_000), Orientation: 1}
	var file bytes.Buffer
	if err := huge.EncodeJPEG(&file, 50); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Decode(file.Bytes()); err != nil {
		t.Fatal(err)
	}
	p, err := d.Decode(readFile(t, "testdata/astronaut.jpg"))
	if err != nil || cap(p.Pix) > 1<<20 {
		t.Errorf("%d bytes kept for a small picture, %v", cap(p.Pix), err)
	}
}

func TestNotImages(t *testing.T) {
	d := NewDecoder(DefaultLimits())
	for _, test := range []struct{ data, reason, want string }{
		{"", "format", "empty file"},
		{"<!DOCTYPE html><html><body>404", "format", "an HTML page"},
		{"  <HTML>", "format", "an HTML page"},
		{`<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg">`, "format", "an SVG drawing"},
		{"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00", "format", "avif"},
		{"hello", "format", "starts with 68 65 6c 6c 6f"},
		{"\xff\xd8\xff", "truncated", ""},
		{"\xff\xd8\xff\xd9", "corrupt", "no picture"},
		{"\x89PNG\r\n\x1a\n", "truncated", ""},
		{"RIFF\x00\x00\x00\x00WEBP", "truncated", ""},
		{"GIF89a", "truncated", ""},
		{"BM", "truncated", ""},
		{"II*\x00\x08\x00\x00\x00", "truncated", ""},
	} {
		_, err := d.Decode([]byte(test.data))
		if err == nil || Reason(err) != test.reason || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: error %v (%s), want %s with %q", test.data, err, Reason(err), test.reason, test.want)
		}
	}
	if Reason(os.ErrNotExist) != "other" {
		t.Error("a foreign error has a reason")
	}
}

// lastNeeded is how many bytes at the end of a golden file its picture does not need: JPEG's end marker, PNG's IEND
// (and the check sums before it), padding and metadata behind the picture.
func lastNeeded(f Format) int {
	switch f {
	case FormatJPEG:
		return 2
	case FormatPNG:
		return 20
	}
	return -1
}

// TestTruncated cuts every golden file at many places. A cut JPEG or PNG is an error, as in Pillow; nothing panics.
func TestTruncated(t *testing.T) {
	d := NewDecoder(DefaultLimits())
	for _, path := range goldenNames(t, "testdata/pillow", 85) {
		data := readFile(t, path)
		format, _ := Sniff(data)
		needed := lastNeeded(format)
		for i := range 60 {
			n := len(data) * i / 60
			if i > 50 {
				n = len(data) - (i - 50)
			}
			p, err := d.Decode(slices.Clone(data[:max(n, 0)]))
			if err == nil && needed >= 0 && n < len(data)-needed {
				t.Errorf("%s cut to %d of %d bytes was decoded", path, n, len(data))
			}
			if err == nil {
				checkPicture(t, p)
			} else if Reason(err) == "other" {
				t.Errorf("%s cut to %d: error without a reason: %v", path, n, err)
			}
		}
	}
}

func checkPicture(t *testing.T, p *Picture) {
	t.Helper()
	if p.Width < 1 || p.Height < 1 || p.Mode.Bytes() == 0 || len(p.Pix) != p.Width*p.Height*p.Mode.Bytes() {
		t.Fatalf("picture %s of %d×%d has %d bytes", p.Mode, p.Width, p.Height, len(p.Pix))
	}
	if p.Orientation < 1 || p.Orientation > 8 {
		t.Fatalf("orientation %d", p.Orientation)
	}
}

// FuzzDecode: no input may panic, and what decodes is whole and goes through both transforms.
func FuzzDecode(f *testing.F) {
	for _, path := range goldenNames(f, "testdata/pillow", 85) {
		data := readFile(f, path)
		f.Add(data)
		damaged := slices.Clone(data)
		rng := rand.New(rand.NewPCG(uint64(len(data)), 8))
		for range 1 + len(data)/200 {
			damaged[rng.IntN(len(damaged))] = byte(rng.Uint32())
		}
		f.Add(damaged)
	}
	limits := Limits{MaxBytes: 1 << 20, MaxPixels: 1 << 20, MaxMemory: 1 << 24}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := NewDecoder(limits).Decode(data)
		if err != nil {
			if Reason(err) == "other" {
				t.Fatalf("error without a reason: %v", err)
			}
			return
		}
		checkPicture(t, p)
		dst := make([]uint8, 16*16*3)
		if err := DefaultEvalConfig(16).Apply(p, dst); err != nil {
			t.Fatal(err)
		}
		c := DefaultTrainConfig(16)
		c.Fast = true
		trainer, err := NewTrainer(c, limits)
		if err != nil {
			t.Fatal(err)
		}
		if err := trainer.Decode(data, rand.New(rand.NewPCG(1, 1)), dst); err != nil {
			t.Fatalf("decodes, but not for training: %v", err)
		}
	})
}

// FuzzJPEGAgainstLibrary encodes random grey pictures by Go's library and decodes them by both: the inverse transforms
// differ by rounding alone.
func FuzzJPEGAgainstLibrary(f *testing.F) {
	f.Add(uint64(1), uint8(20), uint8(30), uint8(75))
	f.Add(uint64(2), uint8(1), uint8(1), uint8(1))
	f.Add(uint64(3), uint8(64), uint8(9), uint8(100))
	f.Fuzz(func(t *testing.T, seed uint64, w, h, quality uint8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		img := image.NewGray(image.Rect(0, 0, int(w)+1, int(h)+1))
		for y := range int(h) + 1 {
			for x := range int(w) + 1 {
				img.SetGray(x, y, color.Gray{Y: uint8(x*3 + y*5 + rng.IntN(40))})
			}
		}
		var file bytes.Buffer
		if err := jpeg.Encode(&file, img, &jpeg.Options{Quality: int(quality)%100 + 1}); err != nil {
			t.Fatal(err)
		}
		want, err := jpeg.Decode(bytes.NewReader(file.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewDecoder(DefaultLimits()).Decode(file.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for y := range p.Height {
			g := want.(*image.Gray)
			if e := diff(t, p.row(y), g.Pix[y*g.Stride:y*g.Stride+p.Width]); e.max > 1 {
				t.Fatalf("row %d: %v", y, e)
			}
		}
	})
}

// TestNoAllocations holds the steady path to nothing: a JPEG to a crop, exact and fast, a decoded picture to a crop
// with every augmentation, the evaluation transform, normalising.
func TestNoAllocations(t *testing.T) {
	data := readFile(t, "testdata/astronaut.jpg")
	progressive := readFile(t, "testdata/pillow/jpeg_progressive.jpg")
	picture, err := NewDecoder(DefaultLimits()).Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	alpha, err := NewDecoder(DefaultLimits()).Decode(readFile(t, "testdata/pillow/png_rgba.png"))
	if err != nil {
		t.Fatal(err)
	}
	const n = 96
	c := DefaultTrainConfig(n)
	c.Alpha = AlphaRandom
	exact := newTrainer(t, c)
	c.Fast = true
	fast := newTrainer(t, c)
	c.Augment = everything
	augmenting := newTrainer(t, c)
	evaluator, err := NewEvaluator(DefaultEvalConfig(n))
	if err != nil {
		t.Fatal(err)
	}
	dst, out := make([]uint8, n*n*3), make([]float32, n*n*3)
	norm := NewNormaliser(CLIPMean, CLIPStd)
	rng := rand.New(rand.NewPCG(1, 1))
	for name, run := range map[string]func() error{
		"JPEG, exact":       func() error { return exact.Decode(data, rng, dst) },
		"JPEG, fast":        func() error { return fast.Decode(data, rng, dst) },
		"JPEG, progressive": func() error { return exact.Decode(progressive, rng, dst) },
		"crop":              func() error { return exact.Apply(picture, rng, dst) },
		"augmentations":     func() error { return augmenting.Apply(alpha, rng, dst) },
		"evaluation":        func() error { return evaluator.Apply(picture, dst) },
		"evaluation, alpha": func() error { return evaluator.Apply(alpha, dst) },
		"normalising":       func() error { norm.Apply(out, dst); return nil },
	} {
		for range 20 { // buffers reach their size
			if err := run(); err != nil {
				t.Fatal(name, err)
			}
		}
		if got := testing.AllocsPerRun(20, func() { _ = run() }); got > 0 {
			t.Errorf("%s: %.1f allocations", name, got)
		}
	}
}
