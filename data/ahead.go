package data

import (
	"context"
	"strings"
	"time"

	"tandem/data/shard"
)

// maxAheadRows is how far in front of the workers remote shards are asked for: some hundred megabytes of photos.
const maxAheadRows = 8192

// aheadRows keeps reading ahead to a quarter of the cache on disk, lest it throws out what is still to be used.
func (l *Loader) aheadRows() int64 {
	room := l.config.Store.CacheBytes / 4
	if room == 0 {
		return maxAheadRows
	}
	var rows, bytes int64
	for _, s := range l.sources {
		for _, f := range s.set.Files() {
			rows, bytes = rows+f.Rows, bytes+f.Bytes
		}
	}
	return max(int64(l.config.Batch), min(maxAheadRows, room*rows/bytes))
}

// remote reports whether any source is in a bucket.
func (l *Loader) remote() bool {
	for _, s := range l.config.Sources {
		if scheme, _, isURL := strings.Cut(s.Shards, "://"); isURL && scheme != "file" && scheme != "mem" {
			return true
		}
	}
	return false
}

// readAhead walks the positions in front of the workers and asks the store for the bytes they will need.
func (l *Loader) readAhead(ctx context.Context, p *pipeline, position int64) {
	size, far := int64(l.config.Batch), l.aheadRows()*l.ranks
	for i := int64(0); ctx.Err() == nil; {
		if position-p.opened.Load() > far {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		l.askFor(l.order.at(position + l.rank*size + i))
		if i++; i == size {
			i = 0
			position += size * l.ranks
		}
	}
}

// askFor prefetches the image of a row. Errors are left to the worker that needs the row.
func (l *Loader) askFor(at place) {
	if l.pictures != nil && l.pictures.get(at) != nil {
		return
	}
	set := l.sources[at.source].set
	file, inFile := set.Locate(at.row)
	_ = set.Use(file, func(f *shard.File) error {
		group, row, err := l.group(f, at.source, file, inFile)
		if err == nil {
			f.Prefetch(group, row)
		}
		return err
	})
}
