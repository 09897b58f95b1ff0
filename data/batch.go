package data

import (
	"fmt"

	"tandem/internal/fault"
)

// Batch is one step's worth of pairs, ready for the device.
type Batch struct {
	Images  []uint8  // [Size, ImageSize, ImageSize, 3], NHWC, sRGB; to be normalised on the device
	Tokens  []int32  // [Size, Context]
	Longest int      // tokens of the longest text, start and end included: later columns are padding in every row
	Keys    []uint64 // [Size] hash of the caption or label: rows with equal keys are positives of each other
	Rows    []RowID  // [Size] where each row came from
	Cursor  Cursor   // the state after this batch: hand it to Resume to go on with the next one
	Epoch   float64  // epochs done after this batch

	Negatives    []int32 // [Size·Count, Context] wrong captions of each row, with Config.Negatives
	NegativeMask []int32 // [Size·Count] 0 where a row has no more of them

	Size, ImageSize, Context int

	lengths []int // tokens of each row's longest text
}

// RowID names a row: its source in the configuration's order, and its number in that source's split.
type RowID struct {
	Source int
	Row    int64
}

// Cursor is where a loader stands. It is the same for all processes of a run.
type Cursor struct {
	Position  int64 `json:"position"`   // pairs handed out, over all processes and epochs
	EpochRows int64 `json:"epoch_rows"` // to notice a changed data set
	Bad       int64 `json:"bad"`        // lines of the quarantine file
}

func (c Cursor) check(epochRows int64) error {
	if c.Position < 0 || c.Bad < 0 {
		return fmt.Errorf("cursor %+v is not one that a loader gave out", c)
	}
	if c.EpochRows != epochRows {
		return fault.Userf("the data set has %d rows an epoch, at the checkpoint it had %d: resume with the same shards, or start anew", epochRows, c.EpochRows)
	}
	return nil
}

func newBatch(size, imageSize, context, negatives int) *Batch {
	return &Batch{
		Images: make([]uint8, size*imageSize*imageSize*3), Tokens: make([]int32, size*context),
		Keys: make([]uint64, size), lengths: make([]int, size), Rows: make([]RowID, size),
		Negatives: make([]int32, size*negatives*context), NegativeMask: make([]int32, size*negatives),
		Size: size, ImageSize: imageSize, Context: context,
	}
}

// image returns the slot of row i.
func (b *Batch) image(i int) []uint8 {
	n := b.ImageSize * b.ImageSize * 3
	return b.Images[i*n : (i+1)*n : (i+1)*n]
}

func (b *Batch) tokens(i int) []int32 {
	return b.Tokens[i*b.Context : (i+1)*b.Context : (i+1)*b.Context]
}
