// Package chars says what the tokenizers of Python and Hugging Face hold a character to be: letter, number, space,
// and how it is lower-cased. Its tables are independent of the Unicode version that Go was built with, so that ids do
// not change with a new compiler.
package chars

import "unicode"

// Class is how CLIP's word pattern sees a character.
type Class uint8

const (
	Other  Class = iota // [^\s\p{L}\p{N}]
	Letter              // [\p{L}]
	Number              // [\p{N}]
	Space               // \s
)

// ascii holds the classes of the first 128 characters.
var ascii = func() (table [128]Class) {
	for c := range table {
		table[c] = slowClass(rune(c))
	}
	return table
}()

// ClassOf returns the class of r.
func ClassOf(r rune) Class {
	if r >= 0 && r < 128 {
		return ascii[r]
	}
	return slowClass(r)
}

func slowClass(r rune) Class {
	switch {
	case unicode.Is(letters, r):
		return Letter
	case unicode.Is(numbers, r):
		return Number
	case IsWhiteSpace(r):
		return Space
	default:
		return Other
	}
}

// IsWhiteSpace is Unicode's White_Space, which regular expressions of Python's regex module and of Hugging Face call \s.
func IsWhiteSpace(r rune) bool {
	switch {
	case r < 0x80:
		return r == ' ' || r >= '\t' && r <= '\r'
	case r < 0x1680:
		return r == 0x85 || r == 0xa0
	default:
		return r >= 0x2000 && r <= 0x200a || r == 0x1680 || r == 0x2028 || r == 0x2029 || r == 0x202f || r == 0x205f || r == 0x3000
	}
}

// IsPythonSpace is str.isspace: White_Space and the four separators U+001C to U+001F.
func IsPythonSpace(r rune) bool {
	return IsWhiteSpace(r) || r >= 0x1c && r <= 0x1f
}

// IsWord is \w of Python's re: letters, numbers and the underscore.
func IsWord(r rune) bool {
	if r < 0x80 {
		return ascii[r] == Letter || ascii[r] == Number || r == '_'
	}
	return unicode.Is(letters, r) || unicode.Is(numbers, r)
}

const (
	capitalSigma = 'Σ'
	smallSigma   = 'σ'
	finalSigma   = 'ς'
	dottedI      = 'İ' // lower-cases to two characters
	dotAbove     = 0x307
)

// AppendLower appends text lower-cased as Python's str.lower does: İ becomes i and a dot above, and a Σ that ends a
// word becomes ς. dst and text must not overlap.
func AppendLower(dst, text []rune) []rune {
	for i, r := range text {
		switch {
		case r < 0x80:
			if 'A' <= r && r <= 'Z' {
				r += 'a' - 'A'
			}
			dst = append(dst, r)
		case r == capitalSigma && endsWord(text, i):
			dst = append(dst, finalSigma)
		default:
			dst = AppendLowerRune(dst, r)
		}
	}
	return dst
}

// AppendLowerRune appends r lower-cased by itself, as Hugging Face's Lowercase does: there is no final sigma.
func AppendLowerRune(dst []rune, r rune) []rune {
	if r == dottedI {
		return append(dst, 'i', dotAbove)
	}
	return append(dst, unicode.ToLower(r))
}

// endsWord is Unicode's Final_Sigma: a cased letter before text[i] and none after it, with ignorable ones skipped.
func endsWord(text []rune, i int) bool {
	before := i - 1
	for before >= 0 && unicode.Is(ignorable, text[before]) {
		before--
	}
	if before < 0 || !unicode.Is(cased, text[before]) {
		return false
	}
	after := i + 1
	for after < len(text) && unicode.Is(ignorable, text[after]) {
		after++
	}
	return after == len(text) || !unicode.Is(cased, text[after])
}
