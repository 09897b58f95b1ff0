package eval

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"

	"tandem/data/shard"
	"tandem/data/store"
)

// Shards is a Dataset in a directory of parquet shards.
type Shards struct {
	set   *shard.Set
	split string
}

// OpenShards opens one split of a shard directory, or all of it if split is empty.
func OpenShards(ctx context.Context, location, split string) (*Shards, error) {
	s, err := store.Open(ctx, location)
	if err != nil {
		return nil, err
	}
	set, err := shard.OpenSet(ctx, s, split)
	if err != nil {
		return nil, err
	}
	return &Shards{set, split}, nil
}

// Len is the number of examples.
func (s *Shards) Len() int64 { return s.set.NumRows() }

// Close closes the files.
func (s *Shards) Close() error { return s.set.Close() }

// Fingerprint is a hash over the contents of all files of the split, taken from the manifest.
func (s *Shards) Fingerprint() string {
	h := sha256.New()
	for _, f := range s.set.Files() {
		fmt.Fprintln(h, f.SHA256, f.Rows)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// errStop ends a walk over rows whose consumer has had enough.
type errStop struct{}

func (errStop) Error() string { return "stopped" }

// Examples implements Dataset.
func (s *Shards) Examples(ctx context.Context) iter.Seq2[Example, error] {
	return func(yield func(Example, error) bool) {
		index := int64(0)
		err := s.set.Rows(ctx, func(_ shard.FileInfo, _ int64, r *shard.Row) error {
			e := Example{ID: r.Key, Image: r.Image, Captions: r.Captions, Labels: r.Labels, Row: index}
			index++
			if !yield(e, nil) {
				return errStop{}
			}
			return nil
		})
		if _, stopped := err.(errStop); err != nil && !stopped {
			yield(Example{}, err)
		}
	}
}

// WithoutImages yields the examples without reading their images.
func (s *Shards) WithoutImages(ctx context.Context) iter.Seq2[Example, error] {
	labels := s.set.Manifest.Columns(shard.RoleLabel)
	return func(yield func(Example, error) bool) {
		index := int64(0)
		for i := range s.set.Files() {
			err := s.set.Use(i, func(f *shard.File) error { return lightRows(ctx, f, labels, &index, yield) })
			if _, stopped := err.(errStop); stopped {
				return
			}
			if err != nil {
				yield(Example{}, err)
				return
			}
		}
	}
}

func lightRows(ctx context.Context, f *shard.File, labels []string, index *int64, yield func(Example, error) bool) error {
	for group := range f.NumGroups() {
		if err := ctx.Err(); err != nil {
			return err
		}
		g, err := f.Group(group)
		if err != nil {
			return err
		}
		for row := range g.Rows {
			e := Example{Captions: g.Texts(shard.ColCaptions, row), Labels: map[string]string{}, Row: *index}
			e.ID, _ = g.Text(shard.ColKey, row)
			for _, column := range labels {
				if value, ok := g.Text(column, row); ok {
					e.Labels[column] = value
				}
			}
			*index++
			if !yield(e, nil) {
				return errStop{}
			}
		}
	}
	return nil
}

// ImageAt reads the image of one row, counted as in Example.Row.
func (s *Shards) ImageAt(_ context.Context, row int64) (image []byte, err error) {
	if row < 0 || row >= s.Len() {
		return nil, fmt.Errorf("row %d of %d", row, s.Len())
	}
	file, inFile := s.set.Locate(row)
	err = s.set.Use(file, func(f *shard.File) error {
		for group := range f.NumGroups() {
			first, rows := f.GroupRows(group)
			if inFile < first || inFile >= first+rows {
				continue
			}
			g, err := f.Group(group)
			if err != nil {
				return err
			}
			r, err := f.ReadRow(g, int(inFile-first))
			if err == nil {
				image = r.Image
			}
			return err
		}
		return fmt.Errorf("%s has no row %d", f.Name(), inFile)
	})
	return image, err
}
