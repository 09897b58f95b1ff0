package tokenizer

import (
	"container/heap"
	"iter"
	"maps"
	"slices"

	"tandem/internal/fault"
)

// TrainOptions changes what Train does; the zero value is the usual choice.
type TrainOptions struct {
	// MinCount is how often a pair must occur to be merged; 0 means 2.
	MinCount int64
	// Context is the length, start and end included, against which truncated captions are counted, and the Context of
	// the result; 0 means 77.
	Context int
}

func (o TrainOptions) withDefaults() TrainOptions {
	if o.MinCount == 0 {
		o.MinCount = 2
	}
	if o.Context == 0 {
		o.Context = clipContext
	}
	return o
}

// Train makes a byte-pair vocabulary of at most vocabSize ids (514 at least) in CLIP's format, and tells how it fits
// the captions. It merges the most frequent pair of symbols inside of words, again and again; of pairs that are equally
// frequent it takes the one whose left and then right symbol has the lower id, so that the same captions in any order
// give the same vocabulary. A pair that would make a symbol that exists already is left alone: each id has one spelling
// and one way to be made. Fewer than vocabSize ids come out where no pair is left that occurs MinCount times.
//
// captions is ranged over twice and must yield the same texts both times. Memory grows with the number of different
// words. Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", algorithm 1.
func Train(captions iter.Seq[string], vocabSize int, opts TrainOptions) (*BPE, Coverage, error) {
	if vocabSize < smallestBPE {
		return nil, Coverage{}, fault.Userf("tokenizer: a vocabulary of %d ids is too small: 256 bytes, inside and at the end of a word, start and end take %d",
			vocabSize, smallestBPE)
	}
	opts = opts.withDefaults()
	counts := countWords(captions)
	if len(counts) == 0 {
		return nil, Coverage{}, fault.Userf("tokenizer: there is no word in the captions to make a vocabulary from: are there captions? (data build -template, or data.sources[].captions, makes them of labels)")
	}
	merges := newTrainer(counts, opts.MinCount).run(vocabSize - smallestBPE)
	v, err := newVocabulary(merges)
	if err != nil {
		return nil, Coverage{}, err
	}
	t := &BPE{v, 0, opts.Context}
	return t, t.Cover(captions, opts.Context), nil
}

// countWords counts the words of cleaned captions, without special tokens.
func countWords(captions iter.Seq[string]) map[string]*int64 {
	pattern := wordPattern{specials: []string{startText, endText}, ignoreCase: true}
	counts := map[string]*int64{}
	s := getScratch()
	defer s.release()
	for caption := range captions {
		text := CleanLower.apply(s, caption)
		for i := 0; ; {
			start, end := pattern.next(text, i)
			if start == len(text) {
				break
			}
			i = end
			if n := counts[string(text[start:end])]; n != nil {
				*n++
			} else if word := string(text[start:end]); !slices.Contains(pattern.specials, word) {
				one := int64(1)
				counts[word] = &one
			}
		}
	}
	return counts
}

// trainer holds the words as symbols and how often each pair occurs in them.
type trainer struct {
	words    []trainWord
	pairs    map[pair]*pairUse
	queue    pairQueue
	tokens   []string // by id, in the byte alphabet
	taken    map[string]bool
	minCount int64
}

type trainWord struct {
	symbols []int32
	count   int64
}

// pairUse is how often a pair occurs, and in which words it may: a word is not struck off when the pair goes from it.
type pairUse struct {
	count int64
	words []int32
}

// queuedPair is a pair with its count when it was queued. Counts of queued pairs only fall.
type queuedPair struct {
	pair
	count int64
}

type pairQueue []queuedPair

func (q pairQueue) Len() int      { return len(q) }
func (q pairQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q pairQueue) Less(i, j int) bool {
	a, b := q[i], q[j]
	switch {
	case a.count != b.count:
		return a.count > b.count
	case a.left != b.left:
		return a.left < b.left
	default:
		return a.right < b.right
	}
}
func (q *pairQueue) Push(x any) { *q = append(*q, x.(queuedPair)) }
func (q *pairQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func newTrainer(counts map[string]*int64, minCount int64) *trainer {
	v, err := newVocabulary(nil)
	if err != nil {
		panic(err) // it has no merges that could be wrong
	}
	t := &trainer{
		pairs:    map[pair]*pairUse{},
		tokens:   v.tokens[:baseIDs:baseIDs],
		taken:    map[string]bool{},
		minCount: minCount,
	}
	for _, token := range t.tokens {
		t.taken[token] = true
	}
	for _, word := range slices.Sorted(maps.Keys(counts)) {
		symbols := make([]int32, len(word))
		for i := range len(word) {
			symbols[i] = v.byteID[word[i]]
		}
		symbols[len(word)-1] += byteIDs
		t.words = append(t.words, trainWord{symbols, *counts[word]})
		t.count(len(t.words)-1, 1)
	}
	for p := range t.pairs {
		t.offer(p)
	}
	return t
}

// run makes up to n merges and returns them.
func (t *trainer) run(n int) [][2]string {
	var merges [][2]string
	for len(merges) < n && len(t.queue) > 0 {
		top := heap.Pop(&t.queue).(queuedPair)
		if use := t.pairs[top.pair]; use == nil || use.count != top.count {
			t.offer(top.pair)
			continue
		}
		left, right := t.tokens[top.left], t.tokens[top.right]
		if t.taken[left+right] {
			continue
		}
		t.taken[left+right] = true
		t.tokens = append(t.tokens, left+right)
		merges = append(merges, [2]string{left, right})
		t.merge(top.pair, int32(len(t.tokens)-1))
	}
	return merges
}

// offer queues a pair if it occurs often enough.
func (t *trainer) offer(p pair) {
	if use := t.pairs[p]; use != nil && use.count >= t.minCount {
		heap.Push(&t.queue, queuedPair{p, use.count})
	}
}

// merge makes id of p in all words, and queues the pairs that come to be.
func (t *trainer) merge(p pair, id int32) {
	words := t.pairs[p].words
	slices.Sort(words)
	words = slices.Compact(words)
	for _, w := range words {
		symbols := t.words[w].symbols
		if !containsPair(symbols, p) {
			continue
		}
		t.count(int(w), -1)
		t.words[w].symbols = replacePair(symbols, p, id)
		t.count(int(w), 1)
	}
	delete(t.pairs, p)
	t.offerNew(words, id)
}

// offerNew queues the pairs of the given words that id is in, each once.
func (t *trainer) offerNew(words []int32, id int32) {
	seen := map[pair]bool{}
	for _, w := range words {
		symbols := t.words[w].symbols
		for i := range len(symbols) - 1 {
			p := pair{symbols[i], symbols[i+1]}
			if (p.left == id || p.right == id) && !seen[p] {
				seen[p] = true
				t.offer(p)
			}
		}
	}
}

// count adds a word's pairs, or with sign -1 takes them away.
func (t *trainer) count(w int, sign int64) {
	word := t.words[w]
	for i := range len(word.symbols) - 1 {
		p := pair{word.symbols[i], word.symbols[i+1]}
		use := t.pairs[p]
		if use == nil {
			use = new(pairUse)
			t.pairs[p] = use
		}
		use.count += sign * word.count
		if n := len(use.words); sign > 0 && (n == 0 || use.words[n-1] != int32(w)) {
			use.words = append(use.words, int32(w))
		}
	}
}

func containsPair(symbols []int32, p pair) bool {
	for i := range len(symbols) - 1 {
		if symbols[i] == p.left && symbols[i+1] == p.right {
			return true
		}
	}
	return false
}

// replacePair replaces p by id from left to right, in place.
func replacePair(symbols []int32, p pair, id int32) []int32 {
	out := symbols[:0]
	for i := 0; i < len(symbols); i++ {
		if i+1 < len(symbols) && symbols[i] == p.left && symbols[i+1] == p.right {
			out = append(out, id)
			i++
			continue
		}
		out = append(out, symbols[i])
	}
	return out
}
