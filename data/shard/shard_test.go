package shard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/parquet-go/parquet-go"

	"tandem/data/store"
	"tandem/internal/fault"
)

// testRow is a row whose bytes follow from its number. Its "image" is not a picture: this package does not look.
func testRow(i int) *Row {
	r := &Row{
		Key: fmt.Sprintf("key-%04d", i), Image: bytes.Repeat([]byte{byte(i), 0xff, byte(i >> 8)}, 5+i%40),
		Width: 10 + i, Height: 20 + i, Source: "test", Labels: map[string]string{"class": fmt.Sprint("c", i%3)},
	}
	for c := range i % 4 {
		r.Captions = append(r.Captions, fmt.Sprintf("caption %d of row %d, \u00e9", c, i))
	}
	if i%5 == 0 {
		r.Labels["rare"] = "yes"
	}
	return r
}

func writeShard(t testing.TB, dir, name string, rows int) FileInfo {
	t.Helper()
	w, err := NewWriter(dir, name, "train", []string{"rare", "class"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if err := w.Write(testRow(i)); err != nil {
			t.Fatal(err)
		}
	}
	info, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func writeSet(t testing.TB, dir string, rows ...int) *Manifest {
	t.Helper()
	_, schema, err := schemaOf([]string{"rare", "class"})
	if err != nil {
		t.Fatal(err)
	}
	m := &Manifest{Format: Format, Version: FormatVersion, Schema: schema, Splits: map[string]SplitInfo{}}
	for i, n := range rows {
		info := writeShard(t, dir, fmt.Sprintf("train-%05d.parquet", i), n)
		m.Files = append(m.Files, info)
		s := m.Splits["train"]
		s.Rows, s.Files, s.Bytes = s.Rows+info.Rows, s.Files+1, s.Bytes+info.Bytes
		m.Splits["train"] = s
	}
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ManifestName), data, 0o644); err != nil {
		t.Fatal(err)
	}
	return m
}

func openBytes(data []byte) (*File, error) {
	return OpenFile("x.parquet", bytes.NewReader(data), int64(len(data)))
}

func allRows(f *File) (rows []*Row, err error) {
	err = f.rows(context.Background(), func(n int64, r *Row) error {
		if int(n) != len(rows) {
			return fmt.Errorf("row %d came as number %d", n, len(rows))
		}
		rows = append(rows, r)
		return nil
	})
	return rows, err
}

func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	const n = 3*groupRows + 17
	info := writeShard(t, dir, "a.parquet", n)
	data, err := os.ReadFile(filepath.Join(dir, "a.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	want := FileInfo{Name: "a.parquet", Split: "train", Rows: n, RowGroups: 4, Bytes: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
	if diff := cmp.Diff(want, info); diff != "" {
		t.Error("manifest entry: ", diff)
	}
	f, err := openBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := allRows(f)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range rows {
		if diff := cmp.Diff(testRow(i), r, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("row %d: %s", i, diff)
		}
	}
	if len(rows) != n || f.NumRows() != n || f.NumGroups() != 4 {
		t.Errorf("%d rows read of %d in %d groups", len(rows), f.NumRows(), f.NumGroups())
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("temporary files left: %v", entries)
	}
	if len(data) > 300*n {
		t.Errorf("%d bytes for %d small rows: statistics or headers repeat the images", len(data), n)
	}
}

// TestFastPath holds that images of our own files are read page by page, into the caller's memory.
func TestFastPath(t *testing.T) {
	dir := t.TempDir()
	writeShard(t, dir, "a.parquet", 300)
	data, _ := os.ReadFile(filepath.Join(dir, "a.parquet"))
	f, err := openBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	g, err := f.Group(0, ColCaptions)
	if err != nil {
		t.Fatal(err)
	}
	if g.pages == nil || g.images != nil {
		t.Fatal("images were loaded with the group")
	}
	if _, ok := g.Text(ColKey, 0); ok {
		t.Error("column key was loaded unasked")
	}
	var images ImageReader
	var buf []byte
	allocs := testing.AllocsPerRun(100, func() {
		if buf, err = images.Read(f, g, 7); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations for an image, want none", allocs)
	}
	if !bytes.Equal(buf, testRow(7).Image) {
		t.Error("wrong image")
	}
}

func TestWriterErrors(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		name   string
		labels []string
		want   string
	}{
		{"fixed name", []string{"image"}, `label column "image" has the name of a fixed column; rename it`},
		{"twice", []string{"a", "a"}, `label column "a" is named twice`},
		{"empty", []string{""}, `a label column has no name`},
	}
	for _, test := range tests {
		if _, err := NewWriter(dir, "x.parquet", "train", test.labels); err == nil || err.Error() != test.want || !fault.IsUser(err) {
			t.Errorf("%s: error %v, want the user's %q", test.name, err, test.want)
		}
	}
	w, err := NewWriter(dir, "x.parquet", "train", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(testRow(1)); err == nil || !strings.Contains(err.Error(), `label "class" has no column`) {
		t.Errorf("unknown label: %v", err)
	}
	if _, err := w.Close(); err == nil {
		t.Error("Close succeeded after a failed Write")
	}
	if w, err = NewWriter(dir, "x.parquet", "train", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err == nil {
		t.Error("an empty shard was written")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

// fullDisk takes n bytes and then has no space left.
type fullDisk struct{ n int }

func (d *fullDisk) Write(p []byte) (int, error) {
	if len(p) > d.n {
		n := d.n
		d.n = 0
		return n, syscall.ENOSPC
	}
	d.n -= len(p)
	return len(p), nil
}

func TestFullDisk(t *testing.T) {
	for _, space := range []int{0, 1000, 20_000, 40_000} {
		dir := t.TempDir()
		w, err := NewWriter(dir, "x.parquet", "train", []string{"class", "rare"})
		if err != nil {
			t.Fatal(err)
		}
		w.count.to = &fullDisk{space}
		for i := 0; err == nil && i < 2*groupRows; i++ {
			err = w.Write(testRow(i))
		}
		if err == nil {
			_, err = w.Close()
		}
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), filepath.Join(dir, "x.parquet")) {
			t.Errorf("%d bytes of space: error %v", space, err)
		}
		w.Abort()
		if entries, _ := os.ReadDir(dir); len(entries) != 0 {
			t.Errorf("%d bytes of space: left behind %v", space, entries)
		}
	}
}

// TestForeignFiles reads what other programs write: several images a page, compression, other column types.
func TestForeignFiles(t *testing.T) {
	type hub struct {
		Bytes []byte `parquet:"bytes,optional"`
		Path  string `parquet:"path,optional"`
	}
	type foreign struct {
		Image   hub    `parquet:"image,optional"`
		Caption string `parquet:"captions,optional,dict"`
		Score   float64
		Width   int32 `parquet:"width"`
		Height  int32 `parquet:"height"`
	}
	var rows []foreign
	for i := range 50 {
		rows = append(rows, foreign{Image: hub{Bytes: testRow(i).Image}, Caption: fmt.Sprint("text ", i), Width: int32(i), Height: 9})
	}
	rows[3].Caption, rows[4].Image.Bytes = "", nil
	var buf bytes.Buffer
	if err := parquet.Write(&buf, rows, parquet.Compression(&parquet.Snappy)); err != nil {
		t.Fatal(err)
	}
	f, err := openBytes(buf.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got, err := allRows(f)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range got {
		if !bytes.Equal(r.Image, rows[i].Image.Bytes) || (rows[i].Caption != "") != (len(r.Captions) == 1) {
			t.Fatalf("row %d came as %+v", i, r)
		}
	}
	if got[7].Captions[0] != "text 7" || got[7].Width != 7 {
		t.Errorf("row 7: %+v", got[7])
	}
}

func TestNotAShard(t *testing.T) {
	var buf bytes.Buffer
	if err := parquet.Write(&buf, []struct{ A int64 }{{1}, {2}}); err != nil {
		t.Fatal(err)
	}
	if _, err := openBytes(buf.Bytes()); err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), `no column "image"`) {
		t.Errorf("error %v", err)
	}
}

// TestDamage flips bytes and cuts the file everywhere: never a panic, never a wrong image.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	writeShard(t, dir, "a.parquet", 24)
	good, err := os.ReadFile(filepath.Join(dir, "a.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, data []byte) {
		f, err := openBytes(data)
		if err != nil {
			return
		}
		for i := range f.NumGroups() {
			g, err := f.Group(i)
			if err != nil {
				continue
			}
			for row := range min(g.Rows, 100) {
				image, err := new(ImageReader).Read(f, g, row)
				var damage *DamageError
				if err != nil && !errors.As(err, &damage) {
					t.Fatalf("%s: error %v is not a DamageError", what, err)
				}
				if err == nil && g.pages != nil && !knownImage(image) {
					t.Fatalf("%s: row %d came wrong and unnoticed", what, row)
				}
			}
		}
	}
	for at := range good {
		for _, bit := range []byte{0x01, 0x80} {
			bad := bytes.Clone(good)
			bad[at] ^= bit
			check(fmt.Sprintf("bit %#x of byte %d flipped", bit, at), bad)
		}
	}
	for n := 0; n < len(good); n += 7 {
		if _, err := openBytes(good[:n]); err == nil {
			t.Fatalf("the first %d bytes open as a shard", n)
		}
	}
}

// knownImage reports whether b is the image of any test row: a damaged index may lead to another row's page.
func knownImage(b []byte) bool {
	for i := range 24 {
		if bytes.Equal(b, testRow(i).Image) {
			return true
		}
	}
	return false
}

func TestSet(t *testing.T) {
	dir := t.TempDir()
	writeSet(t, dir, 5, 300, 7)
	set, err := OpenSet(context.Background(), store.Local(dir), "train")
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	if set.NumRows() != 312 {
		t.Errorf("%d rows", set.NumRows())
	}
	for _, test := range []struct {
		row    int64
		file   int
		inFile int64
	}{{0, 0, 0}, {4, 0, 4}, {5, 1, 0}, {304, 1, 299}, {305, 2, 0}, {311, 2, 6}} {
		if file, inFile := set.Locate(test.row); file != test.file || inFile != test.inFile {
			t.Errorf("row %d: file %d, row %d, want %d, %d", test.row, file, inFile, test.file, test.inFile)
		}
	}
	n := 0
	if err := set.Rows(context.Background(), func(FileInfo, int64, *Row) error { n++; return nil }); err != nil || n != 312 {
		t.Errorf("%d rows walked, error %v", n, err)
	}
}

func TestOpenSetErrors(t *testing.T) {
	tests := []struct {
		name   string
		change func(dir string, m *Manifest)
		split  string
		want   string
		user   bool
	}{
		{"no manifest", func(dir string, m *Manifest) { os.Remove(filepath.Join(dir, ManifestName)) }, "train", "no manifest.json", true},
		{"other split", nil, "val", `no split "val"; it has [train]`, true},
		{"other format", func(_ string, m *Manifest) { m.Format = "x" }, "", `format is "x"`, true},
		{"newer", func(_ string, m *Manifest) { m.Version = 99 }, "", "newer than this program", true},
		{"sum", func(_ string, m *Manifest) { m.Files[0].Rows++ }, "", "add up to", false},
		{"traversal", func(_ string, m *Manifest) { m.Files[0].Name = "../a" }, "", "not a plain file name", false},
		{"hash", func(_ string, m *Manifest) { m.Files[0].SHA256 = "12" }, "", "64 hexadecimal", false},
		{"twice", func(_ string, m *Manifest) { m.Files[1] = m.Files[0] }, "", "listed twice", false},
		{"no files", func(_ string, m *Manifest) { m.Files, m.Splits = nil, map[string]SplitInfo{"train": {}} }, "train", "no rows", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			m := writeSet(t, dir, 2, 2)
			if test.change != nil {
				test.change(dir, m)
				data, _ := m.Encode()
				if _, err := os.Stat(filepath.Join(dir, ManifestName)); err == nil {
					os.WriteFile(filepath.Join(dir, ManifestName), data, 0o644)
				}
			}
			_, err := OpenSet(context.Background(), store.Local(dir), test.split)
			if err == nil || !strings.Contains(err.Error(), test.want) || fault.IsUser(err) != test.user {
				t.Errorf("error %v (user %v), want %q (user %v)", err, fault.IsUser(err), test.want, test.user)
			}
		})
	}
}

func TestVerify(t *testing.T) {
	second := "train-00001.parquet"
	tests := []struct {
		name   string
		change func(path string) error
		want   string // "" for a good set
	}{
		{"good", nil, ""},
		{"flipped image byte", func(path string) error { return flip(path, 2000) }, "sha256"},
		{"cut", func(path string) error { return os.Truncate(path, 1000) }, "1000 bytes, the manifest says"},
		{"gone", os.Remove, "the manifest lists it but it is not there"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			writeSet(t, dir, 30, 30)
			if test.change != nil {
				if err := test.change(filepath.Join(dir, second)); err != nil {
					t.Fatal(err)
				}
			}
			var problems []string
			o := VerifyOptions{Workers: 1, Problem: func(err error) { problems = append(problems, err.Error()) }}
			report, err := Verify(context.Background(), store.Local(dir), o)
			if test.want == "" {
				if report.Rows != 60 || report.Files != 2 || err != nil || len(problems) != 0 {
					t.Errorf("report %+v, error %v, problems %q", report, err, problems)
				}
				return
			}
			if err == nil || len(problems) == 0 || !strings.Contains(strings.Join(problems, "\n"), test.want) || !strings.Contains(strings.Join(problems, "\n"), second) {
				t.Errorf("error %v, problems %q, want %q in %s", err, problems, test.want, second)
			}
		})
	}
}

func flip(path string, at int64) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[at] ^= 0x40
	return os.WriteFile(path, data, 0o644)
}

func FuzzFile(f *testing.F) {
	dir := f.TempDir()
	writeShard(f, dir, "a.parquet", 6)
	good, err := os.ReadFile(filepath.Join(dir, "a.parquet"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(append(bytes.Clone(good[:100]), good[200:]...))
	f.Add([]byte("PAR1PAR1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := openBytes(data)
		if err != nil {
			return
		}
		for i := range min(file.NumGroups(), 10) {
			g, err := file.Group(i)
			if err != nil {
				continue
			}
			for row := range min(g.Rows, 10) {
				file.ReadRow(g, row)
			}
		}
	})
}

func FuzzManifest(f *testing.F) {
	dir := f.TempDir()
	m := writeSet(f, dir, 2)
	data, _ := m.Encode()
	f.Add(data)
	f.Add([]byte(`{"format":"tandem-shards","version":1,"files":[{"name":"a/b"}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest("m", data)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseManifest("m", again); err != nil {
			t.Fatalf("a good manifest is refused after encoding: %v", err)
		}
	})
}

func BenchmarkImage(b *testing.B) {
	dir := b.TempDir()
	writeShard(b, dir, "a.parquet", 300)
	o, err := store.Local(dir).Open(context.Background(), "a.parquet")
	if err != nil {
		b.Fatal(err)
	}
	defer o.Close()
	f, err := OpenFile("a.parquet", o, o.Size())
	if err != nil {
		b.Fatal(err)
	}
	g, err := f.Group(0, ColCaptions)
	if err != nil {
		b.Fatal(err)
	}
	var images ImageReader
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err = images.Read(f, g, i%g.Rows); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGroup(b *testing.B) {
	dir := b.TempDir()
	writeShard(b, dir, "a.parquet", 300)
	data, _ := os.ReadFile(filepath.Join(dir, "a.parquet"))
	f, err := openBytes(data)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Group(0, ColCaptions); err != nil {
			b.Fatal(err)
		}
	}
}
