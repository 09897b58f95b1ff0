package spm

import (
	"maps"
	"slices"
	"sort"
)

// Pieces finds the pieces that a text starts with.
type Pieces struct {
	texts []string // sorted
	ids   []int32
	first [257]int32 // where the pieces with a first byte begin
}

// NewPieces makes an index of pieces with their ids. No piece may be empty.
func NewPieces(pieces map[string]int32) *Pieces {
	p := &Pieces{texts: slices.Sorted(maps.Keys(pieces))}
	for _, text := range p.texts {
		p.ids = append(p.ids, pieces[text])
	}
	for b := range 256 {
		p.first[b+1] = int32(sort.Search(len(p.texts), func(i int) bool { return p.texts[i][0] > byte(b) }))
	}
	return p
}

// Scan is a walk over the pieces that a text starts with, from the shortest to the longest.
type Scan struct {
	pieces    *Pieces
	text      []byte
	low, high int32 // the pieces that begin with text[:depth]
	depth     int
}

// Scan begins a walk.
func (p *Pieces) Scan(text []byte) Scan {
	if len(text) == 0 {
		return Scan{}
	}
	return Scan{p, text, p.first[text[0]], p.first[int(text[0])+1], 1}
}

// Next returns the length and the id of the next piece.
func (s *Scan) Next() (length int, id int32, ok bool) {
	for s.low < s.high {
		at, depth := s.low, s.depth
		whole := len(s.pieces.texts[at]) == depth // the shortest sorts first
		if whole {
			s.low++
		}
		if depth == len(s.text) {
			s.high = s.low
		} else {
			s.narrow(s.text[depth])
		}
		if whole {
			return depth, s.pieces.ids[at], true
		}
	}
	return 0, 0, false
}

// narrow keeps the pieces that go on with b.
func (s *Scan) narrow(b byte) {
	s.low = s.lowerBound(s.low, int(b))
	s.high = s.lowerBound(s.low, int(b)+1)
	s.depth++
}

// lowerBound returns the first piece from low on whose byte at depth is at least b.
func (s *Scan) lowerBound(low int32, b int) int32 {
	high := s.high
	for low < high {
		middle := (low + high) / 2
		if int(s.pieces.texts[middle][s.depth]) < b {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// Longest returns the longest piece that text starts with; its length is 0 where there is none.
func (p *Pieces) Longest(text []byte) (length int, id int32) {
	scan := p.Scan(text)
	for {
		n, found, ok := scan.Next()
		if !ok {
			return length, id
		}
		length, id = n, found
	}
}
