package ingest

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
)

// Estimate is about how many rows an input has, or -1 if it cannot tell within seconds. It is for showing progress: a file
// that cannot be read counts as empty.
func Estimate(in Input) int64 {
	if e, ok := in.(interface{ Estimate() int64 }); ok {
		return e.Estimate()
	}
	return -1
}

// Estimate calls the function of the input's kind.
func (b *basic) Estimate() int64 {
	if b.estimate == nil {
		return -1
	}
	return b.estimate()
}

func exactly(n int64) func() int64 { return func() int64 { return n } }

// estimateTime bounds how long a count may take.
const estimateTime = 3 * time.Second

// estimateFolder counts pictures below root.
func estimateFolder(root string) func() int64 {
	return func() int64 {
		n, until := int64(0), time.Now().Add(estimateTime)
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err == nil && isImageName(name) {
				n++
			}
			if time.Now().After(until) {
				return filepath.SkipAll
			}
			return nil // the reader reports what cannot be read
		})
		if err != nil || time.Now().After(until) {
			return -1
		}
		return n
	}
}

// estimateBytes is how much of a list, and of a first tar, is looked at.
const estimateBytes = 64 << 20

// estimateLines counts the lines at the beginning of a file, and takes the rest for the same. rows turns lines into rows.
func estimateLines(file string, header int64) func() int64 {
	return func() int64 {
		f, err := os.Open(file)
		if err != nil {
			return -1
		}
		defer f.Close()
		read, lines := int64(0), int64(0)
		buf := make([]byte, 1<<20)
		for read < estimateBytes {
			n, err := f.Read(buf)
			read += int64(n)
			lines += int64(bytes.Count(buf[:n], []byte{'\n'}))
			if err != nil {
				break
			}
		}
		return scale(lines-header, read, sizeOf(file))
	}
}

// scale is n of part for the whole.
func scale(n, part, whole int64) int64 {
	if part == 0 {
		return 0
	}
	return max(0, int64(float64(n)*float64(whole)/float64(part)))
}

func sizeOf(file string) int64 {
	info, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return info.Size()
}

// estimateTars counts the rows at the beginning of the first tar, and takes the rest for the same.
func estimateTars(files []string) func() int64 {
	return func() int64 {
		f, err := os.Open(files[0])
		if err != nil {
			return -1
		}
		defer f.Close()
		r, err := untar(io.LimitReader(f, estimateBytes), io.Discard)
		if err != nil {
			return -1
		}
		rows := countKeys(r)
		read, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return -1
		}
		total := int64(0)
		for _, file := range files {
			total += sizeOf(file)
		}
		return scale(rows, read, total)
	}
}

// countKeys counts changes of the name in front of the first dot.
func countKeys(r *tar.Reader) (rows int64) {
	last := ""
	for {
		h, err := r.Next()
		if err != nil {
			return rows
		}
		dir, base := filepath.Split(h.Name)
		key, _, _ := strings.Cut(base, ".")
		if h.Typeflag == tar.TypeReg && dir+key != last {
			rows++
			last = dir + key
		}
	}
}

// estimateFooters is how many parquet files are opened to be counted.
const estimateFooters = 16

// estimateParquet reads the row counts of the first files, and takes the others for the same by size.
func estimateParquet(files []string) func() int64 {
	return func() int64 {
		var rows, read, total int64
		for i, file := range files {
			size := sizeOf(file)
			total += size
			if i < estimateFooters {
				rows += parquetRows(file, size)
				read += size
			}
		}
		return scale(rows, read, total)
	}
}

func parquetRows(file string, size int64) (rows int64) {
	defer func() {
		if recover() != nil {
			rows = 0 // the library panics on damaged files
		}
	}()
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	p, err := parquet.OpenFile(f, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return 0
	}
	return p.NumRows()
}

// estimateIDX adds the counts of the headers.
func estimateIDX(parts []*idx) func() int64 {
	return func() (rows int64) {
		for _, x := range parts {
			if f, err := openIDXFile(x.images, 3); err == nil {
				rows += int64(f.dims[0])
				f.file.Close()
			}
		}
		return rows
	}
}
