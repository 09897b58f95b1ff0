package tune

import (
	"fmt"
	"strings"
	"testing"

	"tandem/model"
	"tandem/optim"
)

func models() map[string]model.Config {
	text := model.TextConfig{Context: 12, Vocab: 40, Width: 16, Heads: 2, Layers: 2}
	clip := model.Config{EmbedDim: 8, Vision: model.VisionConfig{ImageSize: 16, PatchSize: 8, Width: 16, Heads: 2, Layers: 2}, Text: text}
	siglip := clip
	bias := -10.0
	siglip.EmbedDim, siglip.LogitBiasInit = 16, &bias
	siglip.Vision.Pool, siglip.Vision.NoClassToken, siglip.Vision.NoPreNorm, siglip.Vision.NoProjection = model.PoolMap, true, true, true
	siglip.Text.ProjectionBias = true
	resnet := clip
	resnet.Vision = model.VisionConfig{Kind: model.ResNet, ImageSize: 32, Width: 4, Heads: 2, Stages: []int{1, 1, 1, 1}}
	return map[string]model.Config{"clip": clip.WithDefaults(), "siglip": siglip.WithDefaults(), "resnet": resnet.WithDefaults()}
}

// decide applies c's table to a model, as training does: an error would be a dead rule.
func decide(t *testing.T, c Config, m model.Config, user ...optim.Rule) map[string]optim.Decision {
	t.Helper()
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	rules, err := c.Rules(m, user)
	if err != nil {
		t.Fatal(err)
	}
	var infos []optim.ParamInfo
	for _, p := range m.Params() {
		if !p.Buffer {
			infos = append(infos, optim.ParamInfo{Path: p.Path, Rank: len(p.Dims)})
		}
	}
	decisions, err := optim.Decide(rules, 0.2, infos)
	if err != nil {
		t.Fatalf("%v\n%+v", err, rules)
	}
	byPath := map[string]optim.Decision{}
	for i, p := range infos {
		byPath[p.Path] = decisions[i]
	}
	return byPath
}

// trained lists what decisions leave trainable: a path, or "path+lora"; with a rate other than 1, "path×rate".
func trained(decisions map[string]optim.Decision, m model.Config) string {
	var list []string
	for _, p := range m.Params() {
		d := decisions[p.Path]
		switch {
		case p.Buffer || d.Frozen && !d.LoRA:
			continue
		case d.LoRA:
			list = append(list, p.Path+"+lora")
		default:
			list = append(list, p.Path)
		}
		if d.LRMultiple != 1 {
			list[len(list)-1] += fmt.Sprintf("×%g", d.LRMultiple)
		}
	}
	return strings.Join(list, " ")
}

func TestShortHands(t *testing.T) {
	const textAll = "text/token_embed text/pos_embed text/block_0/ln_1/gain"
	for name, test := range map[string]struct {
		c       Config
		model   string
		user    []optim.Rule
		has     []string
		lacks   []string
		trained int // parameters with a path; 0: not checked
	}{
		"locked image":           {c: Config{LockImage: &Lock{}}, model: "clip", has: []string{textAll, "logit_scale"}, lacks: []string{"visual/"}},
		"image, two unlocked":    {c: Config{LockImage: &Lock{2}}, model: "clip", has: []string{"visual/block_1/ln_1/gain", "visual/ln_post/gain", "visual/proj"}, lacks: []string{"visual/block_0", "visual/pos_embed", "visual/ln_pre"}},
		"siglip head unlocked":   {c: Config{LockImage: &Lock{1}}, model: "siglip", has: []string{"visual/pool/probe"}, lacks: []string{"visual/block_1", "visual/ln_post"}},
		"resnet, one unlocked":   {c: Config{LockImage: &Lock{1}}, model: "resnet", has: []string{"visual/attnpool/q/weight"}, lacks: []string{"visual/stage_3", "visual/stem"}},
		"locked text, one left":  {c: Config{LockText: &Lock{1}}, model: "siglip", has: []string{"text/proj text/proj_bias"}, lacks: []string{"text/ln_final", "text/token_embed"}},
		"layer decay":            {c: Config{LayerDecay: 0.5}, model: "clip", has: []string{"visual/proj ", "visual/block_1/ln_1/gain×0.5", "visual/block_0/ln_1/gain×0.25", "visual/pos_embed×0.125", "logit_scale", "text/token_embed×0.125"}, lacks: []string{"logit_scale×"}},
		"norms":                  {c: Config{Only: OnlyNorms}, model: "clip", has: []string{"visual/ln_pre/gain", "visual/block_0/attn/qkv/bias"}, lacks: []string{"weight", "logit_scale", "embed", "proj "}},
		"projections":            {c: Config{Only: OnlyProjections}, model: "clip", trained: 2, has: []string{"visual/proj text/proj"}},
		"lora":                   {c: Config{LoRA: &LoRA{Rank: 2}}, model: "clip", trained: 16, has: []string{"visual/block_0/attn/qkv/weight+lora", "text/block_1/mlp/proj/weight+lora"}, lacks: []string{"gain", "logit_scale"}},
		"lora with layer decay":  {c: Config{LoRA: &LoRA{Rank: 2}, LayerDecay: 0.5}, model: "clip", trained: 16, has: []string{"visual/block_0/attn/qkv/weight+lora×0.25", "text/block_1/mlp/proj/weight+lora×0.5"}},
		"lora in one tower":      {c: Config{LoRA: &LoRA{Rank: 2}, LockText: &Lock{}}, model: "clip", trained: 8, lacks: []string{"text/"}},
		"lora targets":           {c: Config{LoRA: &LoRA{Rank: 2, Targets: []string{"text/**/mlp/*/weight"}}}, model: "resnet", trained: 4},
		"the user's rules first": {c: Config{LockImage: &Lock{}}, model: "clip", user: []optim.Rule{{Match: "visual/**"}, {Match: "logit_scale", Frozen: true}}, has: []string{"visual/proj"}, lacks: []string{"logit_scale"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := models()[test.model]
			got := trained(decide(t, test.c, m, test.user...), m) + " "
			for _, part := range test.has {
				if !strings.Contains(got, part) {
					t.Errorf("%q is not trained: %s", part, got)
				}
			}
			for _, part := range test.lacks {
				if strings.Contains(got, part) {
					t.Errorf("%q is trained: %s", part, got)
				}
			}
			if n := len(strings.Fields(got)); test.trained != 0 && n != test.trained {
				t.Errorf("%d parameters are trained, want %d: %s", n, test.trained, got)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for want, c := range map[string]Config{
		"layer_decay must lie":                   {LayerDecay: 2},
		"tune.only \"heads\"":                    {Only: "heads"},
		"exclude each other":                     {Only: OnlyNorms, LoRA: &LoRA{Rank: 1}},
		"lock_text.unlocked_groups must not":     {LockText: &Lock{-1}},
		"the tower has only 4 groups":            {LockImage: &Lock{4}},
		"lora.rank must lie in 1":           {LoRA: &LoRA{}},
		"lora.dropout must lie":                  {LoRA: &LoRA{Rank: 1, Dropout: 1}},
		"meets visual/ln_pre/gain, which cannot": {LoRA: &LoRA{Rank: 1, Targets: []string{"visual/ln_pre/*"}}},
		"meets no parameter":                     {LoRA: &LoRA{Rank: 1, Targets: []string{"audio/**"}}},
		"is not a path pattern":                  {LoRA: &LoRA{Rank: 1, Targets: []string{"visual/[a"}}},
	} {
		c = c.WithDefaults()
		err := c.Validate()
		if err == nil {
			_, err = c.Rules(models()["clip"], nil)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %q", err, want)
		}
	}
}
