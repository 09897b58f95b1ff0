package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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

// TestWrittenConfigurationLoadsAgain holds what a run directory promises: its config.yaml is a recipe by itself.
func TestWrittenConfigurationLoadsAgain(t *testing.T) {
	e, err := Load("shapes", "optim.lr=5e-4")
	if err != nil {
		t.Fatal(err)
	}
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
		t.Fatal(err)
	}
	before, err := e.Identity()
	if err != nil {
		t.Fatal(err)
	}
	after, err := again.Identity()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the configuration changed on the way through its file (-before +after):\n%s", diff)
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
