// Package doubt measures how far a classifier's confidence can be trusted: calibration, a fitted temperature, rules that
// answer "unknown", conformal prediction sets with a coverage that is then measured, and the trade of risk against
// coverage. Everything is fitted on validation examples and measured on others.
package doubt

import (
	"math"
	"slices"

	"tandem/eval/metrics"
	"tandem/internal/prng"
	"tandem/internal/zeroshot"
)

// Answers are a classifier's similarities for a set of examples.
type Answers struct {
	Similarities [][]float32 // [examples][classes]
	Truth        []int       // −1 where the example belongs to none of the classes
	// Clusters numbers the examples' clusters: those of one are not independent, and intervals draw them together. Nil:
	// each example stands alone.
	Clusters []int
}

// Len is the number of examples.
func (a Answers) Len() int { return len(a.Truth) }

// Pick is the subset with the given indices.
func (a Answers) Pick(indices []int) Answers {
	var out Answers
	for _, i := range indices {
		out.Similarities, out.Truth = append(out.Similarities, a.Similarities[i]), append(out.Truth, a.Truth[i])
		if a.Clusters != nil {
			out.Clusters = append(out.Clusters, a.Clusters[i])
		}
	}
	return out
}

// best is the class with the highest similarity, the first of equals.
func best(similarities []float32) int {
	top := 0
	for i, s := range similarities {
		if s > similarities[top] {
			top = i
		}
	}
	return top
}

// Correct says of each example whether the best class is the true one.
func (a Answers) Correct() []bool {
	correct := make([]bool, a.Len())
	for i, s := range a.Similarities {
		correct[i] = best(s) == a.Truth[i]
	}
	return correct
}

// Confidences are the scores (zeroshot.Confidence) of all examples, higher is surer.
func (a Answers) Confidences(score string, scale float64) []float64 {
	out := make([]float64, a.Len())
	for i, s := range a.Similarities {
		out[i] = zeroshot.Confidence(score, s, scale)
	}
	return out
}

// TopProbabilities are the probabilities of the best classes.
func (a Answers) TopProbabilities(scale float64) []float64 {
	out := make([]float64, a.Len())
	for i, s := range a.Similarities {
		out[i] = slices.Max(zeroshot.Softmax(s, scale))
	}
	return out
}

// LogLoss is the mean of −log p(truth).
func (a Answers) LogLoss(scale float64) float64 {
	var sum float64
	for i, s := range a.Similarities {
		sum += nll(s, a.Truth[i], scale)
	}
	return sum / float64(a.Len())
}

func nll(similarities []float32, truth int, scale float64) float64 {
	top, total := float64(slices.Max(similarities)), 0.0
	for _, s := range similarities {
		total += math.Exp(scale * (float64(s) - top))
	}
	return math.Log(total) - scale*(float64(similarities[truth])-top)
}

// FitScale finds the scale (the inverse temperature: probabilities are softmax(scale × similarities)) with the least
// log loss (Guo et al., 2017). The loss is convex in the scale; golden-section search over its logarithm between 1e-2 and
// 1e4 stops at a relative width of 1e-6.
func FitScale(a Answers) float64 {
	if a.Len() == 0 {
		return 1
	}
	low, high := math.Log(1e-2), math.Log(1e4)
	ratio := (math.Sqrt(5) - 1) / 2
	loss := func(x float64) float64 { return a.LogLoss(math.Exp(x)) }
	x1, x2 := high-ratio*(high-low), low+ratio*(high-low)
	f1, f2 := loss(x1), loss(x2)
	for high-low > 1e-6 {
		if f1 < f2 {
			high, x2, f2 = x2, x1, f1
			x1 = high - ratio*(high-low)
			f1 = loss(x1)
		} else {
			low, x1, f1 = x1, x2, f2
			x2 = low + ratio*(high-low)
			f2 = loss(x2)
		}
	}
	return math.Exp((low + high) / 2)
}

// Bin is one bar of a reliability diagram.
type Bin struct {
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	N          int     `json:"n"`
	Confidence float64 `json:"confidence"` // mean
	Accuracy   float64 `json:"accuracy"`
}

// Bins is the number of bins of calibration errors.
const Bins = 15

// EqualWidth sorts examples into bins of equal width [low, high); confidence 1 is in the last.
func EqualWidth(confidence []float64, correct []bool) []Bin {
	bins := make([]Bin, Bins)
	for b := range bins {
		bins[b].Low, bins[b].High = float64(b)/Bins, float64(b+1)/Bins
	}
	for i, c := range confidence {
		bins[widthBin(c)].add(c, correct[i])
	}
	return finish(bins)
}

func widthBin(confidence float64) int { return max(0, min(Bins-1, int(confidence*Bins))) }

// EqualMass sorts examples into bins of equal numbers by confidence; equal confidences may fall into two bins.
func EqualMass(confidence []float64, correct []bool) []Bin {
	order := metrics.Descending(confidence)
	slices.Reverse(order)
	n := min(Bins, len(order))
	bins := make([]Bin, n)
	for b := range bins {
		members := order[b*len(order)/n : (b+1)*len(order)/n]
		bins[b].Low, bins[b].High = confidence[members[0]], confidence[members[len(members)-1]]
		for _, i := range members {
			bins[b].add(confidence[i], correct[i])
		}
	}
	return finish(bins)
}

func (b *Bin) add(confidence float64, correct bool) {
	b.N++
	b.Confidence += confidence
	if correct {
		b.Accuracy++
	}
}

func finish(bins []Bin) []Bin {
	for i := range bins {
		if n := float64(bins[i].N); n > 0 {
			bins[i].Confidence /= n
			bins[i].Accuracy /= n
		}
	}
	return bins
}

// CalibrationError is the expected calibration error: the mean over examples of the gap between confidence and accuracy
// of their bin (Naeini et al., 2015).
func CalibrationError(bins []Bin) float64 {
	total, sum := 0.0, 0.0
	for _, b := range bins {
		total += float64(b.N)
		sum += float64(b.N) * math.Abs(b.Accuracy-b.Confidence)
	}
	if total == 0 {
		return 0
	}
	return sum / total
}

// A bin's share of the calibration error is |Σ (correct − confidence)| / n over its examples: that is all the draws of a
// bootstrap need.

// gaps are correct − confidence.
func gaps(confidence []float64, correct []bool) []float64 {
	gaps := make([]float64, len(confidence))
	for i, c := range confidence {
		if gaps[i] = -c; correct[i] {
			gaps[i]++
		}
	}
	return gaps
}

// errorOf is the calibration error of bins with these sums of gaps.
func errorOf(sums []float64, n int) float64 {
	total := 0.0
	for _, s := range sums {
		total += math.Abs(s)
	}
	return total / float64(n)
}

// equalWidthError is the calibration error of EqualWidth's bins with its bootstrap interval.
func equalWidthError(confidence []float64, correct []bool, clusters []int, seed uint64) metrics.Metric {
	gap, bin := gaps(confidence, correct), make([]uint8, len(confidence))
	for i, c := range confidence {
		bin[i] = uint8(widthBin(c))
	}
	return metrics.Bootstrap(len(gap), clusters, seed, func(items []int) float64 {
		var sums [Bins]float64
		for _, i := range items {
			sums[bin[i]] += gap[i]
		}
		return errorOf(sums[:], len(items))
	}).Widened()
}

// equalMassError is the calibration error of EqualMass's bins with its bootstrap interval. Examples are sorted once: a
// draw counts how often it took each.
func equalMassError(confidence []float64, correct []bool, clusters []int, seed uint64) metrics.Metric {
	order, gap := metrics.Descending(confidence), gaps(confidence, correct)
	slices.Reverse(order)
	rank := make([]int, len(order))
	for r, i := range order {
		rank[i] = r
	}
	times := make([]int, len(order))
	return metrics.Bootstrap(len(order), clusters, seed, func(items []int) float64 {
		clear(times)
		for _, i := range items {
			times[rank[i]]++
		}
		n, b, at := min(Bins, len(items)), 0, 0
		var sums [Bins]float64
		for r, left := range times {
			for left > 0 {
				end := (b + 1) * len(items) / n
				take := min(left, end-at)
				sums[b] += float64(take) * gap[order[r]]
				left, at = left-take, at+take
				if at == end {
					b++
				}
			}
		}
		return errorOf(sums[:], len(items))
	}).Widened()
}

// Honest is the calibration error that an honest model shows with the same confidences on as many examples: one whose
// answers are right with just the probability it states. Few examples fill bins unevenly, so that it is never 0.
type Honest struct {
	Value float64 `json:"value"` // mean over the draws
	Low   float64 `json:"low"`   // 95 % of the draws are between Low and High
	High  float64 `json:"high"`
	// P is the probability that an honest model shows at least the measured error (at least 1/(HonestDraws+1)).
	P float64 `json:"p"`
}

// HonestDraws is how often an honest model's answers are drawn.
const HonestDraws = 200

// honestErrors draws whether each answer is right with the probability that its confidence states, independently, and
// measures the errors by bins of equal width and of equal mass, beside the measured ones.
func honestErrors(confidence []float64, width, mass float64, seed uint64) (byWidth, byMass Honest) {
	n := len(confidence)
	bins := make([][2]uint8, n)
	order := metrics.Descending(confidence)
	slices.Reverse(order)
	for b := range min(Bins, n) {
		for _, i := range order[b*n/min(Bins, n) : (b+1)*n/min(Bins, n)] {
			bins[i] = [2]uint8{uint8(widthBin(confidence[i])), uint8(b)}
		}
	}
	var draws [2][]float64
	for k := range uint64(HonestDraws) {
		r := prng.New(seed, k, 4)
		var sums [2][Bins]float64
		for i, c := range confidence {
			gap := -c
			if r.Float64() < c {
				gap++
			}
			sums[0][bins[i][0]] += gap
			sums[1][bins[i][1]] += gap
		}
		draws[0], draws[1] = append(draws[0], errorOf(sums[0][:], n)), append(draws[1], errorOf(sums[1][:], n))
	}
	return honestOf(draws[0], width), honestOf(draws[1], mass)
}

// honestOf sums up an honest model's errors beside the measured one.
func honestOf(draws []float64, measured float64) Honest {
	slices.Sort(draws)
	last := float64(len(draws) - 1)
	h := Honest{Low: draws[int(math.Round(0.025*last))], High: draws[int(math.Round(0.975*last))], P: 1}
	for _, d := range draws {
		h.Value += d / float64(len(draws))
		if d >= measured-1e-12 {
			h.P++
		}
	}
	h.P /= float64(len(draws)) + 1
	return h
}

// CoveragePoint is the risk if only the surest part of the examples is answered.
type CoveragePoint struct {
	Coverage  float64 `json:"coverage"`
	Risk      float64 `json:"risk"` // share of wrong answers among those given
	Threshold float64 `json:"threshold"`
}

// RiskCoverage returns the curve, thinned to at most n points, and the area under it (AURC): the mean over the examples,
// from the surest down, of the risk of answering up to there (Geifman and El-Yaniv, 2017). Equally sure examples keep
// their order.
func RiskCoverage(confidence []float64, correct []bool, n int) (points []CoveragePoint, area float64) {
	wrong := 0.0
	total := len(confidence)
	for k, i := range metrics.Descending(confidence) {
		if !correct[i] {
			wrong++
		}
		risk := wrong / float64(k+1)
		area += risk / float64(total)
		if (k+1)*n/total != k*n/total {
			points = append(points, CoveragePoint{float64(k+1) / float64(total), risk, confidence[i]})
		}
	}
	return points, area
}
