package shard

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"tandem/data/source"
	"tandem/internal/fault"
)

// Names of the files beside the shards.
const (
	ManifestName = "manifest.json"
	SkippedName  = "skipped.jsonl" // every row that a build did not use: reason, file, row, key; absent where it used all
)

// The format this package writes. A reader refuses a newer version.
const (
	Format        = "tandem-shards"
	FormatVersion = 1
)

// maxManifestBytes bounds what is read into memory: a million files need about 200 MB.
const maxManifestBytes = 256 << 20

// Manifest describes a directory of shards. It is written last, so a directory with a manifest is complete.
type Manifest struct {
	Format  string `json:"format"`
	Version int    `json:"version"`

	Files   []FileInfo           `json:"files"`
	Splits  map[string]SplitInfo `json:"splits"`
	Schema  []Column             `json:"schema"`
	Sources []SourceInfo         `json:"sources"`

	// Classes lists, for label columns that have a fixed set of values, the source's names of them in its own order. Rows
	// have the values that DistinctNames makes of them: a name that stands there twice is of two classes.
	Classes map[string][]string `json:"classes,omitempty"`
	// Templates holds the prompt templates that came with a labelled set, "{}" standing for the class name.
	Templates []string `json:"templates,omitempty"`

	Captions CaptionStats    `json:"captions"`
	Books    Books           `json:"books"`
	Build    json.RawMessage `json:"build,omitempty"` // the options of the build, for a reader's eyes
}

// FileInfo is one shard.
type FileInfo struct {
	Name      string `json:"name"` // relative to the manifest, no directories
	Split     string `json:"split"`
	Rows      int64  `json:"rows"`
	RowGroups int    `json:"row_groups"`
	Bytes     int64  `json:"bytes"`
	SHA256    string `json:"sha256"`
}

// SplitInfo sums up the files of one split.
type SplitInfo struct {
	Rows     int64 `json:"rows"`
	Files    int   `json:"files"`
	Bytes    int64 `json:"bytes"`
	Captions int64 `json:"captions"`
}

// Column is one column of the parquet schema.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"` // bytes, string, int32 or list<string>
	Role Role   `json:"role"`
}

// Role says what a column is for.
type Role string

// The roles of columns.
const (
	RoleImage   Role = "image"
	RoleCaption Role = "caption"
	RoleLabel   Role = "label" // a label or any other text that the source knew
	RoleBook    Role = "book"  // key, split, source, width, height
)

// SourceInfo says where rows came from and under which licences.
type SourceInfo struct {
	Name     string `json:"name"`
	Kind     string `json:"kind,omitempty"`
	Location string `json:"location,omitempty"`
	Rows     int64  `json:"rows"` // rows of this source that are in the shards

	Licences []source.Licence `json:"licences,omitempty"`
}

// CaptionStats are lengths over all captions of all splits, in Unicode code points and in words (split at spaces).
type CaptionStats struct {
	Count     int64   `json:"count"`
	MeanChars float64 `json:"mean_chars"`
	MaxChars  int     `json:"max_chars"`
	MinChars  int     `json:"min_chars"`
	MeanWords float64 `json:"mean_words"`
	MaxWords  int     `json:"max_words"`
	// Words[i] counts the captions of i words; the last entry counts those of that many or more.
	Words []int64 `json:"words_histogram,omitempty"`
}

// Books account for every row of the sources: RowsIn = RowsOut + the sum of Skipped.
type Books struct {
	RowsIn  int64            `json:"rows_in"`
	RowsOut int64            `json:"rows_out"`
	Skipped map[string]int64 `json:"skipped,omitempty"`
	// Changed counts rows that were kept but altered, by what was done: a caption dropped or cut, an image made smaller.
	Changed map[string]int64 `json:"changed,omitempty"`
}

// Rows returns the number of rows of a split, or of all splits if split is empty.
func (m *Manifest) Rows(split string) int64 {
	if split != "" {
		return m.Splits[split].Rows
	}
	var n int64
	for _, s := range m.Splits {
		n += s.Rows
	}
	return n
}

// FilesOf returns the files of a split in order, or all files if split is empty.
func (m *Manifest) FilesOf(split string) []FileInfo {
	if split == "" {
		return slices.Clone(m.Files)
	}
	var files []FileInfo
	for _, f := range m.Files {
		if f.Split == split {
			files = append(files, f)
		}
	}
	return files
}

// SplitNames returns the names of the splits, sorted.
func (m *Manifest) SplitNames() []string { return slices.Sorted(maps.Keys(m.Splits)) }

// Columns returns the names of the columns with a role, in schema order.
func (m *Manifest) Columns(role Role) []string {
	var names []string
	for _, c := range m.Schema {
		if c.Role == role {
			names = append(names, c.Name)
		}
	}
	return names
}

// Encode returns the manifest as indented JSON; equal manifests give equal bytes.
func (m *Manifest) Encode() ([]byte, error) {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

// ParseManifest decodes and checks a manifest; where says which file it is, for messages.
func ParseManifest(where string, data []byte) (*Manifest, error) {
	m := &Manifest{}
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(m); err != nil {
		return nil, fmt.Errorf("%s: not a manifest: %w", where, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: text after the end of the manifest", where)
	}
	if m.Format != Format {
		return nil, fault.Userf("%s: format is %q, want %q; is this a directory that `data build` wrote?", where, m.Format, Format)
	}
	if m.Version > FormatVersion {
		return nil, fault.Userf("%s: format version %d is newer than this program knows (%d); use a newer program", where, m.Version, FormatVersion)
	}
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return m, nil
}

// Validate checks that the manifest agrees with itself.
func (m *Manifest) Validate() error {
	rows, files := map[string]int64{}, map[string]int{}
	names := map[string]bool{}
	for i, f := range m.Files {
		if err := f.validate(); err != nil {
			return fmt.Errorf("file %d: %w", i, err)
		}
		if names[f.Name] {
			return fmt.Errorf("file %d: %s is listed twice", i, f.Name)
		}
		names[f.Name] = true
		rows[f.Split] += f.Rows
		files[f.Split]++
	}
	for _, split := range slices.Sorted(maps.Keys(rows)) {
		if _, ok := m.Splits[split]; !ok {
			return fmt.Errorf("split %q has files but no entry under splits", split)
		}
	}
	for _, split := range m.SplitNames() {
		s := m.Splits[split]
		if s.Rows != rows[split] || s.Files != files[split] {
			return fmt.Errorf("split %q says %d rows in %d files, its files add up to %d in %d", split, s.Rows, s.Files, rows[split], files[split])
		}
	}
	return nil
}

func (f FileInfo) validate() error {
	switch {
	case f.Name == "" || path.Base(f.Name) != f.Name || f.Name == "." || f.Name == ".." || strings.ContainsAny(f.Name, `/\`):
		return fmt.Errorf("name %q is not a plain file name", f.Name)
	case f.Split == "":
		return fmt.Errorf("%s: no split", f.Name)
	case f.Rows <= 0 || f.RowGroups <= 0 || f.Bytes <= 0 || int64(f.RowGroups) > f.Rows:
		return fmt.Errorf("%s: %d rows in %d row groups and %d bytes cannot be", f.Name, f.Rows, f.RowGroups, f.Bytes)
	}
	if sum, err := hex.DecodeString(f.SHA256); err != nil || len(sum) != 32 {
		return fmt.Errorf("%s: sha256 %q is not 64 hexadecimal digits", f.Name, f.SHA256)
	}
	return nil
}
