package tokenizer

import (
	"container/heap"
	"math"
	"slices"
)

// pair is two neighbouring symbols.
type pair struct{ left, right int32 }

// merge is what a pair becomes. Lower ranks go first.
type merge struct{ rank, id int32 }

// mergeTable holds the merges of a vocabulary.
type mergeTable map[pair]merge

// longWord is the number of symbols from where the search for the next merge is worth a heap.
const longWord = 48

// apply merges symbols in place, always the pair of lowest rank and of those the leftmost, and returns what is left.
func (t mergeTable) apply(symbols []int32) []int32 {
	if len(symbols) > longWord {
		return t.applyLong(symbols)
	}
	for len(symbols) > 1 {
		best, at := merge{rank: math.MaxInt32}, -1
		for i := range len(symbols) - 1 {
			if m, ok := t[pair{symbols[i], symbols[i+1]}]; ok && m.rank < best.rank {
				best, at = m, i
			}
		}
		if at < 0 {
			break
		}
		symbols[at] = best.id
		symbols = slices.Delete(symbols, at+1, at+2)
	}
	return symbols
}

// candidate is a merge that was possible when it was found, at the symbol at.
type candidate struct {
	merge
	at   int32
	pair pair
}

type candidates []candidate

func (c candidates) Len() int      { return len(c) }
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c candidates) Less(i, j int) bool {
	return c[i].rank < c[j].rank || c[i].rank == c[j].rank && c[i].at < c[j].at
}
func (c *candidates) Push(x any) { *c = append(*c, x.(candidate)) }
func (c *candidates) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// chain is a word as a list of symbols linked by index; -1 ends it, and gone marks what was merged away.
type chain struct {
	symbols    []int32
	prev, next []int32
	queue      candidates
	merges     mergeTable
}

const gone = math.MinInt32

// applyLong is apply in n log n for words of any length.
func (t mergeTable) applyLong(symbols []int32) []int32 {
	n := len(symbols)
	c := &chain{symbols: symbols, prev: make([]int32, n), next: make([]int32, n), merges: t}
	for i := range symbols {
		c.prev[i], c.next[i] = int32(i-1), int32(i+1)
	}
	c.next[n-1] = -1
	for i := range int32(n - 1) {
		c.offer(i)
	}
	for len(c.queue) > 0 {
		c.take(heap.Pop(&c.queue).(candidate))
	}
	return slices.DeleteFunc(symbols, func(id int32) bool { return id == gone })
}

// offer queues the merge of symbol at with the next one, if there is one.
func (c *chain) offer(at int32) {
	if at < 0 || c.next[at] < 0 {
		return
	}
	p := pair{c.symbols[at], c.symbols[c.next[at]]}
	if m, ok := c.merges[p]; ok {
		heap.Push(&c.queue, candidate{m, at, p})
	}
}

// take makes the merge, unless one of its symbols has changed meanwhile.
func (c *chain) take(m candidate) {
	if c.symbols[m.at] != m.pair.left {
		return
	}
	right := c.next[m.at]
	if right < 0 || c.symbols[right] != m.pair.right {
		return
	}
	c.symbols[m.at], c.symbols[right] = m.id, gone
	c.next[m.at] = c.next[right]
	if c.next[right] >= 0 {
		c.prev[c.next[right]] = m.at
	}
	c.offer(c.prev[m.at])
	c.offer(m.at)
}
