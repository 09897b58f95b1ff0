// Package npy reads and writes NumPy's .npy and .npz files: dense little-endian arrays in C order, which is what
// golden tensors and exported features are.
//
// The format is NEP 1 (versions 1.0 to 3.0 of the header are read, 1.0 is written).
package npy

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Array is a dense array in C order. Data is one of []float32, []float64, []int64, []int32 and []uint8, with as many
// elements as the product of Shape (an empty Shape is a scalar: one element).
type Array struct {
	Shape []int
	Data  any
}

// Element is an element type that this package reads and writes.
type Element interface {
	float32 | float64 | int64 | int32 | uint8
}

// maxElements guards against headers that promise more than a machine holds.
const maxElements = 1 << 33

// Len returns the number of elements that the shape promises.
func (a Array) Len() int {
	n := 1
	for _, d := range a.Shape {
		n *= d
	}
	return n
}

// As returns the elements of a as a slice of T, or an error if they have another type.
func As[T Element](a Array) ([]T, error) {
	v, ok := a.Data.([]T)
	if !ok {
		return nil, fmt.Errorf("array holds %T, want %T", a.Data, v)
	}
	return v, nil
}

// Read reads one .npy file.
func Read(r io.Reader) (Array, error) {
	kind, shape, err := readHeader(r)
	if err != nil {
		return Array{}, err
	}
	n := 1
	for _, d := range shape {
		if d < 0 || (d > 0 && n > maxElements/d) {
			return Array{}, fmt.Errorf("npy: shape %v is too large", shape)
		}
		n *= d
	}
	data, err := readData(r, kind, n)
	return Array{Shape: shape, Data: data}, err
}

func readData(r io.Reader, kind string, n int) (any, error) {
	switch kind {
	case "<f4":
		return convert(r, n, 4, func(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) })
	case "<f8":
		return convert(r, n, 8, func(b []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b)) })
	case "<i8":
		return convert(r, n, 8, func(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) })
	case "<i4":
		return convert(r, n, 4, func(b []byte) int32 { return int32(binary.LittleEndian.Uint32(b)) })
	case "|u1":
		return convert(r, n, 1, func(b []byte) uint8 { return b[0] })
	}
	return nil, fmt.Errorf("npy: element type %q is not read (only <f4, <f8, <i8, <i4 and |u1)", kind)
}

// convert reads n elements piece by piece, so that a header that lies costs no more memory than the file has bytes.
func convert[T Element](r io.Reader, n, size int, get func([]byte) T) ([]T, error) {
	const piece = 1 << 16
	out := make([]T, 0, min(n, piece))
	buf := make([]byte, piece*size)
	for len(out) < n {
		b := buf[:min(n-len(out), piece)*size]
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, fmt.Errorf("npy: file ends after about %d of %d elements: %w", len(out), n, err)
		}
		for ; len(b) > 0; b = b[size:] {
			out = append(out, get(b))
		}
	}
	return out, nil
}

const magic = "\x93NUMPY"

func readHeader(r io.Reader) (kind string, shape []int, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || string(head[:6]) != magic {
		return "", nil, errors.New("npy: not a .npy file (magic number missing)")
	}
	length := make([]byte, 2)
	if head[6] >= 2 {
		length = make([]byte, 4)
	}
	if _, err := io.ReadFull(r, length); err != nil {
		return "", nil, fmt.Errorf("npy: header: %w", err)
	}
	n := uint32(binary.LittleEndian.Uint16(length))
	if len(length) == 4 {
		n = binary.LittleEndian.Uint32(length)
	}
	if n > 1<<20 {
		return "", nil, fmt.Errorf("npy: header of %d bytes is too long", n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return "", nil, fmt.Errorf("npy: header: %w", err)
	}
	return parseHeader(string(text))
}

// parseHeader reads the Python dictionary {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }.
func parseHeader(text string) (kind string, shape []int, err error) {
	bad := fmt.Errorf("npy: header %q is not understood", text)
	_, rest, ok := strings.Cut(text, "'descr':")
	if !ok {
		return "", nil, bad
	}
	parts := strings.SplitN(rest, "'", 3)
	if len(parts) < 3 {
		return "", nil, bad
	}
	kind = parts[1]
	if !strings.Contains(text, "'fortran_order': False") {
		return "", nil, errors.New("npy: only arrays in C order are read")
	}
	_, rest, ok1 := strings.Cut(text, "'shape': (")
	inner, _, ok2 := strings.Cut(rest, ")")
	if !ok1 || !ok2 {
		return "", nil, bad
	}
	for _, field := range strings.Split(inner, ",") {
		if field = strings.TrimSpace(field); field == "" {
			continue
		}
		d, err := strconv.Atoi(field)
		if err != nil {
			return "", nil, bad
		}
		shape = append(shape, d)
	}
	return kind, shape, nil
}

// Write writes a as one .npy file.
func Write(w io.Writer, a Array) error {
	kind, n := describe(a.Data)
	if kind == "" {
		return fmt.Errorf("npy: cannot write %T", a.Data)
	}
	if n != a.Len() {
		return fmt.Errorf("npy: shape %v does not hold %d elements", a.Shape, n)
	}
	var dims strings.Builder
	for _, d := range a.Shape {
		fmt.Fprintf(&dims, "%d, ", d)
	}
	list := strings.TrimSuffix(dims.String(), " ")
	if len(a.Shape) > 1 {
		list = strings.TrimSuffix(list, ",")
	}
	dict := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", kind, list)
	// Magic, version, length and dictionary together are a multiple of 64 bytes and end in a line feed.
	pad := 63 - (len(magic)+4+len(dict))%64
	dict += strings.Repeat(" ", pad) + "\n"
	var head bytes.Buffer
	head.WriteString(magic + "\x01\x00")
	head.Write(binary.LittleEndian.AppendUint16(nil, uint16(len(dict))))
	head.WriteString(dict)
	if _, err := w.Write(head.Bytes()); err != nil {
		return err
	}
	return binary.Write(w, binary.LittleEndian, a.Data)
}

func describe(data any) (kind string, n int) {
	switch v := data.(type) {
	case []float32:
		return "<f4", len(v)
	case []float64:
		return "<f8", len(v)
	case []int64:
		return "<i8", len(v)
	case []int32:
		return "<i4", len(v)
	case []uint8:
		return "|u1", len(v)
	}
	return "", 0
}

// ReadZip reads all arrays of an .npz file, by name without the ".npy" at the end.
func ReadZip(path string) (map[string]Array, error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer z.Close()
	arrays := make(map[string]Array, len(z.File))
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, f.Name, err)
		}
		a, err := Read(r)
		r.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, f.Name, err)
		}
		arrays[strings.TrimSuffix(f.Name, ".npy")] = a
	}
	return arrays, nil
}

// WriteZip writes arrays as a compressed .npz file in the order of their names, so that the same arrays give the
// same bytes.
func WriteZip(w io.Writer, arrays map[string]Array) error {
	names := make([]string, 0, len(arrays))
	for name := range arrays {
		names = append(names, name)
	}
	slices.Sort(names)
	z := zip.NewWriter(w)
	for _, name := range names {
		f, err := z.Create(name + ".npy")
		if err != nil {
			return err
		}
		if err := Write(f, arrays[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return z.Close()
}

// ReadFile reads one .npy file from disk.
func ReadFile(path string) (Array, error) {
	f, err := os.Open(path)
	if err != nil {
		return Array{}, err
	}
	defer f.Close()
	a, err := Read(f)
	if err != nil {
		return a, fmt.Errorf("%s: %w", path, err)
	}
	return a, nil
}
