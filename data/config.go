// Package data feeds a training: it draws rows from parquet shards in an order that is a pure function of (seed,
// epoch, index), decodes, augments and tokenises them in parallel, and hands out batches. The number of workers, a
// restart and bad rows change nothing about what comes out; where it stands is a cursor of a few integers.
package data

import (
	"cmp"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"

	"tandem/data/shard"
	"tandem/imaging"
	"tandem/internal/fault"
)

// Config says what a training reads and how. Fields left at zero get the defaults of WithDefaults.
type Config struct {
	// Sources are the shard sets to draw from.
	Sources []SourceConfig `yaml:"sources" json:"sources"`
	// Temperature flattens the shares of sources of different size: a source of n rows gets a share proportional to
	// n^(1/temperature). 1 draws each row equally often. Not together with weight.
	Temperature float64 `yaml:"temperature,omitempty" json:"temperature,omitempty"`
	// EpochRows is the length of an epoch in rows. Default: the rows of all sources, each repeated as it says.
	EpochRows int64 `yaml:"epoch_rows,omitempty" json:"epoch_rows,omitempty"`

	// Batch is the number of pairs in a batch of one process.
	Batch int `yaml:"batch" json:"batch"`
	// Seed of order, captions and augmentation.
	Seed uint64 `yaml:"seed" json:"seed"`

	Image  imaging.TrainConfig `yaml:"image" json:"image"`
	Limits imaging.Limits      `yaml:"limits,omitempty" json:"limits,omitempty"`

	// Positives names what makes two pairs of a batch positives of each other: "caption" (equal token ids), or a
	// label column (equal values; rows without one fall back to the caption).
	Positives string `yaml:"positives,omitempty" json:"positives,omitempty"`

	// Negatives gives each pair hard negatives besides the other pairs of its batch.
	Negatives *NegativesConfig `yaml:"negatives,omitempty" json:"negatives,omitempty"`

	// Shuffle is "rows" (any row may follow any other), "windows" (blocks of neighbouring rows in random order, and
	// rows in random order inside a window of blocks: for remote or spinning storage), "none" (the order of the
	// shards), or "auto": rows for local directories, windows for the rest.
	Shuffle       string `yaml:"shuffle,omitempty" json:"shuffle,omitempty"`
	ShuffleBlock  int    `yaml:"shuffle_block,omitempty" json:"shuffle_block,omitempty"`   // rows of a block
	ShuffleWindow int    `yaml:"shuffle_window,omitempty" json:"shuffle_window,omitempty"` // blocks of a window

	// MaxBadFraction stops the run when more than this part of the rows turned out unusable. Each is listed in the
	// quarantine file and replaced by another row of its source. Default 0.01; a negative number allows none.
	MaxBadFraction float64 `yaml:"max_bad_fraction,omitempty" json:"max_bad_fraction,omitempty"`

	Cache CacheConfig `yaml:"cache,omitempty" json:"cache,omitempty"`
	Store StoreConfig `yaml:"store,omitempty" json:"store,omitempty"`

	// Workers decode; Prefetch batches are kept ready. Neither changes a batch.
	Workers  int `yaml:"workers,omitempty" json:"workers,omitempty"`
	Prefetch int `yaml:"prefetch,omitempty" json:"prefetch,omitempty"`
}

// SourceConfig is one shard set of a mixture.
type SourceConfig struct {
	// Shards is a directory or URL with a manifest.
	Shards string `yaml:"shards" json:"shards"`
	Split  string `yaml:"split,omitempty" json:"split,omitempty"` // default "train"
	// Weight is the source's share of an epoch, relative to the other sources' weights. All sources have one or none.
	Weight float64 `yaml:"weight,omitempty" json:"weight,omitempty"`
	// Repeat is how often each row is drawn in an epoch, relative to the other sources (open_clip's upsampling
	// factor); default 1. Not together with weight.
	Repeat float64 `yaml:"repeat,omitempty" json:"repeat,omitempty"`
	// Captions are the columns a caption is drawn from; default: the column captions.
	Captions []CaptionColumn `yaml:"captions,omitempty" json:"captions,omitempty"`
}

// CaptionColumn is a text column with the probability that a row's caption comes from it. Where a row has nothing in a
// column, the others share its probability.
type CaptionColumn struct {
	Column      string  `yaml:"column" json:"column"`
	Probability float64 `yaml:"probability,omitempty" json:"probability,omitempty"` // relative; default 1
	// Template is put around the text, at "{}": "a photo of a {}".
	Template string `yaml:"template,omitempty" json:"template,omitempty"`
}

// CacheConfig is about the cache of decoded pictures, which saves the decoding from the second epoch on.
type CacheConfig struct {
	Bytes int64 `yaml:"bytes,omitempty" json:"bytes,omitempty"` // memory it may take; 0 is no cache
	// Fit makes pictures so small, before they are cached and augmented, that their shortest side has this many
	// pixels. It changes the pixels of a training, and is applied whether a picture finds a place in the cache or not.
	Fit int `yaml:"fit,omitempty" json:"fit,omitempty"`
}

// StoreConfig is about shards in buckets (s3://, gs://, azblob://). None of it changes a batch.
type StoreConfig struct {
	RetryFor   time.Duration `yaml:"retry_for,omitempty" json:"retry_for,omitempty"`     // how long a failing request is tried again; default 5m
	CacheDir   string        `yaml:"cache_dir,omitempty" json:"cache_dir,omitempty"`     // default: tandem/blocks in the user's cache directory
	CacheBytes int64         `yaml:"cache_bytes,omitempty" json:"cache_bytes,omitempty"` // room on disk for what was read; default 16 GiB
	BlockBytes int64         `yaml:"block_bytes,omitempty" json:"block_bytes,omitempty"` // fetched at a time; default 4 MiB
}

// Orders of rows.
const (
	shuffleAuto    = "auto"
	shuffleRows    = "rows"
	shuffleWindows = "windows"
	shuffleNone    = "none"
)

const positivesCaption = "caption"

// WithDefaults fills the fields that zero leaves open.
func (c Config) WithDefaults() Config {
	c.Temperature = cmp.Or(c.Temperature, 1)
	c.Positives = cmp.Or(c.Positives, positivesCaption)
	c.Shuffle = cmp.Or(c.Shuffle, shuffleAuto)
	c.ShuffleBlock = cmp.Or(c.ShuffleBlock, 256)
	c.ShuffleWindow = cmp.Or(c.ShuffleWindow, 64)
	c.MaxBadFraction = cmp.Or(c.MaxBadFraction, 0.01)
	c.Limits = c.Limits.WithDefaults()
	c.Negatives = c.Negatives.withDefaults()
	c.Workers = cmp.Or(c.Workers, runtime.GOMAXPROCS(0))
	c.Prefetch = cmp.Or(c.Prefetch, 2)
	c.Sources = append([]SourceConfig(nil), c.Sources...)
	for i := range c.Sources {
		s := &c.Sources[i]
		s.Split = cmp.Or(s.Split, "train")
		if len(s.Captions) == 0 {
			s.Captions = []CaptionColumn{{Column: shard.ColCaptions}}
		}
		s.Captions = append([]CaptionColumn(nil), s.Captions...)
		for j := range s.Captions {
			s.Captions[j].Probability = cmp.Or(s.Captions[j].Probability, 1)
		}
	}
	return c
}

// Validate reports the first thing that is wrong, naming the field. It expects the defaults filled in.
func (c Config) Validate() error {
	switch {
	case len(c.Sources) == 0:
		return fault.Userf("data.sources is empty: name at least one directory of shards")
	case c.Batch < 1 || c.Batch > maxBatch:
		return fault.Userf("data.batch must lie in 1 … %d, is %d", maxBatch, c.Batch)
	case !(c.Temperature >= 1/maxTemperature && c.Temperature <= maxTemperature):
		return fault.Userf("data.temperature must lie in %g … %g, is %g", 1/maxTemperature, maxTemperature, c.Temperature)
	case c.EpochRows < 0 || c.EpochRows > maxRows:
		return fault.Userf("data.epoch_rows must lie in 0 … %d, is %d", int64(maxRows), c.EpochRows)
	case c.Shuffle != shuffleAuto && c.Shuffle != shuffleRows && c.Shuffle != shuffleWindows && c.Shuffle != shuffleNone:
		return fault.Userf("data.shuffle %q is unknown: use auto, rows, windows or none", c.Shuffle)
	case c.ShuffleBlock < 1 || c.ShuffleWindow < 1 || c.ShuffleBlock > maxWindow || c.ShuffleWindow > maxWindow:
		return fault.Userf("data.shuffle_block and data.shuffle_window must lie in 1 … %d, are %d and %d", maxWindow, c.ShuffleBlock, c.ShuffleWindow)
	case !(c.MaxBadFraction <= 1):
		return fault.Userf("data.max_bad_fraction must be at most 1, is %g", c.MaxBadFraction)
	case c.Workers < 1 || c.Prefetch < 1 || c.Workers > maxWorkers || c.Prefetch > maxWorkers:
		return fault.Userf("data.workers and data.prefetch must lie in 1 … %d, are %d and %d", maxWorkers, c.Workers, c.Prefetch)
	}
	if err := c.Image.Validate(); err != nil {
		return fault.Userf("data.image.%w", err)
	}
	if err := c.Limits.Validate(); err != nil {
		return fault.Userf("data.%w", err)
	}
	if err := c.Store.validate(); err != nil {
		return err
	}
	if err := c.Negatives.validate(); err != nil {
		return err
	}
	if err := c.validateCache(); err != nil {
		return err
	}
	return c.validateSources()
}

// Bounds far beyond use: within them nothing that is counted overflows.
const (
	maxBatch       = 1 << 24
	maxRows        = 1 << 45
	maxWindow      = 1 << 30
	maxWorkers     = 1 << 12
	maxTemperature = 1e3
	maxShare       = 1e12 // of weights and probabilities; the inverse is the least
	maxRepeat      = 1e6
	maxFit         = 1 << 15 // pixels
	maxBlock       = 1 << 30 // bytes fetched at a time
)

func (s StoreConfig) validate() error {
	switch {
	case s.RetryFor < 0:
		return fault.Userf("data.store.retry_for must not be negative, is %s", s.RetryFor)
	case s.CacheBytes < 0:
		return fault.Userf("data.store.cache_bytes must not be negative, is %d", s.CacheBytes)
	case s.BlockBytes < 0 || s.BlockBytes > maxBlock:
		return fault.Userf("data.store.block_bytes must lie in 0 … %d, is %d", maxBlock, s.BlockBytes)
	}
	return nil
}

// validShare reports whether a relative share can be used: 0 leaves it open.
func validShare(s float64) bool { return s == 0 || s >= 1/maxShare && s <= maxShare }

func (c Config) validateCache() error {
	switch {
	case c.Cache.Bytes < 0:
		return fault.Userf("data.cache.bytes must not be negative, is %d", c.Cache.Bytes)
	case c.Cache.Fit < 0 || c.Cache.Fit > maxFit:
		return fault.Userf("data.cache.fit must lie in 0 … %d pixels, is %d", maxFit, c.Cache.Fit)
	case c.Cache.Fit > 0 && c.Cache.Fit < c.Image.Size:
		return fault.Userf("data.cache.fit %d is smaller than the %d pixels of data.image.size", c.Cache.Fit, c.Image.Size)
	case c.Cache.Fit > 0 && c.Image.Alpha == imaging.AlphaRandom:
		return fault.Userf("data.cache.fit lays pictures over white, data.image.alpha wants a random background: leave one of them out")
	}
	return nil
}

func (c Config) validateSources() error {
	weighted := 0
	for i, s := range c.Sources {
		where := fmt.Sprintf("data.sources[%d]", i)
		switch {
		case s.Shards == "":
			return fault.Userf("%s.shards is not set: name a directory of shards", where)
		case !validShare(s.Weight):
			return fault.Userf("%s.weight must lie in %g … %g, is %g", where, 1/maxShare, maxShare, s.Weight)
		case !validShare(s.Repeat) || s.Repeat > maxRepeat:
			return fault.Userf("%s.repeat must lie in %g … %g, is %g", where, 1/maxShare, maxRepeat, s.Repeat)
		case s.Weight > 0 && s.Repeat > 0:
			return fault.Userf("%s: give weight or repeat, not both", where)
		case s.Weight > 0 && c.Temperature != 1:
			return fault.Userf("%s: weight and data.temperature exclude each other", where)
		}
		if s.Weight > 0 {
			weighted++
		}
		for j, col := range s.Captions {
			if col.Column == "" {
				return fault.Userf("%s.captions[%d].column is not set: name a column of texts", where, j)
			}
			if !(col.Probability > 0 && validShare(col.Probability)) {
				return fault.Userf("%s.captions[%d].probability must lie in %g … %g, is %g", where, j, 1/maxShare, maxShare, col.Probability)
			}
			if col.Template != "" && !strings.Contains(col.Template, "{}") {
				return fault.Userf("%s.captions[%d]: template %q has no {} for the text", where, j, col.Template)
			}
		}
	}
	if weighted > 0 && weighted < len(c.Sources) {
		return fault.Userf("data.sources: %d of %d sources have a weight: give one to all or to none", weighted, len(c.Sources))
	}
	return nil
}

// ParseSources reads open_clip's way of writing a mixture: locations joined by "::", and upsampling factors, joined
// the same way, or none.
func ParseSources(locations, factors string) ([]SourceConfig, error) {
	parts := strings.Split(locations, "::")
	sources := make([]SourceConfig, len(parts))
	for i, p := range parts {
		sources[i].Shards = p
	}
	if factors == "" {
		return sources, nil
	}
	numbers := strings.Split(factors, "::")
	if len(numbers) != len(parts) {
		return nil, fault.Userf("%d upsampling factors for %d sources", len(numbers), len(parts))
	}
	for i, n := range numbers {
		f, err := strconv.ParseFloat(n, 64)
		if err != nil || !(f > 0) {
			return nil, fault.Userf("upsampling factor %q is not a positive number", n)
		}
		sources[i].Repeat = f
	}
	return sources, nil
}
