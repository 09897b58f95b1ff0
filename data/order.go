package data

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"

	"tandem/internal/fault"
	"tandem/internal/prng"
)

// Streams of random numbers: each use has its own, so that adding one does not shift another.
const (
	streamMixture = iota + 1
	streamRows
	streamWindows
	streamCaption
	streamAugment
	streamReplace
	streamNegatives
)

// order maps positions of the endless sequence of pairs to rows. Position g belongs to epoch g / rows.
type order struct {
	seed    uint64
	rows    int64         // rows of an epoch
	first   []int64       // first[i] is where source i begins in an unshuffled epoch; one entry more than sources
	sources []sourceOrder // the order inside each source
	shuffle bool
}

// sourceOrder is the order in which a source's rows come, pass after pass.
type sourceOrder struct {
	rows   int64
	kind   string
	block  int64
	window int64
}

// place is a row of a source.
type place struct {
	source int
	row    int64
}

// newOrder divides an epoch among sources of the given sizes.
func newOrder(c Config, sizes []int64, kinds []string) (*order, error) {
	o := &order{seed: c.Seed, first: []int64{0}, shuffle: c.Shuffle != shuffleNone}
	shares := make([]float64, len(sizes))
	natural, sum := 0.0, 0.0
	for i, n := range sizes {
		repeat := c.Sources[i].Repeat
		if repeat == 0 {
			repeat = 1
		}
		natural += repeat * float64(n)
		shares[i] = c.Sources[i].Weight
		if shares[i] == 0 {
			shares[i] = repeat * math.Pow(float64(n), 1/c.Temperature)
		}
		sum += shares[i]
	}
	o.rows = c.EpochRows
	if o.rows == 0 {
		o.rows = int64(math.Round(natural))
	}
	for i, count := range divide(o.rows, shares, sum) {
		if count == 0 {
			return nil, fault.Userf("data.sources[%d]: %s gets no row of an epoch of %d: raise its weight or data.epoch_rows", i, c.Sources[i].Shards, o.rows)
		}
		o.first = append(o.first, o.first[i]+count)
		o.sources = append(o.sources, sourceOrder{sizes[i], kinds[i], int64(c.ShuffleBlock), int64(c.ShuffleWindow)})
	}
	return o, nil
}

// divide splits total in proportion to shares, by largest remainders, so that the parts add up.
func divide(total int64, shares []float64, sum float64) []int64 {
	counts := make([]int64, len(shares))
	rest := make([]float64, len(shares))
	byRest := make([]int, len(shares))
	left := total
	for i, s := range shares {
		exact := float64(total) * s / sum
		counts[i] = int64(exact)
		rest[i] = exact - float64(counts[i])
		byRest[i] = i
		left -= counts[i]
	}
	slices.SortStableFunc(byRest, func(a, b int) int { return cmp.Compare(rest[b], rest[a]) })
	for _, i := range byRest[:min(max(left, 0), int64(len(byRest)))] {
		counts[i]++
	}
	return counts
}

// at returns the row at global position g.
func (o *order) at(g int64) place {
	epoch, p := g/o.rows, g%o.rows
	if o.shuffle && len(o.sources) > 1 {
		p = prng.NewPermutation(o.rows, o.seed, streamMixture, uint64(epoch)).At(p)
	}
	i := sort.Search(len(o.sources), func(i int) bool { return o.first[i+1] > p })
	// The rows of a source are dealt out pass after pass, over the borders of epochs, so that none comes a second time
	// before every other has come once.
	n := epoch*(o.first[i+1]-o.first[i]) + p - o.first[i]
	s := &o.sources[i]
	return place{i, s.at(o.seed, uint64(i), n/s.rows, n%s.rows)}
}

// replacement returns the row that stands in at position g after `attempt` rows there were unusable: any row of the same
// source.
func (o *order) replacement(g int64, source, attempt int) place {
	h := prng.Mix(o.seed, streamReplace, uint64(g/o.rows), uint64(g%o.rows), uint64(attempt))
	return place{source, int64(h % uint64(o.sources[source].rows))}
}

// at returns the row at position p of a pass through a source.
func (s *sourceOrder) at(seed, source uint64, pass, p int64) int64 {
	switch s.kind {
	case shuffleNone:
		return p
	case shuffleWindows:
		return s.windowed(seed, source, uint64(pass), p)
	default:
		return prng.NewPermutation(s.rows, seed, streamRows, source, uint64(pass)).At(p)
	}
}

// windowed permutes blocks of neighbouring rows, and the rows inside a window of such blocks.
func (s *sourceOrder) windowed(seed, source, pass uint64, p int64) int64 {
	n := (s.rows + s.block - 1) / s.block
	blocks := prng.NewPermutation(n, seed, streamRows, source, pass)
	short := s.rows - (n-1)*s.block // rows of the last block
	shortAt := blocks.Inverse(n - 1)
	// start is the position at which the k-th block of the permuted order begins.
	start := func(k int64) int64 {
		if k > shortAt {
			return (k-1)*s.block + short
		}
		return k * s.block
	}
	find := func(p int64) int64 {
		if p >= start(shortAt+1) {
			return (p-start(shortAt+1))/s.block + shortAt + 1
		}
		return min(p/s.block, shortAt)
	}
	window := find(p) / s.window
	from, to := start(window*s.window), start(min((window+1)*s.window, n))
	p = from + prng.NewPermutation(to-from, seed, streamWindows, source, pass, uint64(window)).At(p-from)
	k := find(p)
	return blocks.At(k)*s.block + p - start(k)
}

// check reports data sets that cannot fill a batch.
func (o *order) check(batch, ranks int) error {
	if total := int64(batch) * int64(ranks); total > o.rows {
		what := fmt.Sprintf("data.batch %d", batch)
		if ranks > 1 {
			what += fmt.Sprintf(" in each of %d processes", ranks)
		}
		return fault.Userf("%s is larger than the data set of %d rows: the same pairs would be each other's negatives; use a smaller batch", what, o.rows)
	}
	return nil
}
