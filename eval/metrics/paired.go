package metrics

import (
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/stat/distuv"
)

// Paired is the difference between two models on the same examples.
type Paired struct {
	Difference Metric  `json:"difference"` // mean of b − a, with a paired bootstrap interval
	P          float64 `json:"p"`          // two-sided, of no difference, from the same bootstrap (at least 1/(resamples+1))
}

// PairedBootstrap compares two models' scores of the same examples: clusters of examples are drawn with replacement, each
// with both models' scores.
func PairedBootstrap(a, b []float64, clusters []int, seed uint64) Paired {
	differences := make([]float64, len(a))
	for i := range a {
		differences[i] = b[i] - a[i]
	}
	p := Paired{Difference: Mean(differences, clusters, seed), P: 1}
	if len(a) == 0 {
		return p
	}
	sums, _ := clusterSums(differences, clusters)
	var below, above float64
	percentiles(seed, func(r *rand.Rand) float64 {
		var sum float64
		for range sums {
			sum += sums[r.IntN(len(sums))]
		}
		if sum <= 0 {
			below++
		}
		if sum >= 0 {
			above++
		}
		return sum
	})
	p.P = min(1, 2*(min(below, above)+1)/(Resamples+1))
	return p
}

// PairedStatistic compares two models by any statistic of the same n examples, such as a mean average precision: clusters
// of examples are drawn with replacement, and both statistics get the same indices. Draws in which either is no number are
// left out.
func PairedStatistic(n int, clusters []int, seed uint64, a, b func(items []int) float64) Paired {
	var below, above, draws float64
	p := Paired{P: 1}
	p.Difference = Bootstrap(n, clusters, seed, func(items []int) float64 {
		difference := b(items) - a(items)
		if draws++; math.IsNaN(difference) {
			draws--
		}
		if difference <= 0 {
			below++
		}
		if difference >= 0 {
			above++
		}
		return difference
	})
	if n == 0 || math.IsNaN(p.Difference.Value) {
		return p
	}
	if p.Difference.Value <= 0 { // the first call was of all examples and is no draw
		below--
	}
	if p.Difference.Value >= 0 {
		above--
	}
	p.P = min(1, 2*(min(below, above)+1)/draws)
	return p
}

// McNemar is the two-sided p value of McNemar's test (1947) for onlyA examples that only the first model got right and
// onlyB that only the second did: the exact binomial test, and from 2,000 discordant pairs its normal approximation with
// continuity correction.
func McNemar(onlyA, onlyB int) float64 {
	n := onlyA + onlyB
	switch {
	case n == 0:
		return 1
	case n >= 2000:
		z := (math.Abs(float64(onlyA-onlyB)) - 1) / math.Sqrt(float64(n))
		return min(1, 2*distuv.UnitNormal.Survival(max(0, z)))
	}
	return min(1, 2*distuv.Binomial{N: float64(n), P: 0.5}.CDF(float64(min(onlyA, onlyB))))
}
