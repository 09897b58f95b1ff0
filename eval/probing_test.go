package eval

import (
	"context"
	"testing"
)

// TestLabelledHoldsOut: of one split, no example is both trained on and measured on, every class is measured, and the
// examples of a cluster stay together; examples of classes without training are counted.
func TestLabelledHoldsOut(t *testing.T) {
	set, task := bigSet(30), colourTask()
	task.Cluster = "concept"
	s := NewSession(fakeEncoder{10}, Options{})
	e, err := s.embed(context.Background(), set)
	if err != nil {
		t.Fatal(err)
	}
	measured, side := 0, map[string]bool{}
	for id, yes := range held(task, e, e, 0.2) {
		measured += count(yes)
		for _, example := range e.Examples {
			if example.ID == id {
				if before, ok := side[example.Labels["concept"]]; ok && before != yes {
					t.Errorf("cluster %s is on both sides", example.Labels["concept"])
				}
				side[example.Labels["concept"]] = yes
			}
		}
	}
	if measured == 0 || measured == len(e.Examples) {
		t.Errorf("%d of %d held out", measured, len(e.Examples))
	}
	task.Cluster = ""
	d, err := s.Labelled(context.Background(), task, set, Subset{Split: "test"}, 0.2)
	if err != nil {
		t.Fatal(err)
	}
	classes := map[int]bool{}
	for _, label := range d.Test.Labels {
		classes[label] = true
	}
	if d.Test.Len() != 18 || d.HeldOut != 18 || d.Train.Len() != 72 || len(classes) != 3 || d.Untrained != 0 {
		t.Errorf("%d trained on, %d measured, %d held out of %d classes, %d untrained", d.Train.Len(), d.Test.Len(), d.HeldOut, len(classes), d.Untrained)
	}
	d, err = s.Labelled(context.Background(), task, set, Subset{Split: "test", Where: map[string]string{"colour": "red"}}, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	if d.HeldOut != 15 || d.Test.Len() != 75 || d.Train.Len() != 15 || d.Untrained != 60 {
		t.Errorf("of red alone: %d trained on, %d measured, %d held out, %d untrained", d.Train.Len(), d.Test.Len(), d.HeldOut, d.Untrained)
	}
}
