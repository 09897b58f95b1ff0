package foreign

import (
	"strings"
	"testing"

	"tandem/model"
	"tandem/tokenizer"
)

func TestTraps(t *testing.T) {
	load := func(name string) model.Config {
		c, err := model.ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	gelu, quick, siglip, rn := load("ViT-B-32"), load("ViT-B-32-quickgelu"), load("ViT-B-16-SigLIP"), load("RN50")
	grey := gelu
	grey.Vision.Mean = half
	eos := gelu
	eos.Text.Pool, eos.Text.EOSID = model.PoolEOS, 2
	larger := gelu
	larger.Text.Vocab += 64
	for _, c := range []struct {
		name   string
		config model.Config
		want   []string
	}{
		{"laion/CLIP-ViT-B-32-laion2B-s34B-b79K", gelu, nil},
		{"laion/CLIP-ViT-B-32-laion2B-s34B-b79K", quick, []string{"image tower has quick_gelu", "text tower has quick_gelu"}},
		{"hf://openai/clip-vit-base-patch32", quick, nil},
		{"hf://openai/clip-vit-base-patch32", gelu, []string{"image tower has gelu", "text tower has gelu"}},
		{"timm/resnet50_clip.openai", rn, []string{"text tower has gelu"}},
		{"apple/DFN2B-CLIP-ViT-B-16", gelu, []string{"image tower has gelu", "text tower has gelu"}},
		{"apple/DFN2B-CLIP-ViT-L-14-39B", gelu, nil},
		{"laion/CLIP-ViT-L-14-laion2B-s32B-b82K", grey, nil},
		{"laion/CLIP-ViT-L-14-laion2B-s32B-b82K", gelu, []string{"where models of this kind have mean [0.5 0.5 0.5]"}},
		{"my/model", grey, []string{"where models of this kind have mean [0.48145 0.45783 0.40821]"}},
		{"timm/ViT-B-16-SigLIP", siglip, nil},
		{"my/model", siglip, nil},
		{"my/model", eos, []string{"pooled at token 2, but the tokenizer ends texts with 49407"}},
		{"my/model", larger, []string{"64 entries that the tokenizer never gives"}},
	} {
		checkpoint := &Checkpoint{Config: c.config, Origin: &Origin{Format: FormatHF, Name: c.name}}
		var tok tokenizer.Tokenizer
		if c.config.Text.Pool != model.PoolLast {
			tok = tokenizer.CLIP()
		}
		got := checkpoint.Traps(tok)
		if len(got) != len(c.want) {
			t.Errorf("%s: warnings %q, want %q", c.name, got, c.want)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(got[i], want) {
				t.Errorf("%s: warning %q, want %q", c.name, got[i], want)
			}
		}
	}
	tuned := &Checkpoint{Config: gelu, Format: FormatTandem, Path: "run/final", Source: map[string]string{sourceName: "hf://openai/clip-vit-base-patch32"}}
	if got := tuned.Traps(nil); len(got) != 2 || !strings.Contains(got[0], "image tower has gelu") {
		t.Errorf("made from OpenAI's weights: %q", got)
	}
	openAI := &Checkpoint{Config: gelu, Origin: &Origin{Format: FormatOpenAI, Name: "x.safetensors"}}
	if got := openAI.Traps(nil); len(got) != 1 || !strings.Contains(got[0], "OpenAI's weights were trained with QuickGELU") {
		t.Errorf("OpenAI's marks: %q", got)
	}
}
