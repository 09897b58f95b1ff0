package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// hfFile is tokenizer.json. A field or a value that is not implemented is an error that names it.
type hfFile struct {
	Version       string          `json:"version"`
	Truncation    *hfTruncation   `json:"truncation"`
	Padding       *hfPadding      `json:"padding"`
	AddedTokens   []hfAddedToken  `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         json.RawMessage `json:"model"`
}

type hfTruncation struct {
	Direction string `json:"direction"`
	MaxLength int    `json:"max_length"`
	Strategy  string `json:"strategy"` // for pairs of texts
	Stride    int    `json:"stride"`
}

type hfPadding struct {
	Strategy  json.RawMessage `json:"strategy"`
	Direction string          `json:"direction"`
	Multiple  *int            `json:"pad_to_multiple_of"`
	ID        int32           `json:"pad_id"`
	TypeID    int32           `json:"pad_type_id"`
	Token     string          `json:"pad_token"`
}

type hfAddedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// parseHF builds the pipeline that a tokenizer.json describes.
func parseHF(data []byte) (*Pipeline, error) {
	var file hfFile
	if err := strict(data, &file); err != nil {
		return nil, err
	}
	if err := file.check(); err != nil {
		return nil, err
	}
	t := &Pipeline{cleaning: CleanNone, pad: -1}
	for _, part := range []struct {
		name  string
		data  json.RawMessage
		build func(*Pipeline, json.RawMessage) error
	}{
		{"model", file.Model, buildModel},
		{"normalizer", file.Normalizer, buildNormalizer},
		{"pre_tokenizer", file.PreTokenizer, buildPreTokenizer},
		{"post_processor", file.PostProcessor, buildPostProcessor},
		{"decoder", file.Decoder, buildDecoder},
	} {
		if err := part.build(t, part.data); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if err := t.addTokens(file.AddedTokens); err != nil {
		return nil, err
	}
	if file.Padding != nil {
		t.pad = file.Padding.ID
	}
	if file.Truncation != nil {
		t.context = file.Truncation.MaxLength
	}
	if t.cutsWords() {
		t.cache = newWordCache()
	}
	return t, t.checkIDs()
}

// cutsWords reports whether pieces are words, which come again, and not whole captions.
func (t *Pipeline) cutsWords() bool {
	return slices.ContainsFunc(t.pre, func(step preTokenizer) bool {
		_, literal := step.(*literalSplit) // Gemma's never matches: its spaces are gone by then
		return !literal
	})
}

func (f *hfFile) check() error {
	switch {
	case f.Version != "1.0":
		return fmt.Errorf("version %q is not implemented, only 1.0", f.Version)
	case f.Truncation != nil && f.Truncation.Direction == "Left":
		return errors.New("truncation.direction Left is not implemented")
	case f.Padding != nil && f.Padding.Direction == "Left":
		return errors.New("padding.direction Left is not implemented")
	case isNull(f.Model):
		return errors.New("it has no model")
	}
	return nil
}

// checkIDs refuses ids beyond the vocabulary, which a text tower has no embedding for.
func (t *Pipeline) checkIDs() error {
	for _, id := range slices.Concat(t.prefix, t.suffix, []int32{max(t.pad, 0)}) {
		if int(id) >= len(t.tokens) || id < 0 {
			return fmt.Errorf("id %d of a special token is beyond the vocabulary of %d", id, len(t.tokens))
		}
	}
	return nil
}

// strict decodes JSON and names a field that the target does not have.
func strict(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

func isNull(data json.RawMessage) bool { return len(data) == 0 || string(data) == "null" }

// typeOf returns the "type" of a component.
func typeOf(data json.RawMessage) (string, error) {
	var head struct{ Type string }
	if err := json.Unmarshal(data, &head); err != nil {
		return "", err
	}
	return head.Type, nil
}

// component is a decoded component of a known type.
type component interface{ build(t *Pipeline) error }

// buildComponent decodes data as the component that its type names.
func buildComponent(t *Pipeline, data json.RawMessage, known map[string]func() component) error {
	if isNull(data) {
		return nil
	}
	name, err := typeOf(data)
	if err != nil {
		return err
	}
	make, ok := known[name]
	if !ok {
		return fmt.Errorf("type %q is not implemented", name)
	}
	c := make()
	if err := strict(data, c); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := c.build(t); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// typed is the part that all components share.
type typed struct {
	Type string `json:"type"`
}

func (t *Pipeline) addTokens(list []hfAddedToken) error {
	var before, after []addedToken
	for _, token := range list {
		if token.SingleWord {
			return fmt.Errorf("added_tokens: single_word of %q is not implemented", token.Content)
		}
		if token.Content == "" || token.ID < 0 || int(token.ID) > len(t.tokens)+len(list) {
			return fmt.Errorf("added_tokens: %q has id %d, in a vocabulary of %d", token.Content, token.ID, len(t.tokens))
		}
		for int(token.ID) >= len(t.tokens) {
			t.tokens = append(t.tokens, "")
		}
		t.tokens[token.ID] = token.Content
		a := addedToken{token.Content, token.ID, token.LStrip, token.RStrip}
		if !token.Normalized {
			before = append(before, a)
			continue
		}
		text := []byte(a.text)
		for _, step := range t.normalizers {
			text = step(nil, text)
		}
		if a.text = string(text); a.text != "" {
			after = append(after, a)
		}
	}
	t.added, t.addedAfter = newAddedTokens(before), newAddedTokens(after)
	return nil
}
