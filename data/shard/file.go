package shard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"tandem/internal/fault"
)

// File is an open shard. Its methods may be called from several goroutines.
type File struct {
	name    string
	r       io.ReaderAt
	size    int64
	parquet *parquet.File
	first   []int64 // first[i] is the first row of group i; one entry more than groups
	leaves  map[string]leaf
	image   leaf
}

// leaf is one leaf column: where it is and how to read it.
type leaf struct {
	index    int
	kind     parquet.Kind
	repeated bool // a list: several values a row
	required bool
}

// DamageError says that a shard's bytes are not what a writer wrote. Row is -1 where the damage is not in one row.
type DamageError struct {
	File string
	Row  int64
	Err  error
}

func (e *DamageError) Error() string {
	if e.Row < 0 {
		return fmt.Sprintf("%s: damaged shard: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s: row %d: damaged shard: %v", e.File, e.Row, e.Err)
}

func (e *DamageError) Unwrap() error { return e.Err }

// guard runs f and turns a panic of the parquet library, which damaged files cause, into an error.
func guard(name string, row int64, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &DamageError{name, row, fmt.Errorf("parquet reader: %v", p)}
		}
	}()
	return f()
}

// OpenFile reads the footer of a shard. name is for messages. The schema may be any that has the columns image and
// captions; files written by other programs are read too, only slower.
func OpenFile(name string, r io.ReaderAt, size int64) (*File, error) {
	f := &File{name: name, r: r, size: size, leaves: map[string]leaf{}}
	err := guard(name, -1, func() (err error) {
		if err = checkFooter(r, size); err != nil {
			return &DamageError{name, -1, err}
		}
		if f.parquet, err = parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true)); err != nil {
			return &DamageError{name, -1, err}
		}
		return f.index()
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// checkFooter keeps a damaged length from making the parquet library allocate gigabytes.
func checkFooter(r io.ReaderAt, size int64) error {
	const tail = 8
	if size < tail+4 {
		return fmt.Errorf("%d bytes are too few for a parquet file (is the copy complete?)", size)
	}
	var b [tail]byte
	if _, err := r.ReadAt(b[:], size-tail); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if string(b[4:]) != "PAR1" {
		return errors.New("no parquet footer at the end (is the copy complete?)")
	}
	if n := int64(binary.LittleEndian.Uint32(b[:4])); n > size-tail-4 {
		return fmt.Errorf("footer of %d bytes in a file of %d", n, size)
	}
	return nil
}

func (f *File) index() error {
	f.first = []int64{0}
	for i, g := range f.parquet.Metadata().RowGroups {
		if g.NumRows <= 0 || g.NumRows > math.MaxInt32 {
			return &DamageError{f.name, -1, fmt.Errorf("row group %d has %d rows", i, g.NumRows)}
		}
		for _, c := range g.Columns {
			m := c.MetaData
			if m.DataPageOffset < 0 || m.TotalCompressedSize < 0 || m.DataPageOffset > f.size-m.TotalCompressedSize {
				return &DamageError{f.name, -1, fmt.Errorf("row group %d: a column lies outside of the file", i)}
			}
		}
		f.first = append(f.first, f.first[i]+g.NumRows)
	}
	if total := f.first[len(f.first)-1]; total != f.parquet.NumRows() {
		return &DamageError{f.name, -1, fmt.Errorf("footer says %d rows, the row groups %d", f.parquet.NumRows(), total)}
	}
	return f.indexColumns()
}

func (f *File) indexColumns() error {
	for i, path := range f.parquet.Schema().Columns() {
		col, ok := f.parquet.Schema().Lookup(path...)
		if !ok {
			return &DamageError{f.name, -1, fmt.Errorf("column %v has no leaf", path)}
		}
		l := leaf{i, col.Node.Type().Kind(), col.MaxRepetitionLevel > 0, col.MaxDefinitionLevel == 0}
		switch {
		case len(path) == 1, l.repeated && len(path) == 3:
			f.leaves[path[0]] = l
		case len(path) == 2 && path[0] == ColImage && path[1] == "bytes":
			f.leaves[ColImage] = l // Hugging Face's struct{bytes, path}
		}
	}
	image, ok := f.leaves[ColImage]
	if !ok || image.kind != parquet.ByteArray || image.repeated {
		return fault.Userf("%s: no column %q of bytes: this is not a shard; `data build -from parquet` turns it into one", f.name, ColImage)
	}
	f.image = image
	return nil
}

// Name returns the name given to OpenFile.
func (f *File) Name() string { return f.name }

// NumRows returns the number of rows.
func (f *File) NumRows() int64 { return f.first[len(f.first)-1] }

// NumGroups returns the number of row groups.
func (f *File) NumGroups() int { return len(f.first) - 1 }

// GroupRows returns the first row of a group and the number of its rows.
func (f *File) GroupRows(group int) (first, rows int64) {
	return f.first[group], f.first[group+1] - f.first[group]
}

// Has reports whether the file has a text column of this name.
func (f *File) Has(column string) bool {
	l, ok := f.leaves[column]
	return ok && l.kind == parquet.ByteArray && column != ColImage
}

// Columns returns the names of the columns that Group can load, in file order.
func (f *File) Columns() []string {
	var names []string
	for _, path := range f.parquet.Schema().Columns() {
		if _, ok := f.leaves[path[0]]; ok && path[0] != ColImage {
			names = append(names, path[0])
		}
	}
	return names
}

// ImageReader reads images one after the other into memory of its own. The zero value is ready; it is for one
// goroutine.
type ImageReader struct {
	buf    []byte
	header headerDecoder
}

// Read returns the encoded image of row `row` of g, which must be a group of f. The bytes are checked against the
// page's checksum and hold until the next call.
func (r *ImageReader) Read(f *File, g *Group, row int) ([]byte, error) {
	at := g.First + int64(row)
	if g.images != nil {
		return g.images[row], nil
	}
	p := g.pages[row]
	if cap(r.buf) < int(p.size) {
		r.buf = make([]byte, p.size, p.size+p.size/4)
	}
	buf := r.buf[:p.size]
	if n, err := f.r.ReadAt(buf, p.offset); n < len(buf) {
		if errors.Is(err, io.EOF) {
			return nil, &DamageError{f.name, at, errors.New("the file ends inside this row; it was cut or replaced since it was opened")}
		}
		return nil, fmt.Errorf("%s: row %d: %w", f.name, at, err)
	}
	image, err := r.header.unwrap(buf)
	if err != nil {
		return nil, &DamageError{f.name, at, err}
	}
	return image, nil
}

// headerDecoder decodes page headers without allocating.
type headerDecoder struct {
	r thrift.BytesReader
	d *thrift.Decoder
	h format.PageHeader
}

var errPage = errors.New("page header does not describe one image")

// unwrap returns the value inside a page that holds one required byte array: header, length, bytes.
func (h *headerDecoder) unwrap(page []byte) (value []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("page header: %v", p)
		}
	}()
	if h.r == nil {
		var p thrift.CompactProtocol
		h.r = p.NewReaderFromBytes(nil)
		h.d = thrift.NewDecoder(h.r)
	}
	h.h = format.PageHeader{}
	h.r.ResetBytes(page)
	if err := h.d.Decode(&h.h); err != nil {
		return nil, fmt.Errorf("page header: %w", err)
	}
	body := page[len(page)-max(0, min(int(h.h.CompressedPageSize), len(page))):]
	if len(body) < 4 || len(body) != int(h.h.CompressedPageSize) || !oneValue(&h.h) {
		return nil, errPage
	}
	if sum := uint32(h.h.CRC); sum != 0 && sum != crc32.ChecksumIEEE(body) {
		return nil, errors.New("checksum of the image's page does not match")
	}
	if n := binary.LittleEndian.Uint32(body); int64(n) != int64(len(body)-4) {
		return nil, errPage
	}
	return body[4:], nil
}

func oneValue(h *format.PageHeader) bool {
	v1, v2 := &h.DataPageHeader, &h.DataPageHeaderV2
	return v1.Valid && v1.V.NumValues == 1 && v1.V.Encoding == format.Plain ||
		v2.Valid && v2.V.NumValues == 1 && v2.V.Encoding == format.Plain
}
