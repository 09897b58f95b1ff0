package tokenizer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"tandem/tokenizer/internal/chars"
	"tandem/tokenizer/internal/spm"
)

type hfNormalizers struct {
	typed
	List []json.RawMessage `json:"normalizers"`
}

type hfForm struct{ typed } // NFC, NFD, NFKC, NFKD

type hfLowercase struct{ typed }

type hfReplace struct {
	typed
	Pattern hfPattern `json:"pattern"`
	Content string    `json:"content"`
}

type hfPattern struct {
	String *string
	Regex  *string
}

type hfStrip struct {
	typed
	Left  bool `json:"strip_left"`
	Right bool `json:"strip_right"`
}

type hfPrepend struct {
	typed
	Prepend string `json:"prepend"`
}

type hfPrecompiled struct {
	typed
	Map string `json:"precompiled_charsmap"`
}

func buildNormalizer(t *Pipeline, data json.RawMessage) error {
	form := func() component { return new(hfForm) }
	return buildComponent(t, data, map[string]func() component{
		"Sequence":    func() component { return new(hfNormalizers) },
		"NFC":         form,
		"NFD":         form,
		"NFKC":        form,
		"NFKD":        form,
		"Lowercase":   func() component { return new(hfLowercase) },
		"Replace":     func() component { return new(hfReplace) },
		"Strip":       func() component { return new(hfStrip) },
		"Prepend":     func() component { return new(hfPrepend) },
		"Precompiled": func() component { return new(hfPrecompiled) },
	})
}

func (t *Pipeline) normalize(step textStep) error {
	t.normalizers = append(t.normalizers, step)
	return nil
}

func (n *hfNormalizers) build(t *Pipeline) error {
	for _, part := range n.List {
		if err := buildNormalizer(t, part); err != nil {
			return err
		}
	}
	return nil
}

func (n *hfForm) build(t *Pipeline) error {
	form := map[string]norm.Form{"NFC": norm.NFC, "NFD": norm.NFD, "NFKC": norm.NFKC, "NFKD": norm.NFKD}[n.Type]
	return t.normalize(func(dst, text []byte) []byte { return appendForm(dst, text, form) })
}

func appendForm(dst, text []byte, form norm.Form) []byte {
	if form.QuickSpan(text) == len(text) {
		return append(dst, text...)
	}
	if runes := []rune(string(text)); chars.HasLongRun(runes) {
		return appendUTF8(dst, chars.AppendNormal(nil, runes, form))
	}
	return form.Append(dst, text...)
}

func (*hfLowercase) build(t *Pipeline) error { return t.normalize(appendLowercase) }

func appendLowercase(dst, text []byte) []byte {
	var lower [2]rune
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		text = text[n:]
		switch {
		case 'A' <= r && r <= 'Z':
			dst = append(dst, byte(r)+'a'-'A')
		case r < utf8.RuneSelf:
			dst = append(dst, byte(r))
		default:
			dst = appendUTF8(dst, chars.AppendLowerRune(lower[:0], r))
		}
	}
	return dst
}

func (n *hfReplace) build(t *Pipeline) error {
	content := []byte(n.Content)
	if n.Pattern.String != nil && *n.Pattern.String != "" {
		old := []byte(*n.Pattern.String)
		return t.normalize(func(dst, text []byte) []byte { return appendReplaced(dst, text, old, content) })
	}
	switch regex := deref(n.Pattern.Regex); regex {
	case `\s+`:
		return t.normalize(func(dst, text []byte) []byte { return appendRunsReplaced(dst, text, 1, chars.IsWhiteSpace, content) })
	case ` {2,}`:
		isSpace := func(r rune) bool { return r == ' ' }
		return t.normalize(func(dst, text []byte) []byte { return appendRunsReplaced(dst, text, 2, isSpace, content) })
	default:
		return fmt.Errorf("pattern %q is not implemented", regex)
	}
}

func appendReplaced(dst, text, old, content []byte) []byte {
	for {
		at := bytes.Index(text, old)
		if at < 0 {
			return append(dst, text...)
		}
		dst = append(append(dst, text[:at]...), content...)
		text = text[at+len(old):]
	}
}

// appendRunsReplaced replaces each run of at least least characters that are picked by content.
func appendRunsReplaced(dst, text []byte, least int, picked func(rune) bool, content []byte) []byte {
	for len(text) > 0 {
		end := bytes.IndexFunc(text, func(r rune) bool { return !picked(r) })
		if end < 0 {
			end = len(text)
		}
		switch run := text[:end]; {
		case utf8.RuneCount(run) >= least:
			dst = append(dst, content...)
		default:
			dst = append(dst, run...)
		}
		text = text[end:]
		next := bytes.IndexFunc(text, picked)
		if next < 0 {
			next = len(text)
		}
		dst, text = append(dst, text[:next]...), text[next:]
	}
	return dst
}

func (n *hfStrip) build(t *Pipeline) error {
	return t.normalize(func(dst, text []byte) []byte {
		if n.Left {
			text = bytes.TrimLeftFunc(text, chars.IsWhiteSpace)
		}
		if n.Right {
			text = bytes.TrimRightFunc(text, chars.IsWhiteSpace)
		}
		return append(dst, text...)
	})
}

func (n *hfPrepend) build(t *Pipeline) error {
	return t.normalize(func(dst, text []byte) []byte {
		if len(text) > 0 {
			dst = append(dst, n.Prepend...)
		}
		return append(dst, text...)
	})
}

func (n *hfPrecompiled) build(t *Pipeline) error {
	data, err := base64.StdEncoding.DecodeString(n.Map)
	if err != nil {
		return fmt.Errorf("precompiled_charsmap: %w", err)
	}
	table, err := spm.NewCharsMap(data)
	if err != nil || table == nil {
		return err
	}
	return t.normalize(table.AppendByGrapheme)
}
