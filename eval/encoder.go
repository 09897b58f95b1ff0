// Package eval measures what a pair of encoders knows: zero-shot classification with prompt templates and ensembles,
// several labels an image, retrieval in both directions, choosing between captions, doubt, bias, and reports of all of it
// for machines and for people. It sees a model through two methods and knows neither GoMLX nor checkpoints.
package eval

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"tandem/internal/zeroshot"
)

// Encoder turns images and texts into rows of one space, each of length 1.
type Encoder interface {
	zeroshot.TextEncoder
	// EncodeImageSeq yields one row for each encoded image file (JPEG, PNG, …), in order. A file that cannot be decoded
	// yields an ImageError in its place and the sequence goes on; any other error ends it.
	EncodeImageSeq(ctx context.Context, images iter.Seq2[[]byte, error]) iter.Seq2[[]float32, error]
}

// ImageError is an error about one image only: evaluation counts it by its reason and goes on.
type ImageError interface {
	error
	ImageReason() string // a short class of reasons: "truncated", "format"
}

// Class is one answer of a classification.
type Class = zeroshot.Class

// Example is one image of a labelled or captioned set.
type Example struct {
	ID       string
	Image    []byte // an encoded file
	Captions []string
	Labels   map[string]string // metadata columns
	Wrong    []string          // captions that are not true of the image, for selection
	Row      int64             // place in the data set before filters
}

// Dataset is a set to evaluate on. Examples come in a fixed order and can be read again.
//
// A Dataset may also have any of these methods, which save work or tell a report more:
//
//	Fingerprint() string                                          // changes with the content: embeddings may be cached
//	WithoutImages(ctx context.Context) iter.Seq2[Example, error]  // Examples, less Image
//	ImageAt(ctx context.Context, row int64) ([]byte, error)       // one image by Example.Row
//	LeftOut() map[string]int64                                    // what was left out when it was made, by reason
type Dataset interface {
	Examples(ctx context.Context) iter.Seq2[Example, error]
}

type fingerprinted interface{ Fingerprint() string }

type light interface {
	WithoutImages(ctx context.Context) iter.Seq2[Example, error]
}

type imager interface {
	ImageAt(ctx context.Context, row int64) ([]byte, error)
}

// worded is a set some of whose labels say more than the class's name.
type worded interface {
	ClassWords(column string) map[string]string
}

// withoutImages is the set's own reading without images, or the full one.
func withoutImages(ctx context.Context, set Dataset) iter.Seq2[Example, error] {
	if l, ok := set.(light); ok {
		return l.WithoutImages(ctx)
	}
	return set.Examples(ctx)
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

// columnNames lists the metadata columns that any example has, for messages.
func columnNames(examples []Example) string {
	names := map[string]bool{}
	for _, e := range examples {
		for name := range e.Labels {
			names[name] = true
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(sortedKeys(names), ", ")
}
