package foreign

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tandem/internal/npy"
	"tandem/model"
)

// TestInterpolation compares with torch.nn.functional.interpolate (torch 2.15): bicubic with antialias, and linear.
func TestInterpolation(t *testing.T) {
	arrays, err := npy.ReadZip("testdata/resize.npz")
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for name, in := range arrays {
		base, isInput := strings.CutSuffix(name, "_in")
		if !isInput {
			continue
		}
		cases++
		var kind string
		var from, to int
		if _, err := fmt.Sscanf(strings.ReplaceAll(base, "_", " "), "%s %d %d", &kind, &from, &to); err != nil {
			t.Fatal(base, err)
		}
		values, err := npy.As[float32](in)
		if err != nil {
			t.Fatal(err)
		}
		want, err := npy.As[float32](arrays[base+"_out"])
		if err != nil {
			t.Fatal(err)
		}
		width := in.Shape[1]
		got := resizeLinear(values, to, width)
		if kind == "bicubic" {
			got = resizeBicubic(values, from, to, width)
		}
		if worst := largestDifference(got, want); worst > 2e-6 {
			t.Errorf("%s: %.1e from torch's", base, worst)
		}
	}
	if cases != 15 {
		t.Errorf("%d cases, want 15", cases)
	}
}

func largestDifference(a, b []float32) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	worst := 0.0
	for i := range a {
		worst = math.Max(worst, math.Abs(float64(a[i])-float64(b[i])))
	}
	return worst
}

// TestResize opens models for other pictures and texts: only the position embeddings change, the class token stays.
func TestResize(t *testing.T) {
	for _, name := range []string{"vit_gelu", "siglip_timm", "hf_siglip", "rn"} {
		c := mustOpen(t, filepath.Join(goldenDir, name), Options{})
		size := 24
		if c.Config.Vision.Kind == model.ResNet {
			size = 96
		}
		r := mustOpen(t, filepath.Join(goldenDir, name), Options{ImageSize: size, Context: 7})
		if r.Config.Vision.ImageSize != size || r.Config.Text.Context != 7 {
			t.Errorf("%s: %d pixels, context %d", name, r.Config.Vision.ImageSize, r.Config.Text.Context)
		}
		before := rawParams(t, c)
		changed := []string{}
		for path, value := range rawParams(t, r) {
			if value != before[path] {
				changed = append(changed, path)
			}
			if strings.HasPrefix(path, "visual") && strings.HasSuffix(path, "pos_embed") && (name == "vit_gelu" || name == "rn") {
				width := c.Config.Vision.Width * map[string]int{"vit_gelu": 1, "rn": 32}[name]
				if value[:3+4*width] != before[path][:3+4*width] {
					t.Errorf("%s: the first row of %s changed", name, path)
				}
			}
		}
		slices.Sort(changed)
		if len(changed) != 2 || changed[0] != "text/pos_embed" || !strings.HasSuffix(changed[1], "pos_embed") {
			t.Errorf("%s: changed %v", name, changed)
		}
		if _, err := r.LoadStore(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		tandem := mustOpen(t, convert(t, filepath.Join(goldenDir, name), FormatTandem, Options{ImageSize: size, Context: 7}), Options{})
		sameParams(t, rawParams(t, tandem), rawParams(t, r))
	}
	if _, err := Open(filepath.Join(goldenDir, "vit_gelu"), Options{ImageSize: 2}); err == nil || !strings.Contains(err.Error(), "patch_size 4") {
		t.Errorf("a picture smaller than a patch: %v", err)
	}
	if _, err := Open(filepath.Join(goldenDir, "rn"), Options{ImageSize: 50}); err == nil || !strings.Contains(err.Error(), "multiple of 32") {
		t.Errorf("a ResNet for 50 pixels: %v", err)
	}
}

// TestResizeOnRequestOnly: a configuration that asks for another size than the weights have is an error, unless resizing
// was asked for.
func TestResizeOnRequestOnly(t *testing.T) {
	dir := copyModel(t, "vit_gelu")
	writeFile(t, filepath.Join(dir, "open_clip_config.json"), change(t, filepath.Join(dir, "open_clip_config.json"), "model_cfg.vision_cfg.image_size", 24))
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "visual.positional_embedding is [17 16] instead of [37 16]") {
		t.Errorf("error %v", err)
	}
	c := mustOpen(t, dir, Options{ImageSize: 24})
	if len(c.Notes) != 1 || !strings.Contains(c.Notes[0], "from 4×4 to 6×6") {
		t.Errorf("notes %q", c.Notes)
	}
}
