package shard

import (
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"tandem/internal/fault"
)

// maxPrealloc keeps a damaged row count from allocating gigabytes before the first row is read.
const maxPrealloc = 1 << 16

// Group holds the small columns of one row group, and where its images lie.
type Group struct {
	First int64 // row of the file at which the group begins
	Rows  int

	texts   map[string]texts
	numbers map[string][]int32
	pages   []page   // one for each image, or
	images  [][]byte // the images themselves, where the file was not written by this package
	bytes   int64
}

type page struct {
	offset int64
	size   int32
}

// texts is a text column: row i holds values[starts[i]:starts[i+1]]. A null is a row without values.
type texts struct {
	values []string
	starts []int32
}

func (t texts) row(i int) []string {
	if t.starts == nil {
		return nil
	}
	return t.values[t.starts[i]:t.starts[i+1]]
}

// Texts returns the values of a text column in a row: one for a plain column, none for a null, any number for a list.
// A column that was not loaded has no values.
func (g *Group) Texts(column string, row int) []string { return g.texts[column].row(row) }

// Text returns the first value of a text column in a row, and whether there is one.
func (g *Group) Text(column string, row int) (string, bool) {
	if v := g.Texts(column, row); len(v) > 0 {
		return v[0], true
	}
	return "", false
}

// Size returns width and height of the image as the build measured them, or zeros where the file has no such columns.
func (g *Group) Size(row int) (width, height int) {
	if w, h := g.numbers[ColWidth], g.numbers[ColHeight]; w != nil && h != nil {
		return int(w[row]), int(h[row])
	}
	return 0, 0
}

// ImageBytes returns about how long the encoded image is, without reading it.
func (g *Group) ImageBytes(row int) int {
	if g.images != nil {
		return len(g.images[row])
	}
	return int(g.pages[row].size)
}

// Bytes returns about how much memory the group takes.
func (g *Group) Bytes() int64 { return g.bytes }

// Group loads the named columns of a row group, or all small columns if none are named, and finds its images.
func (f *File) Group(i int, columns ...string) (*Group, error) {
	if len(columns) == 0 {
		columns = f.Columns()
	}
	first, rows := f.GroupRows(i)
	g := &Group{First: first, Rows: int(rows), texts: map[string]texts{}, numbers: map[string][]int32{}}
	err := guard(f.name, first, func() error {
		chunks := f.parquet.RowGroups()[i].ColumnChunks()
		for _, name := range columns {
			l, ok := f.leaves[name]
			if !ok || name == ColImage {
				continue
			}
			if err := g.load(name, l, chunks[l.index]); err != nil {
				return &DamageError{f.name, first, fmt.Errorf("column %q: %w", name, err)}
			}
		}
		return f.findImages(g, i, chunks[f.image.index])
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

func (g *Group) load(name string, l leaf, chunk parquet.ColumnChunk) error {
	switch l.kind {
	case parquet.ByteArray:
		t, size, err := readTexts(chunk, g.Rows)
		if err != nil {
			return err
		}
		g.texts[name] = t
		g.bytes += size
	case parquet.Int32:
		if l.repeated {
			return nil
		}
		n, err := readNumbers(chunk, g.Rows)
		if err != nil {
			return err
		}
		g.numbers[name] = n
		g.bytes += int64(4 * len(n))
	}
	return nil // other kinds belong to other programs
}

// eachValue calls f for every value of a column chunk in order; the value's bytes are valid during the call only.
func eachValue(chunk parquet.ColumnChunk, f func(v parquet.Value) error) error {
	pages := chunk.Pages()
	defer pages.Close()
	var buf [128]parquet.Value
	for {
		p, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := eachOfPage(p, buf[:], f); err != nil {
			return err
		}
	}
}

func eachOfPage(p parquet.Page, buf []parquet.Value, f func(v parquet.Value) error) error {
	defer parquet.Release(p)
	values := p.Values()
	for {
		n, err := values.ReadValues(buf)
		for _, v := range buf[:n] {
			if err := f(v); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readTexts decodes a text column into one string that all values share.
func readTexts(chunk parquet.ColumnChunk, rows int) (texts, int64, error) {
	var arena []byte
	var ends []int
	starts := make([]int32, 0, min(rows, maxPrealloc)+1)
	err := eachValue(chunk, func(v parquet.Value) error {
		if v.RepetitionLevel() == 0 {
			if len(starts) == rows {
				return fmt.Errorf("more than the %d rows of its group", rows)
			}
			starts = append(starts, int32(len(ends)))
		}
		if !v.IsNull() {
			arena = append(arena, v.ByteArray()...)
			ends = append(ends, len(arena))
		}
		return nil
	})
	if err != nil {
		return texts{}, 0, err
	}
	if len(starts) != rows {
		return texts{}, 0, fmt.Errorf("%d rows in a group of %d", len(starts), rows)
	}
	t := texts{values: make([]string, len(ends)), starts: append(starts, int32(len(ends)))}
	all, at := string(arena), 0
	for i, end := range ends {
		t.values[i], at = all[at:end], end
	}
	return t, int64(len(all)) + int64(len(ends))*int64(unsafe.Sizeof("")) + int64(4*len(starts)), nil
}

func readNumbers(chunk parquet.ColumnChunk, rows int) ([]int32, error) {
	numbers := make([]int32, 0, min(rows, maxPrealloc))
	err := eachValue(chunk, func(v parquet.Value) error {
		if len(numbers) == rows {
			return fmt.Errorf("more than the %d rows of its group", rows)
		}
		if v.IsNull() {
			numbers = append(numbers, 0)
		} else {
			numbers = append(numbers, v.Int32())
		}
		return nil
	})
	if err == nil && len(numbers) != rows {
		err = fmt.Errorf("%d rows in a group of %d", len(numbers), rows)
	}
	return numbers, err
}

// findImages looks up the page of every image through the offset index. Where pages hold several images, are
// compressed or have no index, the group's images are loaded instead.
func (f *File) findImages(g *Group, group int, chunk parquet.ColumnChunk) error {
	column := &f.parquet.Metadata().RowGroups[group].Columns[f.image.index]
	locations, err := f.pageLocations(g, column)
	if err != nil {
		return &DamageError{f.name, g.First, err}
	}
	if locations == nil {
		return f.loadImages(g, chunk)
	}
	meta := &column.MetaData
	end := meta.DataPageOffset + meta.TotalCompressedSize
	g.pages = make([]page, g.Rows)
	for i, l := range locations {
		if l.Offset < meta.DataPageOffset || l.CompressedPageSize <= 0 || l.Offset+int64(l.CompressedPageSize) > end {
			return &DamageError{f.name, g.First + int64(i), errors.New("the page index points outside of the image column")}
		}
		g.pages[i] = page{l.Offset, l.CompressedPageSize}
	}
	g.bytes += int64(len(g.pages)) * int64(unsafe.Sizeof(page{}))
	return nil
}

// pageLocations reads the offset index of an image column that has one plain page a row; for any other column it
// returns nil. The parquet library's own index stays in memory as long as the file is open: too much for many files.
func (f *File) pageLocations(g *Group, column *format.ColumnChunk) ([]format.PageLocation, error) {
	at, n := column.OffsetIndexOffset, int64(column.OffsetIndexLength)
	if at == 0 || !f.image.required || !plain(&column.MetaData) {
		return nil, nil
	}
	if at < 0 || n <= 0 || at > f.size-n {
		return nil, errors.New("the page index of the image column lies outside of the file")
	}
	data := make([]byte, n)
	if got, err := f.r.ReadAt(data, at); got < len(data) {
		return nil, fmt.Errorf("page index of the image column: %w", err)
	}
	var index format.OffsetIndex
	if err := thrift.Unmarshal(&thrift.CompactProtocol{}, data, &index); err != nil {
		return nil, fmt.Errorf("page index of the image column: %w", err)
	}
	if len(index.PageLocations) != g.Rows {
		return nil, nil
	}
	for i, l := range index.PageLocations {
		if l.FirstRowIndex != int64(i) {
			return nil, nil
		}
	}
	return index.PageLocations, nil
}

// plain reports whether a column's bytes stand in its pages as they are.
func plain(meta *format.ColumnMetaData) bool {
	for _, e := range meta.Encoding {
		if e != format.Plain && e != format.RLE && e != format.BitPacked { // the latter two are for levels
			return false
		}
	}
	return meta.Codec == format.Uncompressed && meta.DictionaryPageOffset == 0
}

// loadImages decodes the image column of a foreign file. A null image becomes an empty one, which no decoder takes.
func (f *File) loadImages(g *Group, chunk parquet.ColumnChunk) error {
	g.images = make([][]byte, 0, min(g.Rows, maxPrealloc))
	err := eachValue(chunk, func(v parquet.Value) error {
		b := append([]byte{}, v.ByteArray()...)
		g.images = append(g.images, b)
		g.bytes += int64(len(b)) + int64(unsafe.Sizeof(b))
		return nil
	})
	if err == nil && len(g.images) != g.Rows {
		err = fmt.Errorf("%d images in a group of %d rows", len(g.images), g.Rows)
	}
	if err != nil {
		return &DamageError{f.name, g.First, err}
	}
	return nil
}

// ReadRow returns row `row` of a group loaded with all columns.
func (f *File) ReadRow(g *Group, row int) (*Row, error) {
	var images ImageReader
	image, err := images.Read(f, g, row)
	if err != nil {
		return nil, err
	}
	r := &Row{Image: image, Captions: g.Texts(ColCaptions, row), Labels: map[string]string{}}
	r.Key, _ = g.Text(ColKey, row)
	r.Source, _ = g.Text(ColSource, row)
	r.Width, r.Height = g.Size(row)
	for name := range g.texts {
		if describe(name).Role != RoleLabel {
			continue
		}
		if v, ok := g.Text(name, row); ok {
			r.Labels[name] = v
		}
	}
	return r, nil
}

// needColumns complains about columns that a file lacks.
func (f *File) needColumns(columns []string) error {
	for _, name := range columns {
		if !f.Has(name) {
			return fault.Userf("%s: no text column %q; it has %v", f.name, name, f.Columns())
		}
	}
	return nil
}
