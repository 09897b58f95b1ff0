package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"tandem/data/shard"
	"tandem/data/store"
	"tandem/internal/fault"
)

// openParquet reads parquet files as Hugging Face has them: an image column of bytes, of struct{bytes, path} or of
// paths, columns of text or lists of text, and labels, whose numbers get names from the features in the metadata.
func openParquet(location string, o Options) (Input, error) {
	o = o.withDefaults(location)
	files, err := expand(location, ".parquet")
	if err != nil {
		return nil, err
	}
	b := &basic{info: shard.SourceInfo{Name: o.Name, Kind: "parquet", Location: location}}
	b.estimate = estimateParquet(files)
	prefixes := keyPrefixes(files)
	for i, file := range files {
		t := &table{file: file, split: o.splitOf(filepath.Base(file)), prefix: prefixes[i], o: o}
		b.parts = append(b.parts, Part{Name: file, Stamp: stamp(file), Rows: t.rows})
	}
	return b, b.fromFirst(files, o)
}

// fromFirst takes labels and classes from the first file that can be opened.
func (b *basic) fromFirst(files []string, o Options) error {
	var last error
	for _, file := range files {
		r, err := openTable(file, o)
		if err == nil {
			b.labels = append([]string{}, r.cols.labels...)
			b.classes = r.classes
			b.labelled = len(r.cols.captions) == 0 && len(o.Templates) == 0
			return r.close()
		}
		if fault.IsUser(err) {
			return err
		}
		last = err
	}
	return last
}

// openShards reads a shard set as a source, to filter or convert it.
func openShards(location string, o Options) (Input, error) {
	o = o.withDefaults(location)
	m, err := shard.ReadManifest(context.Background(), store.Local(location))
	if err != nil {
		return nil, err
	}
	o.ImageColumn, o.KeyColumn = shard.ColImage, shard.ColKey
	o.CaptionColumns = m.Columns(shard.RoleCaption)
	if o.LabelColumns == nil {
		o.LabelColumns = append(m.Columns(shard.RoleLabel), "none")
	}
	b := &basic{labels: o.labelColumns(), classes: m.Classes, templates: m.Templates, labelled: true}
	b.info = shard.SourceInfo{Name: o.Name, Kind: "shards", Location: location}
	for _, s := range m.Sources {
		b.info.Licences = append(b.info.Licences, s.Licences...)
	}
	b.estimate = exactly(m.Books.RowsOut)
	for _, f := range m.Files {
		t := &table{file: filepath.Join(location, f.Name), split: f.Split, o: o}
		if o.Split != "" {
			t.split = o.Split
		}
		b.parts = append(b.parts, Part{Name: f.Name, Stamp: f.SHA256, Rows: t.rows})
	}
	return b, nil
}

// keyPrefixes are short names of files, for keys that are only unique inside a file; empty for a single one.
func keyPrefixes(files []string) []string {
	prefixes := make([]string, len(files))
	if len(files) == 1 {
		return prefixes
	}
	seen := map[string]int{}
	for i, f := range files {
		stem := baseName(f)
		if n := seen[stem]; n > 0 {
			prefixes[i] = fmt.Sprintf("%s-%d/", stem, n+1)
		} else {
			prefixes[i] = stem + "/"
		}
		seen[stem]++
	}
	return prefixes
}

// table is one parquet file of an input.
type table struct {
	file, split, prefix string
	o                   Options
}

// openedTable is a table with its columns found.
type openedTable struct {
	file    *os.File
	parquet *parquet.File
	cols    columns
	fields  map[string]field // by name
	leaves  []leafUse        // by column index
	classes map[string][]string
	names   map[string]classNames // of classes
}

// field is what a top-level column holds.
type field struct {
	kind  parquet.Kind
	list  bool
	image bool // bytes, or struct{bytes, path}
	text  bool // a UTF-8 string
}

// leafUse says which field a leaf column belongs to.
type leafUse struct {
	name string
	part string // "", or "bytes" or "path" of an image struct
	used bool
}

func openTable(file string, o Options) (t *openedTable, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: damaged parquet file: %v", file, p)
		}
		if err != nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := shard.CheckFooter(f, info.Size()); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	p, err := parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	t = &openedTable{file: f, parquet: p, fields: map[string]field{}, classes: map[string][]string{}, names: map[string]classNames{}}
	t.findFields()
	if err := t.choose(o); err != nil {
		return nil, err
	}
	t.readClasses(o)
	return t, nil
}

func (t *openedTable) close() error { return t.file.Close() }

func (t *openedTable) findFields() {
	for _, path := range t.parquet.Schema().Columns() {
		leaf, _ := t.parquet.Schema().Lookup(path...)
		f := field{kind: leaf.Node.Type().Kind(), list: leaf.MaxRepetitionLevel > 0}
		if logical := leaf.Node.Type().LogicalType(); logical != nil {
			_, f.text = logical.Value.(*format.StringType)
		}
		use := leafUse{name: path[0]}
		switch {
		case len(path) == 1, f.list && leaf.MaxRepetitionLevel == 1 && len(path) == 3:
			f.image = f.kind == parquet.ByteArray && !f.list && !f.text
			t.fields[path[0]] = f
		case len(path) == 2 && (path[1] == "bytes" || path[1] == "path") && f.kind == parquet.ByteArray:
			use.part = path[1]
			f.image, f.text = true, false
			t.fields[path[0]] = f
		default:
			use.name = "" // nested in a way that holds nothing of use
		}
		t.leaves = append(t.leaves, use)
	}
}

// choose finds the columns by name and checks their types.
func (t *openedTable) choose(o Options) (err error) {
	where := t.file.Name()
	names := make([]string, 0, len(t.fields))
	var scalars []string
	for name, f := range t.fields {
		names = append(names, name)
		if !f.list && !f.image && f.kind != parquet.Int96 && f.kind != parquet.FixedLenByteArray {
			scalars = append(scalars, name)
		}
	}
	slices.Sort(names)
	slices.Sort(scalars)
	scalars = slices.DeleteFunc(scalars, func(n string) bool { return n == shard.ColSource || n == shard.ColWidth || n == shard.ColHeight })
	if o.ImageColumn == "" {
		o.ImageColumn = t.imageColumn(names)
	}
	if t.cols, err = o.resolve(where, names, scalars); err != nil {
		return err
	}
	if f := t.fields[t.cols.image]; f.list || f.kind != parquet.ByteArray {
		return fault.Userf("%s: column %q is %s, want bytes, a struct of bytes and path, or paths; say -image-column NAME", where, t.cols.image, f)
	}
	for _, name := range t.cols.captions {
		if f := t.fields[name]; f.kind != parquet.ByteArray || f.image {
			return fault.Userf("%s: column %q is %s, want text or a list of text; say -caption-columns NAME", where, name, f)
		}
	}
	for _, name := range t.cols.labels {
		if f := t.fields[name]; f.list || f.image {
			return fault.Userf("%s: column %q is %s, which cannot be a label", where, name, f)
		}
	}
	for i := range t.leaves {
		n := t.leaves[i].name
		c := &t.cols
		t.leaves[i].used = n != "" && (n == c.image || n == c.key || n == c.split || slices.Contains(c.captions, n) || slices.Contains(c.labels, n))
	}
	return nil
}

// imageColumn prefers a known name, then the only column that can hold images.
func (t *openedTable) imageColumn(names []string) string {
	for _, known := range imageNames {
		if f, ok := t.fields[known]; ok && f.kind == parquet.ByteArray && !f.list {
			return known
		}
	}
	var images []string
	for _, n := range names {
		if t.fields[n].image {
			images = append(images, n)
		}
	}
	if len(images) == 1 {
		return images[0]
	}
	return ""
}

func (f field) String() string {
	kind := strings.ToLower(f.kind.String())
	switch {
	case f.image:
		kind = "bytes"
	case f.text:
		kind = "text"
	}
	if f.list {
		return "a list of " + kind
	}
	return kind
}

// readClasses takes the names of integer labels from Hugging Face's features, or from the options.
func (t *openedTable) readClasses(o Options) {
	var meta struct {
		Info struct {
			Features map[string]json.RawMessage `json:"features"`
		} `json:"info"`
	}
	text, _ := t.parquet.Lookup("huggingface")
	_ = json.Unmarshal([]byte(text), &meta) // other programs' metadata may be anything
	for _, label := range t.cols.labels {
		var feature struct {
			Names []string `json:"names"`
		}
		if json.Unmarshal(meta.Info.Features[label], &feature) == nil && len(feature.Names) > 0 {
			t.classes[label] = feature.Names
		}
	}
	if len(o.ClassNames) > 0 && len(t.cols.labels) > 0 {
		t.classes[t.cols.labels[0]] = o.ClassNames
	}
	for label, names := range t.classes {
		t.names[label] = namesOf(names)
	}
}

func (t *table) rows(ctx context.Context) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		r, err := openTable(t.file, t.o)
		if fault.IsUser(err) {
			yield(Row{}, err) // another schema than the first file's: the user's to say what is meant
			return
		}
		if err != nil {
			yield(Row{}, skip(DamagedFile, Place{t.file, -1}, "", err))
			return
		}
		defer r.close()
		first := int64(0)
		for i, g := range r.parquet.RowGroups() {
			if !t.group(ctx, r, g, i, first, yield) {
				return
			}
			first += g.NumRows()
		}
	}
}

// group yields the rows of a row group. Where it is damaged, what cannot be read is one skip for all rows left.
func (t *table) group(ctx context.Context, r *openedTable, g parquet.RowGroup, index int, first int64, yield func(Row, error) bool) bool {
	rows := &rowReader{group: g}
	defer rows.close()
	for n := int64(0); n < g.NumRows(); n++ {
		if err := ctx.Err(); err != nil {
			yield(Row{}, err)
			return false
		}
		at := Place{t.file, first + n}
		values, err := rows.next()
		if err != nil {
			bad := skip(DamagedFile, at, "", fmt.Errorf("row group %d: %w", index, err))
			bad.Rows = g.NumRows() - n
			return yield(Row{}, bad)
		}
		row, err := t.row(r, values, at)
		if !yield(row, err) {
			return false
		}
	}
	return true
}

// rowReader reads one row after the other and turns panics into errors.
type rowReader struct {
	group parquet.RowGroup
	rows  parquet.Rows
	buf   [8]parquet.Row
	have  []parquet.Row
}

func (r *rowReader) next() (row parquet.Row, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("parquet reader: %v", p)
		}
	}()
	if r.rows == nil {
		r.rows = r.group.Rows()
	}
	for len(r.have) == 0 {
		n, err := r.rows.ReadRows(r.buf[:])
		r.have = r.buf[:n]
		if n > 0 {
			break
		}
		if errors.Is(err, io.EOF) {
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
	}
	row, r.have = r.have[0], r.have[1:]
	return row, nil
}

func (r *rowReader) close() {
	defer func() { _ = recover() }() // a reader that panicked may do so again
	if r.rows != nil {
		r.rows.Close()
	}
}

// row makes a Row of one row's values.
func (t *table) row(r *openedTable, values parquet.Row, at Place) (row Row, err error) {
	row.At, row.Split = at, t.split
	row.Key = fmt.Sprintf("%s%d", t.prefix, at.Row)
	path := ""
	for _, v := range values {
		if v.Column() < 0 || v.Column() >= len(r.leaves) || !r.leaves[v.Column()].used || v.IsNull() {
			continue
		}
		use, c := r.leaves[v.Column()], &r.cols
		if use.name == c.image {
			if use.part == "path" || (use.part == "" && r.fields[use.name].text) {
				path = string(v.ByteArray())
			} else {
				row.Image = slices.Clone(v.ByteArray())
			}
			continue
		}
		t.text(r, &row, use.name, v)
	}
	if t.o.Split != "" {
		row.Split = t.o.Split
	}
	for _, label := range r.cols.labels {
		if names := r.names[label].labels; len(names) > 0 && row.Labels[label] != "" {
			given := len(t.o.ClassNames) > 0 && label == r.cols.labels[0] // else the file's own metadata
			name, err := className(at, row.Key, row.Labels[label], names, given)
			if err != nil {
				return row, inColumn(err, label)
			}
			row.Labels[label] = name
		}
	}
	if len(r.cols.labels) > 0 {
		o := t.o
		o.classes = r.names[r.cols.labels[0]]
		o.addTemplates(&row, r.cols.labels[0])
	}
	return row, t.image(&row, path)
}

// inColumn names the column of a wrong class.
func inColumn(err error, column string) error {
	if s, ok := errors.AsType[*Skip](err); ok {
		return skip(s.Reason, s.At, s.Key, fmt.Errorf("column %q: %w", column, s.Err))
	}
	return fmt.Errorf("column %q: %w", column, err)
}

// text puts the value of a column other than the image's in its places.
func (t *table) text(r *openedTable, row *Row, name string, v parquet.Value) {
	c, text := &r.cols, render(v)
	if name == c.key && text != "" {
		if !t.o.isKey(name) {
			row.SpareKey = row.Key
		}
		row.Key = text
	}
	if name == c.split && text != "" {
		row.Split = text
	}
	if slices.Contains(c.captions, name) {
		row.Captions = append(row.Captions, text)
	}
	if slices.Contains(c.labels, name) { // an empty text, too, which is no null
		row.setLabel(name, text)
	}
}

// image settles where a row's image comes from.
func (t *table) image(row *Row, path string) error {
	switch {
	case row.Image != nil && int64(len(row.Image)) > t.o.MaxImageBytes:
		n := len(row.Image)
		row.Image = nil
		return skip(HugeImage, row.At, row.Key, fmt.Errorf("%d bytes, at most %d are read", n, t.o.MaxImageBytes))
	case row.Image != nil:
		return nil
	case path == "":
		return skip(MissingImage, row.At, row.Key, errors.New("the image column is null"))
	}
	root := t.o.ImageRoot
	if root == "" {
		root = filepath.Dir(t.file)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(root, filepath.FromSlash(path))
	}
	limit := t.o.MaxImageBytes
	row.Load = func(r *Row) (err error) {
		r.Image, err = loadFile(path, limit, r.At, r.Key)
		return err
	}
	return nil
}

// render writes a value as text.
func render(v parquet.Value) string {
	switch v.Kind() {
	case parquet.ByteArray, parquet.FixedLenByteArray:
		return string(v.ByteArray())
	case parquet.Boolean:
		return strconv.FormatBool(v.Boolean())
	case parquet.Int32:
		return strconv.FormatInt(int64(v.Int32()), 10)
	case parquet.Int64:
		return strconv.FormatInt(v.Int64(), 10)
	case parquet.Float:
		return strconv.FormatFloat(float64(v.Float()), 'g', -1, 32)
	case parquet.Double:
		return strconv.FormatFloat(v.Double(), 'g', -1, 64)
	default:
		return v.String()
	}
}
