package ftfy

import (
	"sync"

	"tandem/tokenizer/internal/chars"
)

// badRule is a sequence of characters that hardly occurs but in mojibake. An item is an index into badClasses, or a
// code point negated.
type badRule struct {
	anchored bool // only at the start of the text
	items    []int32
}

// longestRule is the number of items of the longest rule.
const longestRule = 7

// ruleSets tells, for one character and each place in a rule, which rules have it there: bit i stands for badRules[i].
type ruleSets [longestRule]uint64

// badMatcher tries all the rules at once.
type badMatcher struct {
	pages   [256]*[256]*ruleSets // by the character's upper and lower byte; nil is other
	other   ruleSets             // for a character in no class; it may be or not be a \w
	ends    ruleSets             // the rules that end at each place
	start   uint64               // the rules that match only at the start of the text
	hasWord uint64               // the rules that end in \w
}

var badness = sync.OnceValue(newBadMatcher)

func newBadMatcher() *badMatcher {
	m := new(badMatcher)
	for i, rule := range badRules {
		bit := uint64(1) << i
		m.ends[len(rule.items)-1] |= bit
		if rule.anchored {
			m.start |= bit
		}
		for place, item := range rule.items {
			m.addItem(item, place, bit)
		}
	}
	return m
}

// addItem notes that a rule has item at place.
func (m *badMatcher) addItem(item int32, place int, bit uint64) {
	switch {
	case item < 0:
		m.at(-item)[place] |= bit
	case badClasses[item] != nil:
		for _, s := range badClasses[item] {
			for r := s.low; r <= s.high; r++ {
				m.at(r)[place] |= bit
			}
		}
	default:
		m.addSpecial(badSpecial[int(item)], place, bit)
	}
}

// addSpecial notes a class that most of Unicode is in.
func (m *badMatcher) addSpecial(class string, place int, bit uint64) {
	is := map[string]func(rune) bool{
		"word":      func(rune) bool { return true }, // looked at when all else matches
		"notLetter": func(r rune) bool { return !isLetter(r) },
		"any":       func(r rune) bool { return r != '\n' },
	}[class]
	if class == "word" {
		m.hasWord |= bit
	}
	m.other[place] |= bit
	for r := rune(0); r < 0x80; r++ {
		m.at(r)
	}
	for high, page := range m.pages {
		if page == nil {
			continue
		}
		for low, sets := range page {
			if sets != nil && is(rune(high<<8|low)) {
				sets[place] |= bit
			}
		}
	}
}

// at returns the sets of r, which are its own from now on.
func (m *badMatcher) at(r rune) *ruleSets {
	page := &m.pages[r>>8]
	if *page == nil {
		*page = new([256]*ruleSets)
	}
	sets := &(*page)[r&0xff]
	if *sets == nil {
		own := m.other
		*sets = &own
	}
	return *sets
}

func (m *badMatcher) of(r rune) *ruleSets {
	if r < 0x10000 {
		if page := m.pages[r>>8]; page != nil && page[r&0xff] != nil {
			return page[r&0xff]
		}
	}
	return &m.other
}

// isBad reports whether text looks as if it had been decoded wrongly.
func isBad(text []rune) bool {
	m := badness()
	for i, r := range text {
		alive := m.of(r)[0]
		if i > 0 {
			alive &^= m.start
		}
		if alive != 0 && m.matches(alive, text[i:]) {
			return true
		}
	}
	return false
}

// matches reports whether one of the rules that are alive after the first character of text matches at its start.
func (m *badMatcher) matches(alive uint64, text []rune) bool {
	for place := 0; ; {
		done := alive & m.ends[place]
		if done&^m.hasWord != 0 || done != 0 && chars.IsWord(text[place]) {
			return true
		}
		if place++; place == longestRule || place == len(text) {
			return false
		}
		if alive &= m.of(text[place])[place]; alive == 0 {
			return false
		}
	}
}
