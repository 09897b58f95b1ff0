// Package safetensors reads and writes the safetensors format: eight bytes of header length, a JSON header that names
// each tensor with its type, shape and range, then the raw little-endian data. Files come from strangers: nothing in a
// header is believed before it is checked. Both ways stream, so that a model never needs more memory than what is asked
// for, and files are written in the order and with the padding of the reference implementation, so that equal content
// means equal bytes.
package safetensors

import (
	"fmt"
	"os"
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

// IsFloat reports whether Float32s reads d.
func (d DType) IsFloat() bool { return d == F16 || d == BF16 || d == F32 || d == F64 }

// Info describes one tensor.
type Info struct {
	Name  string
	DType DType
	Shape []int

	begin int64 // offset in the data section
	file  int   // which file of a Set holds it
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

// File is an open safetensors file. It may be read by many goroutines at once.
type File struct {
	path     string
	file     *os.File
	header   []byte
	metadata map[string]string
	tensors  []Info
	byName   map[string]int
}

// Open reads and checks the header of a file (ParseHeader).
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
	if !size.Mode().IsRegular() {
		return nil, fmt.Errorf("not a safetensors file: %s", size.Mode())
	}
	header, err := readHeader(f, size.Size())
	if err != nil {
		return nil, err
	}
	file := &File{path: path, file: f, header: header, byName: map[string]int{}}
	file.tensors, file.metadata, err = ParseHeader(header, size.Size()-8-int64(len(header)))
	for i, t := range file.tensors {
		file.byName[t.Name] = i
	}
	return file, err
}

// Path is the path the file was opened by.
func (f *File) Path() string { return f.path }

// Header is the JSON of the header as it stands in the file, padding included.
func (f *File) Header() []byte { return f.header }

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
	return f.ReadPart(info, 0, dst)
}

// ReadPart fills dst with a tensor's raw data from an offset in bytes on.
func (f *File) ReadPart(info Info, offset int64, dst []byte) error {
	if offset < 0 || offset+int64(len(dst)) > info.Bytes() {
		return fmt.Errorf("%s: tensor %q has no bytes %d to %d", f.path, info.Name, offset, offset+int64(len(dst)))
	}
	if _, err := f.file.ReadAt(dst, 8+int64(len(f.header))+info.begin+offset); err != nil {
		return fmt.Errorf("%s: tensor %q: %w", f.path, info.Name, err)
	}
	return nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }
