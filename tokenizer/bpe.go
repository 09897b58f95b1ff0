package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// BPE is a byte-pair vocabulary in CLIP's format: the 256 bytes, the 256 bytes at the end of a word, one id for each
// merge in the order of the merges, start, end. CLIP and Train make one. It may be used by many goroutines at once.
type BPE struct {
	*vocabulary
	pad     int32
	context int
}

// vocabulary is what does not change when a BPE is copied with another padding or context.
type vocabulary struct {
	tokens      []string   // by id, in the byte alphabet
	merges      [][2]int32 // the pair that became id 512+i
	table       mergeTable
	byteID      [256]int32 // id of a byte inside of a word; +256 at its end
	cleaning    Cleaning
	pattern     wordPattern
	cache       *wordCache
	fingerprint string // without pad
}

const (
	byteIDs     = 256
	baseIDs     = 2 * byteIDs // single bytes, inside and at the end of a word
	specialIDs  = 2
	smallestBPE = baseIDs + specialIDs
	wordEnd     = "</w>"

	startText = "<start_of_text>" // as open_clip writes them in text
	endText   = "<end_of_text>"
)

// byteAlphabet maps bytes to printable characters, as GPT-2 does, in the order of their ids.
var byteAlphabet = func() (alphabet struct {
	order [256]byte // byte by id
	char  [256]rune // character by byte
	byte  map[rune]byte
}) {
	printable := func(b int) bool { return b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae }
	alphabet.byte = make(map[rune]byte, 256)
	var first, second []byte
	for b := range 256 {
		if r := rune(b); printable(b) {
			first = append(first, byte(b))
			alphabet.char[b] = r
		} else {
			alphabet.char[b] = rune(256 + len(second))
			second = append(second, byte(b))
		}
		alphabet.byte[alphabet.char[b]] = byte(b)
	}
	copy(alphabet.order[:], append(first, second...))
	return alphabet
}()

// newVocabulary lays out the ids of a list of merges, each of which makes a symbol that was not there before.
func newVocabulary(merges [][2]string) (*vocabulary, error) {
	v := &vocabulary{
		tokens:   make([]string, 0, smallestBPE+len(merges)),
		merges:   make([][2]int32, len(merges)),
		table:    make(mergeTable, len(merges)),
		cleaning: CleanLower,
		pattern:  wordPattern{specials: []string{startText, endText}, ignoreCase: true},
		cache:    newWordCache(),
	}
	v.addBytes()
	ids := make(map[string]int32, cap(v.tokens))
	for id, token := range v.tokens {
		ids[token] = int32(id)
	}
	for i, m := range merges {
		left, okLeft := ids[m[0]]
		right, okRight := ids[m[1]]
		joined, id := m[0]+m[1], int32(len(v.tokens))
		if _, taken := ids[joined]; !okLeft || !okRight || taken {
			return nil, fmt.Errorf("merge %d (%q %q): each part must be a byte or made by a merge before it, and the whole be new", i+1, m[0], m[1])
		}
		v.merges[i] = [2]int32{left, right}
		v.table[pair{left, right}] = merge{int32(i), id}
		v.tokens = append(v.tokens, joined)
		ids[joined] = id
	}
	v.tokens = append(v.tokens, startText, endText)
	v.fingerprint = v.hash()
	return v, nil
}

func (v *vocabulary) addBytes() {
	for id, b := range byteAlphabet.order {
		v.byteID[b] = int32(id)
		v.tokens = append(v.tokens, string(byteAlphabet.char[b]))
	}
	for _, token := range v.tokens[:byteIDs:byteIDs] {
		v.tokens = append(v.tokens, token+wordEnd)
	}
}

// hash covers all that ids depend on, except for the padding.
func (v *vocabulary) hash() string {
	h := sha256.New()
	fmt.Fprintf(h, "bpe\n%s %s\n", v.cleaning, cleaningVersion)
	for _, m := range v.merges {
		fmt.Fprintf(h, "%s %s\n", v.tokens[m[0]], v.tokens[m[1]])
	}
	for _, special := range v.tokens[len(v.tokens)-specialIDs:] {
		fmt.Fprintln(h, special)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// VocabSize returns the number of ids.
func (t *BPE) VocabSize() int { return len(t.tokens) }

// Start returns the id that each text begins with, the last but one.
func (t *BPE) Start() int32 { return int32(len(t.tokens) - 2) }

// End returns the id that each text ends with, the last.
func (t *BPE) End() int32 { return int32(len(t.tokens) - 1) }

// Pad returns the id that fills the rest of the context.
func (t *BPE) Pad() int32 { return t.pad }

// Context returns the usual length of Encode's dst.
func (t *BPE) Context() int { return t.context }

// WithContext returns t with another Context. Ids do not depend on it.
func (t *BPE) WithContext(context int) *BPE {
	return &BPE{t.vocabulary, t.pad, context}
}

// WithPad returns t with another padding: 0 in open_clip, the end token in transformers.
func (t *BPE) WithPad(pad int32) *BPE {
	return &BPE{t.vocabulary, pad, t.context}
}

// Token returns how id is written in vocabulary files, or "" where there is no such id.
func (t *BPE) Token(id int32) string {
	if id < 0 || int(id) >= len(t.tokens) {
		return ""
	}
	return t.tokens[id]
}

// Fingerprint implements Tokenizer.
func (t *BPE) Fingerprint() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s pad %d", t.fingerprint, t.pad))
	return hex.EncodeToString(sum[:])
}

// Encode implements Tokenizer.
func (t *BPE) Encode(dst []int32, text string) int {
	if len(dst) == 0 {
		return 0
	}
	n := 0
	if len(dst) > 1 {
		dst[0] = t.Start()
		s := getScratch()
		n = 1 + t.encodeWords(dst[1:len(dst)-1], t.cleaning.apply(s, text), s)
		s.release()
	}
	dst[n] = t.End()
	for i := n + 1; i < len(dst); i++ {
		dst[i] = t.pad
	}
	return n + 1
}

// encodeWords writes the ids of cleaned text until dst is full, and returns how many it wrote.
func (t *BPE) encodeWords(dst []int32, text []byte, s *scratch) int {
	n := 0
	for i := 0; n < len(dst); {
		start, end := t.pattern.next(text, i)
		if start == len(text) {
			break
		}
		n += copy(dst[n:], t.wordIDs(text[start:end], s))
		i = end
	}
	return n
}

// wordIDs returns the ids of a word. They must not be changed, and live until the next use of s.
func (v *vocabulary) wordIDs(word []byte, s *scratch) []int32 {
	hash := v.cache.hash(word)
	if ids := v.cache.get(word, hash); ids != nil {
		return ids
	}
	ids := v.mergeWord(word, s)
	if len(word) <= cacheLongest {
		ids = slices.Clone(ids)
		v.cache.put(word, hash, ids)
	}
	return ids
}

func (v *vocabulary) mergeWord(word []byte, s *scratch) []int32 {
	if i := slices.Index(v.pattern.specials, string(word)); i >= 0 {
		s.symbols = append(s.symbols[:0], int32(len(v.tokens)-specialIDs+i))
		return s.symbols
	}
	s.symbols = s.symbols[:0]
	for _, b := range word {
		s.symbols = append(s.symbols, v.byteID[b])
	}
	s.symbols[len(word)-1] += byteIDs
	return v.table.apply(s.symbols)
}

// AppendIDs appends the ids of the whole text, without start, end, padding or truncation.
func (t *BPE) AppendIDs(dst []int32, text string) []int32 {
	s := getScratch()
	defer s.release()
	cleaned := t.cleaning.apply(s, text)
	for i := 0; ; {
		start, end := t.pattern.next(cleaned, i)
		if start == len(cleaned) {
			return dst
		}
		dst = append(dst, t.wordIDs(cleaned[start:end], s)...)
		i = end
	}
}

// Decode implements Tokenizer. As in open_clip, a space follows each word, and none follows special tokens.
func (t *BPE) Decode(ids []int32) string {
	var out []byte
	for _, id := range ids {
		token := t.Token(id)
		word, ends := strings.CutSuffix(token, wordEnd)
		for _, r := range word {
			out = append(out, byteAlphabet.byte[r])
		}
		if ends {
			out = append(out, ' ')
		}
	}
	return validUTF8(out)
}

// validUTF8 replaces each damaged character by one U+FFFD, as Python does: a character that was cut short counts once.
func validUTF8(text []byte) string {
	if utf8.Valid(text) {
		return string(text)
	}
	var out strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r == utf8.RuneError && n == 1 {
			n = brokenLen(text)
		}
		out.WriteRune(r)
		text = text[n:]
	}
	return out.String()
}

// brokenLen returns the length of the longest start of text that could begin a valid character, at least 1.
func brokenLen(text []byte) int {
	for n := min(3, len(text)); n > 1; n-- {
		if !utf8.FullRune(text[:n]) {
			return n
		}
	}
	return 1
}
