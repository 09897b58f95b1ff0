// Package ftfy fixes text as Python's ftfy 6.3.1 does with its default settings (fix_text), character for character:
// mojibake, HTML entities, ligatures, widths, quotes, line breaks, surrogates, terminal escapes, control characters and
// NFC. CLIP's tokenizer begins with it. It is a port; see NOTICE.
package ftfy

import "slices"

// maxSegment is ftfy's max_decode_length: a longer line is fixed in pieces of this many characters.
const maxSegment = 1_000_000

// maxPasses ends what ftfy would go on with: text that was escaped more than a hundred times over (&amp;amp;amp;…) is an
// attack, which would take time that grows with the square of its length.
const maxPasses = 100

// Fixer fixes texts one after another and keeps its buffers between them. It must not be used by two goroutines at
// once. The zero value is ready.
type Fixer struct {
	out    []rune
	before []rune // the segment before the current pass
	a, b   []rune // the segment, and where the next step writes
	bytes  []byte
	normal []byte
}

// Fix returns text as ftfy.fix_text does. Surrogates are code points here, as they are in Python. The result lives in
// the Fixer until its next call, or is text itself where there was nothing to do.
func (f *Fixer) Fix(text []rune) []rune {
	f.out = f.out[:0]
	unescape := true
	for len(text) > 0 {
		end := slices.Index(text, '\n') + 1
		if end == 0 {
			end = len(text)
		}
		segment := text[:min(end, maxSegment)]
		text = text[len(segment):]
		// A literal < says that this is HTML, in which entities are meant, from here to the end.
		unescape = unescape && !slices.Contains(segment, '<')
		f.out = append(f.out, f.fixSegment(segment, unescape)...)
	}
	return f.out
}

// fixSegment passes over the segment until a pass changes nothing.
func (f *Fixer) fixSegment(segment []rune, unescape bool) []rune {
	f.a = append(f.a[:0], segment...)
	for range maxPasses {
		f.before = append(f.before[:0], f.a...)
		if unescape && slices.Contains(f.a, '&') {
			f.apply(unescapeEntities)
		}
		if !isASCII(f.a) {
			f.fixUnicode()
		}
		f.fixASCII()
		if slices.Equal(f.a, f.before) {
			break
		}
	}
	return f.a
}

// fixUnicode makes the steps of a pass that ASCII text does not need.
func (f *Fixer) fixUnicode() {
	if fixed := fixEncoding(f.a); !sameSlice(fixed, f.a) {
		f.a = append(f.a[:0], fixed...)
	}
	fixC1Controls(f.a)
	f.applyWhere(isLigature, appendLigature)
	f.applyWhere(isWide, appendWidth)
	uncurlQuotes(f.a)
}

// fixASCII makes the rest of a pass.
func (f *Fixer) fixASCII() {
	if containsFunc(f.a, isLineBreak) {
		f.apply(appendLineBreaks)
	}
	if containsFunc(f.a, isSurrogate) {
		f.apply(appendSurrogates)
	}
	if slices.Contains(f.a, escape) {
		f.apply(appendWithoutEscapes)
	}
	if containsFunc(f.a, isControl) {
		f.a = slices.DeleteFunc(f.a, isControl)
	}
	f.normalize()
}

// apply replaces the segment by what step appends for it.
func (f *Fixer) apply(step func(dst, src []rune) []rune) {
	f.b = step(f.b[:0], f.a)
	f.a, f.b = f.b, f.a
}

// applyWhere replaces each rune that is picked by what replace appends for it.
func (f *Fixer) applyWhere(picked func(rune) bool, replace func(dst []rune, r rune) []rune) {
	if !containsFunc(f.a, picked) {
		return
	}
	f.b = f.b[:0]
	for _, r := range f.a {
		if picked(r) {
			f.b = replace(f.b, r)
		} else {
			f.b = append(f.b, r)
		}
	}
	f.a, f.b = f.b, f.a
}

func containsFunc(text []rune, is func(rune) bool) bool { return slices.ContainsFunc(text, is) }

func sameSlice(a, b []rune) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func isASCII(text []rune) bool {
	for _, r := range text {
		if r >= 0x80 {
			return false
		}
	}
	return true
}
