package ingest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"tandem/data/shard"
	"tandem/internal/fault"
)

// Options say how to read an input. The zero value guesses.
type Options struct {
	From  string // kind of input (Kinds); "" or "auto" looks at the location
	Name  string // name of the source in keys and manifest; default: the location's base name
	Split string // split of all rows; default: what the rows, files or directories are named, else "train"

	ImageColumn    string   // lists and parquet; default: the first known name that is there
	KeyColumn      string   //
	SplitColumn    string   //
	CaptionColumns []string //
	LabelColumns   []string // columns to keep as labels; default: every other text or number; {"none"} for none
	NoHeader       []string // names of the columns of a CSV or TSV file without header line

	ImageRoot  string   // where relative image paths and URLs of a list are looked up; default: the list's directory
	ClassDirs  bool     // folders: the directory's name is the label "class"
	ClassNames []string // names for integer labels, in order
	Templates  []string // captions made from labels, like "a photo of a {class}"

	MaxImageBytes int64 // an encoded image over this is skipped; default 128 MiB

	classes classNames // of ClassNames
}

// classNames are the names of integer labels: of classes with the same name the labels differ and the words do not.
type classNames struct {
	labels []string
	words  map[string]string // of labels that are not their own words
}

func namesOf(list []string) classNames {
	return classNames{shard.DistinctNames(list), shard.RepeatedNames(list)}
}

// spoken are labels as captions say them.
func (c classNames) spoken(labels map[string]string) map[string]string {
	if len(c.words) == 0 {
		return labels
	}
	spoken := maps.Clone(labels)
	for column, label := range labels {
		if word, ok := c.words[label]; ok {
			spoken[column] = word
		}
	}
	return spoken
}

// defaultMaxImageBytes is far over any photo and far under what hurts.
const defaultMaxImageBytes = 128 << 20

func (o Options) withDefaults(location string) Options {
	if o.Name == "" {
		o.Name = baseName(location)
	}
	if o.MaxImageBytes == 0 {
		o.MaxImageBytes = defaultMaxImageBytes
	}
	return o
}

// baseName is a short name for a location: its last element without extensions and braces.
func baseName(location string) string {
	base := path.Base(filepath.ToSlash(strings.TrimRight(location, "/")))
	if base == "." || base == ".." {
		if abs, err := filepath.Abs(location); err == nil {
			base = filepath.Base(abs)
		}
	}
	name, _, _ := strings.Cut(base, ".")
	name = strings.Trim(strings.Map(func(r rune) rune {
		if strings.ContainsRune("{}*?[]:/\\", r) {
			return '-'
		}
		return r
	}, name), "-")
	if name == "" {
		return "source"
	}
	return name
}

// splitNames are directory and file name parts that name a split.
var splitNames = map[string]string{
	"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test",
}

// splitOf guesses the split from a name like "train-00000-of-00002.parquet" or a directory's name.
func (o *Options) splitOf(name string) string {
	if o.Split != "" {
		return o.Split
	}
	first, _, _ := strings.Cut(strings.ToLower(name), ".")
	first, _, _ = strings.Cut(first, "-")
	first, _, _ = strings.Cut(first, "_")
	if s, ok := splitNames[first]; ok {
		return s
	}
	return "train"
}

// imageExtensions are the file names that count as pictures.
var imageExtensions = []string{".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}

func isImageName(name string) bool {
	return slices.Contains(imageExtensions, strings.ToLower(path.Ext(name)))
}

// loadFile reads an image file of at most limit bytes, or says in a *Skip why not.
func loadFile(file string, limit int64, at Place, key string) ([]byte, error) {
	info, err := os.Stat(file) // before opening: opening a named pipe would wait for ever
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, skip(MissingImage, at, key, fmt.Errorf("%s does not exist", file))
	case err != nil:
		return nil, skip(UnreadableImage, at, key, err)
	case !info.Mode().IsRegular():
		return nil, skip(UnreadableImage, at, key, fmt.Errorf("%s is not a regular file", file))
	case info.Size() == 0:
		return nil, skip(EmptyImage, at, key, nil)
	case info.Size() > limit:
		return nil, skip(HugeImage, at, key, fmt.Errorf("%d bytes, at most %d are read", info.Size(), limit))
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, skip(UnreadableImage, at, key, err)
	}
	defer f.Close()
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, skip(UnreadableImage, at, key, err)
	}
	return data, nil
}

// stamp is size and time of a file, to notice that it changed between two runs of a build.
func stamp(file string) string {
	info, err := os.Stat(file)
	if err != nil {
		return "missing"
	}
	return fmt.Sprintf("%d-%d", info.Size(), info.ModTime().UnixNano())
}

// mustExist turns a missing location into the user's error.
func mustExist(location string) (fs.FileInfo, error) {
	info, err := os.Stat(location)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Userf("%s: no such file or directory", location)
	}
	if err != nil {
		return nil, fault.User(err)
	}
	return info, nil
}

// fill puts the labels into a template: "{class}" by the column's value, "{}" by the only or the first label.
func fill(template string, labels map[string]string, first string) (string, bool) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(template, "{")
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		name, after, closed := strings.Cut(rest, "}")
		if name == "" {
			name = first
		}
		value, ok := labels[name]
		if !closed || !ok || value == "" {
			return "", false
		}
		b.WriteString(value)
		template = after
	}
}

// addTemplates appends the captions that the templates make of a row's labels. first is the label behind "{}".
func (o *Options) addTemplates(r *Row, first string) {
	labels := o.classes.spoken(r.Labels)
	for _, t := range o.Templates {
		if s, ok := fill(t, labels, first); ok {
			r.Captions = append(r.Captions, s)
		}
	}
}
