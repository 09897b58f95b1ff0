package ftfy

import (
	"slices"
	"unicode"
)

const (
	escape      = 0x1b
	replacement = 0xfffd
)

// fixC1Controls reads the C1 control characters as Windows-1252, which is what browsers do.
func fixC1Controls(text []rune) {
	for i, r := range text {
		if isC1(r) {
			text[i] = c1AsWindows1252[r-0x80]
		}
	}
}

func isC1(r rune) bool { return r >= 0x80 && r <= 0x9f }

// firstLigature is below every ligature, so that most text is passed over without a look at the map.
const firstLigature = 0x132

func isLigature(r rune) bool {
	if r < firstLigature || r > 0x1f3 && r < 0xfb00 {
		return false
	}
	_, ok := ligatures[r]
	return ok
}

func appendLigature(dst []rune, r rune) []rune { return appendString(dst, ligatures[r]) }

// isWide reports full-width Latin, half-width katakana and Hangul, and the ideographic space.
func isWide(r rune) bool {
	if r != 0x3000 && (r < 0xff01 || r > 0xffef) {
		return false
	}
	_, ok := widths[r]
	return ok
}

func appendWidth(dst []rune, r rune) []rune { return appendString(dst, widths[r]) }

// appendString is append for a string, without the conversion that allocates.
func appendString(dst []rune, s string) []rune {
	for _, r := range s {
		dst = append(dst, r)
	}
	return dst
}

func uncurlQuotes(text []rune) {
	for i, r := range text {
		switch {
		case r >= 0x201c && r <= 0x201f:
			text[i] = '"'
		case r >= 0x2018 && r <= 0x201b, r == 0x2bc:
			text[i] = '\''
		}
	}
}

func isLineBreak(r rune) bool {
	return r == '\r' || r == 0x2028 || r == 0x2029 || r == 0x85
}

// appendLineBreaks writes every kind of line break as \n.
func appendLineBreaks(dst, src []rune) []rune {
	for i, r := range src {
		switch {
		case r == '\r' && i+1 < len(src) && src[i+1] == '\n':
			// the \n that follows stands for both
		case isLineBreak(r):
			dst = append(dst, '\n')
		default:
			dst = append(dst, r)
		}
	}
	return dst
}

func isSurrogate(r rune) bool { return r >= 0xd800 && r <= 0xdfff }

// appendSurrogates joins surrogate pairs and replaces single ones.
func appendSurrogates(dst, src []rune) []rune {
	for i := 0; i < len(src); i++ {
		r := src[i]
		switch {
		case !isSurrogate(r):
			dst = append(dst, r)
		case r < 0xdc00 && i+1 < len(src) && src[i+1] >= 0xdc00 && src[i+1] <= 0xdfff:
			dst = append(dst, 0x10000+(r-0xd800)<<10+(src[i+1]-0xdc00))
			i++
		default:
			dst = append(dst, replacement)
		}
	}
	return dst
}

// appendWithoutEscapes leaves out "ANSI" terminal escapes such as ESC[31m.
func appendWithoutEscapes(dst, src []rune) []rune {
	for i := 0; i < len(src); i++ {
		if n := escapeLen(src[i:]); n > 0 {
			i += n - 1
			continue
		}
		dst = append(dst, src[i])
	}
	return dst
}

// escapeLen returns the length of the terminal escape that text starts with, or 0.
func escapeLen(text []rune) int {
	if len(text) < 3 || text[0] != escape || text[1] != '[' {
		return 0
	}
	end := 2
	for end < len(text) && (text[end] == ';' || unicode.Is(unicode.Nd, text[end])) {
		end++
	}
	if end < len(text) && isLetter(text[end]) {
		return end + 1
	}
	return 0
}

func isLetter(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }

// isControl reports the control characters that nobody means to have in a text.
func isControl(r rune) bool {
	if r >= ' ' && r < 0x7f || r > 0x7f && r < 0x206a {
		return false
	}
	return inSpans(controlChars, r)
}

// span is a range of code points or bytes, both ends included.
type span struct{ low, high rune }

func inSpans(spans []span, r rune) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return s.low <= r && r <= s.high })
}
