package eval

import (
	"context"
	"iter"

	"tandem/data"
	"tandem/data/source"
)

// Shards is a Dataset in a directory of parquet shards, one split of it or all.
type Shards struct{ files *data.Shards }

// OpenShards opens one split of a shard directory, or all of it if split is empty.
func OpenShards(ctx context.Context, location, split string) (*Shards, error) {
	files, err := data.OpenShards(ctx, location, split)
	if err != nil {
		return nil, err
	}
	return &Shards{files}, nil
}

// Len is the number of examples.
func (s *Shards) Len() int64 { return s.files.Rows() }

// Close closes the files and where they come from.
func (s *Shards) Close() error { return s.files.Close() }

// Fingerprint is a hash over the contents of all files of the split, taken from the manifest.
func (s *Shards) Fingerprint() string { return s.files.Fingerprint() }

// LeftOut counts the rows that were left out when the shards were made, of all splits, by reason.
func (s *Shards) LeftOut() map[string]int64 { return s.files.Manifest.Books.Skipped }

// ClassWords are the names of labels that say more than a name: of classes that the set's list names alike.
func (s *Shards) ClassWords(column string) map[string]string {
	return s.files.Manifest.ClassWords(column)
}

// Examples implements Dataset.
func (s *Shards) Examples(ctx context.Context) iter.Seq2[Example, error] {
	return numbered(s.files.Examples(ctx))
}

// WithoutImages yields the examples without reading their images.
func (s *Shards) WithoutImages(ctx context.Context) iter.Seq2[Example, error] {
	return numbered(s.files.WithoutImages(ctx))
}

// ImageAt reads the image of one row, counted as in Example.Row.
func (s *Shards) ImageAt(_ context.Context, row int64) ([]byte, error) { return s.files.ImageAt(row) }

// numbered turns rows of shards into examples that know their place.
func numbered(rows iter.Seq2[source.Example, error]) iter.Seq2[Example, error] {
	return func(yield func(Example, error) bool) {
		index := int64(0)
		for row, err := range rows {
			if !yield(Example{ID: row.Key, Image: row.Image, Captions: row.Captions, Labels: row.Labels, Row: index}, err) || err != nil {
				return
			}
			index++
		}
	}
}
