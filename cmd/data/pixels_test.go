package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"tandem/imaging"
	"tandem/internal/npy"
)

const goldenPictures = "../../imaging/testdata/open_clip"

// pixelsCommand runs `data pixels` and reads what it wrote.
func pixelsCommand(t *testing.T, args ...string) npy.Array {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.npy")
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), append([]string{"pixels", "-npy", out}, args...), nil, &stdout, &stderr); code != 0 {
		t.Fatalf("pixels %v: exit code %d\n%s", args, code, stderr.String())
	}
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a, err := npy.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestPixelsAreOpenCLIPs compares what the command writes with what open_clip's evaluation transform gives for pictures of
// every mode: at most 1/255 off, and 0.05/255 on average, before normalising.
func TestPixelsAreOpenCLIPs(t *testing.T) {
	var index struct {
		Images map[string]any `json:"images"`
	}
	data, err := os.ReadFile(filepath.Join(goldenPictures, "index.json"))
	if err == nil {
		err = json.Unmarshal(data, &index)
	}
	if err != nil || len(index.Images) < 17 {
		t.Fatalf("%d pictures (%v)", len(index.Images), err)
	}
	clip, half := imaging.DefaultEvalConfig(64), [3]float32{0.5, 0.5, 0.5}
	for _, c := range []struct {
		variant   string
		args      []string
		mean, std [3]float32 // of the golden array
		least     int
	}{
		{"clip_224", []string{"-size", "224"}, clip.Mean, clip.Std, 8},
		{"clip_64", []string{"-model", "../../embed/testdata/open_clip"}, clip.Mean, clip.Std, 17},
		{"squash_64", []string{"-size", "64", "-resize", "squash"}, half, half, 17},
		{"longest_64", []string{"-size", "64", "-resize", "longest"}, clip.Mean, clip.Std, 17},
	} {
		t.Run(c.variant, func(t *testing.T) {
			compared := 0
			for name := range index.Images {
				arrays, err := npy.ReadZip(filepath.Join(goldenPictures, name+".npz"))
				if err != nil {
					t.Fatal(err)
				}
				want, ok := arrays[c.variant].Data.([]float32)
				if !ok { // the copies in testdata hold 224 pixels for a few pictures only
					continue
				}
				compared++
				got := pixelsCommand(t, append(c.args, filepath.Join(goldenPictures, name))...)
				comparePixels(t, name, got, want, c.mean, c.std)
				if c.variant == "longest_64" {
					last := pixelsCommand(t, append([]string{"-layout", "hwc", filepath.Join(goldenPictures, name)}, c.args...)...)
					compareLayouts(t, name, got, last)
				}
			}
			if compared < c.least {
				t.Errorf("%d pictures compared, want %d", compared, c.least)
			}
		})
	}
}

// comparePixels undoes the command's normalising, which is CLIP's, and the golden array's.
func comparePixels(t *testing.T, name string, got npy.Array, want []float32, mean, std [3]float32) {
	t.Helper()
	clip := imaging.DefaultEvalConfig(64)
	ours := got.Data.([]float32)
	side := got.Shape[1]
	if fmt.Sprint(got.Shape) != fmt.Sprint([]int{3, side, side}) || len(ours) != len(want) {
		t.Fatalf("%s: shape %v, the reference has %d values", name, got.Shape, len(want))
	}
	var largest, sum float64
	for i := range ours {
		channel := i / (side * side)
		a := 255 * (float64(ours[i])*float64(clip.Std[channel]) + float64(clip.Mean[channel]))
		b := 255 * (float64(want[i])*float64(std[channel]) + float64(mean[channel]))
		largest, sum = math.Max(largest, math.Abs(a-b)), sum+math.Abs(a-b)
	}
	if largest > 1.001 || sum/float64(len(ours)) > 0.05 {
		t.Errorf("%s: off by %.3f/255 at most, %.4f/255 on average", name, largest, sum/float64(len(ours)))
	}
}

// compareLayouts: channels last are the same numbers in another order.
func compareLayouts(t *testing.T, name string, chw, hwc npy.Array) {
	t.Helper()
	planes, pixels := chw.Data.([]float32), hwc.Data.([]float32)
	size := len(planes) / 3
	for i, x := range pixels {
		if planes[i%3*size+i/3] != x {
			t.Fatalf("%s: channels last differ from channels first at %d", name, i)
		}
	}
}
