// Package build turns sources into a directory of shards: it reads rows in order, checks, filters and shrinks them in
// parallel, and writes them in the same order, so that equal inputs and options give equal bytes. A build that was
// killed goes on where its finished shards end. Every row is accounted for.
package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"tandem/data/ingest"
	"tandem/data/shard"
	"tandem/imaging"
	"tandem/internal/atomicfile"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

// Options are the choices of a build. The zero value of each field is its default.
type Options struct {
	Out        string `json:"-"` // the directory to write
	ShardBytes int64  `json:"shard_bytes"`
	Workers    int    `json:"-"` // default: the number of processors; changes nothing but speed

	Images   ImageOptions   `json:"images"`
	Captions CaptionOptions `json:"captions"`

	Dedup        string             `json:"dedup,omitempty"`         // "", "exact" or "near"
	NearDistance int                `json:"near_distance,omitempty"` // bits of the 64 of a dHash that may differ, at most 3
	Holdout      map[string]float64 `json:"holdout,omitempty"`       // share of the rows of split train that go to another split, by key
	Labels       []string           `json:"labels,omitempty"`        // label columns; default: those of the inputs
	MaxRows      int64              `json:"max_rows,omitempty"`      // rows to read, 0 for all

	// Score rates how well captions fit a picture, for the filter MinScore; it may be called from several goroutines.
	Score    func(ctx context.Context, image []byte, captions []string) ([]float64, error) `json:"-"`
	MinScore float64                                                                       `json:"min_score,omitempty"`

	DryRun   bool               `json:"-"` // do everything but write
	Restart  bool               `json:"-"` // forget an unfinished build in Out
	Replace  bool               `json:"-"` // replace a finished one
	Progress *progress.Reporter `json:"-"`
	// Expect is the number of rows that the inputs will give, for the time left; 0 is unknown.
	Expect int64 `json:"-"`
}

// ImageOptions say which images are kept and how they are stored.
type ImageOptions struct {
	Fit       int     `json:"fit,omitempty"`        // make larger images so small that their shortest side has this many pixels
	Longest   bool    `json:"longest,omitempty"`    // Fit is about the longest side instead
	Format    string  `json:"format,omitempty"`     // "jpeg" or "png": store all images so; default: only those made smaller are stored anew
	Quality   int     `json:"quality,omitempty"`    // of JPEG, default 90
	MinSide   int     `json:"min_side,omitempty"`   // skip images whose shortest side is below
	MaxAspect float64 `json:"max_aspect,omitempty"` // skip images whose longest side is more than so many times the shortest
	// HeaderOnly trusts an image whose header can be read; otherwise every image is decoded.
	HeaderOnly bool           `json:"header_only,omitempty"`
	Limits     imaging.Limits `json:"limits"`
}

// CaptionOptions say which captions are kept.
type CaptionOptions struct {
	Raw      bool     `json:"raw,omitempty"`       // keep spaces and composition of characters as they are
	MinChars int      `json:"min_chars,omitempty"` // in Unicode code points
	MaxChars int      `json:"max_chars,omitempty"` // default 10,000
	Scripts  []string `json:"scripts,omitempty"`   // keep captions whose letters are mostly of these Unicode scripts, like Latin
}

const (
	defaultShardBytes = 256 << 20
	defaultQuality    = 90
	defaultMaxChars   = 10_000
	maxSplits         = 64
)

func (o *Options) setDefaults() error {
	if o.ShardBytes == 0 {
		o.ShardBytes = defaultShardBytes
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Images.Quality == 0 {
		o.Images.Quality = defaultQuality
	}
	if o.Images.Limits == (imaging.Limits{}) {
		o.Images.Limits = imaging.DefaultLimits()
	}
	if o.Captions.MaxChars == 0 {
		o.Captions.MaxChars = defaultMaxChars
	}
	return o.validate()
}

func (o *Options) validate() error {
	switch {
	case o.Out == "" && !o.DryRun:
		return fault.Userf("no output directory given: say -out DIR")
	case o.ShardBytes < 1<<16:
		return fault.Userf("shards of %d bytes are too small: at least 64 KiB", o.ShardBytes)
	case !slices.Contains([]string{"", "none", "exact", "near"}, o.Dedup):
		return fault.Userf("unknown kind of de-duplication %q: none, exact or near", o.Dedup)
	case o.NearDistance < 0 || o.NearDistance > maxNearDistance:
		return fault.Userf("near-duplicates differ in 0 to %d bits, not %d", maxNearDistance, o.NearDistance)
	case !slices.Contains([]string{"", "jpeg", "png"}, o.Images.Format):
		return fault.Userf("images are stored as jpeg or png, not %q", o.Images.Format)
	case o.Images.Quality < 1 || o.Images.Quality > 100:
		return fault.Userf("JPEG quality is 1 to 100, not %d", o.Images.Quality)
	case o.Images.Fit < 0 || o.Images.MinSide < 0 || o.Images.MaxAspect < 0 || o.Captions.MinChars < 0 || o.MaxRows < 0:
		return fault.Userf("sizes and counts must not be negative")
	case o.Captions.MinChars > o.Captions.MaxChars:
		return fault.Userf("captions of at least %d and at most %d characters cannot be", o.Captions.MinChars, o.Captions.MaxChars)
	case o.Images.HeaderOnly && (o.Images.Fit > 0 || o.Images.Format != "" || o.Dedup == "near"):
		return fault.Userf("making images smaller, storing them anew and finding near-duplicates need the pixels: leave -header-only out")
	}
	for _, split := range slices.Sorted(maps.Keys(o.Holdout)) {
		if share := o.Holdout[split]; !validSplit(split) || share <= 0 || share >= 1 {
			return fault.Userf("held-out split %q with share %g: want a plain name and a share between 0 and 1", split, share)
		}
	}
	return errors.Join(checkScripts(o.Captions.Scripts), fault.User(o.Images.Limits.Validate()))
}

// Report is what a build did.
type Report struct {
	shard.Books
	Shards   int      `json:"shards"`
	Bytes    int64    `json:"bytes"`
	Splits   []string `json:"splits"`
	Captions int64    `json:"captions"`
	// Resumed is the number of rows that an earlier, killed run had accounted for.
	Resumed int64 `json:"resumed,omitempty"`
}

// Check reports whether the books balance.
func (r Report) Check() error {
	n := r.RowsOut
	for _, s := range r.Skipped {
		n += s
	}
	if n != r.RowsIn {
		return fmt.Errorf("the books do not balance: %d rows in, %d out or skipped", r.RowsIn, n)
	}
	return nil
}

// Build reads the inputs one after the other and writes their rows to o.Out. The manifest is written last.
func Build(ctx context.Context, inputs []ingest.Input, o Options) (Report, error) {
	if err := o.setDefaults(); err != nil {
		return Report{}, err
	}
	if err := uniqueNames(inputs); err != nil {
		return Report{}, err
	}
	if err := outside(o.Out, inputs); err != nil {
		return Report{}, err
	}
	if err := o.findLabels(ctx, inputs); err != nil {
		return Report{}, err
	}
	j, err := openJournal(ctx, &o, inputs)
	if err != nil {
		return Report{}, err
	}
	defer j.close()
	c, err := newCollector(&o, inputs, j)
	if err != nil {
		return Report{}, err
	}
	resumed := c.now.Books.RowsIn
	if err := run(ctx, inputs, &o, c); err != nil {
		c.abort()
		return c.report(resumed), err
	}
	if err := c.finish(); err != nil {
		return c.report(resumed), err
	}
	r := c.report(resumed)
	return r, r.Check()
}

// outside refuses to write into a folder that is read: the shards would be taken for pictures, or the folder for shards.
func outside(out string, inputs []ingest.Input) error {
	to, err := filepath.Abs(out)
	if out == "" || err != nil {
		return err
	}
	for _, in := range inputs {
		info := in.Info()
		if info.Kind != "folder" {
			continue
		}
		from, err := filepath.Abs(info.Location)
		if err != nil {
			return err
		}
		if rel, err := filepath.Rel(from, to); err == nil && filepath.IsLocal(rel) {
			return fault.Userf("-out %s lies in the folder that is read, %s: write the shards beside it", out, info.Location)
		}
	}
	return nil
}

func uniqueNames(inputs []ingest.Input) error {
	if len(inputs) == 0 {
		return fault.Userf("no sources given")
	}
	seen := map[string]string{}
	for _, in := range inputs {
		info := in.Info()
		if other, ok := seen[info.Name]; ok {
			return fault.Userf("sources %s and %s have the same name %q: give one another with NAME=LOCATION", other, info.Location, info.Name)
		}
		seen[info.Name] = info.Location
	}
	return nil
}

// discoverRows is how many rows of an input that does not know its labels are looked at for them.
const discoverRows = 1000

// findLabels unites the label columns of the inputs, unless the user named them.
func (o *Options) findLabels(ctx context.Context, inputs []ingest.Input) error {
	if o.Labels != nil {
		return nil
	}
	found := map[string]bool{}
	for _, in := range inputs {
		labels := in.Labels()
		if labels == nil {
			var err error
			if labels, err = discover(ctx, in); err != nil {
				return err
			}
		}
		for _, l := range labels {
			found[l] = true
		}
	}
	o.Labels = []string{}
	for l := range found {
		o.Labels = append(o.Labels, l)
	}
	slices.Sort(o.Labels)
	return nil
}

func discover(ctx context.Context, in ingest.Input) (labels []string, err error) {
	n := 0
	for _, part := range in.Parts() {
		for row, err := range part.Rows(ctx) {
			var s *ingest.Skip
			if err != nil && !errors.As(err, &s) {
				return nil, err
			}
			for l := range row.Labels {
				labels = append(labels, l)
			}
			if n++; n == discoverRows {
				return labels, nil
			}
		}
	}
	return labels, nil
}

// writeManifest puts the finished build's manifest in place.
func writeManifest(dir string, m *shard.Manifest) error {
	if err := m.Validate(); err != nil {
		return err
	}
	data, err := m.Encode()
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, shard.ManifestName), data, 0o644)
}

func encodeOptions(o *Options) json.RawMessage {
	data, err := json.Marshal(o)
	if err != nil {
		panic(err) // plain fields always encode
	}
	return data
}

func removeAll(paths ...string) error {
	var errs []error
	for _, p := range paths {
		errs = append(errs, os.RemoveAll(p))
	}
	return errors.Join(errs...)
}
