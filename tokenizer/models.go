package tokenizer

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"tandem/tokenizer/internal/spm"
)

// pieceModel turns pieces into ids.
type pieceModel interface {
	// appendIDs appends the ids of piece, which is not empty, using s.symbols and s.segments.
	appendIDs(dst []int32, piece []byte, s *pipelineScratch) []int32
}

// charBPE is byte-pair encoding over characters: Hugging Face's model BPE, and SentencePiece's.
type charBPE struct {
	ids         map[string]int32
	merges      mergeTable
	suffix      string      // marks the last character of a piece
	unk         int32       // -1: what is not known is dropped
	fuseUnk     bool        // neighbouring unknown characters are one id
	bytes       *[256]int32 // ids of single bytes, for what is not known; nil: none
	wholeFirst  bool        // a piece that is in the vocabulary is not looked at further
	userDefined *spm.Pieces // symbols that are taken as they are
}

func (m *charBPE) appendIDs(dst []int32, piece []byte, s *pipelineScratch) []int32 {
	if m.wholeFirst {
		if id, ok := m.ids[string(piece)]; ok {
			return append(dst, id)
		}
	}
	symbols := s.symbols[:0]
	unkBefore := false
	for len(piece) > 0 {
		id, n := m.symbol(piece, s)
		unknown := id < 0
		switch {
		case !unknown:
			symbols = append(symbols, id)
		case m.bytes != nil:
			for _, b := range piece[:n] {
				symbols = append(symbols, m.bytes[b])
			}
			unknown = false
		case m.unk >= 0 && !(m.fuseUnk && unkBefore):
			symbols = append(symbols, m.unk)
		}
		unkBefore = unknown
		piece = piece[n:]
	}
	s.symbols = m.merges.apply(symbols)
	return append(dst, s.symbols...)
}

// symbol returns the id of the first character or user-defined symbol of piece, or -1, and its length.
func (m *charBPE) symbol(piece []byte, s *pipelineScratch) (id int32, n int) {
	if m.userDefined != nil {
		if n, id := m.userDefined.Longest(piece); n > 0 {
			return id, n
		}
	}
	_, n = utf8.DecodeRune(piece)
	key := piece[:n]
	if n == len(piece) && m.suffix != "" {
		s.key = append(append(s.key[:0], key...), m.suffix...)
		key = s.key
	}
	if id, ok := m.ids[string(key)]; ok {
		return id, n
	}
	return -1, n
}

// unigram is Hugging Face's model Unigram, and SentencePiece's.
type unigram struct {
	segmenter *spm.Segmenter
	unk       int32
	bytes     *[256]int32
}

func (m *unigram) appendIDs(dst []int32, piece []byte, s *pipelineScratch) []int32 {
	s.segments, s.steps = m.segmenter.Append(s.segments[:0], piece, s.steps)
	for _, segment := range s.segments {
		if segment.ID != m.unk || m.bytes == nil {
			dst = append(dst, segment.ID)
			continue
		}
		for _, b := range piece[segment.Start:segment.End] {
			dst = append(dst, m.bytes[b])
		}
	}
	return dst
}

// byteIDs256 returns the ids of the pieces <0x00> to <0xFF>, or an error that names the first that is missing.
func byteIDs256(ids map[string]int32) (*[256]int32, error) {
	var table [256]int32
	for b := range table {
		id, ok := ids[bytePiece(b)]
		if !ok {
			return nil, fmt.Errorf("byte_fallback is set but the vocabulary has no %s", bytePiece(b))
		}
		table[b] = id
	}
	return &table, nil
}

func bytePiece(b int) string { return fmt.Sprintf("<0x%02X>", b) }

// newSpmBPE makes the byte-pair model of a SentencePiece model: pieces of higher scores are made first.
func newSpmBPE(m *spm.Model) (*charBPE, error) {
	b := &charBPE{ids: map[string]int32{}, merges: mergeTable{}, unk: m.Unk, fuseUnk: true}
	all, symbols := map[string]int32{}, map[string]int32{}
	for id, p := range m.Pieces {
		all[p.Text] = int32(id)
		switch p.Type {
		case spm.Normal:
			b.ids[p.Text] = int32(id)
		case spm.UserDefined:
			symbols[p.Text] = int32(id)
		case spm.Unused:
			return nil, fmt.Errorf("piece %q is of type UNUSED, which is not implemented for byte-pair models", p.Text)
		}
	}
	if len(symbols) > 0 {
		b.userDefined = spm.NewPieces(symbols)
	}
	b.addMerges(m, scoreRanks(m))
	if m.ByteFallback {
		var err error
		if b.bytes, err = byteIDs256(all); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// scoreRanks orders the scores of a model's pieces; equal scores have equal ranks, of which the leftmost pair goes first.
func scoreRanks(m *spm.Model) map[float32]int32 {
	var scores []float32
	for _, p := range m.Pieces {
		scores = append(scores, -p.Score)
	}
	slices.Sort(scores)
	ranks := map[float32]int32{}
	for i, score := range slices.Compact(scores) {
		ranks[-score] = int32(i)
	}
	return ranks
}

// addMerges allows every pair of pieces that makes a piece.
func (m *charBPE) addMerges(model *spm.Model, ranks map[float32]int32) {
	for id, p := range model.Pieces {
		if p.Type != spm.Normal {
			continue
		}
		for i := range p.Text {
			left, okLeft := m.ids[p.Text[:i]]
			right, okRight := m.ids[p.Text[i:]]
			if okLeft && okRight {
				m.merges[pair{left, right}] = merge{ranks[p.Score], int32(id)}
			}
		}
	}
}
