package ftfy

import (
	"bytes"
	"slices"
	"sync"
	"unicode/utf8"
)

// encoding is a single-byte encoding that UTF-8 is often mistaken for. Bytes below 0x80 are ASCII. A sloppy one maps
// unassigned bytes as Latin-1 does, and U+FFFD to substitute.
type encoding struct {
	name   string
	sloppy bool
	high   []rune
}

// substitute stands for a byte that was lost before the text came here.
const substitute = 0x1a

// encoders maps characters beyond ASCII to bytes, for each of encodings.
var encoders = sync.OnceValue(func() []map[rune]byte {
	tables := make([]map[rune]byte, len(encodings))
	for i, e := range encodings {
		tables[i] = make(map[rune]byte, len(e.high)+1)
		for j, r := range e.high {
			tables[i][r] = byte(0x80 + j)
		}
		if e.sloppy {
			tables[i][replacement] = substitute
		}
	}
	return tables
})

// encode returns text in encoding number i, or false where a character is not in it.
func encode(text []rune, i int) ([]byte, bool) {
	table := encoders()[i]
	out := make([]byte, len(text))
	for j, r := range text {
		b, ok := byte(r), r < 0x80 && !(r == substitute && encodings[i].sloppy)
		if !ok {
			if b, ok = table[r]; !ok {
				return nil, false
			}
		}
		out[j] = b
	}
	return out, true
}

// fixEncoding undoes mojibake, layer by layer. It returns text itself where there is none.
func fixEncoding(text []rune) []rune {
	for {
		fixed := fixEncodingOnce(text)
		if sameSlice(fixed, text) || slices.Equal(fixed, text) {
			return text
		}
		text = fixed
	}
}

func fixEncodingOnce(text []rune) []rune {
	if isASCII(text) || !isBad(text) {
		return text
	}
	isLatin1 := false
	for i, e := range encodings {
		encoded, ok := encode(text, i)
		if !ok {
			continue
		}
		isLatin1 = isLatin1 || e.name == "latin-1"
		if fixed, ok := decodeMojibake(encoded, e); ok {
			return fixed
		}
	}
	if fixed := decodeInconsistent(text); !slices.Equal(fixed, text) {
		return fixed
	}
	if isLatin1 {
		if fixed, ok := latin1AsWindows1252(text); ok {
			return fixed
		}
	}
	if containsFunc(text, isC1) {
		text = slices.Clone(text)
		fixC1Controls(text)
	}
	return text
}

// decodeMojibake decodes what a single-byte encoding made of UTF-8, with some damage repaired.
func decodeMojibake(encoded []byte, from encoding) ([]rune, bool) {
	if from.name != "macroman" { // there it would match a dash and a space
		encoded = restoreA0(encoded)
	}
	if from.sloppy {
		encoded = replaceMatches(encoded, lossyUTF8, func(dst, _ []byte) []byte {
			return utf8.AppendRune(dst, replacement)
		})
	}
	if bytes.IndexByte(encoded, 0xed) >= 0 || bytes.IndexByte(encoded, 0xc0) >= 0 {
		return decodeVariants(encoded)
	}
	return decodeUTF8(encoded)
}

func decodeUTF8(encoded []byte) ([]rune, bool) {
	if !utf8.Valid(encoded) {
		return nil, false
	}
	return []rune(string(encoded)), true
}

// latin1AsWindows1252 reads Latin-1 text with C1 control characters as Windows-1252; it fails at the five bytes that
// have no meaning there, and where nothing changes.
func latin1AsWindows1252(text []rune) ([]rune, bool) {
	fixed := slices.Clone(text)
	fixC1Controls(fixed)
	return fixed, !containsFunc(fixed, isC1) && !slices.Equal(fixed, text)
}

// restoreA0 puts back the non-breaking spaces in UTF-8 that something turned into plain spaces.
func restoreA0(encoded []byte) []byte {
	if !containsMatch(encoded, alteredUTF8) {
		return encoded
	}
	encoded = spaceAGrave(encoded)
	return replaceMatches(encoded, alteredUTF8, func(dst, match []byte) []byte {
		return append(dst, bytes.ReplaceAll(match, []byte{' '}, []byte{0xa0})...)
	})
}

// spaceAGrave takes C3 and a space for the word à, unless what follows says that à begins a word.
func spaceAGrave(encoded []byte) []byte {
	var out []byte
	for i := 0; i < len(encoded); i++ {
		out = append(out, encoded[i])
		if encoded[i] != 0xc3 || i+1 == len(encoded) || encoded[i+1] != ' ' {
			continue
		}
		rest := encoded[i+2:]
		if !slices.ContainsFunc(afterA, func(p string) bool { return bytes.HasPrefix(rest, []byte(p)) }) {
			out = append(out, 0xa0)
		}
	}
	return out
}

// afterA is what follows the à of Portuguese words such as àquele, and a space of its own.
var afterA = []string{" ", "quele", "quela", "quilo", "s "}

// replaceMatches replaces each match of one of the alternatives, from left to right, by what replace appends for it.
func replaceMatches(data []byte, alternatives [][][]span, replace func(dst, match []byte) []byte) []byte {
	if !containsMatch(data, alternatives) {
		return data
	}
	out := make([]byte, 0, len(data)+16)
	for i := 0; i < len(data); {
		if n := matchBytes(data[i:], alternatives); n > 0 {
			out = replace(out, data[i:i+n])
			i += n
			continue
		}
		out = append(out, data[i])
		i++
	}
	return out
}

func containsMatch(data []byte, alternatives [][][]span) bool {
	for i := range data {
		if matchBytes(data[i:], alternatives) > 0 {
			return true
		}
	}
	return false
}

// matchBytes returns the length of the first alternative that data starts with, or 0.
func matchBytes(data []byte, alternatives [][][]span) int {
	for _, sequence := range alternatives {
		if len(sequence) <= len(data) && matchesSequence(data, sequence) {
			return len(sequence)
		}
	}
	return 0
}

func matchesSequence(data []byte, sequence [][]span) bool {
	for i, class := range sequence {
		if !inSpans(class, rune(data[i])) {
			return false
		}
	}
	return true
}

// decodeInconsistent fixes stretches of mojibake inside of a text that has other characters too.
func decodeInconsistent(text []rune) []rune {
	var out []rune
	for i := 0; i < len(text); {
		n := mojibakeLen(text, i)
		if n == 0 {
			out = append(out, text[i])
			i++
			continue
		}
		part := text[i : i+n]
		if n < len(text) && isBad(part) { // shorter, so that this comes to an end
			part = fixEncoding(part)
		}
		out = append(out, part...)
		i += n
	}
	return out
}

// mojibakeLen returns the length of the UTF-8-like sequences that begin at text[at], or 0.
func mojibakeLen(text []rune, at int) int {
	if at > 0 && inSpans(utf8ContinuationStrict, text[at-1]) {
		return 0
	}
	end := at
	for {
		n := sequenceLen(text[end:])
		if n == 0 {
			return end - at
		}
		end += n
	}
}

// sequenceLen returns the length of one character of UTF-8, each byte of which became a character, or 0.
func sequenceLen(text []rune) int {
	for n, first := range [][]span{2: utf8FirstOf2, 3: utf8FirstOf3, 4: utf8FirstOf4} {
		if n < 2 || len(text) < n || !inSpans(first, text[0]) {
			continue
		}
		if !slices.ContainsFunc(text[1:n], func(r rune) bool { return !inSpans(utf8Continuation, r) }) {
			return n
		}
	}
	return 0
}
