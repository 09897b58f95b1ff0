package eval

import (
	"context"
	"fmt"

	"tandem/eval/bias"
	"tandem/eval/record"
	"tandem/internal/fault"
)

// AssociationResult is an association test between two sets of images and two sets of words.
type AssociationResult struct {
	bias.Association
	NameX   string            `json:"x"`
	NameY   string            `json:"y"`
	NameA   string            `json:"a"`
	NameB   string            `json:"b"`
	Images  [2]int            `json:"images"`
	Metrics map[string]Metric `json:"metrics"`
	Skipped map[string]int    `json:"skipped"`
	Records []record.Record   `json:"-"`
}

// EffectSize is the metric of an association.
const EffectSize = "effect_size"

func (s *Session) association(ctx context.Context, task Task, set Dataset, in *Inputs) (*AssociationResult, error) {
	a := task.Association
	r := &AssociationResult{NameX: a.NameX, NameY: a.NameY, NameA: a.NameA, NameB: a.NameB, Skipped: map[string]int{}}
	for name, fallback := range map[*string]string{&r.NameX: "X", &r.NameY: "Y", &r.NameA: "A", &r.NameB: "B"} {
		if *name == "" {
			*name = fallback
		}
	}
	var images [2][][]float32
	for i, subset := range []Subset{a.X, a.Y} {
		e, err := s.other(ctx, task, filter(set, task.subset()), subset, fmt.Sprintf("images %d", i), in)
		if err != nil {
			return nil, err
		}
		in.Examples += len(e.Examples)
		for k, row := range e.Rows {
			rec := record.Record{Set: []string{"x", "y"}[i], ID: e.Examples[k].ID, Metadata: e.Examples[k].Labels, Known: true}
			if row == nil {
				rec.Skipped = "image: " + e.Reasons[k]
				r.Skipped[rec.Skipped]++
			} else {
				images[i] = append(images[i], row)
			}
			r.Records = append(r.Records, rec)
		}
		r.Images[i] = len(images[i])
	}
	if r.Images[0] < 2 || r.Images[1] < 2 {
		return nil, fault.Userf("nothing was measured: x has %s and y %d, and both need 2%s", plural(r.Images[0], "image"), r.Images[1], inBrackets(SkippedWords(r.Skipped)))
	}
	in.seal()
	words := [2][][]float32{}
	for i, list := range [][]string{a.A, a.B} {
		var classes []Class
		for _, w := range list {
			classes = append(classes, Class{Name: w})
		}
		c, err := s.classifier(ctx, classes, task.Templates)
		if err != nil {
			return nil, err
		}
		words[i] = c.Rows
	}
	var err error
	if r.Association, err = bias.Associate(images[0], images[1], words[0], words[1], s.o.Seed); err != nil {
		return nil, err
	}
	scores := r.Scores
	for i := range r.Records {
		if r.Records[i].Skipped == "" {
			r.Records[i].Score, scores = scores[0], scores[1:]
		}
	}
	r.Metrics = map[string]Metric{EffectSize: r.Effect}
	return r, nil
}
