package data

import (
	"context"
	"errors"
	"iter"

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

var errStopped = errors.New("the consumer stopped")

// Close closes the files.
func (s *Shards) Close() error { return errors.Join(s.set.Close(), s.store.Close()) }
