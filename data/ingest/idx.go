package ingest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"tandem/data/shard"
	"tandem/internal/fault"
)

// idxImages matches the names of IDX image files, like train-images-idx3-ubyte.gz; the first group is the split's part.
var idxImages = regexp.MustCompile(`^(.*?)-?images[-.]idx3-ubyte(\.gz)?$`)

// openIDX reads a directory of IDX files, the format of MNIST and Fashion-MNIST: 8-bit grey pictures and label numbers.
func openIDX(location string, o Options) (Input, error) {
	o = o.withDefaults(location)
	entries, err := os.ReadDir(location)
	if err != nil {
		return nil, fault.User(err)
	}
	b := &basic{info: shard.SourceInfo{Name: o.Name, Kind: "idx", Location: location}}
	if o.ClassNames == nil {
		if o.ClassNames, err = readNames(filepath.Join(location, "classnames.txt")); err != nil {
			return nil, err
		}
	}
	b.addClasses(o.ClassNames)
	o.classes = namesOf(o.ClassNames)
	var files []*idx
	for _, e := range entries {
		m := idxImages.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		labels, err := idxLabels(location, m[1], entries)
		if err != nil {
			return nil, err
		}
		split := o.splitOf(m[1])
		if m[1] == "t10k" && o.Split == "" {
			split = "test"
		}
		x := &idx{images: filepath.Join(location, e.Name()), labels: labels, prefix: m[1], split: split, o: o}
		files = append(files, x)
		b.parts = append(b.parts, Part{Name: x.images, Stamp: stamp(x.images) + " " + stamp(labels), Rows: x.rows})
	}
	b.estimate = estimateIDX(files)
	slices.SortFunc(b.parts, func(a, c Part) int { return -bytes.Compare([]byte(a.Name), []byte(c.Name)) }) // train before t10k
	return b, nil
}

func idxLabels(location, prefix string, entries []os.DirEntry) (string, error) {
	want := regexp.MustCompile(`^` + regexp.QuoteMeta(prefix) + `-?labels[-.]idx1-ubyte(\.gz)?$`)
	for _, e := range entries {
		if want.MatchString(e.Name()) {
			return filepath.Join(location, e.Name()), nil
		}
	}
	return "", fault.Userf("%s: there are images of %q but no labels file %s-labels-idx1-ubyte", location, prefix, prefix)
}

type idx struct {
	images, labels, prefix, split string
	o                             Options
}

// idxFile is an open IDX file behind its header.
type idxFile struct {
	*bufio.Reader
	file *os.File
	dims []int
}

// openIDXFile reads the header: two zero bytes, type 8 (unsigned byte), the number of dimensions, and each as a
// big-endian 32-bit number (Y. LeCun's description of MNIST).
func openIDXFile(name string, dimensions int) (f *idxFile, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	b := bufio.NewReaderSize(file, 1<<16)
	if magic, _ := b.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, err
		}
		b = bufio.NewReaderSize(z, 1<<16)
	}
	head := make([]byte, 4+4*dimensions)
	if _, err := io.ReadFull(b, head); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if !bytes.Equal(head[:4], []byte{0, 0, 8, byte(dimensions)}) {
		return nil, fmt.Errorf("the file does not begin as an IDX file of bytes with %d dimensions", dimensions)
	}
	f = &idxFile{Reader: b, file: file}
	for i := range dimensions {
		f.dims = append(f.dims, int(binary.BigEndian.Uint32(head[4+4*i:])))
	}
	return f, nil
}

// maxIDXSide bounds the pictures of an IDX file.
const maxIDXSide = 4096

func (x *idx) rows(ctx context.Context) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		images, labels, err := x.open()
		if err != nil {
			yield(Row{}, skip(DamagedFile, Place{x.images, -1}, "", err))
			return
		}
		defer images.file.Close()
		defer labels.file.Close()
		n, h, w := images.dims[0], images.dims[1], images.dims[2]
		pixels := make([]byte, w*h)
		for i := range n {
			if err := ctx.Err(); err != nil {
				yield(Row{}, err)
				return
			}
			at := Place{x.images, int64(i)}
			_, err := io.ReadFull(images, pixels)
			label, labelErr := labels.ReadByte()
			if err := errors.Join(err, labelErr); err != nil {
				bad := skip(DamagedFile, at, "", err)
				bad.Rows = int64(n - i)
				yield(Row{}, bad)
				return
			}
			if row, err := x.row(at, pixels, w, h, label); !yield(row, err) {
				return
			}
		}
	}
}

func (x *idx) open() (images, labels *idxFile, err error) {
	if images, err = openIDXFile(x.images, 3); err != nil {
		return nil, nil, err
	}
	if labels, err = openIDXFile(x.labels, 1); err != nil {
		images.file.Close()
		return nil, nil, fmt.Errorf("%s: %w", x.labels, err)
	}
	n, h, w := images.dims[0], images.dims[1], images.dims[2]
	if labels.dims[0] != n || h < 1 || w < 1 || h > maxIDXSide || w > maxIDXSide {
		err = fmt.Errorf("%d pictures of %d×%d pixels and %d labels", n, w, h, labels.dims[0])
		return nil, nil, errors.Join(err, images.file.Close(), labels.file.Close())
	}
	return images, labels, nil
}

func (x *idx) row(at Place, pixels []byte, w, h int, label byte) (Row, error) {
	r := Row{At: at}
	r.Key, r.Split = fmt.Sprintf("%s/%d", x.prefix, at.Row), x.split
	name, err := className(at, r.Key, strconv.Itoa(int(label)), x.o.classes.labels, true)
	if err != nil {
		return r, err
	}
	r.setLabel(classLabel, name)
	x.o.addTemplates(&r, classLabel)
	var b bytes.Buffer
	if err := png.Encode(&b, &image.Gray{Pix: pixels, Stride: w, Rect: image.Rect(0, 0, w, h)}); err != nil {
		return r, err
	}
	r.Image = b.Bytes()
	return r, nil
}
