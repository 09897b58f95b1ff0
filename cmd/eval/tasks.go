package main

import (
	"context"
	"iter"

	"tandem/eval"
	"tandem/internal/progress"
)

// counted shows how far an evaluation is.
type counted struct {
	eval.Encoder
	bar *progress.Task
}

// EncodeImageSeq implements eval.Encoder.
func (c *counted) EncodeImageSeq(ctx context.Context, images iter.Seq2[[]byte, error]) iter.Seq2[[]float32, error] {
	return func(yield func([]float32, error) bool) {
		for row, err := range c.Encoder.EncodeImageSeq(ctx, images) {
			c.bar.Add(1)
			if !yield(row, err) {
				return
			}
		}
	}
}
