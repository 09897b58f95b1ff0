package retrieve

import (
	"slices"

	"tandem/eval/metrics"
)

// RecallAt says of each query whether a relevant candidate is among the first k.
func (r *Ranks) RecallAt(k int) []float64 {
	out := make([]float64, r.Queries())
	for q := range out {
		if places := r.Of(q); len(places) > 0 && int(places[0]) < k {
			out[q] = 1
		}
	}
	return out
}

// ChanceAt is the mean of RecallAt under a random order.
func (r *Ranks) ChanceAt(k int) float64 {
	var sum float64
	for q := range r.Queries() {
		sum += hitChance(r.Candidates, len(r.Of(q)), k)
	}
	return sum / float64(max(1, r.Queries()))
}

// hitChance is the probability that k of n candidates drawn at random hold one of m relevant ones.
func hitChance(n, m, k int) float64 {
	if m > n-k {
		return 1
	}
	miss := 1.0
	for i := range k {
		miss *= float64(n-m-i) / float64(n-i)
	}
	return 1 - miss
}

// AveragePrecisionAt is, for each query, the mean over its min(m, k) best possible places of the precision at each
// relevant candidate among the first k: 1 if the first min(m, k) places are all relevant. k of 0 means no limit.
func (r *Ranks) AveragePrecisionAt(k int) []float64 {
	out := make([]float64, r.Queries())
	for q := range out {
		places := r.Of(q)
		limit := len(places)
		if k > 0 {
			limit = min(limit, k)
		}
		for i, place := range places {
			if k == 0 || int(place) < k {
				out[q] += float64(i+1) / float64(place+1) / float64(limit)
			}
		}
	}
	return out
}

// FirstRanks are the ranks, counted from 1, of each query's first relevant candidate; queries without one are left out.
func (r *Ranks) FirstRanks() []float64 {
	out := make([]float64, 0, r.Queries())
	for q := range r.Queries() {
		if places := r.Of(q); len(places) > 0 {
			out = append(out, float64(places[0])+1)
		}
	}
	return out
}

// MedianRank is the median of FirstRanks with a bootstrap interval over clusters of queries; of one cluster it is the range
// of the ranks.
func MedianRank(ranks []float64, clusters []int, seed uint64) metrics.Metric {
	picked := make([]float64, 0, len(ranks))
	m := metrics.Bootstrap(len(ranks), clusters, seed, func(items []int) float64 {
		picked = picked[:0]
		for _, i := range items {
			picked = append(picked, ranks[i])
		}
		slices.Sort(picked)
		n := len(picked)
		return (picked[(n-1)/2] + picked[n/2]) / 2
	})
	if m.Clusters == 1 {
		m.Low, m.High = slices.Min(ranks), slices.Max(ranks)
	}
	return m
}
