// Package retrieve ranks many-to-many: every query against every candidate in both directions at once, in memory that
// grows with the number of rows and not with their product. It computes ranks, from which R@k, the median rank and
// mAP@k follow.
//
// Tie rule: of equally similar candidates the irrelevant ones count as ahead of the relevant ones, so that a model that
// gives everything the same similarity finds nothing.
package retrieve

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// Matrix holds rows of equal length, one after the other.
type Matrix struct {
	Data []float32
	Dim  int
}

// FromRows copies rows into a Matrix.
func FromRows(rows [][]float32) Matrix {
	if len(rows) == 0 {
		return Matrix{Dim: 1}
	}
	m := Matrix{Dim: len(rows[0]), Data: make([]float32, 0, len(rows)*len(rows[0]))}
	for _, row := range rows {
		m.Data = append(m.Data, row...)
	}
	return m
}

// Len is the number of rows.
func (m Matrix) Len() int { return len(m.Data) / m.Dim }

// Row is row i.
func (m Matrix) Row(i int) []float32 { return m.Data[i*m.Dim : (i+1)*m.Dim] }

// Links say which candidates are relevant to which queries: Candidates[Start[q]:Start[q+1]] are those of query q.
type Links struct {
	Start      []int
	Candidates []int32
}

// NewLinks packs lists of relevant candidates, one for each query.
func NewLinks(relevant [][]int) Links {
	l := Links{Start: make([]int, 1, len(relevant)+1)}
	for _, list := range relevant {
		for _, c := range list {
			l.Candidates = append(l.Candidates, int32(c))
		}
		l.Start = append(l.Start, len(l.Candidates))
	}
	return l
}

// Of are the candidates relevant to query q.
func (l Links) Of(q int) []int32 { return l.Candidates[l.Start[q]:l.Start[q+1]] }

// reverse turns candidate lists of queries into query lists of candidates.
func (l Links) reverse(candidates int) Links {
	r := Links{Start: make([]int, candidates+1), Candidates: make([]int32, len(l.Candidates))}
	for _, c := range l.Candidates {
		r.Start[c+1]++
	}
	for c := range candidates {
		r.Start[c+1] += r.Start[c]
	}
	next := slices.Clone(r.Start)
	for q := range len(l.Start) - 1 {
		for _, c := range l.Of(q) {
			r.Candidates[next[c]] = int32(q)
			next[c]++
		}
	}
	return r
}

// Ranks are the places of the relevant candidates of each query, in rising order: place 0 is the first of the result
// list. Query q has Places[Start[q]:Start[q+1]].
type Ranks struct {
	Start  []int
	Places []int32
	// Candidates is the length of a full result list.
	Candidates int
}

// Of are the places of query q's relevant candidates.
func (r *Ranks) Of(q int) []int32 { return r.Places[r.Start[q]:r.Start[q+1]] }

// Queries is the number of queries.
func (r *Ranks) Queries() int { return len(r.Start) - 1 }

// Rank searches both ways: rows of a against rows of b (links from a to b), and back. Similarity is the inner product,
// computed for each pair once, in an order that depends on nothing but the dimension. Memory beyond the rows is
// 4 bytes × links × processors for the counts and 64 KiB × processors for a tile.
func Rank(a, b Matrix, links Links) (forth, back *Ranks, err error) {
	switch {
	case a.Len() > 0 && b.Len() > 0 && a.Dim != b.Dim:
		return nil, nil, fmt.Errorf("rows of %d and of %d numbers cannot be compared", a.Dim, b.Dim)
	case len(links.Start) != a.Len()+1:
		return nil, nil, fmt.Errorf("links of %d queries for %d rows", len(links.Start)-1, a.Len())
	}
	for _, c := range links.Candidates {
		if c < 0 || int(c) >= b.Len() {
			return nil, nil, fmt.Errorf("link to candidate %d of %d", c, b.Len())
		}
	}
	reverse := links.reverse(b.Len())
	s := search{a: a, b: b, rows: newThresholds(a, b, links), columns: newThresholds(b, a, reverse)}
	s.run()
	return s.rows.ranks(links, b.Len()), s.columns.ranks(reverse, a.Len()), nil
}

// thresholds hold, for each query, the similarities of its relevant candidates from the highest down, and count the
// candidates between one and the next.
type thresholds struct {
	start  []int
	values []float32
	counts []atomic.Int32 // counts[i]: candidates at or above values[i] and below the value before it
}

func newThresholds(queries, candidates Matrix, links Links) *thresholds {
	t := &thresholds{start: links.Start, values: make([]float32, len(links.Candidates)), counts: make([]atomic.Int32, len(links.Candidates))}
	for q := range queries.Len() {
		values := t.values[t.start[q]:t.start[q+1]]
		for i, c := range links.Of(q) {
			values[i] = chosen.dot(queries.Row(q), candidates.Row(int(c)))
		}
		slices.SortFunc(values, func(x, y float32) int { return cmp.Compare(y, x) })
	}
	return t
}

// ranks turns counts into places: the i-th relevant candidate comes after the i relevant ones before it and after every
// irrelevant one that is at least as similar.
func (t *thresholds) ranks(links Links, candidates int) *Ranks {
	r := &Ranks{Start: t.start, Places: make([]int32, len(t.values)), Candidates: candidates}
	for q := range len(t.start) - 1 {
		values, above := t.values[t.start[q]:t.start[q+1]], int32(0)
		for i := range values {
			above += t.counts[t.start[q]+i].Load()
			level := i + 1 // relevant ones at or above values[i]
			for level < len(values) && values[level] == values[i] {
				level++
			}
			// Of equal values only the first has counted anything; all the relevant ones level with it are in above.
			r.Places[t.start[q]+i] = above - int32(level) + int32(i)
		}
	}
	return r
}

// A tile of similarities fits a core's own cache. Its sides are multiples of every kernel's.
const (
	tileRows    = 32
	tileColumns = 480
)

type search struct {
	a, b          Matrix
	rows, columns *thresholds
	bands         int // of b to look at, for measurements; 0 is all
}

// run shares tiles' columns out to workers: a worker takes a band of b, packs it once, and passes over all of a.
func (s *search) run() {
	bands := (s.b.Len() + tileColumns - 1) / tileColumns
	if s.bands > 0 {
		bands = min(bands, s.bands)
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), max(1, bands)) {
		wg.Go(func() {
			w := worker{
				search: s, kernel: chosen, packed: make([]float32, tileColumns*s.b.Dim), tile: make([]float32, tileRows*tileColumns),
				last: make([]float32, chosen.rows*s.b.Dim),
			}
			for {
				band := int(next.Add(1)) - 1
				if band >= bands {
					return
				}
				w.band(band * tileColumns)
			}
		})
	}
	wg.Wait()
}

// worker holds what one goroutine needs.
type worker struct {
	*search
	kernel kernel
	packed []float32 // the band's rows: panels of kernel.columns candidates, each dimension by dimension
	tile   []float32
	last   []float32 // the last rows of a, filled up to a whole block
	counts []int32
}

func (w *worker) band(first int) {
	n := min(tileColumns, w.b.Len()-first)
	w.pack(first, n)
	from, to := w.columns.start[first], w.columns.start[first+n]
	w.counts = slices.Grow(w.counts[:0], to-from)[:to-from]
	clear(w.counts)
	for top := 0; top < w.a.Len(); top += tileRows {
		rows := min(tileRows, w.a.Len()-top)
		w.multiply(top, rows, n)
		for i := range rows {
			w.countRow(top+i, w.tile[i*tileColumns:i*tileColumns+n])
		}
		w.countColumns(first, n, rows)
	}
	for i, c := range w.counts {
		w.columns.counts[from+i].Store(c) // no other worker has this band
	}
}

// pack lays a band's rows out so that neighbours in memory are neighbouring candidates in one dimension. Columns
// behind the last one up to a whole panel hold what was there before; nothing counts them.
func (w *worker) pack(first, n int) {
	width, dim := w.kernel.columns, w.b.Dim
	for j := range n {
		panel := w.packed[j/width*width*dim+j%width:]
		for d, x := range w.b.Row(first + j) {
			panel[d*width] = x
		}
	}
}

// multiply fills a tile: rows of a from top on against the n packed candidates. A panel stays in the first cache while
// the rows pass over it.
func (w *worker) multiply(top, rows, n int) {
	k, dim := w.kernel, w.a.Dim
	for column := 0; column < n; column += k.columns {
		panel := w.packed[column*dim:][:k.columns*dim]
		for i := 0; i < rows; i += k.rows {
			block := w.last
			if i+k.rows <= rows {
				block = w.a.Data[(top+i)*dim:][:k.rows*dim]
			} else {
				copy(block, w.a.Data[(top+i)*dim:])
			}
			k.block(w.tile[i*tileColumns+column:], block, panel, dim)
		}
	}
}

func (w *worker) countRow(q int, similarities []float32) {
	start, end := w.rows.start[q], w.rows.start[q+1]
	switch end - start {
	case 0:
	case 1:
		w.rows.counts[start].Add(w.kernel.countAtLeast(similarities, w.rows.values[start]))
	default:
		values := w.rows.values[start:end]
		lowest := values[len(values)-1]
		for _, s := range similarities {
			if s >= lowest {
				w.rows.counts[start+firstAtMost(values, s)].Add(1)
			}
		}
	}
}

// countColumns counts each column of a tile against the thresholds of its candidate.
func (w *worker) countColumns(first, n, rows int) {
	t := w.columns
	from := t.start[first]
	if t.start[first+n]-from == n && oneEach(t.start[first:first+n+1]) {
		w.kernel.countEach(w.counts[:n], w.tile, t.values[from:from+n], rows)
		return
	}
	for j := range n {
		start, end := t.start[first+j], t.start[first+j+1]
		if start == end {
			continue
		}
		values := t.values[start:end]
		lowest := values[len(values)-1]
		for i := range rows {
			if s := w.tile[i*tileColumns+j]; s >= lowest {
				w.counts[start-from+firstAtMost(values, s)]++
			}
		}
	}
}

// oneEach reports whether every query has exactly one threshold.
func oneEach(start []int) bool {
	for i := range len(start) - 1 {
		if start[i+1]-start[i] != 1 {
			return false
		}
	}
	return true
}

// firstAtMost is the place of the first threshold that s reaches, of values in falling order.
func firstAtMost(values []float32, s float32) int {
	i, _ := slices.BinarySearchFunc(values, s, func(v, s float32) int {
		if v > s {
			return -1
		}
		return 1
	})
	return i
}
