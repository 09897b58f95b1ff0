package chars

import (
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// FirstMark is the first combining mark: text below it is in NFC.
const FirstMark = 0x300

// longRun of marks is well before where golang.org/x/text/unicode/norm begins to put in U+034F (stream-safe text),
// which Unicode's normalization forms, and Python's, do not have.
const longRun = 7

// HasLongRun reports whether text has so many marks in a row that norm may not be used on it but AppendNormal must.
func HasLongRun(text []rune) bool {
	run := 0
	for _, r := range text {
		if r >= FirstMark && unicode.Is(unicode.M, r) {
			if run++; run > longRun {
				return true
			}
			continue
		}
		run = 0
	}
	return false
}

// AppendNormal appends text in a normalization form, with no limit on the length of a run of marks. It is slow.
func AppendNormal(dst, text []rune, form norm.Form) []rune {
	decomposition, composes := form, false
	switch form {
	case norm.NFC:
		decomposition, composes = norm.NFD, true
	case norm.NFKC:
		decomposition, composes = norm.NFKD, true
	}
	starter, last := -1, uint8(0) // the last starter's place in dst, and the class of the mark written after it
	for _, m := range decompose(text, decomposition) {
		if composes && starter >= 0 && (last < m.class || last == 0 && starter == len(dst)-1) {
			if composed, ok := compose(dst[starter], m.r); ok {
				dst[starter] = composed
				continue
			}
		}
		if m.class == 0 {
			starter = len(dst)
		}
		last = m.class
		dst = append(dst, m.r)
	}
	return dst
}

// mark is a character with its canonical combining class.
type mark struct {
	r     rune
	class uint8
}

// decompose returns the decomposition of text in canonical order.
func decompose(text []rune, form norm.Form) []mark {
	var marks []mark
	var buf [utf8.UTFMax]byte
	for _, r := range text {
		encoded := buf[:utf8.EncodeRune(buf[:], r)]
		for _, d := range string(form.Bytes(encoded)) {
			marks = append(marks, mark{d, norm.NFC.PropertiesString(string(d)).CCC()})
		}
	}
	for begin := 0; begin < len(marks); begin++ {
		end := begin
		for end < len(marks) && marks[end].class != 0 {
			end++
		}
		slices.SortStableFunc(marks[begin:end], func(a, b mark) int { return int(a.class) - int(b.class) })
		begin = end
	}
	return marks
}

// compose returns the character that a starter and what follows make, if there is one.
func compose(starter, next rune) (rune, bool) {
	pair := norm.NFC.String(string([]rune{starter, next}))
	r, n := utf8.DecodeRuneInString(pair)
	return r, n == len(pair)
}
