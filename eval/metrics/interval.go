// Package metrics holds the numbers of an evaluation and their doubt: shares with Wilson's interval, bootstrap intervals
// that respect clusters, ranking metrics (average precision, ROC), and paired tests between two models. It is plain
// arithmetic on slices, checked against scikit-learn and torchmetrics on stored fixtures.
package metrics

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"tandem/internal/prng"
)

// z95 is the standard normal's 97.5 % quantile.
const z95 = 1.959963984540054

// Metric is a number with its 95 % interval and what guessing would give.
type Metric struct {
	Value  float64  `json:"value"`
	Low    float64  `json:"low"`
	High   float64  `json:"high"`
	N      int      `json:"n"`
	Chance *float64 `json:"chance,omitempty"`
	// Clusters is how many clusters of examples the interval was drawn from; 0 where each example stands alone. An interval
	// of fewer than FewClusters is rough.
	Clusters int `json:"clusters,omitempty"`
}

// FewClusters is the number of clusters below which a bootstrap says too little about its own doubt (Cameron, Gelbach and
// Miller, 2008, on few clusters).
const FewClusters = 10

// Rough reports whether the interval rests on few clusters.
func (m Metric) Rough() bool { return m.Clusters > 0 && m.Clusters < FewClusters }

// ChanceOrZero is the chance level, 0 where there is none.
func (m Metric) ChanceOrZero() float64 {
	if m.Chance == nil {
		return 0
	}
	return *m.Chance
}

// Share is hits out of n with Wilson's interval (Wilson, 1927).
func Share(hits, n int, chance float64) Metric {
	m := Proportion(hits, n)
	m.Chance = &chance
	return m
}

// Proportion is Share where there is no level of guessing.
func Proportion(hits, n int) Metric {
	m := Metric{N: n}
	if n == 0 {
		return m
	}
	m.Value = float64(hits) / float64(n)
	m.Low, m.High = wilson(m.Value, float64(n))
	return m
}

// wilson is the interval of a share p of size independent cases.
func wilson(p, size float64) (low, high float64) {
	denominator := 1 + z95*z95/size
	centre := (p + z95*z95/(2*size)) / denominator
	half := z95 / denominator * math.Sqrt(p*(1-p)/size+z95*z95/(4*size*size))
	return math.Max(0, min(centre-half, p)), math.Min(1, max(centre+half, p))
}

// Rate is the mean of numbers between 0 and 1. Where each stands alone and all are 0 or 1 it is Share with Wilson's
// interval. Otherwise the interval is Mean's bootstrap, widened as Widened says, and, of zeros and ones, at least as wide
// as that of as many independent examples.
func Rate(values []float64, clusters []int, seed uint64) Metric {
	hits, binary := 0, true
	for _, v := range values {
		binary = binary && (v == 0 || v == 1)
		hits += int(v)
	}
	if binary && clusterCount(len(values), clusters) == 0 {
		return Proportion(hits, len(values))
	}
	m := Mean(values, clusters, seed).Widened()
	if binary {
		m.holdWilson(m.N)
	}
	return m
}

// Widened is m, a bootstrap of a number between 0 and 1, with an interval that admits what draws cannot see: where there
// are few clusters, or all draws were alike, it holds Wilson's of one case a cluster (of one a value where each stands
// alone), as if the examples of a cluster said the same.
func (m Metric) Widened() Metric {
	if m.N > 0 && (m.Rough() || !(m.Low < m.High)) {
		m.holdWilson(cmp.Or(m.Clusters, m.N))
	}
	return m
}

// holdWilson widens the interval to hold Wilson's of that many cases.
func (m *Metric) holdWilson(cases int) {
	low, high := wilson(m.Value, float64(cases))
	if !(m.Low <= low) { // NaN, too
		m.Low = low
	}
	if !(m.High >= high) {
		m.High = high
	}
}

// clusterCount is the number of clusters, 0 where none has two members.
func clusterCount(n int, clusters []int) int {
	seen := map[int]bool{}
	for _, c := range clusters {
		seen[c] = true
	}
	if len(seen) == n {
		return 0
	}
	return len(seen)
}

// Resamples is the number of bootstrap draws behind an interval.
const Resamples = 1000

// Mean is the mean of values with a percentile bootstrap interval (Efron and Tibshirani, 1993). Values with the same
// cluster number are drawn together: several captions of one image are not independent. Nil clusters means that each
// value stands alone. The interval is a pure function of values, clusters and seed.
func Mean(values []float64, clusters []int, seed uint64) Metric {
	m := Metric{N: len(values), Clusters: clusterCount(len(values), clusters)}
	if len(values) == 0 {
		return m
	}
	for _, v := range values {
		m.Value += v
	}
	m.Value /= float64(len(values))
	sums, counts := clusterSums(values, clusters)
	m.Low, m.High = percentiles(seed, func(r *rand.Rand) float64 {
		var sum, count float64
		for range sums {
			c := r.IntN(len(sums))
			sum += sums[c]
			count += counts[c]
		}
		return sum / count
	})
	m.Low, m.High = min(m.Low, m.Value), max(m.High, m.Value)
	return m
}

// clusterSums adds up the values of each cluster, in the order in which clusters first appear.
func clusterSums(values []float64, clusters []int) (sums, counts []float64) {
	if clusters == nil {
		counts = make([]float64, len(values))
		for i := range counts {
			counts[i] = 1
		}
		return values, counts
	}
	index := map[int]int{}
	for i, v := range values {
		c, ok := index[clusters[i]]
		if !ok {
			c = len(sums)
			index[clusters[i]] = c
			sums, counts = append(sums, 0), append(counts, 0)
		}
		sums[c] += v
		counts[c]++
	}
	return sums, counts
}

// Bootstrap is the value and percentile interval of any statistic of n items: stat receives the indices of the items,
// first all of them in order, then draws with replacement (whole clusters at a time where clusters is not nil).
func Bootstrap(n int, clusters []int, seed uint64, stat func(items []int) float64) Metric {
	m := Metric{N: n, Clusters: clusterCount(n, clusters)}
	if n == 0 {
		return m
	}
	members := clusterMembers(n, clusters)
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	m.Value = stat(all)
	items := make([]int, 0, n)
	m.Low, m.High = percentiles(seed, func(r *rand.Rand) float64 {
		items = items[:0]
		for range members {
			if i := r.IntN(len(members)); clusters == nil {
				items = append(items, i)
			} else {
				items = append(items, members[i]...)
			}
		}
		return stat(items)
	})
	m.Low, m.High = min(m.Low, m.Value), max(m.High, m.Value)
	return m
}

func clusterMembers(n int, clusters []int) [][]int {
	if clusters == nil {
		alone, all := make([][]int, n), make([]int, n)
		for i := range all {
			all[i] = i
			alone[i] = all[i : i+1]
		}
		return alone
	}
	var members [][]int
	index := map[int]int{}
	for i := range n {
		c, ok := index[clusters[i]]
		if !ok {
			c = len(members)
			index[clusters[i]] = c
			members = append(members, nil)
		}
		members[c] = append(members[c], i)
	}
	return members
}

// percentiles draws a statistic and returns its 2.5 % and 97.5 % quantiles.
func percentiles(seed uint64, draw func(r *rand.Rand) float64) (low, high float64) {
	draws := make([]float64, 0, Resamples)
	for i := range uint64(Resamples) {
		if x := draw(prng.New(seed, i)); !math.IsNaN(x) {
			draws = append(draws, x)
		}
	}
	if len(draws) == 0 {
		return math.NaN(), math.NaN()
	}
	slices.Sort(draws)
	at := func(q float64) float64 { return draws[int(math.Round(q*float64(len(draws)-1)))] }
	return at(0.025), at(0.975)
}
