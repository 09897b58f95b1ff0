// Package probe trains small classifiers on embeddings that are already there: a linear probe (logistic regression by
// L-BFGS), nearest neighbours, and a Tip-Adapter cache, with curves over the number of examples a class. A trained probe
// is a file that evaluation and classification read. The package knows rows and labels only; where they come from
// (an evaluation's cache, a training's frozen tower) is the caller's business.
package probe

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"tandem/eval/metrics"
	"tandem/internal/fault"
	"tandem/internal/prng"
	"tandem/internal/zeroshot"
)

// Set is a labelled set of embeddings: Rows[i] has length 1 and belongs to class Labels[i] of Classes.
type Set struct {
	Rows    [][]float32
	Labels  []int
	Classes []string
}

// Len is the number of rows.
func (s Set) Len() int { return len(s.Rows) }

// Dim is the length of a row, 0 of an empty set.
func (s Set) Dim() int {
	if len(s.Rows) == 0 {
		return 0
	}
	return len(s.Rows[0])
}

// Validate reports the first thing that is wrong.
func (s Set) Validate() error {
	switch {
	case len(s.Rows) == 0:
		return fault.Userf("probe: the set has no examples")
	case len(s.Rows) != len(s.Labels):
		return fmt.Errorf("probe: %d rows and %d labels", len(s.Rows), len(s.Labels))
	case len(s.Classes) < 2:
		return fault.Userf("probe: %d classes: a classification needs two", len(s.Classes))
	}
	for i, row := range s.Rows {
		if len(row) != s.Dim() {
			return fmt.Errorf("probe: row %d has %d numbers, row 0 %d", i, len(row), s.Dim())
		}
		if s.Labels[i] < 0 || s.Labels[i] >= len(s.Classes) {
			return fmt.Errorf("probe: row %d has label %d of %d classes", i, s.Labels[i], len(s.Classes))
		}
	}
	return nil
}

// Pick is the subset with the given indices.
func (s Set) Pick(indices []int) Set {
	out := Set{Classes: s.Classes}
	for _, i := range indices {
		out.Rows, out.Labels = append(out.Rows, s.Rows[i]), append(out.Labels, s.Labels[i])
	}
	return out
}

// Shots draws up to n examples of each class, a pure function of (seed, class): the draw for n is a part of that for more.
func (s Set) Shots(n int, seed uint64) Set {
	byClass := make([][]int, len(s.Classes))
	for i, label := range s.Labels {
		byClass[label] = append(byClass[label], i)
	}
	var picked []int
	for class, members := range byClass {
		if len(members) == 0 {
			continue
		}
		order := prng.NewPermutation(int64(len(members)), seed, uint64(class))
		for k := range min(n, len(members)) {
			picked = append(picked, members[order.At(int64(k))])
		}
	}
	slices.Sort(picked)
	return s.Pick(picked)
}

// Split divides a set at random, class by class: about the given share of each class (at least one example of a class
// that has two) goes to second.
func (s Set) Split(share float64, seed uint64) (first, second Set) {
	byClass := make([][]int, len(s.Classes))
	for i, label := range s.Labels {
		byClass[label] = append(byClass[label], i)
	}
	var a, b []int
	for class, members := range byClass {
		if len(members) == 0 {
			continue
		}
		n := int(math.Round(share * float64(len(members))))
		if n == 0 && len(members) > 1 {
			n = 1
		}
		order := prng.NewPermutation(int64(len(members)), seed, uint64(class))
		for k := range members {
			if m := members[order.At(int64(k))]; k < n {
				b = append(b, m)
			} else {
				a = append(a, m)
			}
		}
	}
	slices.Sort(a)
	slices.Sort(b)
	return s.Pick(a), s.Pick(b)
}

// Predictor gives the probability of each class for a row.
type Predictor interface {
	Probabilities(row []float32) []float64
}

// Accuracy is the share of rows whose most probable class (the first of equals) is their label, with Wilson's interval.
func Accuracy(p Predictor, s Set) metrics.Metric {
	hits := 0
	for i, row := range s.Rows {
		if argmax(p.Probabilities(row)) == s.Labels[i] {
			hits++
		}
	}
	return metrics.Share(hits, s.Len(), 1/float64(max(1, len(s.Classes))))
}

// logLoss is the mean of −log p(label).
func logLoss(p Predictor, s Set) float64 {
	var sum float64
	for i, row := range s.Rows {
		sum -= math.Log(max(p.Probabilities(row)[s.Labels[i]], 1e-300))
	}
	return sum / float64(s.Len())
}

func argmax(x []float64) int {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}

// KNN classifies by the k nearest rows, each voting with weight exp(similarity/temperature) (Wu et al., 2018).
type KNN struct {
	Train       Set
	K           int
	Temperature float64 // 0 is 0.07
}

// Probabilities implements Predictor: the shares of the votes.
func (m *KNN) Probabilities(row []float32) []float64 {
	sims := make([]float32, m.Train.Len())
	for i, r := range m.Train.Rows {
		sims[i] = zeroshot.Dot(row, r)
	}
	votes := make([]float64, len(m.Train.Classes))
	nearest := metrics.Descending(sims)
	top, total := float64(sims[nearest[0]]), 0.0
	for _, i := range nearest[:min(m.K, len(nearest))] {
		w := math.Exp((float64(sims[i]) - top) / cmp.Or(m.Temperature, 0.07))
		votes[m.Train.Labels[i]] += w
		total += w
	}
	for c := range votes {
		votes[c] /= total
	}
	return votes
}

// Neighbours are the numbers of neighbours that TrainKNN tries.
var Neighbours = []int{1, 3, 5, 10, 20, 50}

// TrainKNN chooses the number of neighbours by accuracy on validation, the smallest of equals.
func TrainKNN(train, validation Set) (*KNN, error) {
	if err := train.Validate(); err != nil {
		return nil, err
	}
	if err := validation.Validate(); err != nil {
		return nil, fmt.Errorf("validation: %w", err)
	}
	var best *KNN
	bestAccuracy := -1.0
	for _, k := range Neighbours {
		if k > train.Len() {
			break
		}
		m := &KNN{Train: train, K: k}
		if a := Accuracy(m, validation).Value; a > bestAccuracy {
			best, bestAccuracy = m, a
		}
	}
	return best, nil
}

// TipAdapter adds a cache of training rows to the zero-shot logits (Zhang et al., 2022, "Tip-Adapter", training-free):
// logits = Scale·row·Text + Alpha·Σ exp(−Beta·(1 − row·key))·onehot(label).
type TipAdapter struct {
	Train       Set
	Text        [][]float32 // [classes][dim] zero-shot rows
	Scale       float64     // of the zero-shot logits: the model's temperature
	Alpha, Beta float64
}

// Probabilities implements Predictor.
func (m *TipAdapter) Probabilities(row []float32) []float64 {
	logits := make([]float64, len(m.Text))
	for c, text := range m.Text {
		logits[c] = m.Scale * float64(zeroshot.Dot(row, text))
	}
	for i, key := range m.Train.Rows {
		logits[m.Train.Labels[i]] += m.Alpha * math.Exp(-m.Beta*(1-float64(zeroshot.Dot(row, key))))
	}
	return zeroshot.Softmax(logits, 1)
}

// TrainTipAdapter chooses Alpha and Beta on validation from a grid like the paper's; Alpha 0, the zero-shot classifier,
// is in it.
func TrainTipAdapter(train, validation Set, text [][]float32, scale float64) (*TipAdapter, error) {
	if err := train.Validate(); err != nil {
		return nil, err
	}
	if len(text) != len(train.Classes) {
		return nil, fmt.Errorf("probe: %d text rows for %d classes", len(text), len(train.Classes))
	}
	best := &TipAdapter{Train: train, Text: text, Scale: scale, Beta: 1}
	score := func(m *TipAdapter) (float64, float64) { return Accuracy(m, validation).Value, -logLoss(m, validation) }
	bestAccuracy, bestLoss := score(best)
	for _, beta := range []float64{1, 2, 5.5, 10, 20} {
		for _, alpha := range []float64{0.5, 1, 2, 5, 10} {
			m := &TipAdapter{Train: train, Text: text, Scale: scale, Alpha: alpha, Beta: beta}
			if a, l := score(m); a > bestAccuracy || a == bestAccuracy && l > bestLoss {
				best, bestAccuracy, bestLoss = m, a, l
			}
		}
	}
	return best, nil
}
