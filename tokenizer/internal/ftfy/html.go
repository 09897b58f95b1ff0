package ftfy

import (
	_ "embed"
	"strconv"
	"strings"
	"sync"
)

// entities.txt holds lines of name and code points in hexadecimal: HTML's named character references (those without a
// semicolon too), an empty line, and the upper-case ones that ftfy knows besides.
//
//go:embed entities.txt
var entitiesText string

type entityTable struct {
	html  map[string]string // Python's html.entities.html5
	upper map[string]string // ftfy's, all with a semicolon
}

var entities = sync.OnceValue(func() entityTable {
	html, upper, _ := strings.Cut(entitiesText, "\n\n")
	return entityTable{parseEntities(html), parseEntities(upper)}
})

func parseEntities(lines string) map[string]string {
	table := make(map[string]string, 2300)
	for line := range strings.Lines(lines) {
		name, codes, _ := strings.Cut(strings.TrimSpace(line), "\t")
		var value []rune
		for code := range strings.FieldsSeq(codes) {
			r, err := strconv.ParseInt(code, 16, 32)
			if err != nil {
				panic("entities.txt: " + line)
			}
			value = append(value, rune(r))
		}
		table[name] = string(value)
	}
	return table
}

// unescapeEntities replaces the references that are beyond doubt: those that end in a semicolon.
func unescapeEntities(dst, src []rune) []rune {
	for i := 0; i < len(src); i++ {
		if src[i] == '&' {
			if n := strictReference(src[i:]); n > 0 {
				dst = appendReference(dst, src[i:i+n])
				i += n - 1
				continue
			}
		}
		dst = append(dst, src[i])
	}
	return dst
}

// strictReference returns the length of &#?[0-9A-Za-z]{1,24}; at the start of text, or 0.
func strictReference(text []rune) int {
	begin := 1
	if len(text) > 1 && text[1] == '#' {
		begin = 2
	}
	end := begin
	for end < len(text) && end < begin+24 && (isLetter(text[end]) || isDigit(text[end])) {
		end++
	}
	if end == begin || end == len(text) || text[end] != ';' {
		return 0
	}
	return end + 1
}

func isDigit(r rune) bool { return '0' <= r && r <= '9' }

// appendReference appends what reference, an & to its semicolon, stands for, or itself where it is not known.
func appendReference(dst, reference []rune) []rune {
	table := entities()
	name := string(reference[1:])
	if value, ok := table.html[name]; ok {
		return appendString(dst, value)
	}
	if value, ok := table.upper[name]; ok {
		return appendString(dst, value)
	}
	if value, n, ok := numericReference(reference); ok && n == len(reference) && value != ";" {
		return appendString(dst, value)
	}
	return append(dst, reference...)
}

// AppendUnescaped appends text as Python's html.unescape does, which also knows references without a semicolon.
func AppendUnescaped(dst, text []rune) []rune {
	for i := 0; i < len(text); i++ {
		if text[i] == '&' {
			if value, n, ok := reference(text[i:]); ok {
				dst = appendString(dst, value)
				i += n - 1
				continue
			}
		}
		dst = append(dst, text[i])
	}
	return dst
}

// reference returns the value of the reference that text starts with and the number of runes it takes.
func reference(text []rune) (value string, n int, ok bool) {
	if len(text) > 1 && text[1] == '#' {
		return numericReference(text)
	}
	end := 1
	for end < len(text) && end <= 32 && !strings.ContainsRune("\t\n\f <&#;", text[end]) {
		end++
	}
	if end == 1 {
		return "", 0, false
	}
	table := entities().html
	if end < len(text) && text[end] == ';' {
		if value, ok := table[string(text[1:end+1])]; ok {
			return value, end + 1, true
		}
	}
	for ; end > 2; end-- { // the longest name that is a reference by itself
		if value, ok := table[string(text[1:end])]; ok {
			return value, end, true
		}
	}
	return "", 0, false
}

// numericReference reads &#123; and &#x1f; with or without the semicolon.
func numericReference(text []rune) (value string, n int, ok bool) {
	digits, base := 2, 10
	if len(text) > 2 && (text[2] == 'x' || text[2] == 'X') {
		digits, base = 3, 16
	}
	code, end := 0, digits
	for ; end < len(text); end++ {
		d := digitValue(text[end])
		if d >= base {
			break
		}
		code = min(code*base+d, 0x110000) // more is beyond Unicode anyway
	}
	if end == digits {
		return "", 0, false
	}
	if end < len(text) && text[end] == ';' {
		end++
	}
	return charref(code), end, true
}

func digitValue(r rune) int {
	switch {
	case isDigit(r):
		return int(r - '0')
	case 'a' <= r && r <= 'f':
		return int(r-'a') + 10
	case 'A' <= r && r <= 'F':
		return int(r-'A') + 10
	default:
		return 99
	}
}

// charref returns the character with the given number, as HTML 5 wants it.
func charref(code int) string {
	if r, ok := invalidCharrefs[code]; ok {
		return string(r)
	}
	switch {
	case code > 0x10ffff, isSurrogate(rune(code)):
		return string(rune(replacement))
	case inSpans(invalidCodepoints, rune(code)):
		return ""
	default:
		return string(rune(code))
	}
}
