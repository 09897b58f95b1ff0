package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/configs"
	"tandem/data/prepare"
	"tandem/internal/fault"
)

// classDirs makes shards without captions of n pictures of each of two classes in each split.
func classDirs(t *testing.T, n int, splits ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mine")
	for s, split := range splits {
		for c, class := range []string{"cat", "dog"} {
			into := filepath.Join(dir, split, class)
			if err := os.MkdirAll(into, 0o755); err != nil {
				t.Fatal(err)
			}
			for i := range n {
				img := image.NewGray(image.Rect(0, 0, 32, 32))
				for x := range 32 {
					img.SetGray(x, c*16+i%16, color.Gray{uint8(1 + 8*i + s)})
				}
				var b bytes.Buffer
				if err := png.Encode(&b, img); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(into, fmt.Sprint(i, ".png")), b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	made, err := prepare.Directory(t.Context(), dir, prepare.Options{Root: t.TempDir(), Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestOwnDataSettings: -data replaces all that a recipe says of its own data set: what is trained on does not judge, what
// chooses does not judge, and columns that are not there are not asked for.
func TestOwnDataSettings(t *testing.T) {
	three, two, one, val := classDirs(t, 1, "train", "val", "test"), classDirs(t, 1, "train", "test"), classDirs(t, 1, "train"), classDirs(t, 1, "train", "val")
	captioned, err := prepare.Ensure(t.Context(), prepare.Config{Name: "shapes", Shapes: prepare.ShapesConfig{Size: 32, Train: 8, Test: 4, HeldOut: 4}}, prepare.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	negatives := filepath.Join(t.TempDir(), "negatives.yaml")
	if err := os.WriteFile(negatives, []byte("base: finetune-contrastive\nname: negatives\ninit: RUN\ndata: {negatives: {column: wrong}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	type outcome struct {
		Final     []string
		Select    string
		Wise      bool
		Captions  string
		Positives string
		Negatives bool
	}
	const fine = "finetune-contrastive"
	tests := []struct {
		name, recipe, data string
		set                []string
		want               outcome
		says               string
	}{
		{"val chooses, test judges", fine, three, nil, outcome{[]string{"test"}, "val", true, "class", "class", false}, "the split val chooses the checkpoint, test judges it"},
		{"a head", "finetune-head", three, nil, outcome{[]string{"test"}, "val", true, "class", "class", false}, ""},
		{"nothing to choose by", fine, two, nil, outcome{[]string{"test"}, "", false, "class", "class", false}, "eval.select and eval.wise are off"},
		{"val alone judges", fine, val, nil, outcome{[]string{"val"}, "", false, "class", "class", false}, "eval.select and eval.wise are off"},
		{"nothing to judge by", fine, one, nil, outcome{nil, "", false, "class", "class", false}, "has no split to judge by"},
		{"columns that are not there", fine, captioned, []string{"data.workers=1"}, outcome{[]string{"heldout-pairs", "test"}, "", false, "captions", "caption", false}, "has no column class: pictures with one caption"},
		{"negatives that are not there", negatives, three, nil, outcome{[]string{"test"}, "val", true, "class", "class", false}, "no column wrong: there are no hard negatives"},
		{"the user's negatives", negatives, three, []string{"data.negatives.column=other"}, outcome{[]string{"test"}, "val", true, "class", "class", true}, ""},
		{"the user's choice", fine, three, []string{"eval.select.task=textile/val", "eval.select.patience=3"}, outcome{[]string{"test", "val"}, "textile/val", true, "class", "class", false}, ""},
		{"the user chooses by these data", fine, three, []string{"eval.select.task=" + filepath.Join(three, "test")}, outcome{[]string{"val"}, "test", true, "class", "class", false}, ""},
		{"the user's tasks", fine, three, []string{"eval.final=[textile/test]"}, outcome{[]string{"textile/test"}, "val", true, "class", "class", false}, ""},
		{"the user's captions", fine, three, []string{"data.sources=[{shards: " + three + ", captions: [{column: class, template: 'my {}'}]}]"}, outcome{[]string{"test"}, "val", true, "class", "class", false}, ""},
		{"training from nothing", "emoji", three, nil, outcome{[]string{"test", "val"}, "", false, "class", "", false}, "have no captions"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var said strings.Builder
			o := options{config: test.recipe, data: test.data, set: test.set}
			if strings.HasPrefix(test.recipe, "finetune") {
				o.init = "RUN"
			}
			e, err := o.load(func(format string, args ...any) { fmt.Fprintf(&said, format+"\n", args...) })
			if err != nil {
				t.Fatal(err)
			}
			short := func(ref string) string { return strings.TrimPrefix(ref, test.data+string(filepath.Separator)) }
			got := outcome{Positives: e.Data.Positives, Negatives: e.Data.Negatives != nil, Wise: e.Eval.Wise != nil, Captions: "captions"}
			for _, ref := range e.Eval.Final {
				got.Final = append(got.Final, short(ref))
				if _, err := configs.Tasks(ref); err != nil {
					t.Error(err)
				}
			}
			if s := e.Eval.Select; s != nil {
				got.Select = short(s.Task)
			}
			if c := e.Data.Sources[0].Captions; len(c) > 0 {
				got.Captions = c[0].Column
			}
			if got.Positives == "caption" && test.want.Positives == "" {
				got.Positives = "" // the default, filled in
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if !strings.Contains(said.String(), test.says) {
				t.Errorf("it says %q, want %q", &said, test.says)
			}
		})
	}
}

func TestOwnDataMistakes(t *testing.T) {
	two := classDirs(t, 1, "train", "test")
	for want, o := range map[string]options{
		"needs a labelled split val": {config: "finetune-head", init: "RUN", data: two},
		"is not a directory of shards: it has no manifest.json (make one with: go run ./cmd/data build": {config: "emoji", data: t.TempDir()},
	} {
		_, err := o.load(func(string, ...any) {})
		if err == nil || !strings.Contains(err.Error(), want) || !fault.IsUser(err) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestOwnPictures trains and fine-tunes on pictures whose only texts are the names of their folders: the vocabulary comes
// from those, and a recipe's own data set is neither trained on nor asked about.
func TestOwnPictures(t *testing.T) {
	own, base, tuned := classDirs(t, 8, "train", "val", "test"), filepath.Join(t.TempDir(), "base"), filepath.Join(t.TempDir(), "tuned")
	out := mustRun(t, "-config", tiny(t), "-data", own, "-dir", base, "-backend", "go", "-steps", "2")
	for _, want := range []string{"from 16 captions", "mine/test", "mine/val"} {
		if !strings.Contains(out, want) {
			t.Errorf("nothing about %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "mine/train") {
		t.Errorf("judged by what was trained on:\n%s", out)
	}
	out = mustRun(t, "-config", "finetune-contrastive", "-init", base, "-data", own, "-dir", tuned, "-backend", "go", "-offline",
		"-steps", "2", "-set", "data.batch=8", "-set", "train.eval_every=1 steps", "-set", "eval.wise.alphas=[0,1]")
	for _, want := range []string{"mine/val acc1", "mine/test", " is in " + filepath.Join(tuned, "final")} {
		if !strings.Contains(out, want) {
			t.Errorf("nothing about %q in\n%s", want, out)
		}
	}
	for _, other := range []string{"textile", "mine/train"} {
		if strings.Contains(out, other) {
			t.Errorf("something about %s in\n%s", other, out)
		}
	}
}
