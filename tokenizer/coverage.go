package tokenizer

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Coverage tells how well a vocabulary fits captions.
type Coverage struct {
	VocabSize int   `json:"vocab_size"`
	Captions  int64 `json:"captions"`
	Empty     int64 `json:"empty"` // captions without a single token

	Words      int64 `json:"words"`
	WholeWords int64 `json:"whole_words"` // words that are one token

	// Tokens of a caption, start and end included.
	MeanTokens float64 `json:"mean_tokens"`
	P95Tokens  int     `json:"p95_tokens"` // 95 % of the captions have no more
	MaxTokens  int     `json:"max_tokens"`

	Context   int   `json:"context"`
	Truncated int64 `json:"truncated"` // captions that do not fit into Context

	UnusedIDs   int   `json:"unused_ids"`   // ids in no caption: their embeddings learn nothing
	UnseenBytes []int `json:"unseen_bytes"` // byte values in no caption, after cleaning
}

// WholeWordShare is the share of the words that are one token.
func (c Coverage) WholeWordShare() float64 { return share(c.WholeWords, c.Words) }

// TruncatedShare is the share of the captions that do not fit into the context.
func (c Coverage) TruncatedShare() float64 { return share(c.Truncated, c.Captions) }

func share(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// String is a report of a few lines.
func (c Coverage) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d captions (%d empty), vocabulary of %d ids, %d of them unused\n", c.Captions, c.Empty, c.VocabSize, c.UnusedIDs)
	fmt.Fprintf(&b, "tokens a caption, start and end included: mean %.1f, 95 %% up to %d, most %d\n", c.MeanTokens, c.P95Tokens, c.MaxTokens)
	fmt.Fprintf(&b, "words that are one token: %.1f %% of %d\n", 100*c.WholeWordShare(), c.Words)
	fmt.Fprintf(&b, "truncated at a context of %d: %d captions (%.2f %%)\n", c.Context, c.Truncated, 100*c.TruncatedShare())
	fmt.Fprintf(&b, "bytes never seen: %d of 256\n", len(c.UnseenBytes))
	return b.String()
}

// Cover measures how the vocabulary fits captions, for a context of the given length.
func (t *BPE) Cover(captions iter.Seq[string], context int) Coverage {
	m := &coverageMeter{
		Coverage: Coverage{VocabSize: t.VocabSize(), Context: context},
		used:     make([]bool, t.VocabSize()),
		lengths:  map[int]int64{},
	}
	m.used[t.Start()], m.used[t.End()], m.used[t.pad] = true, true, true
	s := getScratch()
	defer s.release()
	for caption := range captions {
		m.add(t, t.cleaning.apply(s, caption), s)
	}
	return m.finish()
}

type coverageMeter struct {
	Coverage
	used    []bool
	seen    [256]bool
	lengths map[int]int64 // captions by number of tokens
	tokens  int64
}

func (m *coverageMeter) add(t *BPE, text []byte, s *scratch) {
	tokens := specialIDs
	for i := 0; ; {
		start, end := t.pattern.next(text, i)
		if start == len(text) {
			break
		}
		ids := t.wordIDs(text[start:end], s)
		for _, id := range ids {
			m.used[id] = true
		}
		for _, b := range text[start:end] {
			m.seen[b] = true
		}
		m.Words++
		if len(ids) == 1 {
			m.WholeWords++
		}
		tokens += len(ids)
		i = end
	}
	m.Captions++
	m.tokens += int64(tokens)
	m.lengths[tokens]++
	if tokens == specialIDs {
		m.Empty++
	}
	if tokens > m.Context {
		m.Truncated++
	}
}

func (m *coverageMeter) finish() Coverage {
	for _, used := range m.used {
		if !used {
			m.UnusedIDs++
		}
	}
	m.UnseenBytes = []int{}
	for b, seen := range m.seen {
		if !seen {
			m.UnseenBytes = append(m.UnseenBytes, b)
		}
	}
	m.MeanTokens = share(m.tokens, m.Captions)
	below := int64(0)
	for _, n := range slices.Sorted(maps.Keys(m.lengths)) {
		if 100*below < 95*m.Captions {
			m.P95Tokens = n
		}
		below += m.lengths[n]
		m.MaxTokens = n
	}
	return m.Coverage
}
