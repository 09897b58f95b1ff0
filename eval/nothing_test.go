package eval

import (
	"context"
	"strings"
	"testing"

	"tandem/internal/fault"
)

// TestNothingMeasured: a result without an example is the user's error for every kind of task, and says why none counts.
func TestNothingMeasured(t *testing.T) {
	set := fakeSet{example("a", 0, "red", "red"), example("b", 1, "green", "green"), {ID: "c", Image: []byte("no picture"), Labels: map[string]string{"colour": "red"}}}
	mute := fakeSet{example("a", 0, "red"), example("b", 1, "green")}
	capital := []Class{{Name: "Red", Words: []string{"red"}}, {Name: "Green", Words: []string{"green"}}}
	nowhere := map[string]string{"colour": "pink"}
	words := &AssociationConfig{X: Subset{Where: map[string]string{"colour": "red"}}, Y: Subset{Where: nowhere}, A: []string{"red"}, B: []string{"green"}}
	for _, test := range []struct {
		name, want string
		task       Task
		set        fakeSet
	}{
		{"other names", `3 label is no class of 3 examples in all: the classes are "Red", "Green", the labels in column "colour" "green", "red"`, Task{Label: "colour", Classes: capital}, set},
		{"no pictures", `1 image: corrupt of 1 example in all`, Task{Label: "colour", Classes: NamedClasses(colours)}, set[2:]},
		{"filtered", `no example of split "test" of d is left by where, only and except (where "colour"="pink")`, Task{Label: "colour", Classes: capital, Where: nowhere}, set},
		{"empty", `split "test" of d has no example`, Task{Label: "colour", Classes: capital}, nil},
		{"several labels", `2 label is no class`, Task{Kind: MultiLabel, Label: "colour", Classes: capital}, set},
		{"no captions", `2 no caption of 2 examples`, Task{Kind: Retrieval}, mute},
		{"no pictures to find", `no example of split`, Task{Kind: Retrieval, Where: nowhere}, set},
		{"no lies", `2 no wrong caption`, Task{Kind: Selection, Wrong: []string{"lie"}}, set},
		{"no pairs", `no two examples share a value of column "pair": nothing was measured: `, Task{Kind: Selection, Pairs: "pair"}, set[:2]},
		{"one side", `x has 1 image and y 0, and both need 2 (1 image: corrupt)`, Task{Kind: Association, Association: words}, set},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.task.Name, test.task.Data, test.task.Split = "t", "d", "test"
			_, err := NewSession(fakeEncoder{10}, Options{Doubt: true}).Run(context.Background(), test.task, test.set)
			if err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), "nothing was measured") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// TestBiasOfNothing: what had no case is not called tested.
func TestBiasOfNothing(t *testing.T) {
	task := colourTask()
	task.Counterfactual = &Counterfactual{Match: "nosuch", Attribute: "tone"}
	words := written(t, runTask(t, task, bigSet(10), Options{}))
	empty := Result{Task: Task{Name: "s"}, Selection: &SelectionResult{Metrics: map[string]Metric{Chosen: {}}}}
	none := written(t, empty)["bias"]
	for where, text := range map[string]string{"bias": words["bias"], "page": words["page"], "selection": none} {
		if strings.Contains(text, "of 0 cases") || strings.Contains(text, "0 sets") || strings.Contains(text, "0.0 % of their pairs") {
			t.Errorf("%s tells of nothing:\n%s", where, text)
		}
	}
	if !strings.Contains(words["bias"], "nothing was compared") || !strings.Contains(words["bias"], "- Counterfactual pairs: no task") || !strings.Contains(none, "- Fine detail") {
		t.Errorf("what was not tested is not said:\n%s\n%s", words["bias"], none)
	}
}
