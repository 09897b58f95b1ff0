package metrics

import (
	"cmp"
	"math"
	"slices"
)

// AveragePrecision is the area under the precision–recall curve as scikit-learn's average_precision_score computes it:
// the sum over the distinct scores, from the highest down, of the gain in recall times the precision there. Equal scores
// are one step of the curve. It is 0 without a positive.
func AveragePrecision(scores []float64, positive []bool) float64 {
	var area, total float64
	walk(scores, positive, func(truePositives, falsePositives, newPositives float64) {
		total += newPositives
		area += newPositives * truePositives / (truePositives + falsePositives)
	})
	if total == 0 {
		return 0
	}
	return area / total
}

// AUROC is the area under the ROC curve: the share of pairs of a positive and a negative in which the positive has the
// higher score, ties counting half (Mann and Whitney, 1947). NaN without a positive or without a negative.
func AUROC(scores []float64, positive []bool) float64 {
	var area, lastTrue, lastFalse float64
	walk(scores, positive, func(truePositives, falsePositives, _ float64) {
		area += (falsePositives - lastFalse) * (truePositives + lastTrue) / 2
		lastTrue, lastFalse = truePositives, falsePositives
	})
	if lastTrue == 0 || lastFalse == 0 {
		return math.NaN()
	}
	return area / (lastTrue * lastFalse)
}

// FPRAt is the smallest share of negatives that are accepted by a threshold that accepts at least the share recall of
// the positives: FPR@95 for recall 0.95. NaN without a positive or without a negative.
func FPRAt(recall float64, scores []float64, positive []bool) float64 {
	positives, negatives := 0.0, 0.0
	for _, p := range positive {
		if p {
			positives++
		} else {
			negatives++
		}
	}
	if positives == 0 || negatives == 0 {
		return math.NaN()
	}
	rate, found := 1.0, false
	walk(scores, positive, func(truePositives, falsePositives, _ float64) {
		if !found && truePositives >= recall*positives-1e-9 {
			rate, found = falsePositives/negatives, true
		}
	})
	return rate
}

// walk visits the distinct scores from the highest down with the counts of positives and negatives at or above each.
func walk(scores []float64, positive []bool, visit func(truePositives, falsePositives, newPositives float64)) {
	order := Descending(scores)
	var truePositives, falsePositives float64
	for i := 0; i < len(order); {
		added := 0.0
		j := i
		for ; j < len(order) && scores[order[j]] == scores[order[i]]; j++ {
			if positive[order[j]] {
				added++
			} else {
				falsePositives++
			}
		}
		truePositives += added
		visit(truePositives, falsePositives, added)
		i = j
	}
}

// Descending lists the indices of scores from the highest down; equal scores keep their order.
func Descending[F ~float32 | ~float64](scores []F) []int {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	return order
}

// MeanAveragePrecision is the mean over classes of AveragePrecision, classes without a positive left out (macro mAP of a
// multi-label task). scores[i][c] and positive[i][c] are of example i and class c; items selects examples, nil means all.
func MeanAveragePrecision(scores [][]float64, positive [][]bool, items []int) float64 {
	if items == nil {
		items = make([]int, len(scores))
		for i := range items {
			items[i] = i
		}
	}
	if len(items) == 0 {
		return math.NaN()
	}
	var sum float64
	present := 0
	column, is := make([]float64, len(items)), make([]bool, len(items))
	for c := range scores[items[0]] {
		any := false
		for k, i := range items {
			column[k], is[k] = scores[i][c], positive[i][c]
			any = any || is[k]
		}
		if any {
			sum += AveragePrecision(column, is)
			present++
		}
	}
	return sum / float64(present)
}

// MeanAveragePrecisionInterval is MeanAveragePrecision with a bootstrap interval over examples (over clusters of them where
// clusters is not nil), widened as Metric.Widened says. Scores are sorted once; each draw is a pass over weights.
func MeanAveragePrecisionInterval(scores [][]float64, positive [][]bool, clusters []int, seed uint64) Metric {
	stat := MeanAveragePrecisionOf(scores, positive)
	if stat == nil {
		return Metric{N: len(scores)}
	}
	return Bootstrap(len(scores), clusters, seed, stat).Widened()
}

// MeanAveragePrecisionOf is MeanAveragePrecision as a function of the examples drawn, for many draws; nil where no example
// has a class. It keeps a buffer: one call at a time.
func MeanAveragePrecisionOf(scores [][]float64, positive [][]bool) func(items []int) float64 {
	n := len(scores)
	if n == 0 {
		return nil
	}
	var curves []*curve
	column, is := make([]float64, n), make([]bool, n)
	for c := range scores[0] {
		for i := range scores {
			column[i], is[i] = scores[i][c], positive[i][c]
		}
		if slices.Contains(is, true) {
			curves = append(curves, newCurve(column, is))
		}
	}
	if len(curves) == 0 {
		return nil
	}
	weights, inOrder := make([]float64, n), make([]float64, n)
	return func(items []int) float64 {
		clear(weights)
		for _, i := range items {
			weights[i]++
		}
		sum, present := 0.0, 0
		for _, c := range curves {
			for i, w := range weights {
				inOrder[c.place[i]] = w
			}
			if _, ap, _ := c.areas(inOrder); !math.IsNaN(ap) {
				sum += ap
				present++
			}
		}
		return sum / float64(present)
	}
}
