package configs

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tandem/internal/duration"
	"tandem/internal/fault"
)

func TestEmbeddedRecipesLoad(t *testing.T) {
	for _, name := range Names() {
		e, err := Load(name)
		if err != nil && strings.Contains(err.Error(), "-init") { // a recipe for fine-tuning
			e, err = Load(name, "init=model")
		}
		if err != nil {
			t.Errorf("recipe %s: %v", name, err)
			continue
		}
		if e.Name != name {
			t.Errorf("recipe %s calls itself %q", name, e.Name)
		}
		for _, ref := range append(e.Eval.Hook, e.Eval.Final...) {
			if _, err := Tasks(ref); err != nil {
				t.Errorf("recipe %s: %v", name, err)
			}
		}
	}
}

func TestEmbeddedTasksParse(t *testing.T) {
	for _, name := range TaskNames() {
		tasks, err := Tasks(name)
		if err != nil || len(tasks) == 0 {
			t.Errorf("tasks %s: %d, %v", name, len(tasks), err)
		}
	}
}

// written reads back what a run directory keeps of an experiment, in a directory of its own.
func written(t *testing.T, e Experiment) Experiment {
	t.Helper()
	content, err := e.YAML()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := Load(path)
	if err != nil {
		t.Fatalf("%v\n%s", err, content)
	}
	return again
}

// TestWrittenConfigurationLoadsAgain holds what a run directory promises: its config.yaml is a recipe by itself. What a
// recipe sets to nothing does not come back from its base or from a built-in model.
func TestWrittenConfigurationLoadsAgain(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{
		"base.yaml":  "base: shapes\nname: base\n",
		"below.yaml": "base: ./base.yaml\nname: below\noptim: {lr: 5e-4, clip_norm: 0, beta1: 0}\neval: {hook: []}\n",
		"plain.yaml": "name: plain\nmodel: {preset: ViT-B-32, vision: {patch_dropout: 0}}\ndata: {batch: 8, seed: 1, sources: [{shards: x}]}\ntrain: {length: 9 steps, seed: 1}\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	nothing := []string{"eval.wise=null", "eval.select=null", "optim.clip_norm=0", "loss.scale_pull=0", "data.cache.bytes=0", "eval.final=[]"}
	exact := []string{"eval.wise.tolerance=0", "optim.beta1=0", "data.image.scale=[1,1]"}
	fineTuned := fineTuning(t)
	for _, name := range append(Names(), "below.yaml", "plain.yaml") {
		for i, set := range [][]string{nil, nothing, exact} {
			tuned := slices.Contains(fineTuned, name)
			if !tuned && i > 0 || name == "finetune-head" && i == 1 {
				continue
			}
			before := func() Experiment {
				if tuned {
					return adopt(t, initial(64), name, set...)
				}
				e, err := Load(name)
				if err != nil {
					t.Fatal(err)
				}
				return e
			}()
			after := written(t, before)
			if tuned {
				var err error
				if after, err = after.Adopt(initial(64)); err != nil {
					t.Fatal(err)
				}
			}
			before.Base, before.Model.Preset = "", ""
			if diff := cmp.Diff(before, after, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b duration.Duration) bool { return a == b })); diff != "" {
				t.Errorf("%s %v: the configuration changed on the way through its file (-before +after):\n%s", name, set, diff)
			}
		}
	}
}

// TestIdentityOfEarlierRuns: what runs recorded before, and does not decide, does not keep them from going on.
func TestIdentityOfEarlierRuns(t *testing.T) {
	e, err := Load("shapes")
	if err != nil {
		t.Fatal(err)
	}
	identity, err := e.Identity()
	if err != nil {
		t.Fatal(err)
	}
	earlier := maps.Clone(identity)
	earlier["model.preset"], earlier["base"] = "ViT-B-32", "shapes"
	Deciding(earlier)
	if diff := cmp.Diff(identity, earlier); diff != "" || identity["optim.lr"] != "0.001" || identity["optim.beta1"] != "0.9" {
		t.Errorf("the identity is another (-now +earlier):\n%s", diff)
	}
}

func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	circle := write("circle.yaml", "base: "+filepath.Join(dir, "circle.yaml")+"\nname: circle\n")
	tests := []struct {
		name, recipe string
		set          []string
		want         string
	}{
		{"unknown recipe", "nosuch", nil, `recipe "nosuch" is unknown`},
		{"its own base", circle, nil, "is its own base"},
		{"unknown key", "shapes", []string{"optim.warmup=3"}, `unknown key "warmup"`},
		{"fraction of a pair", "shapes", []string{"data.batch=1.5"}, "data.batch: 1.5 is not a whole number"},
		{"base by -set", "shapes", []string{"base=emoji"}, "choose a recipe with -config"},
		{"ascending rates", "shapes", []string{"lr_range=[1, 0.5]"}, "lr_range must be two learning rates, ascending"},
		{"gradient ascent", "shapes", []string{"optim.rules=[{match: '**', lr_multiple: -3}]"}, "optim.rules[0].lr_multiple must lie in"},
		{"two means", "shapes", []string{"model.vision.mean=[1, 2]"}, "model.vision.mean: has 2 values, wants 3"},
		{"negative width", "shapes", []string{"model.text.mlp_width=-1"}, "model.text.mlp_width must lie in"},
		{"not an assignment", "shapes", []string{"optim.lr"}, "write path=value"},
		{"unknown preset", "shapes", []string{"model.preset=ViT-Z"}, "model.preset"},
		{"vocabularies differ", "shapes", []string{"model.text.vocab=700"}, "tokenizer.vocab 640 and model.text.vocab 700 differ"},
		{"image sizes differ", "shapes", []string{"data.image.size=32"}, "data.image.size 32 and model.vision.image_size 64 differ"},
		{"unknown transform", "shapes", []string{"preprocess.resize=zzz"}, `preprocess.resize "zzz" is not one of`},
		{"unknown background", "shapes", []string{"preprocess.alpha=random"}, `preprocess.alpha "random" is not one of`},
		{"no learning rate", "shapes", []string{"optim.lr=0"}, "optim.lr is 0, which would become the default, 0.0005: leave the key out"},
		{"no bad step", "shapes", []string{"train.max_bad_steps=0"}, "train.max_bad_steps is 0, which would become the default, 10"},
		{"a teacher without weight", "distill", []string{"init=RUN", "teacher=RUN", "loss.distill.weight=0"}, "loss.distill.weight is 0, which would become the default, 1"},
		{"black for a mean", "shapes", []string{"model.vision.mean=[0,0,0]"}, "model.vision.mean[0] is 0, which would become the default"},
		{"a column never drawn", "shapes", []string{"data.sources=[{shards: x, captions: [{column: a, probability: 0.0}]}]"}, "data.sources[0].captions[0].probability is 0"},
		{"a teacher nobody listens to", "shapes", []string{"teacher=RUN"}, "teacher is set and loss.distill is not"},
		{"tolerance beyond all", "finetune-lit", []string{"init=RUN", "eval.wise.tolerance=1.5"}, "eval.wise.tolerance must lie in [0, 1]"},
		{"unknown data set", "shapes", []string{"dataset.name=cats"}, `dataset.name "cats" is unknown`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Load(test.recipe, test.set...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want one with %q", err, test.want)
			}
			if fault.Code(err) != fault.ExitUsage {
				t.Errorf("%v is not the user's mistake", err)
			}
		})
	}
}

// TestZeroThatCounts: where nothing is something to ask for, it is not taken for an open setting.
func TestZeroThatCounts(t *testing.T) {
	e := adopt(t, initial(64), "finetune-lit", "optim.beta1=0", "eval.wise.tolerance=0", "optim.clip_norm=0", "optim.schedule.warmup=0")
	if *e.Optim.Beta1 != 0 || *e.Eval.Wise.Tolerance != 0 || e.Optim.ClipNorm != 0 || !e.Optim.Schedule.Warmup.IsZero() {
		t.Errorf("beta1 %g, tolerance %g, clip_norm %g, warmup %s: want zeros", *e.Optim.Beta1, *e.Eval.Wise.Tolerance, e.Optim.ClipNorm, e.Optim.Schedule.Warmup)
	}
}
