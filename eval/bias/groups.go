// Package bias measures whom and what a model serves worse: gaps between groups of images, association scores between
// images and words, and answers that change with an attribute that should not matter.
package bias

import (
	"cmp"
	"math"
	"slices"

	"tandem/eval/metrics"
)

// Group is one value of a metadata column.
type Group struct {
	Name     string         `json:"name"`
	Accuracy metrics.Metric `json:"accuracy"`
	Recall   float64        `json:"mean_per_class_recall"` // over the classes that occur in the group
	Error    float64        `json:"error"`                 // 1 − accuracy
}

// Gaps compares the groups of one column.
type Gaps struct {
	Column string  `json:"column"`
	Groups []Group `json:"groups"` // the worst first
	// Worst and Best are of the groups with at least MinGroup examples; Gap is the difference of their accuracies with a
	// bootstrap interval. The interval is of these two groups; that they were picked as extremes is not in it.
	Worst string         `json:"worst,omitempty"`
	Best  string         `json:"best,omitempty"`
	Gap   metrics.Metric `json:"gap"`
	// Missing counts the examples without a value, Rest those in groups beyond the MaxGroups largest.
	Missing int `json:"missing"`
	Rest    int `json:"rest"`
}

// Limits of a table of groups.
const (
	MinGroup  = 10
	MaxGroups = 40
)

// Answer is one scored example.
type Answer struct {
	Group   string // the column's value; "" if it has none
	Truth   int
	Correct bool
	Cluster int
}

// Compare splits answers by group.
func Compare(column string, answers []Answer, seed uint64) Gaps {
	g := Gaps{Column: column}
	members := map[string][]Answer{}
	for _, a := range answers {
		if a.Group == "" {
			g.Missing++
			continue
		}
		members[a.Group] = append(members[a.Group], a)
	}
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(len(members[b])-len(members[a]), cmp.Compare(a, b))
	})
	for _, name := range names[min(len(names), MaxGroups):] {
		g.Rest += len(members[name])
	}
	for _, name := range names[:min(len(names), MaxGroups)] {
		g.Groups = append(g.Groups, measure(name, members[name]))
	}
	slices.SortStableFunc(g.Groups, func(a, b Group) int { return cmp.Compare(a.Accuracy.Value, b.Accuracy.Value) })
	g.extremes(members, seed)
	return g
}

func measure(name string, answers []Answer) Group {
	hits := 0
	perClass := map[int][2]int{}
	for _, a := range answers {
		counts := perClass[a.Truth]
		counts[1]++
		if a.Correct {
			hits++
			counts[0]++
		}
		perClass[a.Truth] = counts
	}
	group := Group{Name: name, Accuracy: metrics.Proportion(hits, len(answers))}
	group.Error = 1 - group.Accuracy.Value
	classes := make([]int, 0, len(perClass)) // in order: sums of floats depend on it
	for class := range perClass {
		classes = append(classes, class)
	}
	slices.Sort(classes)
	for _, class := range classes {
		group.Recall += float64(perClass[class][0]) / float64(perClass[class][1]) / float64(len(classes))
	}
	return group
}

func (g *Gaps) extremes(members map[string][]Answer, seed uint64) {
	var large []Group
	for _, group := range g.Groups {
		if group.Accuracy.N >= MinGroup {
			large = append(large, group)
		}
	}
	if len(large) < 2 {
		return
	}
	g.Worst, g.Best = large[0].Name, large[len(large)-1].Name
	worst, best := members[g.Worst], members[g.Best]
	both := slices.Concat(worst, best)
	clusters := make([]int, len(both))
	for i, a := range both {
		clusters[i] = a.Cluster
	}
	g.Gap = metrics.Bootstrap(len(both), clusters, seed, func(items []int) float64 {
		var hits, counts [2]float64
		for _, i := range items {
			side := 0
			if i >= len(worst) {
				side = 1
			}
			counts[side]++
			if both[i].Correct {
				hits[side]++
			}
		}
		return hits[1]/counts[1] - hits[0]/counts[0]
	})
	if math.IsNaN(g.Gap.Low) {
		g.Gap.Low, g.Gap.High = -1, 1
	}
}
