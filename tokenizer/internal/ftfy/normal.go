package ftfy

import (
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"tandem/tokenizer/internal/chars"
)

// normalize brings the segment to NFC.
func (f *Fixer) normalize() {
	if !containsFunc(f.a, func(r rune) bool { return r >= chars.FirstMark }) {
		return
	}
	if chars.HasLongRun(f.a) {
		f.apply(func(dst, src []rune) []rune { return chars.AppendNormal(dst, src, norm.NFC) })
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
