package tokenizer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"tandem/tokenizer/internal/chars"
	"tandem/tokenizer/internal/spm"
)

// Pipeline is a tokenizer as Hugging Face's tokenizer.json describes it, or a SentencePiece model: cleaning, added
// tokens, normalizers, pre-tokenizers, a byte-pair or unigram model, start and end tokens. Load makes one. It may be
// used by many goroutines at once.
type Pipeline struct {
	cleaning       Cleaning
	added          addedTokens // matched before normalization
	normalizers    []textStep
	addedAfter     addedTokens // matched after it
	pre            []preTokenizer
	model          pieceModel
	prefix, suffix []int32 // ids around every text

	tokens  []string // by id
	pad     int32
	context int
	decoder decoder

	cache  *wordCache // nil where pieces are whole captions
	source source
	digest string // over the source and what it is read with, without pad
	pool   sync.Pool
}

// textStep appends text normalized.
type textStep func(dst, text []byte) []byte

// addedToken is a text that is an id by itself.
type addedToken struct {
	text           string
	id             int32
	lstrip, rstrip bool // take the white space beside it too
}

// addedTokens finds added tokens; its zero value has none.
type addedTokens struct {
	index *spm.Pieces // to places in list
	list  []addedToken
}

func newAddedTokens(list []addedToken) addedTokens {
	if len(list) == 0 {
		return addedTokens{}
	}
	places := map[string]int32{}
	for i, token := range list {
		places[token.text] = int32(i)
	}
	return addedTokens{spm.NewPieces(places), list}
}

// decoder says how pieces are put together to text.
type decoder struct {
	byteLevel bool   // pieces are in the byte alphabet
	wordEnd   string // suffix that becomes a space
	space     string // character that becomes a space
	trimFirst bool   // the first space is not part of the text
}

// pipelineScratch holds the buffers of one Encode.
type pipelineScratch struct {
	scratch
	a, b     pieces
	ids      []int32
	key      []byte
	normal   [2][]byte
	segments []spm.Segment
	steps    []spm.Step
}

// VocabSize implements Tokenizer.
func (t *Pipeline) VocabSize() int { return len(t.tokens) }

// Start implements Tokenizer.
func (t *Pipeline) Start() int32 {
	if len(t.prefix) == 0 {
		return -1
	}
	return t.prefix[0]
}

// End implements Tokenizer.
func (t *Pipeline) End() int32 {
	if len(t.suffix) == 0 {
		return -1
	}
	return t.suffix[len(t.suffix)-1]
}

// Pad implements Tokenizer.
func (t *Pipeline) Pad() int32 { return t.pad }

// Context implements Tokenizer.
func (t *Pipeline) Context() int { return t.context }

// Fingerprint implements Tokenizer.
func (t *Pipeline) Fingerprint() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s pad %d", t.digest, t.pad))
	return hex.EncodeToString(sum[:])
}

// Encode implements Tokenizer.
func (t *Pipeline) Encode(dst []int32, text string) int {
	s := t.scratch()
	defer t.release(s)
	s.ids = t.appendIDs(s.ids[:0], text, s)
	n := copy(dst, t.prefix)
	if room := len(dst) - n - len(t.suffix); room >= 0 {
		n += copy(dst[n:], s.ids[:min(room, len(s.ids))])
		n += copy(dst[n:], t.suffix)
	} else if n = len(dst); n > 0 && len(t.suffix) > 0 {
		dst[n-1] = t.End() // no room for a text at all
	}
	for i := n; i < len(dst); i++ {
		dst[i] = t.pad
	}
	return n
}

// AppendIDs appends the ids of the whole text, without start, end, padding or truncation.
func (t *Pipeline) AppendIDs(dst []int32, text string) []int32 {
	s := t.scratch()
	defer t.release(s)
	return t.appendIDs(dst, text, s)
}

func (t *Pipeline) scratch() *pipelineScratch {
	if s, ok := t.pool.Get().(*pipelineScratch); ok {
		return s
	}
	return new(pipelineScratch)
}

func (t *Pipeline) release(s *pipelineScratch) {
	if 4*cap(s.runes)+cap(s.text)+cap(s.a.text)+4*cap(s.ids) <= keepScratch {
		t.pool.Put(s)
	}
}

func (t *Pipeline) appendIDs(dst []int32, text string, s *pipelineScratch) []int32 {
	cleaned := t.cleaning.apply(&s.scratch, text)
	for rest, first := cleaned, true; ; first = false {
		before, id, after := t.added.cut(rest)
		dst = t.appendNormalized(dst, before, first, s)
		if id < 0 {
			return dst
		}
		dst = append(dst, id)
		rest = after
	}
}

// appendNormalized appends the ids of a text between added tokens.
func (t *Pipeline) appendNormalized(dst []int32, text []byte, first bool, s *pipelineScratch) []int32 {
	if len(text) == 0 {
		return dst
	}
	for i, step := range t.normalizers {
		buffer := &s.normal[i%2]
		*buffer = step((*buffer)[:0], text)
		text = *buffer
	}
	for ; ; first = false {
		before, id, after := t.addedAfter.cut(text)
		dst = t.appendPieces(dst, before, first, s)
		if id < 0 {
			return dst
		}
		dst = append(dst, id)
		text = after
	}
}

// appendPieces splits normalized text and appends the ids of the pieces.
func (t *Pipeline) appendPieces(dst []int32, text []byte, first bool, s *pipelineScratch) []int32 {
	in, out := &s.a, &s.b
	in.reset(first)
	in.add(text)
	for _, step := range t.pre {
		out.reset(in.atStart)
		for i := range in.ends {
			step.split(out, in.at(i), i == 0 && in.atStart)
		}
		in, out = out, in
	}
	for i := range in.ends {
		dst = t.appendPiece(dst, in.at(i), s)
	}
	return dst
}

func (t *Pipeline) appendPiece(dst []int32, piece []byte, s *pipelineScratch) []int32 {
	if t.cache == nil || len(piece) > cacheLongest {
		return t.model.appendIDs(dst, piece, s)
	}
	hash := t.cache.hash(piece)
	if ids := t.cache.get(piece, hash); ids != nil {
		return append(dst, ids...)
	}
	ids := t.model.appendIDs(make([]int32, 0, 4), piece, s)
	t.cache.put(piece, hash, ids)
	return append(dst, ids...)
}

// cut cuts text at the first added token, of those that begin there the longest; id is -1 where there is none.
func (a *addedTokens) cut(text []byte) (before []byte, id int32, after []byte) {
	if a.index == nil {
		return text, -1, nil
	}
	for at := range text {
		n, place := a.index.Longest(text[at:])
		if n == 0 {
			continue
		}
		token := &a.list[place]
		before, after = text[:at], text[at+n:]
		if token.lstrip {
			before = bytes.TrimRightFunc(before, chars.IsWhiteSpace)
		}
		if token.rstrip {
			after = bytes.TrimLeftFunc(after, chars.IsWhiteSpace)
		}
		return before, token.id, after
	}
	return text, -1, nil
}

// Decode implements Tokenizer.
func (t *Pipeline) Decode(ids []int32) string {
	var out []byte
	for _, id := range ids {
		if id >= 0 && int(id) < len(t.tokens) {
			out = t.decoder.append(out, t.tokens[id])
		}
	}
	text := validUTF8(out)
	if t.decoder.trimFirst {
		text = strings.TrimPrefix(text, " ")
	}
	return text
}

func (d *decoder) append(dst []byte, piece string) []byte {
	if d.byteLevel {
		word, ends := strings.CutSuffix(piece, d.wordEnd)
		for _, r := range word {
			if b, ok := byteAlphabet.byte[r]; ok {
				dst = append(dst, b)
			} else {
				dst = utf8.AppendRune(dst, r)
			}
		}
		if ends && d.wordEnd != "" {
			dst = append(dst, ' ')
		}
		return dst
	}
	if b, ok := parseBytePiece(piece); ok {
		return append(dst, b)
	}
	if d.space != "" {
		piece = strings.ReplaceAll(piece, d.space, " ")
	}
	return append(dst, piece...)
}

// parseBytePiece reads <0x0A>.
func parseBytePiece(piece string) (byte, bool) {
	if len(piece) != 6 || piece[:3] != "<0x" || piece[5] != '>' {
		return 0, false
	}
	b, err := strconv.ParseUint(piece[3:5], 16, 8)
	return byte(b), err == nil
}
