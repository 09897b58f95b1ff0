package ftfy

import (
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	firstMark = 0x300 // all characters below are as NFC has them, and do not join with one another
	// longRun of marks is well before where golang.org/x/text/unicode/norm would begin to put in U+034F (stream-safe text), which
	// plain NFC does not have.
	longRun = 7
)

// normalize brings the segment to NFC.
func (f *Fixer) normalize() {
	if !containsFunc(f.a, func(r rune) bool { return r >= firstMark }) {
		return
	}
	if hasLongRun(f.a) {
		f.apply(appendNFC)
		return
	}
	f.bytes = f.bytes[:0]
	for _, r := range f.a {
		f.bytes = utf8.AppendRune(f.bytes, r)
	}
	if norm.NFC.QuickSpan(f.bytes) == len(f.bytes) {
		return
	}
	f.normal = norm.NFC.Append(f.normal[:0], f.bytes...)
	f.a = appendRunes(f.a[:0], f.normal)
}

func appendRunes(dst []rune, text []byte) []rune {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		dst = append(dst, r)
		text = text[n:]
	}
	return dst
}

func hasLongRun(text []rune) bool {
	run := 0
	for _, r := range text {
		if r >= firstMark && unicode.Is(unicode.M, r) {
			if run++; run > longRun {
				return true
			}
			continue
		}
		run = 0
	}
	return false
}

// appendNFC appends the canonical composition of text with no limit on the length of a run of marks.
func appendNFC(dst, text []rune) []rune {
	marks := appendDecomposed(nil, text)
	starter, last := -1, uint8(0) // the last starter's place in dst, and the class of the mark written after it
	for _, m := range marks {
		if starter >= 0 && (last < m.class || last == 0 && starter == len(dst)-1) {
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

// appendDecomposed appends the canonical decomposition of text in canonical order.
func appendDecomposed(dst []mark, text []rune) []mark {
	var buf [utf8.UTFMax]byte
	for _, r := range text {
		encoded := buf[:utf8.EncodeRune(buf[:], r)]
		decomposed := norm.NFD.Bytes(encoded)
		for _, d := range string(decomposed) {
			dst = append(dst, mark{d, norm.NFC.PropertiesString(string(d)).CCC()})
		}
	}
	for begin := 0; begin < len(dst); begin++ {
		end := begin
		for end < len(dst) && dst[end].class != 0 {
			end++
		}
		slices.SortStableFunc(dst[begin:end], func(a, b mark) int { return int(a.class) - int(b.class) })
		begin = end
	}
	return dst
}

// compose returns the character that a starter and what follows make, if there is one.
func compose(starter, next rune) (rune, bool) {
	pair := norm.NFC.String(string([]rune{starter, next}))
	r, n := utf8.DecodeRuneInString(pair)
	return r, n == len(pair)
}
