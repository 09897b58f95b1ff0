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
	// Worst and Best are of the Compared groups with at least MinGroup examples; Gap is the difference of their accuracies.
	// Its interval is a bootstrap as if these two had been named beforehand: that they were picked as extremes is not in
	// it, and the more groups there are, the larger the gap between extremes is by chance alone.
	Worst    string         `json:"worst,omitempty"`
	Best     string         `json:"best,omitempty"`
	Compared int            `json:"compared"`
	Gap      metrics.Metric `json:"gap"`
	// P is the probability of a gap at least this large between extremes if the groups made no difference: the share of
	// random permutations of the group labels that show it. Permuted says what was permuted.
	P        *float64 `json:"p,omitempty"`
	Permuted string   `json:"permuted,omitempty"`
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
	Cluster int // examples of one are not independent
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
		g.Groups = append(g.Groups, measure(name, members[name], seed))
	}
	slices.SortStableFunc(g.Groups, func(a, b Group) int { return cmp.Compare(a.Accuracy.Value, b.Accuracy.Value) })
	g.extremes(members, seed)
	return g
}

func measure(name string, answers []Answer, seed uint64) Group {
	hits, clusters := make([]float64, len(answers)), make([]int, len(answers))
	perClass := map[int][2]int{}
	for i, a := range answers {
		counts := perClass[a.Truth]
		counts[1]++
		if a.Correct {
			hits[i] = 1
			counts[0]++
		}
		perClass[a.Truth], clusters[i] = counts, a.Cluster
	}
	group := Group{Name: name, Accuracy: metrics.Rate(hits, clusters, seed)}
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
	g.compare(large[0], large[len(large)-1], members, seed)
	var pool []Answer
	for _, group := range large {
		pool = append(pool, members[group.Name]...)
	}
	g.Compared = len(large)
	g.permute(pool, seed)
}

// compare measures the gap between two groups.
func (g *Gaps) compare(worst, best Group, members map[string][]Answer, seed uint64) {
	g.Worst, g.Best = worst.Name, best.Name
	both, n := slices.Concat(members[g.Worst], members[g.Best]), len(members[g.Worst])
	clusters := make([]int, len(both))
	for i, a := range both {
		clusters[i] = a.Cluster
	}
	g.Gap = metrics.Bootstrap(len(both), clusters, seed, func(items []int) float64 {
		var hits, counts [2]float64
		for _, i := range items {
			side := 0
			if i >= n {
				side = 1
			}
			counts[side]++
			if both[i].Correct {
				hits[side]++
			}
		}
		return hits[1]/counts[1] - hits[0]/counts[0]
	})
	if low, high := difference(worst.Accuracy, best.Accuracy); g.Gap.Rough() || !(g.Gap.Low < g.Gap.High) {
		g.Gap.Low, g.Gap.High = least(g.Gap.Low, low), -least(-g.Gap.High, -high)
	}
}

// difference is the interval of b − a from the intervals of both (Newcombe, 1998): for gaps of few clusters, or between
// groups without a variation that a bootstrap could draw.
func difference(a, b metrics.Metric) (low, high float64) {
	d := b.Value - a.Value
	return max(-1, d-math.Hypot(b.Value-b.Low, a.High-a.Value)), min(1, d+math.Hypot(b.High-b.Value, a.Value-a.Low))
}

// least is the lesser, y where x is no number.
func least(x, y float64) float64 {
	if x <= y {
		return x
	}
	return y
}
