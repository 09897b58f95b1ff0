package prepare

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"tandem/internal/atomicfile"
	"tandem/internal/fault"
)

// files are those of a directory that shards are made of.
type files struct {
	Format    string `json:"format"`
	Directory string `json:"directory"` // absolute
	list      []file // in the order of a walk, which is that of their names
}

type file struct {
	Name string `json:"name"` // below the directory
	Size int64  `json:"size"`
	Time int64  `json:"time"` // in nanoseconds
}

// filesName is the list's file, beside the shards: a line for the directory and one for each of its files.
const (
	filesName   = "files.jsonl.gz"
	filesFormat = "tandem-files-1"
)

// filesOf looks at all files of a directory.
func filesOf(location string) (*files, error) {
	absolute, err := filepath.Abs(location)
	if err != nil {
		return nil, err
	}
	out := &files{Format: filesFormat, Directory: absolute}
	err = filepath.WalkDir(absolute, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := os.Stat(path) // of the file behind a link
		if err == nil {
			name, _ := filepath.Rel(absolute, path) // it lies below
			out.list = append(out.list, file{name, info.Size(), info.ModTime().UnixNano()})
		}
		return nil // what cannot be read is reported when it is
	})
	return out, err
}

func (f *files) write(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(path, 0o644, func(w io.Writer) error {
		zipped := gzip.NewWriter(w)
		buffer := bufio.NewWriter(zipped)
		lines := json.NewEncoder(buffer)
		err := lines.Encode(f)
		for _, one := range f.list {
			err = errors.Join(err, lines.Encode(one))
		}
		return errors.Join(err, buffer.Flush(), zipped.Close())
	})
}

// readFiles reads the list beside shards, or its first line alone; nil where there is none.
func readFiles(shards string, all bool) (*files, error) {
	path := filepath.Join(filepath.Dir(shards), filesName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	zipped, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return nil, fault.Userf("%s: damaged: %w", path, err)
	}
	lines := json.NewDecoder(zipped)
	out := &files{}
	if err := lines.Decode(out); err != nil {
		return nil, fault.Userf("%s: damaged: %w", path, err)
	}
	if out.Format != filesFormat {
		return nil, fault.Userf("%s: format %q is not %q", path, out.Format, filesFormat)
	}
	for all {
		var one file
		if err := lines.Decode(&one); err == io.EOF {
			break
		} else if err != nil {
			return nil, fault.Userf("%s: damaged: %w", path, err)
		}
		out.list = append(out.list, one)
	}
	return out, nil
}

// SourceOf returns the directory that Directory made shards of, as an absolute path; "" of other shards.
func SourceOf(shards string) (string, error) {
	f, err := readFiles(shards, false)
	if err != nil || f == nil {
		return "", err
	}
	return f.Directory, nil
}

// Changes are the files of a directory that are not as they were.
type Changes struct {
	Gone, New []string
	Touched   []string // of another size or time
}

// ChangesSince says what has changed in a directory since Directory made shards of it.
func ChangesSince(shards, directory string) (Changes, error) {
	var c Changes
	before, err := readFiles(shards, true)
	if err != nil || before == nil {
		return c, err
	}
	now, err := filesOf(directory)
	if err != nil {
		return c, err
	}
	known := map[string]file{}
	for _, f := range before.list {
		known[f.Name] = f
	}
	for _, f := range now.list {
		old, ok := known[f.Name]
		if delete(known, f.Name); !ok {
			c.New = append(c.New, f.Name)
		} else if old != f {
			c.Touched = append(c.Touched, f.Name)
		}
	}
	for _, f := range before.list {
		if _, ok := known[f.Name]; ok {
			c.Gone = append(c.Gone, f.Name)
		}
	}
	return c, nil
}

// String counts the changes and names some: "1 gone (red/b.png), 2 new (red/x.png, red/y.png)"; "" where nothing changed.
func (c Changes) String() string {
	const named = 5
	var parts []string
	for _, kind := range []struct {
		names []string
		what  string
	}{{c.Gone, "gone"}, {c.New, "new"}, {c.Touched, "of another size or time"}} {
		if len(kind.names) == 0 {
			continue
		}
		names := strings.Join(kind.names[:min(named, len(kind.names))], ", ")
		if len(kind.names) > named {
			names += ", …"
		}
		parts = append(parts, fmt.Sprintf("%d %s (%s)", len(kind.names), kind.what, names))
	}
	return strings.Join(parts, ", ")
}
