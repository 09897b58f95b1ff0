package tokenizer

import (
	"bytes"
	"unicode/utf8"

	"tandem/tokenizer/internal/chars"
)

// pieces is a list of texts, one behind the other in a buffer.
type pieces struct {
	text []byte
	ends []int
	// atStart says that the first piece begins where the caption begins, not after something that was dropped.
	atStart bool
}

func (p *pieces) reset(atStart bool) {
	p.text, p.ends, p.atStart = p.text[:0], p.ends[:0], atStart
}

// cut ends a piece; an empty one is none.
func (p *pieces) cut() {
	if n := len(p.text); n > 0 && (len(p.ends) == 0 || p.ends[len(p.ends)-1] < n) {
		p.ends = append(p.ends, n)
	}
}

func (p *pieces) add(text []byte) {
	p.text = append(p.text, text...)
	p.cut()
}

func (p *pieces) at(i int) []byte {
	start := 0
	if i > 0 {
		start = p.ends[i-1]
	}
	return p.text[start:p.ends[i]]
}

// preTokenizer is a step of Hugging Face's pre_tokenizer: it splits a piece and may rewrite it. first says that the
// piece begins where the caption begins.
type preTokenizer interface {
	split(dst *pieces, piece []byte, first bool)
}

// wordSplit keeps the words of CLIP's pattern and drops the rest.
type wordSplit struct{ pattern wordPattern }

func (w *wordSplit) split(dst *pieces, piece []byte, _ bool) {
	for i := 0; ; {
		start, end := w.pattern.next(piece, i)
		if start == len(piece) {
			return
		}
		dst.add(piece[start:end])
		i = end
	}
}

// spaceSplit is WhitespaceSplit.
type spaceSplit struct{}

func (spaceSplit) split(dst *pieces, piece []byte, first bool) {
	if r, _ := utf8.DecodeRune(piece); first && chars.IsWhiteSpace(r) {
		dst.atStart = false
	}
	for len(piece) > 0 {
		r, n := utf8.DecodeRune(piece)
		if chars.IsWhiteSpace(r) {
			dst.cut()
		} else {
			dst.text = append(dst.text, piece[:n]...)
		}
		piece = piece[n:]
	}
	dst.cut()
}

// literalSplit is Split with a plain string.
type literalSplit struct {
	delimiter []byte
	behaviour string // Removed, Isolated, MergedWithPrevious, MergedWithNext
}

func (l *literalSplit) split(dst *pieces, piece []byte, _ bool) {
	for {
		at := bytes.Index(piece, l.delimiter)
		if at < 0 {
			break
		}
		dst.text = append(dst.text, piece[:at]...)
		piece = piece[at+len(l.delimiter):]
		switch l.behaviour {
		case "MergedWithPrevious":
			dst.add(l.delimiter)
		case "MergedWithNext":
			dst.cut()
			dst.text = append(dst.text, l.delimiter...)
		case "Isolated":
			dst.cut()
			dst.add(l.delimiter)
		default:
			dst.cut()
		}
	}
	dst.add(piece)
}

// metaspace writes spaces as a visible character and, where splits is set, begins a piece at each.
type metaspace struct {
	space   []byte
	prepend string // always, first, never
	splits  bool
}

func (m *metaspace) split(dst *pieces, piece []byte, first bool) {
	begins := bytes.HasPrefix(piece, m.space) || piece[0] == ' '
	if !begins && (m.prepend == "always" || m.prepend == "first" && first) {
		dst.text = append(dst.text, m.space...)
	}
	for len(piece) > 0 {
		_, n := utf8.DecodeRune(piece)
		char := piece[:n]
		piece = piece[n:]
		if n == 1 && char[0] == ' ' {
			char = m.space
		}
		if m.splits && bytes.Equal(char, m.space) {
			dst.cut()
		}
		dst.text = append(dst.text, char...)
	}
	dst.cut()
}

// byteLevel writes bytes in the byte alphabet, after a split into GPT-2's words where splits is set.
type byteLevel struct {
	prefixSpace bool
	splits      bool
}

func (b *byteLevel) split(dst *pieces, piece []byte, _ bool) {
	if b.prefixSpace && piece[0] != ' ' {
		piece = append([]byte{' '}, piece...)
	}
	for len(piece) > 0 {
		n := len(piece)
		if b.splits {
			n = gpt2Word(piece)
		}
		for _, c := range piece[:n] {
			dst.text = utf8.AppendRune(dst.text, byteAlphabet.char[c])
		}
		dst.cut()
		piece = piece[n:]
	}
}

// gpt2Pattern shares the classes and contractions of CLIP's pattern.
var gpt2Pattern wordPattern

// gpt2Word returns the length of the first match of GPT-2's pattern:
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func gpt2Word(text []byte) int {
	p := &gpt2Pattern
	if text[0] == '\'' {
		if n := p.fixedLen(text); n > 0 {
			return n
		}
	}
	begin := 0
	if text[0] == ' ' && len(text) > 1 {
		begin = 1
	}
	if class, n := p.classAt(text, begin); class != chars.Space {
		return p.runEnd(text, begin+n, class)
	}
	end := p.runEnd(text, 0, chars.Space)
	if end == len(text) {
		return end
	}
	// The last space of several is left for the word that follows it.
	_, last := utf8.DecodeLastRune(text[:end])
	if end > last {
		return end - last
	}
	return end
}
