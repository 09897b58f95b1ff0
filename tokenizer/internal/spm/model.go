// Package spm reads SentencePiece models and holds the algorithms that they share with Hugging Face's tokenizers:
// normalization by a compiled table of characters, and the best segmentation under a unigram model. Both are ports of
// the behaviour of google/sentencepiece 0.2 (Apache-2.0).
package spm

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Kinds of model (TrainerSpec.model_type).
const (
	Unigram = 1
	BPE     = 2
)

// Types of piece (SentencePiece.type).
const (
	Normal      = 1
	Unknown     = 2
	Control     = 3
	UserDefined = 4
	Unused      = 5
	Byte        = 6
)

// Piece is an entry of the vocabulary; its id is its place.
type Piece struct {
	Text  string
	Score float32
	Type  int
}

// Model is what a .model file says that matters for encoding.
type Model struct {
	Pieces       []Piece
	Kind         int
	ByteFallback bool
	Unk          int32
	Eos, Pad     int32 // -1 where there is none

	CharsMap         []byte // see CharsMap
	AddDummyPrefix   bool
	RemoveSpaces     bool // leading, trailing and double ones
	EscapeSpaces     bool
	SpaceIsSuffix    bool
	PretokenizeDelim string
}

// Parse reads a serialized ModelProto. It checks what encoding relies on: that there are pieces, none empty, and one
// unknown.
func Parse(data []byte) (*Model, error) {
	m := &Model{Kind: Unigram, Eos: 2, Pad: -1, AddDummyPrefix: true, RemoveSpaces: true, EscapeSpaces: true}
	err := eachField(data, func(f field) error {
		switch f.number {
		case 1:
			return m.addPiece(f.bytes)
		case 2:
			return eachField(f.bytes, m.trainerField)
		case 3:
			return eachField(f.bytes, m.normalizerField)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("not a SentencePiece model: %w", err)
	}
	return m, m.check()
}

func (m *Model) check() error {
	if len(m.Pieces) == 0 {
		return errors.New("not a SentencePiece model: it has no pieces")
	}
	if n := len(m.Pieces); m.Unk < 0 || int(m.Unk) >= n || m.Pieces[m.Unk].Type != Unknown {
		return fmt.Errorf("unk_id %d is not the unknown piece", m.Unk)
	}
	for _, special := range []struct {
		name string
		id   int32
	}{{"eos_id", m.Eos}, {"pad_id", m.Pad}} {
		if special.id < -1 || int(special.id) >= len(m.Pieces) {
			return fmt.Errorf("%s %d is no piece: there are %d", special.name, special.id, len(m.Pieces))
		}
	}
	return nil
}

func (m *Model) addPiece(data []byte) error {
	p := Piece{Type: Normal}
	err := eachField(data, func(f field) error {
		switch f.number {
		case 1:
			p.Text = string(f.bytes)
		case 2:
			p.Score = math.Float32frombits(uint32(f.value))
		case 3:
			p.Type = int(f.value)
		}
		return nil
	})
	if err == nil && p.Text == "" {
		err = fmt.Errorf("piece %d is empty", len(m.Pieces))
	}
	if score := float64(p.Score); err == nil && (math.IsNaN(score) || math.IsInf(score, 0)) {
		err = fmt.Errorf("piece %d has score %v", len(m.Pieces), p.Score)
	}
	m.Pieces = append(m.Pieces, p)
	return err
}

func (m *Model) trainerField(f field) error {
	switch f.number {
	case 3:
		m.Kind = int(f.value)
	case 24:
		m.SpaceIsSuffix = f.value != 0
	case 35:
		m.ByteFallback = f.value != 0
	case 40:
		m.Unk = int32(f.value)
	case 42:
		m.Eos = int32(f.value)
	case 43:
		m.Pad = int32(f.value)
	case 53:
		m.PretokenizeDelim = string(f.bytes)
	}
	return nil
}

func (m *Model) normalizerField(f field) error {
	switch f.number {
	case 2:
		m.CharsMap = f.bytes
	case 3:
		m.AddDummyPrefix = f.value != 0
	case 4:
		m.RemoveSpaces = f.value != 0
	case 5:
		m.EscapeSpaces = f.value != 0
	}
	return nil
}

// field is one field of a protocol buffer message: bytes for strings and messages, value for numbers.
type field struct {
	number protowire.Number
	value  uint64
	bytes  []byte
}

func eachField(data []byte, visit func(field) error) error {
	for len(data) > 0 {
		f, n, err := consumeField(data)
		if err != nil {
			return err
		}
		if err := visit(f); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

func consumeField(data []byte) (f field, n int, err error) {
	number, kind, n := protowire.ConsumeTag(data)
	if n < 0 {
		return field{}, 0, protowire.ParseError(n)
	}
	f.number = number
	rest, size := data[n:], 0
	switch kind {
	case protowire.VarintType:
		f.value, size = protowire.ConsumeVarint(rest)
	case protowire.Fixed32Type:
		var v uint32
		v, size = protowire.ConsumeFixed32(rest)
		f.value = uint64(v)
	case protowire.BytesType:
		f.bytes, size = protowire.ConsumeBytes(rest)
	default:
		size = protowire.ConsumeFieldValue(number, kind, rest)
	}
	if size < 0 {
		return field{}, 0, protowire.ParseError(size)
	}
	return f, n + size, nil
}
