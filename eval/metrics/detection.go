package metrics

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"tandem/internal/prng"
)

// Detection is how well a score tells positives (images of the known classes) from negatives (images of none).
type Detection struct {
	AUROC Metric `json:"auroc"`
	AUPR  Metric `json:"aupr"` // area under precision–recall with the known images as positives
	FPR95 Metric `json:"fpr95"`
}

// Scores are a set of examples' scores; those with the same cluster number are drawn together. Nil Clusters: each example
// stands alone.
type Scores struct {
	Values   []float64
	Clusters []int
}

// Detect measures a score, higher for positives. Intervals are percentiles of a bootstrap over positives and negatives
// apart, widened as Metric.Widened says; N and Clusters count both sides.
func Detect(positives, negatives Scores, seed uint64) Detection {
	scores := slices.Concat(positives.Values, negatives.Values)
	n := len(positives.Values)
	positive := make([]bool, len(scores))
	for i := range n {
		positive[i] = true
	}
	empty := Metric{N: len(scores), Clusters: clustersOfBoth(positives, negatives)}
	d := Detection{empty, empty, empty}
	if n == 0 || n == len(scores) {
		return d
	}
	half, prior := 0.5, float64(n)/float64(len(scores))
	d.AUROC.Chance, d.AUPR.Chance, d.FPR95.Chance = &half, &prior, ptr(0.95)
	c := newCurve(scores, positive)
	weights := make([]float64, len(scores))
	for i := range weights {
		weights[i] = 1
	}
	d.AUROC.Value, d.AUPR.Value, d.FPR95.Value = c.areas(weights)
	sides := [2][][]int{clusterMembers(n, positives.Clusters), clusterMembers(len(scores)-n, negatives.Clusters)}
	draws := [3][]float64{}
	for i := range uint64(Resamples) {
		c.draw(prng.New(seed, i), weights, sides, n)
		a, b, f := c.areas(weights)
		draws[0], draws[1], draws[2] = append(draws[0], a), append(draws[1], b), append(draws[2], f)
	}
	for i, m := range []*Metric{&d.AUROC, &d.AUPR, &d.FPR95} {
		slices.Sort(draws[i])
		at := func(q float64) float64 { return draws[i][int(math.Round(q*float64(Resamples-1)))] }
		m.Low, m.High = min(at(0.025), m.Value), max(at(0.975), m.Value)
		*m = m.Widened()
	}
	return d
}

// clustersOfBoth counts the clusters of both sides, 0 where no example shares one.
func clustersOfBoth(a, b Scores) int {
	first, second := clusterCount(len(a.Values), a.Clusters), clusterCount(len(b.Values), b.Clusters)
	if first+second == 0 {
		return 0
	}
	return cmp.Or(first, len(a.Values)) + cmp.Or(second, len(b.Values))
}

func ptr(x float64) *float64 { return &x }

// curve is a set of scores in order, so that each bootstrap draw is one pass over weights.
type curve struct {
	scores   []float64 // from the highest down
	positive []bool
	place    []int // of the item in the order
}

func newCurve(scores []float64, positive []bool) *curve {
	order := Descending(scores)
	c := &curve{make([]float64, len(order)), make([]bool, len(order)), make([]int, len(order))}
	for rank, i := range order {
		c.scores[rank], c.positive[rank], c.place[i] = scores[i], positive[i], rank
	}
	return c
}

// draw fills weights with how often each item, by rank, was drawn: of each side as many clusters as it has. The items of
// the second side begin at n.
func (c *curve) draw(r *rand.Rand, weights []float64, sides [2][][]int, n int) {
	clear(weights)
	for side, members := range sides {
		for range members {
			for _, i := range members[r.IntN(len(members))] {
				weights[c.place[side*n+i]]++
			}
		}
	}
}

// areas are AUROC, average precision and FPR@95 of weighted items.
func (c *curve) areas(weights []float64) (auroc, aupr, fpr float64) {
	var positives, negatives float64
	for i, w := range weights {
		if c.positive[i] {
			positives += w
		} else {
			negatives += w
		}
	}
	var hits, misses float64
	fpr, found := 1.0, false
	for i := 0; i < len(weights); {
		newHits, newMisses := 0.0, 0.0
		j := i
		for ; j < len(weights) && c.scores[j] == c.scores[i]; j++ {
			if c.positive[j] {
				newHits += weights[j]
			} else {
				newMisses += weights[j]
			}
		}
		auroc += newMisses * (hits + newHits/2)
		hits, misses = hits+newHits, misses+newMisses
		if newHits > 0 {
			aupr += newHits * hits / (hits + misses)
		}
		if !found && hits >= 0.95*positives-1e-9 {
			fpr, found = misses/negatives, true
		}
		i = j
	}
	return auroc / (positives * negatives), aupr / positives, fpr
}
