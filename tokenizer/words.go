package tokenizer

import (
	"unicode/utf8"

	"tandem/tokenizer/internal/chars"
)

// wordPattern splits cleaned text as CLIP's regular expression does:
//
//	specials|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
//
// Where case is ignored, as in OpenAI's and open_clip's tokenizer (not in Hugging Face's), the letter ſ counts as an s,
// and the combining iota U+0345 matches nothing and is left out: Python holds it to be a mark and, as the letter iota
// in another case, no mark.
type wordPattern struct {
	specials   []string // ASCII, lower case, all beginning with <
	ignoreCase bool
}

// next returns the bounds of the first word at or after i, or start == len(text).
func (p *wordPattern) next(text []byte, i int) (start, end int) {
	for i < len(text) {
		class, n := p.classAt(text, i)
		switch class {
		case chars.Space:
			i += n
		case chars.Letter:
			return i, p.runEnd(text, i+n, chars.Letter)
		case chars.Number:
			return i, i + n
		default:
			if fixed := p.fixedLen(text[i:]); fixed > 0 {
				return i, i + fixed
			}
			return i, p.runEnd(text, i+n, chars.Other)
		}
	}
	return len(text), len(text)
}

// asciiClass is chars.ClassOf for single bytes.
var asciiClass = func() (table [utf8.RuneSelf]chars.Class) {
	for c := range table {
		table[c] = chars.ClassOf(rune(c))
	}
	return table
}()

// classAt returns the class of the character at text[i] and its length in bytes.
func (p *wordPattern) classAt(text []byte, i int) (chars.Class, int) {
	if c := text[i]; c < utf8.RuneSelf {
		return asciiClass[c], 1
	}
	r, n := utf8.DecodeRune(text[i:])
	if r == 0x345 && p.ignoreCase {
		return chars.Space, n
	}
	return chars.ClassOf(r), n
}

// runEnd returns where the characters of a class that go on at text[i] end.
func (p *wordPattern) runEnd(text []byte, i int, class chars.Class) int {
	for i < len(text) {
		c, n := p.classAt(text, i)
		if c != class {
			break
		}
		i += n
	}
	return i
}

var contractions = []string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}

// fixedLen returns the length of the special token or contraction that text starts with, or 0.
func (p *wordPattern) fixedLen(text []byte) int {
	var words []string
	switch text[0] {
	case '<':
		words = p.specials
	case '\'':
		words = contractions
	}
	for _, word := range words {
		if n := p.prefixLen(text, word); n > 0 {
			return n
		}
	}
	return 0
}

// prefixLen returns the number of bytes at the start of text that match word, or 0. text is in lower case, so that
// ignoring case comes down to ſ (C5 BF) for s.
func (p *wordPattern) prefixLen(text []byte, word string) int {
	n := 0
	for i := range len(word) {
		switch {
		case n < len(text) && text[n] == word[i]:
			n++
		case p.ignoreCase && word[i] == 's' && n+1 < len(text) && text[n] == 0xc5 && text[n+1] == 0xbf:
			n += 2
		default:
			return 0
		}
	}
	return n
}
