package data

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"tandem/data/shard"
	"tandem/data/source"
	"tandem/data/store"
)

// Shards is one split of a shard set, read in order: for evaluation, statistics and conversion. It is a source.Source.
type Shards struct {
	Manifest *shard.Manifest
	set      *shard.Set
	store    store.Store
	split    string
}

// OpenShards opens a split, or all splits if split is empty.
func OpenShards(ctx context.Context, location, split string) (*Shards, error) {
	st, err := store.Open(ctx, location)
	if err != nil {
		return nil, err
	}
	set, err := shard.OpenSet(ctx, st, split)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return &Shards{set.Manifest, set, st, split}, nil
}

// Name is the location.
func (s *Shards) Name() string { return s.set.Location() }

// Rows returns the number of rows.
func (s *Shards) Rows() int64 { return s.set.NumRows() }

// Licences lists those of all sources of the set.
func (s *Shards) Licences() []source.Licence {
	var all []source.Licence
	for _, src := range s.Manifest.Sources {
		all = append(all, src.Licences...)
	}
	return all
}

// Examples yields every row in order. After an error it ends.
func (s *Shards) Examples(ctx context.Context) iter.Seq2[source.Example, error] {
	return func(yield func(source.Example, error) bool) {
		err := s.set.Rows(ctx, func(f shard.FileInfo, _ int64, r *shard.Row) error {
			e := source.Example{Key: r.Key, Image: r.Image, Captions: r.Captions, Labels: r.Labels, Split: f.Split}
			if !yield(e, nil) {
				return errStopped
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStopped) {
			yield(source.Example{}, err)
		}
	}
}

// WithoutImages yields every row in order without reading the images. After an error it ends.
func (s *Shards) WithoutImages(ctx context.Context) iter.Seq2[source.Example, error] {
	labels := s.Manifest.Columns(shard.RoleLabel)
	return func(yield func(source.Example, error) bool) {
		for i, info := range s.set.Files() {
			err := s.set.Use(i, func(f *shard.File) error { return fileTexts(ctx, f, info.Split, labels, yield) })
			if errors.Is(err, errStopped) {
				return
			}
			if err != nil {
				yield(source.Example{}, err)
				return
			}
		}
	}
}

func fileTexts(ctx context.Context, f *shard.File, split string, labels []string, yield func(source.Example, error) bool) error {
	for i := range f.NumGroups() {
		if err := ctx.Err(); err != nil {
			return err
		}
		g, err := f.Group(i)
		if err != nil {
			return err
		}
		for row := range g.Rows {
			e := source.Example{Captions: g.Texts(shard.ColCaptions, row), Labels: map[string]string{}, Split: split}
			e.Key, _ = g.Text(shard.ColKey, row)
			for _, column := range labels {
				if value, ok := g.Text(column, row); ok {
					e.Labels[column] = value
				}
			}
			if !yield(e, nil) {
				return errStopped
			}
		}
	}
	return nil
}

// Values lists the distinct values of a text column, sorted; of all of the set's files only this column is read.
func (s *Shards) Values(ctx context.Context, column string) ([]string, error) {
	seen := map[string]bool{}
	for i := range s.set.Files() {
		err := s.set.Use(i, func(f *shard.File) error {
			for k := range f.NumGroups() {
				if err := ctx.Err(); err != nil {
					return err
				}
				g, err := f.Group(k, column)
				if err != nil {
					return err
				}
				for row := range g.Rows {
					if value, ok := g.Text(column, row); ok && value != "" {
						seen[value] = true
					}
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

// ImageAt reads the image of one row, counted from the first that Examples yields.
func (s *Shards) ImageAt(row int64) (image []byte, err error) {
	if row < 0 || row >= s.Rows() {
		return nil, fmt.Errorf("%s: row %d of %d", s.Name(), row, s.Rows())
	}
	file, inFile := s.set.Locate(row)
	err = s.set.Use(file, func(f *shard.File) error {
		for i := range f.NumGroups() {
			first, rows := f.GroupRows(i)
			if inFile < first || inFile >= first+rows {
				continue
			}
			g, err := f.Group(i)
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

// Fingerprint is a hash over the contents of all files, in order, taken from the manifest.
func (s *Shards) Fingerprint() string {
	h := sha256.New()
	for _, f := range s.set.Files() {
		fmt.Fprintln(h, f.SHA256, f.Rows)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Captions yields every caption in order without reading the images. After an error it ends.
func (s *Shards) Captions(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for i := range s.set.Files() {
			err := s.set.Use(i, func(f *shard.File) error { return fileCaptions(ctx, f, yield) })
			if errors.Is(err, errStopped) {
				return
			}
			if err != nil {
				yield("", err)
				return
			}
		}
	}
}

func fileCaptions(ctx context.Context, f *shard.File, yield func(string, error) bool) error {
	for i := range f.NumGroups() {
		if err := ctx.Err(); err != nil {
			return err
		}
		g, err := f.Group(i, shard.ColCaptions)
		if err != nil {
			return err
		}
		for row := range g.Rows {
			for _, c := range g.Texts(shard.ColCaptions, row) {
				if !yield(c, nil) {
					return errStopped
				}
			}
		}
	}
	return nil
}

var errStopped = errors.New("the consumer stopped")

// Close closes the files.
func (s *Shards) Close() error { return errors.Join(s.set.Close(), s.store.Close()) }
