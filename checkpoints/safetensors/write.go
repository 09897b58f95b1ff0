package safetensors

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"

	"tandem/internal/atomicfile"
)

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
		return cmp.Or(slices.Index(order, b.DType)-slices.Index(order, a.DType), cmp.Compare(a.Name, b.Name))
	})
	infos := make([]Info, len(entries))
	for i, e := range entries {
		if e.DType.Size() == 0 {
			return fmt.Errorf("tensor %q: type %q is not written", e.Name, e.DType)
		}
		infos[i] = e.Info
	}
	header, err := MarshalHeader(metadata, infos)
	if err != nil {
		return err
	}
	return writeAll(w, header, entries)
}

// WriteWithHeader writes a file whose header is given, as File.Header returns it: the same bytes, the same order. Each
// tensor that it names needs an entry of the same type and number of elements.
func WriteWithHeader(w io.Writer, header []byte, entries []Entry) error {
	var size int64
	byName := map[string]Entry{}
	for _, e := range entries {
		byName[e.Name] = e
		size += e.Bytes()
	}
	infos, _, err := ParseHeader(header, size)
	if err != nil {
		return err
	}
	ordered := make([]Entry, len(infos))
	for i, info := range infos {
		e, ok := byName[info.Name]
		if !ok || e.DType != info.DType || e.Elements() != info.Elements() {
			return fmt.Errorf("tensor %q of the header has no entry of its type and size", info.Name)
		}
		ordered[i] = e
	}
	return writeAll(w, header, ordered)
}

func writeAll(w io.Writer, header []byte, entries []Entry) error {
	if len(header) > maxHeader {
		return fmt.Errorf("header of %d bytes is over the format's limit", len(header))
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

// WriteFile is Write to a path, atomically: readers see the old file or the whole new one.
func WriteFile(path string, metadata map[string]string, entries []Entry) error {
	return writeFile(path, func(w io.Writer) error { return Write(w, metadata, entries) })
}

// WriteFileWithHeader is WriteWithHeader to a path, atomically.
func WriteFileWithHeader(path string, header []byte, entries []Entry) error {
	return writeFile(path, func(w io.Writer) error { return WriteWithHeader(w, header, entries) })
}

func writeFile(path string, fill func(w io.Writer) error) error {
	return atomicfile.Write(path, os.FileMode(0o644), func(w io.Writer) error {
		buffered := bufio.NewWriterSize(w, 1<<20)
		if err := fill(buffered); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return buffered.Flush()
	})
}
