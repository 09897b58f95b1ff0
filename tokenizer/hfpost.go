package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
)

type hfProcessors struct {
	typed
	List []json.RawMessage `json:"processors"`
}

// hfAround is RobertaProcessing or BertProcessing.
type hfAround struct {
	typed
	Sep            hfTokenID `json:"sep"`
	Cls            hfTokenID `json:"cls"`
	TrimOffsets    bool      `json:"trim_offsets"`
	AddPrefixSpace bool      `json:"add_prefix_space"`
}

// hfTokenID is ["token", id].
type hfTokenID struct {
	text string
	id   int32
}

func (p *hfTokenID) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&p.text, &p.id})
}

type hfTemplate struct {
	typed
	Single        []hfTemplateItem `json:"single"`
	Pair          json.RawMessage  `json:"pair"` // two texts at once: not for captions
	SpecialTokens map[string]struct {
		ID     string   `json:"id"`
		IDs    []int32  `json:"ids"`
		Tokens []string `json:"tokens"`
	} `json:"special_tokens"`
}

type hfTemplateItem struct {
	Sequence     *hfTemplateRef
	SpecialToken *hfTemplateRef
}

type hfTemplateRef struct {
	ID     string `json:"id"`
	TypeID int    `json:"type_id"`
}

func buildPostProcessor(t *Pipeline, data json.RawMessage) error {
	around := func() component { return new(hfAround) }
	return buildComponent(t, data, map[string]func() component{
		"Sequence":           func() component { return new(hfProcessors) },
		"RobertaProcessing":  around,
		"BertProcessing":     around,
		"TemplateProcessing": func() component { return new(hfTemplate) },
		"ByteLevel":          func() component { return new(hfNoProcessing) },
	})
}

// hfNoProcessing is the post-processor ByteLevel, which changes offsets only.
type hfNoProcessing struct{ hfByteLevel }

func (*hfNoProcessing) build(*Pipeline) error { return nil }

func (p *hfProcessors) build(t *Pipeline) error {
	for _, part := range p.List {
		if err := buildPostProcessor(t, part); err != nil {
			return err
		}
	}
	return nil
}

func (p *hfAround) build(t *Pipeline) error {
	t.prefix, t.suffix = []int32{p.Cls.id}, []int32{p.Sep.id}
	return nil
}

func (p *hfTemplate) build(t *Pipeline) error {
	target := &t.prefix
	for _, item := range p.Single {
		switch {
		case item.Sequence != nil && target == &t.prefix:
			target = &t.suffix
		case item.SpecialToken != nil:
			token, ok := p.SpecialTokens[item.SpecialToken.ID]
			if !ok {
				return fmt.Errorf("special token %q has no ids", item.SpecialToken.ID)
			}
			*target = append(*target, token.IDs...)
		default:
			return errors.New("a template with two texts is not implemented")
		}
	}
	return nil
}

type hfDecoders struct {
	typed
	List []json.RawMessage `json:"decoders"`
}

type (
	hfByteLevelDecoder struct{ hfByteLevel }
	hfMetaspaceDecoder struct{ hfMetaspace }
	hfReplaceDecoder   struct{ hfReplace }
	hfPlainDecoder     struct{ typed } // ByteFallback and Fuse, which Decode does anyway
	hfStripDecoder     struct {
		typed
		Content string `json:"content"`
		Start   int    `json:"start"`
		Stop    int    `json:"stop"`
	}
)

func buildDecoder(t *Pipeline, data json.RawMessage) error {
	plain := func() component { return new(hfPlainDecoder) }
	return buildComponent(t, data, map[string]func() component{
		"Sequence":     func() component { return new(hfDecoders) },
		"ByteLevel":    func() component { return new(hfByteLevelDecoder) },
		"Metaspace":    func() component { return new(hfMetaspaceDecoder) },
		"Replace":      func() component { return new(hfReplaceDecoder) },
		"Strip":        func() component { return new(hfStripDecoder) },
		"ByteFallback": plain,
		"Fuse":         plain,
	})
}

func (d *hfDecoders) build(t *Pipeline) error {
	for _, part := range d.List {
		if err := buildDecoder(t, part); err != nil {
			return err
		}
	}
	return nil
}

func (*hfByteLevelDecoder) build(t *Pipeline) error {
	t.decoder.byteLevel = true
	if m, ok := t.model.(*charBPE); ok {
		t.decoder.wordEnd = m.suffix
	}
	return nil
}

func (d *hfMetaspaceDecoder) build(t *Pipeline) error {
	t.decoder.space, t.decoder.trimFirst = d.Replacement, deref(d.PrependScheme) != "never"
	return nil
}

func (d *hfReplaceDecoder) build(t *Pipeline) error {
	if d.Content != " " || d.Pattern.String == nil {
		return fmt.Errorf("replacement by %q is not implemented", d.Content)
	}
	t.decoder.space = *d.Pattern.String
	return nil
}

func (d *hfStripDecoder) build(t *Pipeline) error {
	if d.Content != " " || d.Start > 1 || d.Stop != 0 {
		return fmt.Errorf("content %q, start %d, stop %d are not implemented", d.Content, d.Start, d.Stop)
	}
	t.decoder.trimFirst = d.Start == 1
	return nil
}

func (*hfPlainDecoder) build(*Pipeline) error { return nil }
