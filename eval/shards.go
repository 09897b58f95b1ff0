package eval

import (
	"context"
	"iter"

	"tandem/data/shard"
	"tandem/data/store"
)

// Shards is a Dataset in a directory of parquet shards.
type Shards struct{ set *shard.Set }

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
	return &Shards{set}, nil
}

// Len is the number of examples.
func (s *Shards) Len() int64 { return s.set.NumRows() }

// Close closes the files.
func (s *Shards) Close() error { return s.set.Close() }

// errStop ends a walk over rows whose consumer has had enough.
type errStop struct{}

func (errStop) Error() string { return "stopped" }

// Examples implements Dataset.
func (s *Shards) Examples(ctx context.Context) iter.Seq2[Example, error] {
	return func(yield func(Example, error) bool) {
		err := s.set.Rows(ctx, func(_ shard.FileInfo, _ int64, r *shard.Row) error {
			if !yield(Example{ID: r.Key, Image: r.Image, Captions: r.Captions, Labels: r.Labels}, nil) {
				return errStop{}
			}
			return nil
		})
		if _, stopped := err.(errStop); err != nil && !stopped {
			yield(Example{}, err)
		}
	}
}
