package eval

import (
	"cmp"
	"fmt"

	"tandem/eval/metrics"
)

// warnings say which of the result's numbers are to be taken with care: intervals of few clusters, and a rule that could
// not be fitted.
func (r Result) warnings() []string {
	var list []string
	rough := func(what string, few int) {
		if few > 0 {
			list = append(list, fmt.Sprintf("%s rough: they are drawn from %s only (%s), and it takes %d to tell how far off they are",
				what, plural(few, "cluster"), cmp.Or(r.Task.Cluster, "images with their texts"), metrics.FewClusters))
		}
	}
	few := fewestClusters(r.Ordered())
	rough("intervals are", few)
	c := r.Classification
	if c == nil {
		return list
	}
	if missing := c.withoutExamples(); len(missing) > 0 {
		list = append(list, fmt.Sprintf("%s of %d without an example in split %q can only be a wrong answer: %s",
			pluralOf(len(missing), "class", "classes"), len(c.Classes), r.Task.Split, someOf(missing)))
	}
	if few == 0 {
		rough("intervals of doubt are", fewestClusters(r.doubtMetrics()))
		for _, g := range c.Groups {
			accuracies := []NamedMetric{{Metric: g.Gap}}
			for _, group := range g.Groups {
				accuracies = append(accuracies, NamedMetric{Metric: group.Accuracy})
			}
			rough("some intervals by "+g.Column+" are", fewestClusters(accuracies))
		}
	}
	if c.unknownNote != "" {
		list = append(list, "unknown: "+c.unknownNote)
	}
	if c.Doubt != nil && c.Doubt.Rules[0].Note != "" {
		list = append(list, fmt.Sprintf("the rule (%s, %s) %s", c.Doubt.Rules[0].Score, c.Doubt.Rules[0].Goal, c.Doubt.Rules[0].Note))
	}
	return list
}

// withoutExamples are the classes that no example has.
func (c *ClassificationResult) withoutExamples() (names []string) {
	for _, class := range c.PerClass {
		if class.N == 0 {
			names = append(names, class.Name)
		}
	}
	return names
}

// fewestClusters is the least number of clusters behind a rough interval, 0 where none is rough.
func fewestClusters(list []NamedMetric) int {
	few := 0
	for _, m := range list {
		if m.Rough() && (few == 0 || m.Clusters < few) {
			few = m.Clusters
		}
	}
	return few
}

func plural(n int, what string) string { return pluralOf(n, what, what+"s") }

func pluralOf(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
