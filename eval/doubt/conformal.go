package doubt

import (
	"fmt"
	"math"
	"slices"

	"tandem/eval/metrics"
	"tandem/internal/prng"
	"tandem/internal/zeroshot"
)

// nonconformity is how badly the truth fits: 1 − p(truth) for LAC; for APS the sum of the probabilities of the classes
// before the truth and a uniform part u of its own (Romano et al., 2020, with their randomisation: without it sets cover
// too much).
func nonconformity(method string, probabilities []float64, truth int, u float64) float64 {
	p := probabilities[truth]
	if method != zeroshot.APS {
		return 1 - p
	}
	sum := u * p
	for c, q := range probabilities {
		if q > p || q == p && c < truth {
			sum += q
		}
	}
	return sum
}

// scores of nonconformity of all examples. The randomisation is a function of (seed, index).
func conformalScores(method string, a Answers, scale float64, seed uint64) []float64 {
	out := make([]float64, a.Len())
	for i, s := range a.Similarities {
		out[i] = nonconformity(method, zeroshot.Softmax(s, scale), a.Truth[i], prng.New(seed, uint64(i)).Float64())
	}
	return out
}

// quantile is the ⌈(n+1)(1−α)⌉-th smallest score: a new score from the same source is at most that with probability
// 1 − α or more (Vovk et al., 2005). With too few scores for α it is infinite: every class stays in the set.
func quantile(scores []float64, alpha float64) float64 {
	k := int(math.Ceil(float64(len(scores)+1)*(1-alpha) - 1e-9))
	if k > len(scores) {
		return math.MaxFloat64
	}
	sorted := slices.Clone(scores)
	slices.Sort(sorted)
	return sorted[k-1]
}

// FitConformal calibrates prediction sets (split conformal prediction).
func FitConformal(method string, alpha float64, calibration Answers, scale float64, seed uint64) (*zeroshot.Conformal, error) {
	if method != zeroshot.LAC && method != zeroshot.APS {
		return nil, fmt.Errorf("conformal method %q is unknown: use lac or aps", method)
	}
	if !(alpha > 0 && alpha < 1) {
		return nil, fmt.Errorf("conformal alpha %g must be between 0 and 1", alpha)
	}
	return &zeroshot.Conformal{Method: method, Alpha: alpha, Quantile: quantile(conformalScores(method, calibration, scale, seed), alpha)}, nil
}

// Coverage is how often prediction sets held the truth, and their size.
type Coverage struct {
	Method   string         `json:"method"`
	Alpha    float64        `json:"alpha"`
	Quantile float64        `json:"quantile"`
	Coverage metrics.Metric `json:"coverage"` // of the saved sets, on examples they were not calibrated on
	MeanSize float64        `json:"mean_size"`
	Empty    float64        `json:"empty"` // share of sets without any class
	// Splits are coverages over random halves, calibrated on one and measured on the other, of the method's own (for APS
	// randomised) sets; Mean is their mean. Expected is the 95 % range of one split's coverage, which follows from the
	// numbers of examples alone, and Within counts the splits inside.
	Splits   []float64  `json:"splits"`
	Mean     float64    `json:"mean"`
	Expected [2]float64 `json:"expected"`
	Within   int        `json:"within"`
}

// Repeats is the number of random splits over which coverage is measured.
const Repeats = 20

// MeasureConformal calibrates on validation and measures on test; the random splits are of both together.
func MeasureConformal(method string, alpha float64, validation, test Answers, scale float64, seed uint64) (Coverage, *zeroshot.Conformal, error) {
	c, err := FitConformal(method, alpha, validation, scale, seed)
	if err != nil {
		return Coverage{}, nil, err
	}
	out := Coverage{Method: method, Alpha: alpha, Quantile: c.Quantile}
	hits, empty, size := make([]float64, test.Len()), 0, 0
	for i, s := range test.Similarities {
		set := c.Set(zeroshot.Softmax(s, scale))
		size += len(set)
		if len(set) == 0 {
			empty++
		}
		if slices.Contains(set, test.Truth[i]) {
			hits[i] = 1
		}
	}
	n := float64(max(1, test.Len()))
	out.Coverage, out.MeanSize, out.Empty = metrics.Rate(hits, test.Clusters, seed), float64(size)/n, float64(empty)/n
	both := Answers{Similarities: slices.Concat(validation.Similarities, test.Similarities), Truth: slices.Concat(validation.Truth, test.Truth)}
	out.repeat(conformalScores(method, both, scale, prng.Mix(seed, 1)), seed)
	return out, c, nil
}

// repeat measures coverage over random halves of the scores.
func (c *Coverage) repeat(scores []float64, seed uint64) {
	half := len(scores) / 2
	rest := len(scores) - half
	if half == 0 {
		return
	}
	c.Expected = expectedCoverage(half, rest, c.Alpha)
	for k := range uint64(Repeats) {
		order := prng.NewPermutation(int64(len(scores)), seed, k, 2)
		shuffled := make([]float64, len(scores))
		for i := range shuffled {
			shuffled[i] = scores[order.At(int64(i))]
		}
		q, hits := quantile(shuffled[:half], c.Alpha), 0
		for _, s := range shuffled[half:] {
			if s <= q {
				hits++
			}
		}
		coverage := float64(hits) / float64(rest)
		c.Splits = append(c.Splits, coverage)
		c.Mean += coverage / Repeats
		if coverage >= c.Expected[0] && coverage <= c.Expected[1] {
			c.Within++
		}
	}
}

// expectedCoverage is the 95 % range of the share of m new examples that sets calibrated on n cover. The count is
// beta-binomial with a = k and b = n+1−k for the k-th smallest of n scores (Vovk, 2012); its probabilities are summed.
func expectedCoverage(n, m int, alpha float64) [2]float64 {
	k := math.Ceil(float64(n+1)*(1-alpha) - 1e-9)
	if k > float64(n) {
		return [2]float64{1, 1}
	}
	a, b := k, float64(n+1)-k
	logBeta := func(x, y float64) float64 {
		lx, _ := math.Lgamma(x)
		ly, _ := math.Lgamma(y)
		lxy, _ := math.Lgamma(x + y)
		return lx + ly - lxy
	}
	low, high, sum := -1, m, 0.0
	for h := range m + 1 {
		x := float64(h)
		choose := -math.Log(float64(m)+1) - logBeta(float64(m)-x+1, x+1)
		sum += math.Exp(choose + logBeta(x+a, float64(m)-x+b) - logBeta(a, b))
		if low < 0 && sum > 0.025 {
			low = h
		}
		if sum >= 0.975 {
			high = h
			break
		}
	}
	return [2]float64{float64(max(low, 0)) / float64(m), float64(high) / float64(m)}
}
