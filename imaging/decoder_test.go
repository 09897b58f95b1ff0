package imaging

import (
	"path/filepath"
	"strings"
	"testing"
)

// notRead lists the golden files that Go's libraries do not read; each must give ErrUnsupported.
var notRead = map[string]bool{"tiff_cmyk.tiff": true}

// TestDecodeAsPillow compares mode, stored pixels and RGB of each file with Pillow's. All are equal to the bit.
func TestDecodeAsPillow(t *testing.T) {
	d := NewDecoder(DefaultLimits())
	for _, path := range goldenNames(t, "testdata/pillow", 85) {
		name := filepath.Base(path)
		data, want := goldenFile(t, path)
		p, err := d.Decode(data)
		if notRead[name] {
			if Reason(err) != "unsupported" {
				t.Errorf("%s: error %v, want unsupported", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if mode := string(bytesOf(t, want["mode"])); p.Mode.String() != mode {
			t.Errorf("%s: mode %s, want %s", name, p.Mode, mode)
			continue
		}
		if a, ok := want["pixels"]; ok {
			if e := diff(t, p.Pix, bytesOf(t, a)); e.max > 0 {
				t.Errorf("%s: stored pixels differ: %v", name, e)
			}
		}
		rgb := make([]byte, 3*p.Width*p.Height)
		p.RGB(rgb)
		if e := diff(t, rgb, bytesOf(t, want["rgb"])); e.max > 0 {
			t.Errorf("%s: RGB differs: %v", name, e)
		}
		if a, ok := want["white"]; ok {
			p.Over(rgb, [3]uint8{255, 255, 255})
			if e := diff(t, rgb, bytesOf(t, a)); e.max > 1 {
				t.Errorf("%s: over white differs: %v", name, e)
			}
		} else if p.HasAlpha() {
			t.Errorf("%s: has alpha, Pillow says not", name)
		}
	}
}

// TestOrientation turns the pictures upright as ImageOps.exif_transpose does.
func TestOrientation(t *testing.T) {
	d := NewDecoder(DefaultLimits())
	var upright Picture
	checked := 0
	for _, path := range goldenNames(t, "testdata/pillow", 85) {
		data, want := goldenFile(t, path)
		a, ok := want["upright"]
		if !ok {
			continue
		}
		checked++
		p, err := d.Decode(data)
		if err != nil {
			t.Fatal(path, err)
		}
		if name := filepath.Base(path); !strings.Contains(name, string(rune('0'+p.Orientation))) {
			t.Errorf("%s: orientation %d", name, p.Orientation)
		}
		orient(&upright, p)
		rgb := make([]byte, 3*upright.Width*upright.Height)
		upright.RGB(rgb)
		if e := diff(t, rgb, bytesOf(t, a)); e.max > 0 || upright.Width != a.Shape[1] {
			t.Errorf("%s: %d×%d, want %v; %v", path, upright.Width, upright.Height, a.Shape, e)
		}
	}
	if checked < 10 {
		t.Errorf("only %d files with an orientation", checked)
	}
}
