package eval

import (
	"context"
	"slices"
	"strings"

	"tandem/eval/metrics"
	"tandem/eval/record"
	"tandem/internal/zeroshot"
)

// MultiLabelResult is what ranking images by class found, where an image may have any number of classes.
type MultiLabelResult struct {
	Classes  []string          `json:"classes"`
	Metrics  map[string]Metric `json:"metrics"`
	PerClass []APResult        `json:"per_class"`
	Skipped  map[string]int    `json:"skipped"`
	Records  []record.Record   `json:"-"`
}

// APResult is one class's average precision.
type APResult struct {
	Name string  `json:"name"`
	N    int     `json:"n"` // images that have the class
	AP   float64 `json:"ap"`
}

// MAP is the name of the mean average precision of a multi-label task.
const MAP = "mAP"

// labelSeparator stands between the classes of one image.
const labelSeparator = "|"

// labelsOf are an example's classes.
func labelsOf(task Task, e Example) []string {
	value := e.Labels[task.Label]
	if task.Kind != MultiLabel {
		if value == "" {
			return nil
		}
		return []string{value}
	}
	return SplitLabels(value)
}

// SplitLabels lists the classes of one image of several labels: they are separated by a vertical bar.
func SplitLabels(value string) []string {
	var list []string
	for _, name := range strings.Split(value, labelSeparator) {
		if name = strings.TrimSpace(name); name != "" {
			list = append(list, name)
		}
	}
	return list
}

// multiLabel ranks the images for each class by similarity. An image with an empty label has no class and counts as a
// negative of all; one without the column is skipped.
func (s *Session) multiLabel(ctx context.Context, task Task, set Dataset, in *Inputs) (*MultiLabelResult, error) {
	e, c, err := s.labelled(ctx, task, set, in)
	if err != nil {
		return nil, err
	}
	in.seal()
	r := &MultiLabelResult{Skipped: map[string]int{}}
	index := map[string]int{}
	for i, class := range c.Classes {
		index[class.Name] = i
		r.Classes = append(r.Classes, class.Name)
	}
	var scores [][]float64
	var positive [][]bool
	var kept []Example
	sims := make([]float32, len(c.Classes))
	for i, example := range e.Examples {
		reason := ""
		if _, ok := example.Labels[task.Label]; e.Rows[i] == nil {
			reason = "image: " + e.Reasons[i]
		} else if !ok {
			reason = "no label"
		}
		if reason != "" {
			r.Skipped[reason]++
			r.Records = append(r.Records, record.Record{Set: "test", ID: example.ID, Skipped: reason, Metadata: example.Labels, Known: true})
			continue
		}
		is := make([]bool, len(c.Classes))
		for _, name := range labelsOf(task, example) {
			if class, ok := index[name]; ok {
				is[class] = true
			}
		}
		c.Similarities(sims, e.Rows[i])
		row := make([]float64, len(c.Classes))
		for class, x := range sims {
			row[class] = float64(x)
		}
		scores, positive, kept = append(scores, row), append(positive, is), append(kept, example)
		r.Records = append(r.Records, multiLabelRecord(task, example, c, sims))
	}
	some := 0
	for _, is := range positive {
		some += count(slices.Contains(is, true))
	}
	if some == 0 && len(kept) > 0 { // every precision would be that of nothing
		r.Skipped[notClass] = len(kept)
	}
	if err := checkMeasured(task, e.Examples, some, r.Skipped); err != nil {
		return nil, err
	}
	r.measure(scores, positive, clustersOf(task.Cluster, kept), s.o.Seed)
	return r, nil
}

// multiLabelRecord holds the similarities of all classes: average precision needs them.
func multiLabelRecord(task Task, example Example, c *zeroshot.Classifier, sims []float32) record.Record {
	r := record.Record{Set: "test", ID: example.ID, Label: example.Labels[task.Label], Known: true, Metadata: example.Labels, Cluster: example.Labels[task.Cluster]}
	p := zeroshot.Softmax(sims, c.Scale)
	for place, class := range metrics.Descending(sims) {
		r.TopClasses, r.TopSimilarities = append(r.TopClasses, c.Classes[class].Name), append(r.TopSimilarities, float64(sims[class]))
		if place < topAnswers {
			r.TopProbabilities = append(r.TopProbabilities, p[class])
		}
	}
	r.Prediction, r.Probability, r.Similarity = r.TopClasses[0], r.TopProbabilities[0], r.TopSimilarities[0]
	return r
}

func (r *MultiLabelResult) measure(scores [][]float64, positive [][]bool, clusters []int, seed uint64) {
	chance, present := 0.0, 0
	column, is := make([]float64, len(scores)), make([]bool, len(scores))
	for c, name := range r.Classes {
		ap := APResult{Name: name}
		for i := range scores {
			column[i], is[i] = scores[i][c], positive[i][c]
			if is[i] {
				ap.N++
			}
		}
		ap.AP = metrics.AveragePrecision(column, is)
		r.PerClass = append(r.PerClass, ap)
		if ap.N > 0 {
			present++
			chance += float64(ap.N) / float64(len(scores))
		}
	}
	m := metrics.MeanAveragePrecisionInterval(scores, positive, clusters, seed)
	if present > 0 {
		chance /= float64(present)
		m.Chance = &chance
	}
	r.Metrics = map[string]Metric{MAP: m}
}
