package spm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// CharsMap replaces characters and sequences of them. It is a "precompiled_charsmap": the size of a double-array trie
// (little endian, four bytes), the trie, and the replacements, each ended by a null byte.
type CharsMap struct {
	units        []uint32
	replacements []byte
}

// NewCharsMap reads data; an empty one gives nil, which changes nothing.
func NewCharsMap(data []byte) (*CharsMap, error) {
	if len(data) == 0 {
		return nil, nil
	}
	if len(data) < 4 {
		return nil, errors.New("precompiled_charsmap is cut short")
	}
	size := binary.LittleEndian.Uint32(data)
	data = data[4:]
	if size%4 != 0 || size == 0 || uint64(size) >= uint64(len(data)) || data[len(data)-1] != 0 {
		return nil, errors.New("precompiled_charsmap is damaged")
	}
	m := &CharsMap{units: make([]uint32, size/4), replacements: data[size:]}
	for i := range m.units {
		m.units[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	return m, nil
}

// match returns the replacement for the shortest or the longest key that text starts with, and the key's length, which
// is 0 where there is none.
func (m *CharsMap) match(text []byte, longest bool) (replacement []byte, length int) {
	at := m.offset(0)
	for i, b := range text {
		at ^= uint32(b)
		unit := m.unit(at)
		if unit&(1<<31|0xff) != uint32(b) {
			break
		}
		at ^= m.offset(at)
		if unit>>8&1 == 0 {
			continue
		}
		if value := m.unit(at) & (1<<31 - 1); int(value) < len(m.replacements) {
			replacement, length = m.replacements[value:], i+1
			if !longest {
				break
			}
		}
	}
	if length > 0 {
		replacement = replacement[:bytes.IndexByte(replacement, 0)]
	}
	return replacement, length
}

// unit returns a node of the trie; one beyond its end matches no byte.
func (m *CharsMap) unit(at uint32) uint32 {
	if int64(at) >= int64(len(m.units)) {
		return 1 << 31
	}
	return m.units[at]
}

func (m *CharsMap) offset(at uint32) uint32 {
	unit := m.unit(at)
	return unit >> 10 << (unit & (1 << 9) >> 6)
}

// AppendByGrapheme appends text as Hugging Face's Precompiled normalizer does: a grapheme of less than six bytes is
// replaced as a whole by what its shortest known start gives, other graphemes character by character.
func (m *CharsMap) AppendByGrapheme(dst, text []byte) []byte {
	state := -1
	for len(text) > 0 {
		var grapheme []byte
		grapheme, text, _, state = uniseg.FirstGraphemeCluster(text, state)
		if len(grapheme) < 6 {
			if replacement, n := m.match(grapheme, false); n > 0 {
				dst = append(dst, replacement...)
				continue
			}
		}
		for len(grapheme) > 0 {
			_, n := utf8.DecodeRune(grapheme)
			if replacement, found := m.match(grapheme[:n], false); found > 0 {
				dst = append(dst, replacement...)
			} else {
				dst = append(dst, grapheme[:n]...)
			}
			grapheme = grapheme[n:]
		}
	}
	return dst
}
