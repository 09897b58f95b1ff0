package spm

import (
	"bytes"
	"unicode/utf8"
)

// Space stands for a space in pieces.
const Space = "▁"

// Normalizer prepares text for a Model as SentencePiece does.
type Normalizer struct {
	chars       *CharsMap
	userDefined *Pieces // symbols that are left as they are; may be nil
	model       *Model
}

// NewNormalizer returns the normalizer of m.
func NewNormalizer(m *Model) (*Normalizer, error) {
	chars, err := NewCharsMap(m.CharsMap)
	if err != nil {
		return nil, err
	}
	symbols := map[string]int32{}
	for id, p := range m.Pieces {
		if p.Type == UserDefined {
			symbols[p.Text] = int32(id)
		}
	}
	n := &Normalizer{chars: chars, model: m}
	if len(symbols) > 0 {
		n.userDefined = NewPieces(symbols)
	}
	return n, nil
}

var (
	replacementChar = []byte("\uFFFD")
	plainSpace      = []byte(" ")
)

// prefix returns the first piece of text normalized, and how many bytes of text it stands for.
func (n *Normalizer) prefix(text []byte) (normalized []byte, size int) {
	if n.userDefined != nil {
		if size, _ := n.userDefined.Longest(text); size > 0 {
			return text[:size], size
		}
	}
	if n.chars != nil {
		if replacement, size := n.chars.match(text, true); size > 0 {
			return replacement, size
		}
	}
	r, size := utf8.DecodeRune(text)
	if r == utf8.RuneError && size == 1 {
		return replacementChar, 1
	}
	return text[:size], size
}

// Append appends text normalized.
func (n *Normalizer) Append(dst, text []byte) []byte {
	if n.model.RemoveSpaces {
		text = n.trimLeft(text)
	}
	if len(text) == 0 {
		return dst
	}
	space := plainSpace
	if n.model.EscapeSpaces {
		space = []byte(Space)
	}
	begin := len(dst)
	if n.model.AddDummyPrefix {
		dst = append(dst, space...)
	}
	dst = n.appendBody(dst, text, space)
	if n.model.RemoveSpaces {
		for bytes.HasSuffix(dst[begin:], space) {
			dst = dst[:len(dst)-len(space)]
		}
	}
	return dst
}

func (n *Normalizer) trimLeft(text []byte) []byte {
	for len(text) > 0 {
		first, size := n.prefix(text)
		if string(first) != " " {
			break
		}
		text = text[size:]
	}
	return text
}

func (n *Normalizer) appendBody(dst, text, space []byte) []byte {
	afterSpace := n.model.RemoveSpaces
	for len(text) > 0 {
		part, size := n.prefix(text)
		text = text[size:]
		if afterSpace {
			part = bytes.TrimLeft(part, " ")
		}
		for _, b := range part {
			if b == ' ' {
				dst = append(dst, space...)
			} else {
				dst = append(dst, b)
			}
		}
		if len(part) > 0 {
			afterSpace = n.model.RemoveSpaces && part[len(part)-1] == ' '
		}
	}
	return dst
}
