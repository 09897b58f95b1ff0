package tokenizer

import (
	"slices"
	"strings"

	"tandem/tokenizer/internal/chars"
	"tandem/tokenizer/internal/ftfy"
)

// Cleaning names what is done to a caption before it is split into words.
type Cleaning string

const (
	// CleanLower is what OpenAI's CLIP and open_clip do: ftfy's fix_text, HTML unescaped twice, space collapsed, lower
	// case.
	CleanLower Cleaning = "lower"
	// CleanWhitespace is CleanLower without lower case: what open_clip does before a Hugging Face tokenizer.
	CleanWhitespace Cleaning = "whitespace"
	// CleanCanonicalize is what open_clip does for SigLIP: text fixed and unescaped, underscores to spaces, ASCII
	// punctuation removed, lower case, space collapsed.
	CleanCanonicalize Cleaning = "canonicalize"
	// CleanSiglip is what transformers' SiglipTokenizer does: lower case, ASCII punctuation removed, space collapsed.
	CleanSiglip Cleaning = "siglip"
	// CleanNone leaves the text to the tokenizer's own normalizer, as transformers does.
	CleanNone Cleaning = "none"
)

var cleanings = []Cleaning{CleanLower, CleanWhitespace, CleanCanonicalize, CleanSiglip, CleanNone}

// cleaningVersion is part of every fingerprint: it changes when a Cleaning gives other text than before.
const cleaningVersion = "ftfy-6.3.1"

// Clean returns text as CLIP's tokenizer sees it, before it is split into words (CleanLower).
func Clean(text string) string { return CleanLower.Apply(text) }

// Apply returns text cleaned. Bytes that are not UTF-8 become U+FFFD.
func (c Cleaning) Apply(text string) string {
	s := getScratch()
	defer s.release()
	return string(c.apply(s, text))
}

// apply returns the cleaned text, which lives in s until its next use.
func (c Cleaning) apply(s *scratch, text string) []byte {
	if c == CleanLower && isPlain(text) {
		return s.cleanPlain(text)
	}
	s.runes = appendText(s.runes[:0], text)
	switch c {
	case CleanLower:
		s.fix()
		s.collapse()
		s.lower()
	case CleanWhitespace:
		s.fix()
		s.collapse()
	case CleanCanonicalize:
		s.fix()
		s.removePunctuation('_')
		s.lower()
		s.collapse()
	case CleanSiglip:
		s.lower()
		s.removePunctuation(0)
		s.collapse()
	}
	s.text = appendUTF8(s.text[:0], s.runes)
	return s.text
}

// plain marks the bytes of text that cleaning changes at most by lower-casing and collapsing space: printable ASCII
// without the & of HTML, and the white space that ftfy leaves alone or makes a line feed.
var plain = func() (table [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		table[c] = c != '&'
	}
	for _, c := range "\t\n\f\r" {
		table[c] = true
	}
	return table
}()

func isPlain(text string) bool {
	for i := range len(text) {
		if !plain[text[i]] {
			return false
		}
	}
	return true
}

// cleanPlain is CleanLower for plain text.
func (s *scratch) cleanPlain(text string) []byte {
	out := s.text[:0]
	for i := range len(text) {
		switch c := text[i]; {
		case c > ' ':
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			out = append(out, c)
		case len(out) > 0 && out[len(out)-1] != ' ':
			out = append(out, ' ')
		}
	}
	if n := len(out); n > 0 && out[n-1] == ' ' {
		out = out[:n-1]
	}
	s.text = out
	return out
}

// fix is ftfy.fix_text and html.unescape twice.
func (s *scratch) fix() {
	s.runes = append(s.runes[:0], s.fixer.Fix(s.runes)...)
	for range 2 {
		if slices.Contains(s.runes, '&') {
			s.spare = ftfy.AppendUnescaped(s.spare[:0], s.runes)
			s.runes, s.spare = s.spare, s.runes
		}
	}
}

// collapse is " ".join(text.split()).
func (s *scratch) collapse() {
	out := s.runes[:0]
	for _, r := range s.runes {
		switch {
		case !chars.IsPythonSpace(r):
			out = append(out, r)
		case len(out) > 0 && out[len(out)-1] != ' ':
			out = append(out, ' ')
		}
	}
	if n := len(out); n > 0 && out[n-1] == ' ' {
		out = out[:n-1]
	}
	s.runes = out
}

func (s *scratch) lower() {
	s.spare = chars.AppendLower(s.spare[:0], s.runes)
	s.runes, s.spare = s.spare, s.runes
}

const punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" // Python's string.punctuation

// removePunctuation deletes ASCII punctuation, except for toSpace, which becomes a space.
func (s *scratch) removePunctuation(toSpace rune) {
	out := s.runes[:0]
	for _, r := range s.runes {
		switch {
		case r == toSpace:
			out = append(out, ' ')
		case r >= 0x80 || !strings.ContainsRune(punctuation, r):
			out = append(out, r)
		}
	}
	s.runes = out
}
