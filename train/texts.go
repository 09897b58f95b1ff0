package train

import (
	"encoding/binary"

	"github.com/gomlx/gomlx/core/tensors"

	"tandem/model"
)

// CutLength is how many tokens of each text a step sees if longest is that of the batch's longest: TextLength where that
// holds it and cutting is exact, else what the model's configuration says.
func (s *Stepper) CutLength(longest int) int {
	t := s.Model.Text
	length := t.CutLength(longest)
	if s.TextLength < longest || t.NoCausalMask || t.Pool == model.PoolLast {
		return length
	}
	return min(length, s.TextLength)
}

// sharesTexts reports whether equal texts of a batch are encoded once. Rows that go through the text tower apart from
// each other cannot: those of several devices, of chunks, or under dropout. Hard negatives are seldom equal.
func (s *Stepper) sharesTexts() bool {
	return s.DistinctTexts > 0 && s.Devices <= 1 && s.Chunk == 0 && s.Negatives == 0 && s.AdapterDropout == 0 && !s.HasHead()
}

// shareTexts replaces the batch's rows of tokens by its DistinctTexts different ones, the first repeated where there are
// fewer. It returns the index of each pair's text among them as an input of the step; nil without sharing. Where there
// are more, the rows stay as they are, and so does the index.
func (s *Stepper) shareTexts(b *batch) []*tensors.Tensor {
	if !s.sharesTexts() {
		return nil
	}
	index := distinct(b.size)
	if b.textRows == nil {
		if rows, places := differentRows(b.tokens, b.length); len(rows) <= s.DistinctTexts*b.length {
			for len(rows) < s.DistinctTexts*b.length {
				rows = append(rows, rows[:b.length]...)
			}
			b.tokens, index = rows, places
		}
		b.index = index
	}
	return []*tensors.Tensor{tensors.FromFlatDataAndDimensions(index, b.size)}
}

// differentRows lists the different rows of length tokens in the order of their first appearance, and the place of each
// row among them.
func differentRows(tokens []int32, length int) (rows, places []int32) {
	at := map[string]int32{}
	for from := 0; from < len(tokens); from += length {
		row := tokens[from : from+length]
		key := textKey(row)
		place, known := at[key]
		if !known {
			place = int32(len(at))
			at[key] = place
			rows = append(rows, row...)
		}
		places = append(places, place)
	}
	return rows, places
}

// textKey is a row of tokens as a map's key.
func textKey(row []int32) string {
	key := make([]byte, 0, 4*len(row))
	for _, id := range row {
		key = binary.LittleEndian.AppendUint32(key, uint32(id))
	}
	return string(key)
}
