package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// quickGELUSuffix turns a built-in name into its twin with OpenAI's activation.
const quickGELUSuffix = "-quickgelu"

// Names lists the built-in models: open_clip's names and sizes, and tandem's own small ones (S-8, emoji …).
func Names() []string {
	names := slices.Collect(maps.Keys(presets))
	for name, c := range presets {
		if c.Text.Pool != PoolLast {
			names = append(names, name+quickGELUSuffix)
		}
	}
	slices.Sort(names)
	return names
}

// ByName returns a built-in model with all its defaults.
func ByName(name string) (Config, error) {
	c, err := Preset(name)
	return c.WithDefaults(), err
}

// Preset returns a built-in model as it is written down: fields that follow from others are left open, so that a
// changed width changes them too.
func Preset(name string) (Config, error) {
	base, quick := strings.CutSuffix(name, quickGELUSuffix)
	c, ok := presets[base]
	if !ok || quick && c.Text.Pool == PoolLast {
		return Config{}, fmt.Errorf("model %q is unknown: use one of %s", name, strings.Join(Names(), ", "))
	}
	if quick {
		c.Vision.Activation, c.Text.Activation = QuickGELU, QuickGELU
		if c.Vision.Kind == ResNet {
			c.Vision.Activation = ""
		}
	}
	return c, nil
}

func vit(embed, size, patch, layers, width int, text TextConfig) Config {
	return Config{EmbedDim: embed, Vision: VisionConfig{ImageSize: size, PatchSize: patch, Layers: layers, Width: width}, Text: text}
}

func resnet(embed, size, width int, stages [4]int, text TextConfig) Config {
	return Config{EmbedDim: embed, Vision: VisionConfig{Kind: ResNet, ImageSize: size, Width: width, Stages: stages[:]}, Text: text}
}

func clipText(width, layers int) TextConfig {
	return TextConfig{Context: 77, Vocab: 49408, Width: width, Layers: layers}
}

// siglip is open_clip's SigLIP: no class token, no first norm, attention pooling, last-token text pooling.
func siglip(size, patch, width, layers, context, vocab int) Config {
	bias := -10.0
	half := [3]float64{0.5, 0.5, 0.5}
	return Config{
		EmbedDim: width,
		Vision: VisionConfig{
			ImageSize: size, PatchSize: patch, Layers: layers, Width: width, Mean: half, Std: half, NormEpsilon: 1e-6,
			Pool: PoolMap, NoClassToken: true, NoPreNorm: true, PatchBias: true, NoProjection: true,
		},
		Text: TextConfig{
			Context: context, Vocab: vocab, Width: width, Layers: layers, NormEpsilon: 1e-6,
			Pool: PoolLast, NoCausalMask: true, ProjectionBias: true,
		},
		LogitScaleInit: 2.302585092994046, // ln 10
		LogitBiasInit:  &bias,
	}
}

// presets follow open_clip's model_configs/*.json.
var presets = map[string]Config{
	"ViT-B-32":  vit(512, 224, 32, 12, 768, clipText(512, 12)),
	"ViT-B-16":  vit(512, 224, 16, 12, 768, clipText(512, 12)),
	"ViT-L-14":  vit(768, 224, 14, 24, 1024, clipText(768, 12)),
	"ViT-M-32":  vit(512, 224, 32, 12, 512, clipText(512, 12)),
	"ViT-S-32":  vit(384, 224, 32, 12, 384, clipText(384, 12)),
	"ViT-S-16":  vit(384, 224, 16, 12, 384, clipText(384, 12)),
	"ViT-Ti-16": vit(192, 224, 16, 12, 192, clipText(192, 12)),
	"RN50":      resnet(1024, 224, 64, [4]int{3, 4, 6, 3}, clipText(512, 12)),
	"RN101":     resnet(512, 224, 64, [4]int{3, 4, 23, 3}, clipText(512, 12)),
	"RN50x4":    resnet(640, 288, 80, [4]int{4, 6, 10, 6}, clipText(640, 12)),

	// TinyCLIP (Wu et al., 2023): github.com/microsoft/Cream, TinyCLIP/src/open_clip/model_configs. Its auto-inherited
	// models, whose layers differ in width, are not of this form.
	"TinyCLIP-ViT-61M-32-Text-29M": vit(512, 224, 32, 12, 640, clipText(512, 9)),
	"TinyCLIP-ViT-40M-32-Text-19M": vit(512, 224, 32, 12, 512, clipText(512, 6)),
	"TinyCLIP-ViT-39M-16-Text-19M": vit(512, 224, 16, 12, 512, clipText(512, 6)),
	"TinyCLIP-ViT-8M-16-Text-3M":   vit(512, 224, 16, 10, 256, clipText(256, 3)),
	"TinyCLIP-ResNet-30M-Text-29M": resnet(1024, 224, 56, [4]int{3, 4, 6, 3}, clipText(512, 9)),
	"TinyCLIP-ResNet-19M-Text-19M": resnet(1024, 224, 44, [4]int{3, 4, 6, 3}, clipText(512, 6)),

	"ViT-B-16-SigLIP": siglip(224, 16, 768, 12, 64, 32000),

	// S-8 is the small model of the benchmarks: 64-pixel images, an 8,192-entry vocabulary.
	"S-8": vit(256, 64, 8, 6, 256, TextConfig{Context: 32, Vocab: 8192, Width: 256, Layers: 4}),
}
