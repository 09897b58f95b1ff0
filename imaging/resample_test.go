package imaging

import (
	"fmt"
	"strings"
	"testing"

	"tandem/internal/npy"
)

// TestResampleAsPillow compares every mode, filter and size with Image.resize: equal to the bit.
func TestResampleAsPillow(t *testing.T) {
	golden, err := npy.ReadZip("testdata/pillow/resize.npz")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	var r Resizer
	for name, a := range golden {
		var mode, filter string
		var w, h int
		if n, _ := fmt.Sscanf(strings.ReplaceAll(name, "/", " "), "%s %s %dx%d", &mode, &filter, &w, &h); n != 4 {
			continue
		}
		checked++
		src := goldenPicture(t, golden[mode+"/source"], mode)
		got := r.Resize(src, w, h, Interpolation(filter))
		if e := diff(t, got.Pix, bytesOf(t, a)); e.max > 0 {
			t.Errorf("%s: %v", name, e)
		}
	}
	if checked < 80 {
		t.Errorf("only %d arrays checked", checked)
	}
}

func goldenPicture(t testing.TB, a npy.Array, mode string) *Picture {
	t.Helper()
	modes := map[string]Mode{"L": Gray, "LA": GrayAlpha, "RGB": RGB, "RGBA": RGBA, "CMYK": CMYK, "I16": Gray16}
	if len(a.Shape) < 2 {
		t.Fatalf("no source for mode %s", mode)
	}
	return &Picture{Mode: modes[mode], Width: a.Shape[1], Height: a.Shape[0], Pix: bytesOf(t, a), Orientation: 1}
}

// TestCropResize compares with crop and then resize, which is what torchvision's random crop does.
func TestCropResize(t *testing.T) {
	golden, err := npy.ReadZip("testdata/pillow/resize.npz")
	if err != nil {
		t.Fatal(err)
	}
	src := goldenPicture(t, golden["RGB/source"], "RGB")
	var r resampler
	for k := range 3 {
		name := fmt.Sprintf("RGB/crop/%d", k)
		box, err := npy.As[int32](golden[name+"/box"])
		if err != nil {
			t.Fatal(name, err)
		}
		part := src.plane().sub(int(box[0]), int(box[1]), int(box[2]-box[0]), int(box[3]-box[1]))
		got := make([]byte, 24*24*3)
		r.resample(got, part, whole(part, 24, 24, Bicubic), false)
		if e := diff(t, got, bytesOf(t, golden[name])); e.max > 0 {
			t.Errorf("%s: %v", name, e)
		}
	}
}

// TestWindow computes a part of a resized picture and compares it with the same part of the whole.
func TestWindow(t *testing.T) {
	golden, err := npy.ReadZip("testdata/pillow/resize.npz")
	if err != nil {
		t.Fatal(err)
	}
	src := goldenPicture(t, golden["RGB/source"], "RGB").plane()
	var r resampler
	for _, f := range []Interpolation{Bicubic, Nearest} {
		for _, size := range [][2]int{{80, 60}, {53, 60}, {80, 41}, {53, 41}} {
			win := whole(src, size[0], size[1], f)
			all := make([]byte, size[0]*size[1]*3)
			r.resample(all, src, win, false)
			win.x0, win.y0, win.x1, win.y1 = 7, 9, 40, 31
			part := make([]byte, 33*22*3)
			r.resample(part, src, win, false)
			for y := range 22 {
				want := all[((9+y)*size[0]+7)*3:][:33*3]
				if e := diff(t, part[y*99:(y+1)*99], want); e.max > 0 {
					t.Fatalf("%s %v row %d: %v", f, size, y, e)
				}
			}
		}
	}
}
