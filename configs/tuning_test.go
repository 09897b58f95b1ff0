package configs

import (
	"strings"
	"testing"

	"tandem/checkpoints"
	"tandem/data"
	"tandem/imaging"
	"tandem/model"
)

// initial is a model as one finds it: other pixels than the loader's defaults, as large as they come.
func initial(size int) checkpoints.Model {
	c := model.Config{
		EmbedDim: 64,
		Vision:   model.VisionConfig{ImageSize: size, PatchSize: size / 4, Width: 64, Layers: 1},
		Text:     model.TextConfig{Context: 77, Vocab: 49408, Width: 64, Layers: 1},
	}
	p := checkpoints.Preprocess{Interpolation: imaging.Bilinear, Alpha: imaging.AlphaDrop, Orient: true}
	return checkpoints.Model{Config: c.WithDefaults(), Preprocess: p.WithDefaults()}
}

// fineTuning lists the recipes that start from a model.
func fineTuning(t *testing.T) (names []string) {
	t.Helper()
	for _, name := range Names() {
		if e, err := Load(name, "init=RUN"); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if e.Model.EmbedDim == 0 {
			names = append(names, name)
		}
	}
	if len(names) < 6 {
		t.Fatalf("recipes for fine-tuning: %v", names)
	}
	return names
}

func adopt(t *testing.T, m checkpoints.Model, recipe string, set ...string) Experiment {
	t.Helper()
	e, err := Load(recipe, append([]string{"init=RUN"}, set...)...)
	if err != nil {
		t.Fatal(err)
	}
	if e, err = e.Adopt(m); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestTrainingSeesWhatEvaluationSees: the initial model decides how pictures are made, where the recipe does not.
func TestTrainingSeesWhatEvaluationSees(t *testing.T) {
	plain := initial(48)
	plain.Preprocess = checkpoints.Preprocess{}.WithDefaults()
	tests := []struct {
		name  string
		model checkpoints.Model
		set   []string
		want  imaging.TrainConfig
		warns string
	}{
		{"the model's", initial(48), nil, imaging.TrainConfig{Interpolation: imaging.Bilinear, Alpha: imaging.AlphaDrop, Orient: true}, ""},
		{"open_clip's", plain, nil, imaging.TrainConfig{Interpolation: imaging.Bicubic, Alpha: imaging.AlphaDrop}, ""},
		{"the recipe's", plain, []string{"data.image.alpha=white", "data.image.orient=true"}, imaging.TrainConfig{Interpolation: imaging.Bicubic, Alpha: imaging.AlphaWhite, Orient: true}, "data.image.orient is true"},
		{"the recipe's background", initial(48), []string{"data.image.alpha=random", "data.cache.fit=0"}, imaging.TrainConfig{Interpolation: imaging.Bilinear, Alpha: imaging.AlphaRandom, Orient: true}, "data.image.alpha is random"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := adopt(t, test.model, "finetune-contrastive", test.set...).Data.Image
			if got.Interpolation != test.want.Interpolation || got.Alpha != test.want.Alpha || got.Orient != test.want.Orient {
				t.Errorf("training has %s, %s, %v, want %s, %s, %v", got.Interpolation, got.Alpha, got.Orient, test.want.Interpolation, test.want.Alpha, test.want.Orient)
			}
			e, err := Load("finetune-contrastive", append(test.set, "init=RUN")...)
			if err != nil {
				t.Fatal(err)
			}
			if warned := strings.Join(e.Disregarded(test.model), "\n"); !strings.Contains(warned, test.warns) || test.warns == "" && warned != "" {
				t.Errorf("it warns %q, want %q", warned, test.warns)
			}
		})
	}
}

// TestRecipesFitEveryModel: a recipe measured on small pictures takes large ones too.
func TestRecipesFitEveryModel(t *testing.T) {
	for _, name := range fineTuning(t) {
		if fit := adopt(t, initial(48), name).Data.Cache.Fit; fit != 64 {
			t.Errorf("%s: pictures for 48 pixels are fitted to %d", name, fit)
		}
		want := 251                 // 224/√0.8
		if name == "finetune-lit" { // takes pictures whole
			want = 224
		}
		if fit := adopt(t, initial(224), name).Data.Cache.Fit; fit != want {
			t.Errorf("%s: pictures for 224 pixels are fitted to %d, want %d", name, fit, want)
		}
	}
	if cache := adopt(t, initial(224), "finetune-contrastive", "data.cache={bytes: 0, fit: 0}").Data.Cache; cache != (data.CacheConfig{}) {
		t.Errorf("a cache that nobody wants: %+v", cache)
	}
}
