package prepare

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"tandem/data/build"
	"tandem/data/ingest"
	"tandem/data/shard"
	"tandem/internal/fault"
)

// Directory returns where the shards of a location lie: a directory of pictures in folders of classes, tables, IDX pairs
// or webdataset tars (CLIP_benchmark's layout too) becomes shards under the directory of prepared data, once for each
// state of its files. A directory of shards, and what is no directory, is returned as it is.
func Directory(ctx context.Context, location string, o Options) (string, error) {
	info, err := os.Stat(location)
	if err != nil || !info.IsDir() {
		return location, nil
	}
	if _, err := os.Stat(filepath.Join(location, shard.ManifestName)); err == nil {
		return location, nil
	}
	input, err := ingest.Open(location, ingest.Options{ClassDirs: true})
	if err != nil {
		return "", err
	}
	dir, err := o.directoryOf(location, input.Classes())
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, shard.ManifestName)); err == nil {
		return dir, nil
	}
	report, err := build.Build(ctx, []ingest.Input{input}, build.Options{Out: dir, Progress: o.Progress})
	if err != nil {
		return "", Unlabelled(err, location)
	}
	return dir, report.Check()
}

// Unlabelled says of a build's error what to do about pictures that are to be evaluated on and have no class. Other errors
// stay.
func Unlabelled(err error, location string) error {
	if empty, ok := errors.AsType[*build.EmptyError](err); ok && empty.OnlyBare() {
		return fault.Userf("%s: its %d pictures have neither a class nor a caption: put them in a folder for each class (%s), or name a table of paths and classes instead (CSV: filepath,class)",
			location, empty.Books.RowsIn, filepath.Join(location, "dog", "1.jpg"))
	}
	return err
}

// directoryOf names the shards of a directory by its place and the names, sizes and times of all its files, and by the
// classes whose labels are not the names in its list: shards in which such classes were one are not used.
func (o Options) directoryOf(location string, classes map[string][]string) (string, error) {
	root, err := o.root()
	if err != nil {
		return "", err
	}
	absolute, err := filepath.Abs(location)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, absolute)
	for _, column := range slices.Sorted(maps.Keys(classes)) {
		if repeated := shard.RepeatedNames(classes[column]); len(repeated) > 0 {
			fmt.Fprintf(h, "%q %q\n", column, slices.Sorted(maps.Keys(repeated)))
		}
	}
	err = filepath.WalkDir(absolute, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := os.Stat(path) // of the file behind a link
		if err == nil {
			fmt.Fprintf(h, "%q %d %d\n", path, info.Size(), info.ModTime().UnixNano())
		}
		return nil // what cannot be read is reported when it is
	})
	return filepath.Join(root, "tasks", hex.EncodeToString(h.Sum(nil))[:16], filepath.Base(absolute)), err
}

// root is Root, or the default.
func (o Options) root() (string, error) {
	if o.Root != "" {
		return o.Root, nil
	}
	return DefaultRoot()
}
