// Package safetensors reads and writes the safetensors format: eight bytes of header length, a JSON header that names
// each tensor with its type, shape and range, then the data. Files are read tensor by tensor, so that a model never
// needs more memory than its largest tensor, and written in the order and with the padding of the reference
// implementation, so that equal content means equal bytes.
package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sort"
)

// DType is an element type by its name in the format.
type DType string

// The element types of the format.
const (
	Bool DType = "BOOL"
	U8   DType = "U8"
	I8   DType = "I8"
	I16  DType = "I16"
	U16  DType = "U16"
	F16  DType = "F16"
	BF16 DType = "BF16"
	I32  DType = "I32"
	U32  DType = "U32"
	F32  DType = "F32"
	F64  DType = "F64"
	I64  DType = "I64"
	U64  DType = "U64"
)

// order is the reference implementation's ranking of types: files list the highest first, for alignment.
var order = []DType{Bool, U8, I8, I16, U16, F16, BF16, I32, U32, F32, F64, I64, U64}

// Size is the number of bytes of one element, 0 for a type this package does not know.
func (d DType) Size() int {
	switch d {
	case Bool, U8, I8:
		return 1
	case I16, U16, F16, BF16:
		return 2
	case I32, U32, F32:
		return 4
	case F64, I64, U64:
		return 8
	default:
		return 0
	}
}

// maxHeader is the reference implementation's bound on the header.
const maxHeader = 100_000_000

// metadataKey is the header entry that is no tensor.
const metadataKey = "__metadata__"

// Info describes one tensor.
type Info struct {
	Name  string
	DType DType
	Shape []int

	begin int64 // offset in the data section
}

// Elements is the number of elements.
func (i Info) Elements() int {
	n := 1
	for _, d := range i.Shape {
		n *= d
	}
	return n
}

// Bytes is the size of the data.
func (i Info) Bytes() int64 { return int64(i.Elements()) * int64(i.DType.Size()) }

// File is an open safetensors file.
type File struct {
	path     string
	file     *os.File
	data     int64 // offset of the data section
	metadata map[string]string
	tensors  []Info
	byName   map[string]int
}

// Open reads and checks the header of a file. Everything that a header can lie about is checked before any of it is
// believed: its length, the ranges (in bounds, in order, without gaps or overlaps), shapes, types and duplicate names.
func Open(path string) (_ *File, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
			err = fmt.Errorf("%s: %w", path, err)
		}
	}()
	size, err := f.Stat()
	if err != nil {
		return nil, err
	}
	header, err := readHeader(f, size.Size())
	if err != nil {
		return nil, err
	}
	file := &File{path: path, file: f, data: 8 + int64(len(header)), byName: map[string]int{}}
	if err := file.parse(header, size.Size()-file.data); err != nil {
		return nil, err
	}
	return file, nil
}

func readHeader(r io.ReaderAt, size int64) ([]byte, error) {
	var prefix [8]byte
	if _, err := r.ReadAt(prefix[:], 0); err != nil {
		return nil, errors.New("not a safetensors file: shorter than its 8 bytes of header length")
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	if n > maxHeader || int64(n) > size-8 {
		return nil, fmt.Errorf("not a safetensors file: header of %d bytes in a file of %d", n, size)
	}
	header := make([]byte, n)
	if _, err := r.ReadAt(header, 8); err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	return header, nil
}

// rawInfo is a tensor's entry in the header.
type rawInfo struct {
	DType   DType     `json:"dtype"`
	Shape   []int64   `json:"shape"`
	Offsets [2]uint64 `json:"data_offsets"`
}

func (f *File) parse(header []byte, dataSize int64) error {
	dec := json.NewDecoder(bytes.NewReader(header))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errors.New("header is not a JSON object")
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return fmt.Errorf("header: %w", err)
		}
		if err := f.parseEntry(dec, key.(string), dataSize); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	return f.checkRanges(dataSize)
}

func (f *File) parseEntry(dec *json.Decoder, name string, dataSize int64) error {
	if name == metadataKey {
		if f.metadata != nil {
			return errors.New("header: two entries of metadata")
		}
		if err := dec.Decode(&f.metadata); err != nil {
			return fmt.Errorf("header: metadata: %w", err)
		}
		return nil
	}
	if _, twice := f.byName[name]; twice {
		return fmt.Errorf("header: tensor %q appears twice", name)
	}
	var raw rawInfo
	if err := dec.Decode(&raw); err != nil {
		return fmt.Errorf("header: tensor %q: %w", name, err)
	}
	info, err := raw.check(name, dataSize)
	if err != nil {
		return fmt.Errorf("header: tensor %q: %w", name, err)
	}
	f.byName[name] = -1 // indices follow once the tensors are in order
	f.tensors = append(f.tensors, info)
	return nil
}

func (r rawInfo) check(name string, dataSize int64) (Info, error) {
	if r.DType.Size() == 0 {
		return Info{}, fmt.Errorf("unknown type %q", r.DType)
	}
	if r.Offsets[0] > r.Offsets[1] || r.Offsets[1] > uint64(dataSize) {
		return Info{}, fmt.Errorf("range %v leaves the %d bytes of data", r.Offsets, dataSize)
	}
	info := Info{Name: name, DType: r.DType, Shape: make([]int, len(r.Shape)), begin: int64(r.Offsets[0])}
	bytes := int64(r.DType.Size())
	for i, d := range r.Shape {
		if d < 0 || d > 0 && bytes > math.MaxInt64/d {
			return Info{}, fmt.Errorf("impossible shape %v", r.Shape)
		}
		info.Shape[i] = int(d)
		bytes *= d
	}
	if span := int64(r.Offsets[1] - r.Offsets[0]); span != bytes {
		return Info{}, fmt.Errorf("shape %v of %s takes %d bytes, its range has %d", r.Shape, r.DType, bytes, span)
	}
	return info, nil
}

// checkRanges puts the tensors in the order of their data and refuses overlaps, gaps and leftovers.
func (f *File) checkRanges(dataSize int64) error {
	sort.SliceStable(f.tensors, func(i, j int) bool {
		a, b := f.tensors[i], f.tensors[j]
		return a.begin < b.begin || a.begin == b.begin && a.Bytes() < b.Bytes()
	})
	var end int64
	for i, t := range f.tensors {
		if t.begin != end {
			return fmt.Errorf("header: data of tensor %q begins at %d, want %d: ranges overlap or leave a gap", t.Name, t.begin, end)
		}
		end += t.Bytes()
		f.byName[t.Name] = i
	}
	if end != dataSize {
		return fmt.Errorf("header describes %d bytes of data, the file has %d", end, dataSize)
	}
	return nil
}

// Path is the path the file was opened by.
func (f *File) Path() string { return f.path }

// Metadata are the free strings of the header; nil if there are none.
func (f *File) Metadata() map[string]string { return f.metadata }

// Tensors lists the tensors in the order of their data.
func (f *File) Tensors() []Info { return f.tensors }

// Lookup finds a tensor by name.
func (f *File) Lookup(name string) (Info, bool) {
	i, ok := f.byName[name]
	if !ok {
		return Info{}, false
	}
	return f.tensors[i], true
}

// Read fills dst, whose length must be info.Bytes(), with a tensor's raw little-endian data.
func (f *File) Read(info Info, dst []byte) error {
	if int64(len(dst)) != info.Bytes() {
		return fmt.Errorf("%s: tensor %q has %d bytes, buffer has %d", f.path, info.Name, info.Bytes(), len(dst))
	}
	if _, err := f.file.ReadAt(dst, f.data+info.begin); err != nil {
		return fmt.Errorf("%s: tensor %q: %w", f.path, info.Name, err)
	}
	return nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// Entry is a tensor to write: Write must deliver exactly Info.Bytes() bytes.
type Entry struct {
	Info
	Write func(w io.Writer) error
}

// Write writes a whole file to w in the reference implementation's order: types of the highest rank first, names
// ascending. metadata may be nil.
func Write(w io.Writer, metadata map[string]string, entries []Entry) error {
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b Entry) int {
		if rank := slices.Index(order, b.DType) - slices.Index(order, a.DType); rank != 0 {
			return rank
		}
		return bytes.Compare([]byte(a.Name), []byte(b.Name))
	})
	header, err := marshalHeader(metadata, entries)
	if err != nil {
		return err
	}
	var prefix [8]byte
	binary.LittleEndian.PutUint64(prefix[:], uint64(len(header)))
	if _, err := w.Write(prefix[:]); err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, e := range entries {
		count := &countingWriter{w: w}
		if err := e.Write(count); err != nil {
			return fmt.Errorf("tensor %q: %w", e.Name, err)
		}
		if count.n != e.Bytes() {
			return fmt.Errorf("tensor %q: wrote %d bytes, its shape needs %d", e.Name, count.n, e.Bytes())
		}
	}
	return nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// marshalHeader writes the JSON by hand to fix the order of its keys, padded with spaces to a multiple of 8.
func marshalHeader(metadata map[string]string, entries []Entry) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	if metadata != nil {
		fmt.Fprintf(&b, `"%s":`, metadataKey)
		if err := appendJSON(&b, metadata); err != nil {
			return nil, err
		}
	}
	var offset int64
	seen := map[string]bool{metadataKey: true}
	for _, e := range entries {
		if seen[e.Name] {
			return nil, fmt.Errorf("tensor %q appears twice or has a reserved name", e.Name)
		}
		seen[e.Name] = true
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		if err := appendJSON(&b, e.Name); err != nil {
			return nil, err
		}
		shape := slices.Clone(e.Shape)
		if shape == nil {
			shape = []int{}
		}
		b.WriteString(`:{"dtype":"` + string(e.DType) + `","shape":`)
		if err := appendJSON(&b, shape); err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, `,"data_offsets":[%d,%d]}`, offset, offset+e.Bytes())
		offset += e.Bytes()
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	return b.Bytes(), nil
}

// appendJSON encodes without escaping <, > and &, as the reference implementation does.
func appendJSON(b *bytes.Buffer, v any) error {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // Encode ends with a line break
	return nil
}
