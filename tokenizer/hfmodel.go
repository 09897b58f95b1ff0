package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"tandem/tokenizer/internal/spm"
)

type hfBPE struct {
	typed
	Dropout      *float64         `json:"dropout"`
	UnkToken     *string          `json:"unk_token"`
	Prefix       *string          `json:"continuing_subword_prefix"`
	Suffix       *string          `json:"end_of_word_suffix"`
	FuseUnk      bool             `json:"fuse_unk"`
	ByteFallback bool             `json:"byte_fallback"`
	IgnoreMerges bool             `json:"ignore_merges"`
	Vocab        map[string]int32 `json:"vocab"`
	Merges       hfMerges         `json:"merges"`
}

// hfMerges reads merges written "a b", as they were until 2024, or ["a", "b"].
type hfMerges [][2]string

func (m *hfMerges) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, (*[][2]string)(m)) == nil {
		return nil
	}
	var lines []string
	if err := json.Unmarshal(data, &lines); err != nil {
		return errors.New("merges are neither strings nor pairs of strings")
	}
	*m = make(hfMerges, len(lines))
	for i, line := range lines {
		left, right, ok := strings.Cut(line, " ")
		if !ok || strings.Contains(right, " ") {
			return fmt.Errorf("merge %d: %q is not two symbols", i+1, line)
		}
		(*m)[i] = [2]string{left, right}
	}
	return nil
}

type hfUnigram struct {
	typed
	UnkID        *int32     `json:"unk_id"`
	ByteFallback bool       `json:"byte_fallback"`
	Vocab        []hfScored `json:"vocab"`
}

// hfScored is ["piece", score].
type hfScored struct {
	text  string
	score float64
}

func (s *hfScored) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&s.text, &s.score})
}

func buildModel(t *Pipeline, data json.RawMessage) error {
	if name, err := typeOf(data); err == nil && name == "" { // files before 2020 have no type
		data = append([]byte(`{"type":"BPE",`), bytes.TrimLeft(data, " \t\r\n{")...)
	}
	return buildComponent(t, data, map[string]func() component{
		"BPE":     func() component { return new(hfBPE) },
		"Unigram": func() component { return new(hfUnigram) },
	})
}

func deref[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}

func (b *hfBPE) build(t *Pipeline) error {
	switch {
	case deref(b.Dropout) != 0:
		return errors.New("dropout is not implemented: ids would be random")
	case deref(b.Prefix) != "":
		return fmt.Errorf("continuing_subword_prefix %q is not implemented", *b.Prefix)
	}
	var err error
	if t.tokens, err = tokensByID(b.Vocab); err != nil {
		return err
	}
	m := &charBPE{ids: b.Vocab, suffix: deref(b.Suffix), unk: -1, fuseUnk: b.FuseUnk, wholeFirst: b.IgnoreMerges}
	if b.UnkToken != nil {
		id, ok := b.Vocab[*b.UnkToken]
		if !ok {
			return fmt.Errorf("unk_token %q is not in the vocabulary", *b.UnkToken)
		}
		m.unk = id
	}
	if b.ByteFallback {
		if m.bytes, err = byteIDs256(b.Vocab); err != nil {
			return err
		}
	}
	t.model = m
	m.merges, err = b.mergeTable()
	return err
}

// tokensByID turns a vocabulary round. Ids may have gaps, which added tokens fill.
func tokensByID(vocab map[string]int32) ([]string, error) {
	if len(vocab) == 0 {
		return nil, errors.New("the vocabulary is empty")
	}
	var tokens []string
	for text, id := range vocab {
		if id < 0 || int(id) > 2*len(vocab)+1000 {
			return nil, fmt.Errorf("%q has id %d, in a vocabulary of %d", text, id, len(vocab))
		}
		if int(id) >= len(tokens) {
			tokens = append(tokens, make([]string, int(id)+1-len(tokens))...)
		}
		if tokens[id] != "" {
			return nil, fmt.Errorf("%q and %q have the same id %d", tokens[id], text, id)
		}
		tokens[id] = text
	}
	return tokens, nil
}

func (b *hfBPE) mergeTable() (mergeTable, error) {
	table := make(mergeTable, len(b.Merges))
	for i, m := range b.Merges {
		left, okLeft := b.Vocab[m[0]]
		right, okRight := b.Vocab[m[1]]
		id, ok := b.Vocab[m[0]+m[1]]
		if !okLeft || !okRight || !ok {
			return nil, fmt.Errorf("merge %d (%q %q): a part or the whole is not in the vocabulary", i+1, m[0], m[1])
		}
		table[pair{left, right}] = merge{int32(i), id}
	}
	return table, nil
}

func (u *hfUnigram) build(t *Pipeline) error {
	if len(u.Vocab) == 0 || u.UnkID == nil || *u.UnkID < 0 || int(*u.UnkID) >= len(u.Vocab) {
		return errors.New("it needs a vocabulary and the unk_id of one of its pieces")
	}
	ids := map[string]int32{}
	scores := make([]float64, len(u.Vocab))
	for i, piece := range u.Vocab {
		t.tokens = append(t.tokens, piece.text)
		scores[i] = piece.score
		ids[piece.text] = int32(i)
	}
	m := &unigram{segmenter: spm.NewPlainSegmenter(t.tokens, scores, *u.UnkID), unk: *u.UnkID}
	t.model = m
	if u.ByteFallback {
		var err error
		m.bytes, err = byteIDs256(ids)
		return err
	}
	return nil
}
