package data

import (
	"slices"

	"tandem/data/shard"
	"tandem/internal/fault"
)

// NegativesConfig gives each pair hard negatives: captions that are not true of its image, such as the true one with two
// words exchanged.
type NegativesConfig struct {
	// Column holds a row's wrong captions.
	Column string `yaml:"column,omitempty" json:"column,omitempty"`
	// Count is how many of them are drawn for each pair; where a row has fewer, the rest is marked as missing. Default 1.
	Count int `yaml:"count,omitempty" json:"count,omitempty"`
}

// maxNegatives is far beyond use.
const maxNegatives = 1 << 12

func (n *NegativesConfig) withDefaults() *NegativesConfig {
	if n == nil {
		return nil
	}
	filled := *n
	if filled.Count == 0 {
		filled.Count = 1
	}
	return &filled
}

func (n *NegativesConfig) validate() error {
	switch {
	case n == nil:
		return nil
	case n.Column == "":
		return fault.Userf("data.negatives.column is not set: name the column with each row's wrong captions")
	case n.Count < 1 || n.Count > maxNegatives:
		return fault.Userf("data.negatives.count must lie in 1 … %d, is %d", maxNegatives, n.Count)
	}
	return nil
}

// negatives draws wrong captions for slot i and writes their tokens.
func (w *worker) negatives(b *Batch, i int, g int64, group *shard.Group, row int) {
	config := w.l.config.Negatives
	if config == nil {
		return
	}
	texts := slices.Clone(textsOf(group, config.Column, row))
	w.seed(streamNegatives, g).Shuffle(len(texts), func(a, c int) { texts[a], texts[c] = texts[c], texts[a] })
	for k := range config.Count {
		at := i*config.Count + k
		tokens := b.Negatives[at*b.Context : (at+1)*b.Context]
		b.NegativeMask[at] = 0
		text := "" // an empty text is encoded, and not counted
		if k < len(texts) {
			text, b.NegativeMask[at] = texts[k], 1
		}
		b.lengths[i] = max(b.lengths[i], w.l.tokenizer.Encode(tokens, text))
	}
}
