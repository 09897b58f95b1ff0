package tokenizer

import (
	"math"
	"slices"
	"sync"
)

// pair is two neighbouring symbols.
type pair struct{ left, right int32 }

// merge is what a pair becomes. Lower ranks go first.
type merge struct{ rank, id int32 }

// mergeTable holds the merges of a vocabulary.
type mergeTable map[pair]merge

// longWord is the number of symbols from where the search for the next merge is worth a heap.
const longWord = 64

// none is no merge: every other goes before it.
var none = merge{rank: math.MaxInt32}

func (t mergeTable) find(left, right int32) merge {
	if m, ok := t[pair{left, right}]; ok {
		return m
	}
	return none
}

// apply merges symbols in place, always the pair of lowest rank and of those the leftmost, and returns what is left.
func (t mergeTable) apply(symbols []int32) []int32 {
	if len(symbols) > longWord {
		return t.applyLong(symbols)
	}
	var possible [longWord]merge // of a symbol with the next one
	for i := range len(symbols) - 1 {
		possible[i] = t.find(symbols[i], symbols[i+1])
	}
	for len(symbols) > 1 {
		last := len(symbols) - 1
		at := 0
		for i := range last {
			if possible[i].rank < possible[at].rank {
				at = i
			}
		}
		if possible[at] == none {
			break
		}
		symbols[at] = possible[at].id
		symbols = slices.Delete(symbols, at+1, at+2)
		copy(possible[at:last-1], possible[at+1:last])
		if at > 0 {
			possible[at-1] = t.find(symbols[at-1], symbols[at])
		}
		if at < last-1 {
			possible[at] = t.find(symbols[at], symbols[at+1])
		}
	}
	return symbols
}

// candidate is a merge that was possible when it was found, at the symbol at.
type candidate struct {
	merge
	at   int32
	pair pair
}

// before says which of two candidates goes first.
func (c candidate) before(other candidate) bool {
	return c.rank < other.rank || c.rank == other.rank && c.at < other.at
}

// candidates is a heap; container/heap would allocate for each candidate.
type candidates []candidate

func (c *candidates) push(m candidate) {
	heap := append(*c, m)
	at := len(heap) - 1
	for at > 0 && m.before(heap[(at-1)/2]) {
		heap[at] = heap[(at-1)/2]
		at = (at - 1) / 2
	}
	heap[at] = m
	*c = heap
}

func (c *candidates) pop() candidate {
	heap := *c
	first, last := heap[0], heap[len(heap)-1]
	heap = heap[:len(heap)-1]
	*c = heap
	at := 0
	for {
		child := 2*at + 1
		if child+1 < len(heap) && heap[child+1].before(heap[child]) {
			child++
		}
		if child >= len(heap) || !heap[child].before(last) {
			break
		}
		heap[at] = heap[child]
		at = child
	}
	if len(heap) > 0 {
		heap[at] = last
	}
	return first
}

// chain is a word as a list of symbols linked by index; -1 ends it, and gone marks what was merged away.
type chain struct {
	symbols    []int32
	prev, next []int32
	queue      candidates
	merges     mergeTable
}

const gone = math.MinInt32

var chains = sync.Pool{New: func() any { return new(chain) }}

// applyLong is apply in n log n for words of any length.
func (t mergeTable) applyLong(symbols []int32) []int32 {
	c := chains.Get().(*chain)
	c.merges, c.symbols, c.prev, c.next = t, symbols, c.prev[:0], c.next[:0]
	for i := range int32(len(symbols)) {
		c.prev, c.next = append(c.prev, i-1), append(c.next, i+1)
	}
	c.next[len(symbols)-1] = -1
	for i := range int32(len(symbols)) {
		c.offer(i)
	}
	for len(c.queue) > 0 {
		c.take(c.queue.pop())
	}
	c.merges, c.symbols = nil, nil
	if cap(c.prev) <= keepScratch/8 {
		chains.Put(c)
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
		c.queue.push(candidate{m, at, p})
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
