package eval

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

// TestMetricNames: what a task says that it measures, before it does, is what it measures.
func TestMetricNames(t *testing.T) {
	set := bigSet(8)
	many := slices.Clone(set)
	for i, e := range many {
		e.Labels = maps.Clone(e.Labels)
		e.Labels["kind"], e.Labels["lie"], e.Labels["pair"] = fmt.Sprint(i%6), "a blue lie", fmt.Sprint(i/2)
		many[i] = e
	}
	for _, test := range []struct {
		task Task
		set  fakeSet
	}{
		{colourTask(), set},
		{Task{Name: "six", Data: "d", Label: "kind", Templates: []string{"{} blue"}}, many},
		{Task{Name: "labels", Kind: MultiLabel, Data: "d", Label: "colour"}, set},
		{Task{Name: "search", Kind: Retrieval, Data: "d"}, set},
		{Task{Name: "pairs", Kind: Selection, Data: "d", Pairs: "pair"}, many},
		{Task{Name: "lies", Kind: Selection, Data: "d", Wrong: []string{"lie"}}, many},
		{Task{Name: "words", Kind: Association, Data: "d", Association: &AssociationConfig{
			X: Subset{Where: map[string]string{"vendor": "x"}}, Y: Subset{Where: map[string]string{"vendor": "y"}}, A: []string{"red"}, B: []string{"blue"},
		}}, set},
	} {
		got := slices.Sorted(maps.Keys(runTask(t, test.task, test.set, Options{}).Metrics()))
		if want := slices.Sorted(slices.Values(test.task.MetricNames())); !slices.Equal(got, want) {
			t.Errorf("%s measures %q, says %q", test.task.Name, got, want)
		}
	}
}
