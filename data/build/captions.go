package build

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"tandem/data/ingest"
	"tandem/internal/fault"
)

// captions drops and normalises the captions of a row. A row that loses all of them is refused for the reason that
// took the first; a row that never had any is complete only if its input is labelled.
func (w *worker) captions(it *item) error {
	r, o := &it.row, &w.o.Captions
	var kept []string
	var first ingest.Reason
	for _, c := range r.Captions {
		text, reason := o.clean(c)
		switch {
		case reason != "":
			if first == "" {
				first = reason
			}
			it.changed = append(it.changed, "caption dropped: "+string(reason))
		case !slices.Contains(kept, text):
			kept = append(kept, text)
		}
	}
	r.Captions = kept
	if len(kept) > 0 || (first == "" && w.label[it.at.Input] && len(r.Labels) > 0) {
		return nil
	}
	if first == "" {
		first = ingest.NoCaption
	}
	return w.refuse(it, first, nil)
}

// clean returns the text to keep, or why there is none.
func (o *CaptionOptions) clean(text string) (string, ingest.Reason) {
	if !utf8.ValidString(text) {
		return "", ingest.BadText
	}
	if !o.Raw {
		text = norm.NFC.String(strings.Join(strings.Fields(strings.ReplaceAll(text, "\x00", " ")), " "))
	}
	n := utf8.RuneCountInString(text)
	switch {
	case strings.TrimSpace(text) == "":
		return "", ingest.NoCaption
	case n < o.MinChars:
		return "", ingest.ShortCaption
	case n > o.MaxChars:
		return "", ingest.LongCaption
	case len(o.Scripts) > 0 && !mostlyOf(text, o.Scripts):
		return "", ingest.OtherScript
	}
	return text, ""
}

// mostlyOf reports whether at least half of a text's letters belong to the scripts. A text without letters passes.
func mostlyOf(text string, scripts []string) bool {
	letters, in := 0, 0
	for _, r := range text {
		if !unicode.IsLetter(r) {
			continue
		}
		letters++
		if slices.ContainsFunc(scripts, func(s string) bool { return unicode.Is(unicode.Scripts[s], r) }) {
			in++
		}
	}
	return 2*in >= letters
}

func checkScripts(scripts []string) error {
	for _, s := range scripts {
		if unicode.Scripts[s] == nil {
			return fault.Userf("unknown script %q: want a Unicode script like Latin, Cyrillic, Han, Hiragana, Arabic, Devanagari", s)
		}
	}
	return nil
}

// validSplit reports whether a name can be part of a file's name.
func validSplit(name string) bool {
	if name == "" || len(name) > 64 || name[0] == '.' || name[0] == '-' {
		return false
	}
	return strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}) < 0
}
