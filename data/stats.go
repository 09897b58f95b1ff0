package data

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"tandem/data/ingest"
)

// Stats counts what a loader did since it was opened. Counts of decoding run ahead of the batches handed out, by as
// much as is prefetched; Batches, Pairs, Skipped, BadRows and Wait are about those handed out.
type Stats struct {
	Batches int64 `json:"batches"`
	Pairs   int64 `json:"pairs"`
	// Skipped counts encounters with unusable rows, by reason: each cost a replacement.
	Skipped map[ingest.Reason]int64 `json:"skipped,omitempty"`
	// BadRows is the number of different rows that turned out unusable, earlier runs' included.
	BadRows int64 `json:"bad_rows"`
	// Wait is how long Next had to wait for a batch: the time that training lost to reading.
	Wait time.Duration `json:"wait_ns"`

	Read      int64 `json:"read"`       // images read from shards
	ReadBytes int64 `json:"read_bytes"` //
	Decoded   int64 `json:"decoded"`    // images decoded
	CacheHits int64 `json:"cache_hits"` // images taken from the cache of decoded pictures
	// CacheBytes is what that cache holds.
	CacheBytes int64 `json:"cache_bytes"`
	// LongCaptions counts captions that fill the whole context: most of them were cut.
	LongCaptions int64 `json:"long_captions"`
}

// counters are the live numbers behind Stats.
type counters struct {
	read, readBytes, decoded, cacheHits, longCaptions atomic.Int64

	mu        sync.Mutex
	delivered Stats
}

func (c *counters) snapshot(cacheBytes int64) Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.delivered
	s.Skipped = maps.Clone(s.Skipped)
	s.Read, s.ReadBytes, s.Decoded = c.read.Load(), c.readBytes.Load(), c.decoded.Load()
	s.CacheHits, s.LongCaptions, s.CacheBytes = c.cacheHits.Load(), c.longCaptions.Load(), cacheBytes
	return s
}

func (c *counters) deliver(pairs int, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delivered.Batches++
	c.delivered.Pairs += int64(pairs)
	c.delivered.Wait += wait
}

func (c *counters) skip(reason ingest.Reason, badRows int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.delivered.Skipped == nil {
		c.delivered.Skipped = map[ingest.Reason]int64{}
	}
	c.delivered.Skipped[reason]++
	c.delivered.BadRows = badRows
}
