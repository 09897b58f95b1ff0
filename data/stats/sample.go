// Package stats looks at shards for people: samples, contact sheets, distributions, and the pages that hold them.
package stats

import (
	"context"
	"fmt"

	"tandem/data/shard"
	"tandem/internal/prng"
)

// Sample is one row and where it stands.
type Sample struct {
	File string
	At   int64 // row of the file
	*shard.Row
}

// Draw returns n rows of a set: a random choice that depends on seed alone.
func Draw(ctx context.Context, set *shard.Set, n int, seed uint64) ([]Sample, error) {
	n = int(min(int64(n), set.NumRows()))
	order := prng.NewPermutation(set.NumRows(), seed)
	samples := make([]Sample, n)
	for i := range samples {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var err error
		if samples[i], err = Read(set, order.At(int64(i))); err != nil {
			return nil, err
		}
	}
	return samples, nil
}

// Read returns one row of a set.
func Read(set *shard.Set, row int64) (s Sample, err error) {
	file, inFile := set.Locate(row)
	s.File, s.At = set.Files()[file].Name, inFile
	err = set.Use(file, func(f *shard.File) error {
		for i := range f.NumGroups() {
			if first, rows := f.GroupRows(i); inFile < first+rows {
				g, err := f.Group(i)
				if err == nil {
					s.Row, err = f.ReadRow(g, int(inFile-first))
				}
				return err
			}
		}
		return fmt.Errorf("%s has no row %d", s.File, inFile)
	})
	return s, err
}
