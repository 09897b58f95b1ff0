package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"tandem/data/shard"
	"tandem/data/source"
)

// classLabel is the label column of class directories, IDX files and labelled tars.
const classLabel = "class"

// openFolder reads a tree of pictures with a .txt or .json file of captions beside each, or with a directory for each
// class.
func openFolder(location string, o Options) (Input, error) {
	o = o.withDefaults(location)
	b := &basic{info: shard.SourceInfo{Name: o.Name, Kind: "folder", Location: location}}
	if o.ClassDirs {
		b.labels, b.labelled = []string{classLabel}, true
	}
	if len(o.LabelColumns) > 0 {
		b.labels = append(b.labels, o.labelColumns()...)
	}
	b.estimate = estimateFolder(location)
	w := &folder{root: location, o: o}
	b.parts = []Part{{Name: location, Stamp: "", Rows: w.rows}}
	return b, nil
}

// labelColumns are the columns asked for, without the word "none".
func (o *Options) labelColumns() []string {
	return slices.DeleteFunc(slices.Clone(o.LabelColumns), func(s string) bool { return s == "none" })
}

type folder struct {
	root string
	o    Options
}

func (w *folder) rows(ctx context.Context) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) { w.walk(ctx, ".", nil, yield) }
}

// walk yields the pictures below dir in the order of their names. Links are followed, except to a directory that the
// walk is inside of. It reports whether to go on.
func (w *folder) walk(ctx context.Context, dir string, inside []fs.FileInfo, yield func(Row, error) bool) bool {
	full := filepath.Join(w.root, filepath.FromSlash(dir))
	if err := ctx.Err(); err != nil {
		yield(Row{}, err)
		return false
	}
	info, err := os.Stat(full)
	if err == nil && slices.ContainsFunc(inside, func(i fs.FileInfo) bool { return os.SameFile(i, info) }) {
		return yield(Row{}, skip(SymlinkLoop, Place{full, -1}, "", nil))
	}
	var entries []fs.DirEntry
	if err == nil {
		entries, err = os.ReadDir(full)
	}
	if err != nil {
		return yield(Row{}, skip(UnreadableImage, Place{full, -1}, "", err))
	}
	inside = append(slices.Clip(inside), info)
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if w.isDir(e, name) {
			if !w.walk(ctx, name, inside, yield) {
				return false
			}
		} else if isImageName(name) && !yield(w.row(name), nil) {
			return false
		}
	}
	return true
}

func (w *folder) isDir(e fs.DirEntry, name string) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.IsDir()
	}
	info, err := os.Stat(filepath.Join(w.root, filepath.FromSlash(name)))
	return err == nil && info.IsDir()
}

func (w *folder) row(name string) Row {
	key := strings.TrimSuffix(name, path.Ext(name))
	first, rest, nested := strings.Cut(name, "/")
	split := w.o.splitOf("")
	if _, named := splitNames[strings.ToLower(first)]; nested && named {
		split = w.o.splitOf(first)
	} else {
		rest = name
	}
	r := Row{At: Place{filepath.Join(w.root, filepath.FromSlash(name)), -1}, Load: w.load}
	r.Example = source.Example{Key: key, Split: split}
	if w.o.ClassDirs {
		if class := path.Dir(rest); class != "." {
			r.Labels = map[string]string{classLabel: class}
			w.o.addTemplates(&r, classLabel)
		}
	}
	return r
}

func (w *folder) load(r *Row) (err error) {
	file := r.At.File
	if r.Image, err = loadFile(file, w.o.MaxImageBytes, r.At, r.Key); err != nil {
		return err
	}
	base := strings.TrimSuffix(file, filepath.Ext(file))
	for _, side := range []struct {
		ext  string
		read func(*Row, []byte, *Options) error
	}{{".txt", readTextSidecar}, {".json", readJSONSidecar}} {
		data, err := readSmall(base + side.ext)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return skip(NoCaption, r.At, r.Key, err)
		}
		if err := side.read(r, data, &w.o); err != nil {
			return err
		}
	}
	return nil
}

// maxSidecar bounds the text beside an image.
const maxSidecar = 4 << 20

func readSmall(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSidecar {
		return nil, fmt.Errorf("%s is not a regular file of at most %d bytes", file, maxSidecar)
	}
	return os.ReadFile(file)
}
