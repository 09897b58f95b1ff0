package packaged

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tandem/data/build"
	"tandem/data/ingest"
	"tandem/data/shard"
	"tandem/data/source"
	"tandem/internal/fault"
	"tandem/internal/prng"
	"tandem/internal/progress"
)

// Splits of every set.
const (
	train = source.Train
	val   = "val"
	test  = source.Test
)

// Options say where packages come from.
type Options struct {
	Packages string             // directory that keeps what was downloaded; default: packages beside the shards
	Offline  bool               // never download
	Progress *progress.Reporter // nil is silent

	tools tools // commands and paths, for tests
}

// Version changes when Build would write other shards of the same packages.
const Version = 1

// set is one data set: the packages it is made of and how they become rows.
type set struct {
	packages []pkg
	read     func(from []unpacked) (ingest.Input, error) // from has one element for each package
	options  build.Options
}

// pkg gets a package.
type pkg interface {
	// open returns the package's files, which are downloaded into o.Packages if they are not there.
	open(ctx context.Context, o Options) (unpacked, error)
}

// unpacked is a package's files. dir is set where they lie in a directory.
type unpacked struct {
	fs.FS
	dir     string
	licence source.Licence
	close   io.Closer
}

var sets = map[string]set{
	"textile":       textile,
	"fashion-mnist": fashion,
	"stamps":        stamps,
	"openclipart":   openclipart,
}

// Names lists the sets.
func Names() []string { return slices.Sorted(maps.Keys(sets)) }

// Build writes the shards of a set to the directory dst: splits train, val and test, the same rows in each at every
// build of the same packages. It returns nil if they are there already; a build that was cut off goes on.
func Build(ctx context.Context, name, dst string, o Options) (err error) {
	s, ok := sets[name]
	if !ok {
		return fault.Userf("there is no packaged data set %q; there are %s", name, strings.Join(Names(), ", "))
	}
	if _, err := os.Stat(filepath.Join(dst, shard.ManifestName)); err == nil {
		return nil
	}
	if o.Packages == "" {
		o.Packages = filepath.Join(filepath.Dir(filepath.Clean(dst)), "packages")
	}
	o.tools.setDefaults()
	var from []unpacked
	defer func() {
		for _, u := range from {
			if u.close != nil {
				err = errors.Join(err, u.close.Close())
			}
		}
	}()
	for _, p := range s.packages {
		u, err := p.open(ctx, o)
		if err != nil {
			return fmt.Errorf("data set %s: %w", name, err)
		}
		from = append(from, u)
	}
	return s.build(ctx, name, dst, from, o)
}

func (s set) build(ctx context.Context, name, dst string, from []unpacked, o Options) error {
	in, err := s.read(from)
	if err != nil {
		return fmt.Errorf("data set %s: %w", name, err)
	}
	options := s.options
	options.Out, options.Progress, options.Labels = dst, o.Progress, in.Labels()
	report, err := build.Build(ctx, []ingest.Input{input{in, name, from}}, options)
	if err != nil {
		return err
	}
	return report.Check()
}

// input gives an ingest.Input the name and licences of the set.
type input struct {
	ingest.Input
	name string
	from []unpacked
}

func (in input) Info() shard.SourceInfo {
	info := shard.SourceInfo{Name: in.name, Kind: "package"}
	for _, u := range in.from {
		info.Licences = append(info.Licences, u.licence)
	}
	return info
}

// rows is an ingest.Input of rows whose images are read from a package when they are needed.
type rows struct {
	ingest.Input
	classes   map[string][]string
	templates []string
}

func (r rows) Classes() map[string][]string { return r.classes }
func (r rows) Templates() []string          { return r.templates }

// maxImage is far over any picture of these sets.
const maxImage = 64 << 20

// loadFrom reads a row's image from the file of this name.
func loadFrom(fsys fs.FS, name string) func(*ingest.Row) error {
	return func(r *ingest.Row) (err error) {
		info, err := fs.Stat(fsys, name)
		if err == nil && info.Size() > maxImage {
			return &ingest.Skip{Reason: ingest.HugeImage, At: r.At, Key: r.Key}
		}
		if err == nil {
			r.Image, err = fs.ReadFile(fsys, name)
		}
		if err != nil {
			return &ingest.Skip{Reason: ingest.UnreadableImage, At: r.At, Key: r.Key, Err: err}
		}
		return nil
	}
}

// splitBy gives everything that shares a text the same split; about these shares of the texts go to val and test.
func splitBy(text string, valShare, testShare float64) string {
	u := float64(hash(text)>>11) / (1 << 53)
	switch {
	case u < testShare:
		return test
	case u < testShare+valShare:
		return val
	}
	return train
}

// hash is a fixed function of the text (FNV-1a, mixed).
func hash(text string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	return prng.Mix(h)
}
