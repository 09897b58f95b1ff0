package build

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"tandem/data/ingest"
)

// faulty writes a source of four kinds with n rows in all and a fault in about one of a hundred, and knows what must
// become of every row.
type faulty struct {
	t    testing.TB
	dir  string
	n    int
	want map[string]int64 // skipped, by reason
	good [][]byte         // pictures to choose from
}

func newFaulty(t testing.TB, n int) *faulty {
	f := &faulty{t: t, dir: t.TempDir(), n: n, want: map[string]int64{}}
	for i := range 20 {
		f.good = append(f.good, jpegBytes(t, picture(24+i, 20, uint64(i))))
	}
	return f
}

// fault returns the number of the fault to plant in row i, counting up, or -1.
func fault100(i int) int {
	if i%100 != 37 {
		return -1
	}
	return i / 100
}

func (f *faulty) file(name, text string) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f *faulty) picture(i int) string { return string(f.good[i%len(f.good)]) }

// folder: empty file, HTML as JPEG, no caption.
func (f *faulty) folder() string {
	for i := range f.n / 4 {
		name := fmt.Sprintf("folder/%03d/%05d", i/500, i)
		data, caption := f.picture(i), fmt.Sprintf("picture %d of the folder", i)
		if k := fault100(i); k >= 0 {
			switch k % 3 {
			case 0:
				data = ""
				f.want["empty image"]++
			case 1:
				data = "<html>no picture</html>"
				f.want["not an image"]++
			case 2:
				caption = " \n"
				f.want["no caption"]++
			}
		}
		f.file(name+".jpg", data)
		f.file(name+".txt", caption)
	}
	return filepath.Join(f.dir, "folder")
}

// list: missing image, caption in another encoding, wrong number of fields, a key that is taken.
func (f *faulty) list() string {
	for i := range f.good {
		f.file(fmt.Sprintf("list/%d.jpg", i), f.picture(i))
	}
	var b strings.Builder
	b.WriteString("key,image,caption\n")
	for i := range f.n / 4 {
		key, image, caption := fmt.Sprint("k", i), fmt.Sprintf("%d.jpg", i%len(f.good)), fmt.Sprintf("row %d of the list", i)
		if k := fault100(i); k >= 0 {
			switch k % 4 {
			case 0:
				image = "gone.jpg"
				f.want["missing image"]++
			case 1:
				caption = "caf\xe9"
				f.want["invalid utf-8"]++
			case 2:
				caption += ",too,many"
				f.want["malformed row"]++
			case 3:
				key = fmt.Sprint("k", i-1)
				f.want["duplicate key"]++
			}
		}
		fmt.Fprintf(&b, "%s,%s,%s\n", key, image, caption)
	}
	f.file("list/list.csv", b.String())
	return filepath.Join(f.dir, "list", "list.csv")
}

// tars: a caption without its image, a name that leads out of the directory, half a JPEG.
func (f *faulty) tars() string {
	const per = 1000
	for first := 0; first < f.n/4; first += per {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		member := func(name, text string) {
			if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
				f.t.Fatal(err)
			}
			if _, err := w.Write([]byte(text)); err != nil {
				f.t.Fatal(err)
			}
		}
		for i := first; i < min(first+per, f.n/4); i++ {
			key, data := fmt.Sprintf("%06d", i), f.picture(i)
			k := fault100(i)
			switch {
			case k >= 0 && k%3 == 0:
				f.want["missing image"]++
				member(key+".txt", "no picture")
				continue
			case k >= 0 && k%3 == 1:
				f.want["unsafe name"]++
				member("../"+key+".jpg", data)
				continue
			case k >= 0:
				f.want["damaged image"]++
				data = data[:len(data)/2]
			}
			member(key+".jpg", data)
			member(key+".txt", fmt.Sprintf("member %d of the tars", i))
		}
		if err := w.Close(); err != nil {
			f.t.Fatal(err)
		}
		f.file(fmt.Sprintf("tars/%05d.tar", first/per), b.String())
	}
	return filepath.Join(f.dir, "tars")
}

// table: a decompression bomb, a null image, and one row group whose pages are overwritten.
func (f *faulty) table() string {
	type row struct {
		Image   []byte `parquet:"image,optional"`
		Caption string `parquet:"caption"`
	}
	const group = 50
	bomb := hugePNG()
	var rows []row
	n := f.n - 3*(f.n/4)
	for i := range n {
		r := row{[]byte(f.picture(i)), fmt.Sprintf("record %d of the table", i)}
		if k := fault100(i); k >= 0 && k%2 == 0 {
			f.want["image too large"]++
			r.Image = bomb
		} else if k >= 0 {
			f.want["missing image"]++
			r.Image = nil
		}
		rows = append(rows, r)
	}
	var b bytes.Buffer
	if err := parquet.Write(&b, rows, parquet.MaxRowsPerRowGroup(group), parquet.Compression(&parquet.Uncompressed)); err != nil {
		f.t.Fatal(err)
	}
	data := b.Bytes()
	file, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		f.t.Fatal(err)
	}
	last := file.Metadata().RowGroups[len(file.Metadata().RowGroups)-1]
	copy(data[last.Columns[1].MetaData.DataPageOffset:], "overwritten overwritten overwritten")
	f.want["damaged file"] += last.NumRows
	for i := n - int(last.NumRows); i < n; i++ { // a fault in the damaged group is not seen as such
		if k := fault100(i); k >= 0 {
			f.want[map[bool]string{true: "image too large", false: "missing image"}[k%2 == 0]]--
		}
	}
	f.file("table/train.parquet", string(data))
	return filepath.Join(f.dir, "table")
}

// build runs all four sources through one build and compares the books with what was planted.
func (f *faulty) build() {
	t := f.t
	var inputs []ingest.Input
	for _, location := range []string{f.folder(), f.list(), f.tars(), f.table()} {
		in, err := ingest.Open(location, ingest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, in)
	}
	out := t.TempDir()
	report, err := Build(context.Background(), inputs, Options{Out: out, ShardBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(f.want, func(_ string, n int64) bool { return n == 0 })
	if diff := cmp.Diff(f.want, report.Skipped); diff != "" {
		t.Errorf("skipped: %s", diff)
	}
	planted := int64(0)
	for _, n := range f.want {
		planted += n
	}
	if report.RowsIn != int64(f.n) || report.RowsOut != int64(f.n)-planted {
		t.Errorf("%d rows in, %d out; want %d and %d", report.RowsIn, report.RowsOut, f.n, int64(f.n)-planted)
	}
	if got := len(readAll(t, out, "train")); int64(got) != report.RowsOut {
		t.Errorf("%d rows in the shards, %d in the books", got, report.RowsOut)
	}
	listed, err := os.ReadFile(filepath.Join(out, SkippedName))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rows in, %d out, %d shards, %d lines of skipped rows: %v", report.RowsIn, report.RowsOut, report.Shards, bytes.Count(listed, []byte("\n")), report.Skipped)
	if kinds := len(f.want); kinds < 10 {
		t.Errorf("only %d kinds of faults were planted", kinds)
	}
}

// TestBooksBalance puts 2,000 rows of four kinds of sources with ten kinds of faults through one build. The slow tests
// do the same with 100,000.
func TestBooksBalance(t *testing.T) { newFaulty(t, 2000).build() }
