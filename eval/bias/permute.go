package bias

import (
	"math/rand/v2"
	"slices"

	"tandem/internal/prng"
)

// GapPermutations is how many permutations of group labels stand behind a gap's p value.
const GapPermutations = 1000

// What is permuted in a test of groups.
const (
	PermutedExamples = "examples"                 // each stands alone
	PermutedClusters = "clusters"                 // each lies in one group: its examples keep together
	PermutedWithin   = "examples within clusters" // clusters hold several groups, such as one object in several colours
)

// permute tests the gap between the extremes of the groups: how often is it as large if labels are dealt out at random?
func (g *Gaps) permute(pool []Answer, seed uint64) {
	d := newDeal(pool)
	observed, atLeast := d.spread(), 1 // the observed labels are one way to deal
	for k := range uint64(GapPermutations) {
		d.shuffle(prng.New(seed, k, 5))
		if d.spread() >= observed-1e-12 {
			atLeast++
		}
	}
	p := float64(atLeast) / (GapPermutations + 1)
	g.P, g.Permuted = &p, d.what
}

// unit is what keeps together when labels are dealt out: an example, or a cluster of them.
type unit struct{ n, right int32 }

// deal is a way to deal labels out: units[i] has the label groups[i], and units change places within blocks.
type deal struct {
	what         string
	units        []unit
	groups       []int
	blocks       [][2]int // begin and end
	counts, hits []float64
}

func newDeal(pool []Answer) *deal {
	clusters, index := byCluster(pool)
	d := &deal{what: PermutedExamples, counts: make([]float64, len(index)), hits: make([]float64, len(index))}
	within := slices.ContainsFunc(clusters, severalGroups)
	for _, members := range clusters {
		begin := len(d.units)
		for i, a := range members {
			if i == 0 || within {
				d.units, d.groups = append(d.units, unit{}), append(d.groups, index[a.Group])
			}
			d.units[len(d.units)-1].add(a)
		}
		if within {
			d.blocks = append(d.blocks, [2]int{begin, len(d.units)})
		}
	}
	if within {
		d.what = PermutedWithin
		return d
	}
	if len(clusters) < len(pool) {
		d.what = PermutedClusters
	}
	d.blocks = [][2]int{{0, len(d.units)}}
	return d
}

// byCluster sorts answers into clusters and numbers the groups, in order.
func byCluster(pool []Answer) (clusters [][]Answer, groups map[string]int) {
	groups = map[string]int{}
	place := map[int]int{}
	for _, a := range pool {
		if _, ok := groups[a.Group]; !ok {
			groups[a.Group] = len(groups)
		}
		c, ok := place[a.Cluster]
		if !ok {
			c = len(clusters)
			place[a.Cluster] = c
			clusters = append(clusters, nil)
		}
		clusters[c] = append(clusters[c], a)
	}
	return clusters, groups
}

func severalGroups(members []Answer) bool {
	return slices.ContainsFunc(members, func(a Answer) bool { return a.Group != members[0].Group })
}

func (u *unit) add(a Answer) {
	u.n++
	if a.Correct {
		u.right++
	}
}

func (d *deal) shuffle(r *rand.Rand) {
	for _, b := range d.blocks {
		block := d.units[b[0]:b[1]]
		for i := len(block) - 1; i > 0; i-- {
			j := r.IntN(i + 1)
			block[i], block[j] = block[j], block[i]
		}
	}
}

// spread is the difference between the highest and the lowest accuracy of a group.
func (d *deal) spread() float64 {
	clear(d.counts)
	clear(d.hits)
	for i, g := range d.groups {
		d.counts[g] += float64(d.units[i].n)
		d.hits[g] += float64(d.units[i].right)
	}
	low, high := 1.0, 0.0
	for g, n := range d.counts {
		low, high = min(low, d.hits[g]/n), max(high, d.hits[g]/n)
	}
	return high - low
}
