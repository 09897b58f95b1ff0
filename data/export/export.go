// Package export writes shards in the formats of other programs: webdataset tars and Hugging Face parquet.
package export

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

	"tandem/data/shard"
	"tandem/data/store"
	"tandem/imaging"
	"tandem/internal/atomicfile"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

// Formats lists what Options.Format may be.
var Formats = []string{"webdataset", "huggingface"}

// Options say what to write.
type Options struct {
	Format    string // one of Formats
	Out       string // a new or empty directory
	FileBytes int64  // about how large files become
	Progress  *progress.Reporter
}

// Report sums up what was written.
type Report struct {
	Files int   `json:"files"`
	Rows  int64 `json:"rows"`
	Bytes int64 `json:"bytes"`
}

// file is a file being written in one of the formats.
type file interface {
	add(r *shard.Row) error
	close() error
}

// Export writes every split of a shard set.
func Export(ctx context.Context, from store.Store, o Options) (Report, error) {
	if !slices.Contains(Formats, o.Format) {
		return Report{}, fault.Userf("unknown format %q: use %s", o.Format, strings.Join(Formats, " or "))
	}
	m, err := shard.ReadManifest(ctx, from)
	if err != nil {
		return Report{}, err
	}
	if err := prepareDirectory(o.Out); err != nil {
		return Report{}, err
	}
	x := &exporter{o: o, manifest: m, ctx: ctx}
	task := o.Progress.Start("exporting", m.Rows(""), "rows")
	for _, split := range m.SplitNames() {
		if err := x.split(from, split, task); err != nil {
			task.Fail()
			return x.report, err
		}
	}
	if err := x.finish(); err != nil {
		task.Fail()
		return x.report, err
	}
	task.Done()
	return x.report, nil
}

func prepareDirectory(dir string) error {
	if dir == "" {
		return fault.Userf("no output directory given: say -out DIR")
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.User(err)
	}
	if len(entries) > 0 {
		return fault.Userf("%s: is not empty; choose another directory", dir)
	}
	return fault.User(os.MkdirAll(dir, 0o755))
}

type exporter struct {
	o        Options
	manifest *shard.Manifest
	ctx      context.Context
	report   Report
}

// split writes the rows of one split to files of about the size asked for.
func (x *exporter) split(from store.Store, split string, task *progress.Task) error {
	set, err := shard.OpenSet(x.ctx, from, split)
	if err != nil {
		return err
	}
	defer set.Close()
	files := max(1, (set.Manifest.Splits[split].Bytes+x.o.FileBytes/2)/max(1, x.o.FileBytes))
	per := (set.NumRows() + files - 1) / files
	next, stop := pull(x.ctx, set)
	defer stop()
	for number, left := 0, set.NumRows(); left > 0; number++ {
		rows := min(per, left)
		left -= rows
		name := x.name(split, number, int((set.NumRows()+per-1)/per))
		if err := x.write(name, number, rows, next, task); err != nil {
			return err
		}
	}
	return nil
}

func (x *exporter) name(split string, number, of int) string {
	if x.o.Format == "webdataset" {
		return fmt.Sprintf("%s-%05d.tar", split, number)
	}
	return filepath.Join("data", fmt.Sprintf("%s-%05d-of-%05d.parquet", split, number, of))
}

// write fills one file with the next rows.
func (x *exporter) write(name string, number int, rows int64, next func() (*shard.Row, error), task *progress.Task) error {
	path := filepath.Join(x.o.Out, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	err := atomicfile.Write(path, 0o644, func(w io.Writer) error {
		f, err := x.open(w, number)
		if err != nil {
			return err
		}
		for range rows {
			r, err := next()
			if err != nil {
				return err
			}
			if err := f.add(r); err != nil {
				return err
			}
			task.Add(1)
		}
		return f.close()
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	x.report.Files++
	x.report.Rows += rows
	x.report.Bytes += info.Size()
	return nil
}

func (x *exporter) open(w io.Writer, number int) (file, error) {
	if x.o.Format == "webdataset" {
		return newTar(w, number, x.manifest), nil
	}
	return newHub(w, x.manifest)
}

// finish writes what describes the files.
func (x *exporter) finish() error {
	if x.o.Format == "webdataset" {
		return nil
	}
	return atomicfile.WriteFile(filepath.Join(x.o.Out, "README.md"), []byte(card(x.manifest)), 0o644)
}

// pull turns the walk over a set's rows into a function that returns the next one.
func pull(ctx context.Context, set *shard.Set) (next func() (*shard.Row, error), stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	rows := make(chan *shard.Row)
	failed := make(chan error, 1)
	go func() {
		defer close(rows)
		failed <- set.Rows(ctx, func(_ shard.FileInfo, _ int64, r *shard.Row) error {
			select {
			case rows <- r:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	next = func() (*shard.Row, error) {
		if r, ok := <-rows; ok {
			return r, nil
		}
		if err := <-failed; err != nil {
			return nil, err
		}
		return nil, io.ErrUnexpectedEOF
	}
	return next, func() {
		cancel()
		for range rows { // until the goroutine is gone
		}
	}
}

// extension is the usual file name ending of an encoded image.
func extension(image []byte) string {
	f, ok := imaging.Sniff(image)
	switch {
	case !ok:
		return "bin"
	case f == imaging.FormatJPEG:
		return "jpg"
	default:
		return string(f)
	}
}

func sortedNames(labels map[string]string) []string { return slices.Sorted(maps.Keys(labels)) }
