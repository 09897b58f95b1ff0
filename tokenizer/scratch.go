package tokenizer

import (
	"sync"
	"unicode/utf8"

	"tandem/tokenizer/internal/ftfy"
)

// scratch holds the buffers of one Encode or Clean, so that they allocate nothing in steady state.
type scratch struct {
	fixer   ftfy.Fixer
	runes   []rune
	spare   []rune
	text    []byte
	symbols []int32
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// keepScratch is the size in bytes up to which a scratch goes back to the pool: one huge text should not hold memory
// for ever.
const keepScratch = 1 << 20

func getScratch() *scratch { return scratches.Get().(*scratch) }

func (s *scratch) release() {
	if 4*cap(s.runes)+cap(s.text) <= keepScratch {
		scratches.Put(s)
	}
}

// appendText appends text's characters. Surrogates that were encoded one by one, as some JSON writers do, stay
// surrogates, which Clean joins; any other byte that is not UTF-8 is U+FFFD.
func appendText(dst []rune, text string) []rune {
	for i := 0; i < len(text); {
		if r, ok := surrogateAt(text[i:]); ok {
			dst = append(dst, r)
			i += 3
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		dst = append(dst, r)
		i += n
	}
	return dst
}

func surrogateAt(text string) (rune, bool) {
	if len(text) < 3 || text[0] != 0xed || text[1] < 0xa0 || text[1] > 0xbf || text[2]&0xc0 != 0x80 {
		return 0, false
	}
	return 0xd000 | rune(text[1]&0x3f)<<6 | rune(text[2]&0x3f), true
}

// appendUTF8 appends text in UTF-8; surrogates become U+FFFD.
func appendUTF8(dst []byte, text []rune) []byte {
	for _, r := range text {
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}
