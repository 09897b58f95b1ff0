package bias

import (
	"math"

	"tandem/eval/metrics"
	"tandem/internal/fault"
	"tandem/internal/prng"
	"tandem/internal/zeroshot"
)

// Permutations is how many random divisions stand behind a p value where they cannot all be counted.
const Permutations = 10000

// Association is the outcome of an association test between images X and Y and words A and B (the WEAT of Caliskan et
// al., 2017, across modalities as in Ross et al., 2021): s(w) is the mean similarity of w to A less that to B.
type Association struct {
	// Effect is the standardised difference of the mean s over X and over Y, between −2 and 2: above 0, X goes with A.
	// The standard deviation is the sample's, over X and Y together.
	Effect metrics.Metric `json:"effect"`
	// P is the one-sided probability of a difference at least this large if images were divided at random.
	P float64 `json:"p"`
	// Exact says that every division was counted.
	Exact        bool    `json:"exact"`
	MeanX, MeanY float64 `json:"-"`
	NX, NY       int     `json:"-"`
	// Scores are s of the images of X, then of Y.
	Scores []float64 `json:"-"`
}

// Associate runs the test. Rows have length 1.
func Associate(x, y, a, b [][]float32, seed uint64) (Association, error) {
	if len(x) < 2 || len(y) < 2 || len(a) == 0 || len(b) == 0 {
		return Association{}, fault.Userf("an association needs two images on each side and a word on each side, not %d, %d and %d, %d", len(x), len(y), len(a), len(b))
	}
	scores := make([]float64, 0, len(x)+len(y))
	for _, rows := range [][][]float32{x, y} {
		for _, row := range rows {
			scores = append(scores, meanSimilarity(row, a)-meanSimilarity(row, b))
		}
	}
	out := Association{NX: len(x), NY: len(y), Scores: scores}
	out.MeanX, out.MeanY = mean(scores[:len(x)]), mean(scores[len(x):])
	out.Effect = metrics.Bootstrap(len(scores), nil, seed, EffectOf(scores, len(x)))
	out.P, out.Exact = permute(scores, len(x), seed)
	return out, nil
}

func meanSimilarity(row []float32, others [][]float32) float64 {
	var sum float64
	for _, o := range others {
		sum += float64(zeroshot.Dot(row, o))
	}
	return sum / float64(len(others))
}

func mean(x []float64) float64 {
	var sum float64
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// EffectOf is the effect size (Association.Effect) as a function of the items drawn: indices of scores, of which the first
// nx are of X.
func EffectOf(scores []float64, nx int) func(items []int) float64 {
	return func(items []int) float64 { return effect(scores, items, nx) }
}

// effect of the drawn items, of which those below nx are X.
func effect(scores []float64, items []int, nx int) float64 {
	var sums, counts [2]float64
	var total, squares float64
	for _, i := range items {
		side := 0
		if i >= nx {
			side = 1
		}
		sums[side] += scores[i]
		counts[side]++
		total += scores[i]
	}
	m := total / float64(len(items))
	for _, i := range items {
		squares += (scores[i] - m) * (scores[i] - m)
	}
	deviation := math.Sqrt(squares / float64(len(items)-1))
	if deviation == 0 {
		return 0
	}
	return (sums[0]/counts[0] - sums[1]/counts[1]) / deviation
}

// permute compares the sum over X with that of other divisions into sets of the same sizes.
func permute(scores []float64, nx int, seed uint64) (p float64, exact bool) {
	observed := 0.0
	for _, s := range scores[:nx] {
		observed += s
	}
	const slack = 1e-12 // sums in another order differ in the last bits
	if divisions := binomial(len(scores), nx); divisions <= Permutations {
		atLeast, all := 0, 0
		choose(scores, nx, 0, func(sum float64) {
			all++
			if sum >= observed-slack {
				atLeast++
			}
		})
		return float64(atLeast) / float64(all), true
	}
	atLeast := 1 // the observed division is one of them
	for k := range uint64(Permutations) {
		order := prng.New(seed, k, 3).Perm(len(scores))
		sum := 0.0
		for _, i := range order[:nx] {
			sum += scores[i]
		}
		if sum >= observed-slack {
			atLeast++
		}
	}
	return float64(atLeast) / (Permutations + 1), false
}

func binomial(n, k int) float64 {
	r := 1.0
	for i := range k {
		r = r * float64(n-i) / float64(i+1)
	}
	return r
}

// choose visits the sum of every choice of n scores.
func choose(scores []float64, n int, sum float64, visit func(sum float64)) {
	if n == 0 {
		visit(sum)
		return
	}
	for i := 0; i+n <= len(scores); i++ {
		choose(scores[i+1:], n-1, sum+scores[i], visit)
	}
}

// Flips counts pairs of examples that differ in one attribute alone.
type Flips struct {
	Match     string `json:"match"`
	Attribute string `json:"attribute"`
	// Sets is the number of groups of examples with the same Match and at least two values of Attribute.
	Sets int `json:"sets"`
	// Flipped is the share of pairs with different answers, its interval by bootstrap over sets. RightToWrong is the
	// share of pairs with one right and one wrong answer.
	Flipped      metrics.Metric `json:"flipped"`
	RightToWrong metrics.Metric `json:"right_to_wrong"`
	// Shift is the mean absolute difference of the probability of the true class.
	Shift metrics.Metric `json:"shift"`
}

// Variant is one example of a counterfactual set.
type Variant struct {
	Match, Attribute string
	Prediction       int
	Correct          bool
	TruthProbability float64
}

// CompareVariants looks at all pairs with the same Match and different Attribute.
func CompareVariants(match, attribute string, variants []Variant, seed uint64) Flips {
	f := Flips{Match: match, Attribute: attribute}
	index := map[string]int{}
	var sets [][]Variant
	for _, v := range variants {
		if v.Match == "" || v.Attribute == "" {
			continue
		}
		i, ok := index[v.Match]
		if !ok {
			i = len(sets)
			index[v.Match] = i
			sets = append(sets, nil)
		}
		sets[i] = append(sets[i], v)
	}
	var flipped, mixed, shift []float64
	var clusters []int
	for s, set := range sets {
		before := len(clusters)
		for i, a := range set {
			for _, b := range set[i+1:] {
				if a.Attribute == b.Attribute {
					continue
				}
				flipped, mixed = append(flipped, indicator(a.Prediction != b.Prediction)), append(mixed, indicator(a.Correct != b.Correct))
				shift, clusters = append(shift, math.Abs(a.TruthProbability-b.TruthProbability)), append(clusters, s)
			}
		}
		if len(clusters) > before {
			f.Sets++
		}
	}
	f.Flipped, f.RightToWrong, f.Shift = metrics.Mean(flipped, clusters, seed), metrics.Mean(mixed, clusters, seed), metrics.Mean(shift, clusters, seed)
	return f
}

func indicator(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
