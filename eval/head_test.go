package eval

import (
	"context"
	"slices"
	"testing"

	"tandem/internal/zeroshot"
)

// TestHead: a head answers the classifications on its data, also those with fewer classes than it has; others are
// answered by the text tower.
func TestHead(t *testing.T) {
	set := bigSet(10)
	task := Task{Name: "colours", Data: "colours", Split: "test", Label: "colour", Templates: []string{"{}"}}
	accuracy := func(o Options, task Task) float64 {
		t.Helper()
		r, err := NewSession(fakeEncoder{scale: 10}, o).Run(context.Background(), task, set)
		if err != nil {
			t.Fatal(err)
		}
		return r.Headline().Value
	}
	plain := accuracy(Options{}, task)
	c, err := zeroshot.NewClassifier(context.Background(), fakeEncoder{scale: 10}, ClassesOf(colours, nil), task.Templates)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(c.Rows) // a head that has every class wrong but the middle one
	wrong := *c
	wrong.Classes = append(slices.Clone(c.Classes), Class{Name: "another"})
	wrong.Rows = append(slices.Clone(c.Rows), make([]float32, len(c.Rows[0])))
	head := Options{Head: &wrong, HeadData: "colours"}
	if got := accuracy(head, task); got >= plain/2 {
		t.Errorf("accuracy %g with a wrong head, %g without", got, plain)
	}
	other := task
	other.Data = "others"
	if got := accuracy(head, other); got != plain {
		t.Errorf("accuracy %g on other data, where the head has no say, want %g", got, plain)
	}
	wrong.Classes = wrong.Classes[1:]
	wrong.Rows = wrong.Rows[1:]
	if got := accuracy(head, task); got != plain {
		t.Errorf("accuracy %g with a head that lacks a class, want %g", got, plain)
	}
}
