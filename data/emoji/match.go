package emoji

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

//go:embed names.txt
var namesText string

//go:embed misdrawn.txt
var misdrawnText string

// fields splits a table of lines with n words each; "#" begins a comment line.
func fields(text string, n int) ([][]string, error) {
	var rows [][]string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) != n {
			return nil, fmt.Errorf("line %q has %d words, not %d", strings.TrimSpace(line), len(words), n)
		}
		rows = append(rows, words)
	}
	return rows, nil
}

// misdrawn returns the icons of a set that oksvg draws wrong.
func misdrawn(set string) (map[string]bool, error) {
	rows, err := fields(misdrawnText, 2)
	names := map[string]bool{}
	for _, row := range rows {
		if row[0] == set {
			names[row[1]] = true
		}
	}
	return names, err
}

// matcher tells which emoji an icon draws by its name.
type matcher struct {
	catalogue *catalogue
	codes     map[string]string // icon name → hexcode, "-" for none
}

func newMatcher(c *catalogue, sections string) (*matcher, error) {
	rows, err := fields(namesText, 3)
	if err != nil {
		return nil, fmt.Errorf("names.txt: %w", err)
	}
	m := &matcher{c, map[string]string{}}
	for _, row := range rows {
		if strings.Contains(" "+sections+" ", " "+row[0]+" ") {
			m.codes[row[1]] = row[2]
		}
	}
	return m, nil
}

// numbered is the ending of one of several drawings of the same thing.
var numbered = regexp.MustCompile(`-\d$`)

// match returns the emoji that an icon draws, and what tells the icon from the set's other drawings of the same thing
// ("-2"). The emoji is nil if the icon draws none, or one in a skin tone.
func (m *matcher) match(name string) (e *Emoji, suffix string) {
	if e, known := m.named(name); known {
		return e, ""
	}
	suffix = numbered.FindString(name)
	e, _ = m.named(strings.TrimSuffix(name, suffix))
	return e, suffix
}

// named looks a name up in names.txt, then among the labels.
func (m *matcher) named(name string) (e *Emoji, known bool) {
	if code, ok := m.codes[name]; ok {
		return m.catalogue.byCode[plainCode(code)].emoji, true
	}
	if country, ok := strings.CutPrefix(name, "flag-for-"); ok {
		name = "flag-" + strings.TrimPrefix(country, "flag-")
	}
	e = m.catalogue.labels[letters(name)]
	return e, e != nil
}

// letters reduces a name to lower-case ASCII letters and digits, so that labels and icon names compare.
func letters(name string) string {
	name = norm.NFD.String(strings.ToLower(strings.ReplaceAll(name, "&", "and")))
	return strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return r
	}, name)
}
