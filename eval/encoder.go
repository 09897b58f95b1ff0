// Package eval measures what a pair of encoders knows: zero-shot classification with prompt templates and ensembles,
// retrieval in both directions, and reports of both for machines and for people. It sees a model through two methods
// and knows neither GoMLX nor checkpoints.
package eval

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
)

// Encoder turns images and texts into rows of one space, each of length 1.
type Encoder interface {
	// EncodeImages yields one row for each encoded image file (JPEG, PNG, …), in order. A file that cannot be decoded
	// yields an *ImageError in its place and the sequence goes on; any other error ends it. Rows may not be kept
	// without copying.
	EncodeImages(ctx context.Context, images iter.Seq2[[]byte, error]) iter.Seq2[[]float32, error]
	// EncodeTexts returns one row for each text.
	EncodeTexts(ctx context.Context, texts []string) ([][]float32, error)
	// Scale is the model's temperature, exp(logit_scale): similarities times Scale are logits.
	Scale() float64
}

// ImageError says that one image could not be decoded; evaluation counts it and goes on.
type ImageError struct {
	Reason string // a short class of reasons: "truncated", "not an image"
	Err    error
}

func (e *ImageError) Error() string { return e.Err.Error() }
func (e *ImageError) Unwrap() error { return e.Err }

// Example is one image of a labelled or captioned set.
type Example struct {
	ID       string
	Image    []byte // an encoded file
	Captions []string
	Labels   map[string]string // metadata columns
}

// Dataset is a set to evaluate on. Examples come in a fixed order and can be read again.
type Dataset interface {
	Examples(ctx context.Context) iter.Seq2[Example, error]
}

// dot is the inner product of two rows of equal length.
func dot(a, b []float32) float32 {
	var s0, s1, s2, s3 float32
	b = b[:len(a)]
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return s0 + s1 + s2 + s3
}

// normalise scales a row to length 1; a row of zeros stays.
func normalise(row []float32) {
	var squares float64
	for _, x := range row {
		squares += float64(x) * float64(x)
	}
	if squares == 0 {
		return
	}
	scale := float32(1 / math.Sqrt(squares))
	for i := range row {
		row[i] *= scale
	}
}

// checkRows guards against an encoder that returns fewer rows than it was asked for.
func checkRows(got, want int, what string) error {
	if got != want {
		return fmt.Errorf("the encoder returned %d rows for %d %s", got, want, what)
	}
	return nil
}

// sortedKeys lists a map's keys in order.
func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
