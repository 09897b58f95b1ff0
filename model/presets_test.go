package model

import (
	"math"
	"strings"
	"testing"
)

// TestSizes compares the built-in models with the numbers of parameters that open_clip 3.3.0 gives for the configuration
// of that name, or of those sizes (sum of p.numel()), and with the costs of a forward pass that open_clip's
// docs/model_profile.csv tells, image and text apart.
func TestSizes(t *testing.T) {
	for _, want := range []struct {
		name        string
		params      int
		image, text float64 // GFLOP; 0: not known
	}{
		{"ViT-B-32", 151277313, 8.82, 5.96},
		{"ViT-B-16", 149620737, 35.13, 5.96},
		{"ViT-L-14", 427616513, 162.03, 13.3},
		{"ViT-M-32", 103119873, 3.99, 5.96},
		{"ViT-S-32", 63085825, 2.29, 3.38},
		{"ViT-S-16", 62257537, 9.2, 3.38},
		{"ViT-Ti-16", 20438209, 0, 0},
		{"RN50", 102007137, 12.22, 5.96},
		{"RN101", 119688033, 19.54, 5.96},
		{"RN50x4", 178300601, 42.56, 9.27},
		{"ViT-B-16-SigLIP", 203155970, 35.42, 11.02},
		{"TinyCLIP-ViT-61M-32-Text-29M", 115382145, 0, 0},
		{"TinyCLIP-ViT-40M-32-Text-19M", 84205569, 0, 0},
		{"TinyCLIP-ViT-39M-16-Text-19M", 83101185, 0, 0},
		{"TinyCLIP-ViT-8M-16-Text-3M", 23446017, 0, 0},
		{"TinyCLIP-ResNet-30M-Text-29M", 83816869, 0, 0},
		{"TinyCLIP-ResNet-19M-Text-19M", 63372703, 0, 0},
		{"S-8", 10201601, 0, 0},
	} {
		c, err := ByName(want.name)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := c.NumParams(); got != want.params {
			t.Errorf("%s has %d parameters, want %d", want.name, got, want.params)
		}
		image, text := c.FLOPs()
		for tower, pair := range map[string][2]float64{"image": {image, want.image}, "text": {text, want.text}} {
			if got, known := pair[0]/1e9, pair[1]; known != 0 && math.Abs(got/known-1) > 0.01 {
				t.Errorf("%s: the %s tower costs %.3f GFLOP, want %.2f", want.name, tower, got, known)
			}
		}
	}
}

// TestTwins: every name has a twin with OpenAI's activation, of the same size; the SigLIP kind has none.
func TestTwins(t *testing.T) {
	for _, name := range Names() {
		c, err := ByName(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		base, isTwin := strings.CutSuffix(name, quickGELUSuffix)
		if isTwin == (c.Text.Activation == GELU) {
			t.Errorf("%s has text activation %s", name, c.Text.Activation)
		}
		if c.Vision.Kind == ViT && isTwin == (c.Vision.Activation == GELU) {
			t.Errorf("%s has vision activation %s", name, c.Vision.Activation)
		}
		plain, err := ByName(base)
		if err != nil || plain.NumParams() != c.NumParams() {
			t.Errorf("%s and %s differ in size (%v)", base, name, err)
		}
	}
	for _, name := range []string{"", "vit-b-32", "ViT-B-16-SigLIP-quickgelu", "ViT-B-32-quickgelu-quickgelu"} {
		if _, err := ByName(name); err == nil || !strings.Contains(err.Error(), "ViT-B-32") {
			t.Errorf("%q: error %v, want one that lists the names", name, err)
		}
	}
}
