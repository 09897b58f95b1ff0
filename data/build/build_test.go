package build

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/data/ingest"
	"tandem/data/shard"
	"tandem/data/source"
	"tandem/data/store"
	"tandem/internal/fault"
	"tandem/internal/prng"
)

// picture draws a gradient with noise that depends on seed.
func picture(w, h int, seed uint64) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	rng := prng.New(seed)
	a, b := rng.IntN(256), rng.IntN(256)
	for y := range h {
		for x := range w {
			m.SetNRGBA(x, y, color.NRGBA{uint8(a + x*int(seed%7+1)), uint8(b + y*3), uint8(rng.IntN(64)), 255})
		}
	}
	return m
}

func pngBytes(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func jpegBytes(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func goodRow(t testing.TB, i int) ingest.Row {
	return ingest.Row{Example: source.Example{
		Key: fmt.Sprintf("row-%04d", i), Image: pngBytes(t, picture(12+i%5, 9, uint64(i))),
		Captions: []string{fmt.Sprintf("picture number %d", i)}, Labels: map[string]string{"class": fmt.Sprint("c", i%3)}, Split: "train",
	}}
}

func goodRows(t testing.TB, n int) []ingest.Row {
	rows := make([]ingest.Row, n)
	for i := range rows {
		rows[i] = goodRow(t, i)
	}
	return rows
}

// tree returns the content of every file under dir.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func readAll(t testing.TB, dir, split string) []*shard.Row {
	t.Helper()
	set, err := shard.OpenSet(context.Background(), store.Local(dir), split)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	var rows []*shard.Row
	if err := set.Rows(context.Background(), func(_ shard.FileInfo, _ int64, r *shard.Row) error {
		rows = append(rows, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestBuild(t *testing.T) {
	rows := goodRows(t, 40)
	rows[7].Split, rows[30].Split = "val", "val"
	dir := filepath.Join(t.TempDir(), "new", "shards")
	report, err := Build(context.Background(), []ingest.Input{ingest.FromRows("mem", rows...)}, Options{Out: dir, Workers: 3})
	if err != nil {
		t.Fatal(err)
	}
	if report.RowsIn != 40 || report.RowsOut != 40 || report.Shards != 2 || len(report.Skipped) != 0 {
		t.Errorf("report %+v", report)
	}
	got := readAll(t, dir, "train")
	if len(got) != 38 || len(readAll(t, dir, "val")) != 2 {
		t.Fatalf("%d rows of train", len(got))
	}
	want := &shard.Row{Key: "row-0008", Image: rows[8].Image, Captions: rows[8].Captions, Labels: rows[8].Labels, Width: 15, Height: 9, Source: "mem"}
	if diff := cmp.Diff(want, got[7]); diff != "" {
		t.Error(diff)
	}
	files := tree(t, dir)
	if len(files) != 3 {
		t.Errorf("files %v", slices.Collect(mapKeys(files)))
	}
	again := filepath.Join(t.TempDir(), "again")
	if _, err := Build(context.Background(), []ingest.Input{ingest.FromRows("mem", rows...)}, Options{Out: again, Workers: 1}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(files, tree(t, again)); diff != "" {
		t.Error("1 worker and 3 workers differ")
	}
}

func mapKeys(m map[string]string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// TestEveryReason plants one row for each reason that the build itself gives, and checks the books and the list.
func TestEveryReason(t *testing.T) {
	big := picture(64, 64, 99)
	bad := func(key string, change func(r *ingest.Row)) ingest.Row {
		r := goodRow(t, int(hash64([]byte(key))%1e6)+1000)
		r.Key = key
		change(&r)
		return r
	}
	first := goodRow(t, 0)
	first.Image = pngBytes(t, big)
	almost := picture(64, 64, 99)
	almost.SetNRGBA(3, 3, color.NRGBA{0, 0, 0, 255})
	rows := []ingest.Row{
		first,
		bad("empty", func(r *ingest.Row) { r.Image = []byte{} }),
		bad("html", func(r *ingest.Row) { r.Image = []byte("<!DOCTYPE html><html>404</html>") }),
		bad("cut", func(r *ingest.Row) { r.Image = r.Image[:len(r.Image)/2] }),
		bad("bomb", func(r *ingest.Row) { r.Image = hugePNG() }),
		bad("silent", func(r *ingest.Row) { r.Captions = nil }),
		bad("blank", func(r *ingest.Row) { r.Captions = []string{" \t", ""} }),
		bad("latin1", func(r *ingest.Row) { r.Captions = []string{"caf\xe9"} }),
		bad("novel", func(r *ingest.Row) { r.Captions = []string{strings.Repeat("so ", 50)} }),
		bad("terse", func(r *ingest.Row) { r.Captions = []string{"ab"} }),
		bad("russian", func(r *ingest.Row) { r.Captions = []string{"кошка на столе"} }),
		bad("split", func(r *ingest.Row) { r.Split = "a/b" }),
		bad("thin", func(r *ingest.Row) { r.Image = pngBytes(t, picture(90, 8, 4)) }),
		bad("tiny", func(r *ingest.Row) { r.Image = pngBytes(t, picture(3, 3, 5)) }),
		bad(first.Key, func(r *ingest.Row) {}),
		bad("copy", func(r *ingest.Row) { r.Image = first.Image }),
		bad("almost", func(r *ingest.Row) { r.Image = pngBytes(t, almost) }),
		bad("low", func(r *ingest.Row) { r.Captions = []string{"bad text"} }),
		bad("kept", func(r *ingest.Row) { r.Captions = []string{"fine  text\n", "bad text", "fine text", "\xff"} }),
	}
	dir := t.TempDir()
	o := Options{
		Out: dir, Dedup: "near", NearDistance: 2, MinScore: 0.5,
		Images:   ImageOptions{MinSide: 4, MaxAspect: 10},
		Captions: CaptionOptions{MinChars: 3, MaxChars: 100, Scripts: []string{"Latin"}},
		Score: func(_ context.Context, _ []byte, captions []string) (scores []float64, err error) {
			for _, c := range captions {
				scores = append(scores, map[bool]float64{true: 0.1, false: 0.9}[strings.HasPrefix(c, "bad")])
			}
			return scores, nil
		},
	}
	report, err := Build(context.Background(), []ingest.Input{ingest.FromRows("mem", rows...)}, o)
	if err != nil {
		t.Fatal(err)
	}
	want := shard.Books{RowsIn: int64(len(rows)), RowsOut: 2,
		Skipped: map[string]int64{
			"empty image": 1, "not an image": 1, "damaged image": 1, "image too large": 1, "no caption": 2, "invalid utf-8": 1,
			"caption too long": 1, "caption too short": 1, "other script": 1, "malformed row": 1, "extreme aspect": 1, "image too small": 1,
			"duplicate key": 1, "duplicate image": 1, "near-duplicate": 1, "low image-text score": 1,
		},
		Changed: map[string]int64{"caption dropped: invalid utf-8": 1, "caption dropped: low image-text score": 1},
	}
	if diff := cmp.Diff(want, report.Books); diff != "" {
		t.Error("books: ", diff)
	}
	got := readAll(t, dir, "train")
	if len(got) != 2 || got[1].Key != "kept" || !slices.Equal(got[1].Captions, []string{"fine text"}) {
		t.Errorf("rows %+v", got)
	}
	var listed []string
	for line := range strings.Lines(tree(t, dir)[SkippedName]) {
		var s struct {
			Reason, Key, File string
			Row               int
		}
		if err := json.Unmarshal([]byte(line), &s); err != nil || s.File != "mem" || s.Reason == "" || rows[s.Row].Key != s.Key {
			t.Errorf("line %q: %+v, error %v", line, s, err)
		}
		listed = append(listed, s.Key)
	}
	if len(listed) != 17 {
		t.Errorf("%d rows listed as skipped: %v", len(listed), listed)
	}
}

// hugePNG is a small file whose header announces 30,000×30,000 pixels.
func hugePNG() []byte {
	var b bytes.Buffer
	png.Encode(&b, image.NewGray(image.Rect(0, 0, 1, 1)))
	data := b.Bytes()
	copy(data[16:], []byte{0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30})
	fixCRC(data)
	return data
}

func TestHugeImageIsRefused(t *testing.T) {
	rows := []ingest.Row{goodRow(t, 1), goodRow(t, 2)}
	rows[1].Image = hugePNG()
	report, err := Build(context.Background(), []ingest.Input{ingest.FromRows("mem", rows...)}, Options{Out: t.TempDir()})
	if err != nil || report.Skipped[string(ingest.HugeImage)] != 1 {
		t.Errorf("report %+v, error %v", report, err)
	}
}

// killer is an input that fails hard before row `at`.
type killer struct {
	ingest.Input
	at int
}

var errKilled = errors.New("killed")

func (k killer) Parts() []ingest.Part {
	parts := slices.Clone(k.Input.Parts())
	for i, p := range parts {
		rows := p.Rows
		parts[i].Rows = func(ctx context.Context) iter.Seq2[ingest.Row, error] {
			return func(yield func(ingest.Row, error) bool) {
				n := 0
				for r, err := range rows(ctx) {
					if n == k.at {
						yield(ingest.Row{}, errKilled)
						return
					}
					n++
					if !yield(r, err) {
						return
					}
				}
			}
		}
	}
	return parts
}

// TestResume kills a build before each row in turn and finishes it: the result is that of one run, byte for byte.
func TestResume(t *testing.T) {
	var rows []ingest.Row
	for i := range 60 {
		r := goodRow(t, i)
		r.Image = pngBytes(t, picture(90, 90, uint64(i))) // several kB: several shards
		if i%4 == 3 {
			r.Split = "val"
		}
		switch i % 10 {
		case 2:
			r.Image = r.Image[:20]
		case 5:
			r.Image = rows[i-1].Image
		case 7:
			r.Key = rows[i-1].Key
		}
		rows = append(rows, r)
	}
	input := ingest.FromRows("mem", rows...)
	options := func(dir string) Options {
		return Options{Out: dir, ShardBytes: 1 << 16, Dedup: "exact", Holdout: map[string]float64{"test": 0.2}}
	}
	once := t.TempDir()
	whole, err := Build(context.Background(), []ingest.Input{input}, options(once))
	if err != nil {
		t.Fatal(err)
	}
	want := tree(t, once)
	if whole.Shards < 5 || len(whole.Splits) != 3 {
		t.Fatalf("the test wants several shards: %+v", whole)
	}
	resumed := int64(0)
	for at := 1; at < len(rows); at += 3 {
		dir := t.TempDir()
		for _, stop := range []int{at, min(at+9, len(rows)-1)} { // killed twice
			if _, err := Build(context.Background(), []ingest.Input{killer{input, stop}}, options(dir)); !errors.Is(err, errKilled) {
				t.Fatalf("killed build: %v", err)
			}
		}
		// What a real kill leaves behind besides.
		os.WriteFile(filepath.Join(dir, ".tmp-train-00001.parquet-123"), []byte("half"), 0o644)
		os.WriteFile(filepath.Join(dir, "val-00077.parquet"), []byte("renamed, not in the journal"), 0o644)
		appendTo(t, filepath.Join(dir, SkippedName), "half a li")
		appendTo(t, filepath.Join(dir, journalDir, dedupName), "half")
		report, err := Build(context.Background(), []ingest.Input{input}, options(dir))
		if err != nil {
			t.Fatalf("finishing the build killed at %d: %v", at, err)
		}
		resumed = max(resumed, report.Resumed)
		report.Resumed = 0
		if diff := cmp.Diff(whole, report); diff != "" {
			t.Fatalf("killed at %d: report: %s", at, diff)
		}
		if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
			t.Fatalf("killed at %d: files differ", at)
		}
	}
	if resumed < 30 {
		t.Errorf("at most %d rows were kept over a kill: finished shards are read again", resumed)
	}
	// Killed after the manifest was written and before the journal was removed.
	dir := t.TempDir()
	if _, err := Build(context.Background(), []ingest.Input{killer{input, len(rows) - 1}}, options(dir)); !errors.Is(err, errKilled) {
		t.Fatalf("killed build: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, shard.ManifestName), []byte(want[shard.ManifestName]), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Build(context.Background(), []ingest.Input{input}, Options{Out: dir}); !errors.Is(err, ErrFinished) {
		t.Errorf("other options: error %v, want ErrFinished", err)
	}
	if _, err := Build(context.Background(), []ingest.Input{input}, options(dir)); err != nil {
		t.Errorf("finishing a build that was killed at its very end: %v", err)
	}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Error("killed at the very end: files differ: ", diff)
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestDirectoryErrors(t *testing.T) {
	input := ingest.FromRows("mem", goodRows(t, 3)...)
	build := func(o Options) error {
		_, err := Build(context.Background(), []ingest.Input{input}, o)
		return err
	}
	finished, foreign, killed := t.TempDir(), t.TempDir(), t.TempDir()
	if err := build(Options{Out: finished}); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(foreign, "thesis.parquet"), []byte("precious"), 0o644)
	os.WriteFile(filepath.Join(foreign, "train-00000.parquet"), []byte("precious too"), 0o644)
	before := tree(t, finished)
	Build(context.Background(), []ingest.Input{killer{input, 2}}, Options{Out: killed})
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"no directory", Options{}, "no output directory given: say -out DIR"},
		{"finished", Options{Out: finished}, "holds finished shards already"},
		{"strangers", Options{Out: foreign}, "holds thesis.parquet, which no build put there"},
		{"strangers, again", Options{Out: foreign, Replace: true, Restart: true}, "holds thesis.parquet, which no build put there"},
		{"other options", Options{Out: killed, Dedup: "exact"}, "unfinished build with other options"},
		{"shard size", Options{Out: foreign, ShardBytes: 5}, "too small"},
		{"dedup", Options{Out: foreign, Dedup: "fuzzy"}, `unknown kind of de-duplication "fuzzy"`},
		{"script", Options{Out: foreign, Captions: CaptionOptions{Scripts: []string{"Klingon"}}}, `unknown script "Klingon"`},
		{"format", Options{Out: foreign, Images: ImageOptions{Format: "bmp"}}, `not "bmp"`},
		{"holdout", Options{Out: foreign, Holdout: map[string]float64{"val": 2}}, `held-out split "val"`},
	}
	for _, test := range tests {
		if err := build(test.o); err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want the user's %q", test.name, err, test.want)
		}
	}
	if got := tree(t, foreign); got["thesis.parquet"] != "precious" || got["train-00000.parquet"] != "precious too" {
		t.Errorf("a stranger's files were touched: %v", got)
	}
	if diff := cmp.Diff(before, tree(t, finished)); diff != "" {
		t.Error("a refused build changed finished shards: ", diff)
	}
	if err := build(Options{Out: finished}); !errors.Is(err, ErrFinished) {
		t.Errorf("error %v, want ErrFinished", err)
	}
	for _, o := range []Options{{Out: finished, Replace: true}, {Out: killed, Dedup: "exact", Restart: true}} {
		if err := build(o); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestNothingUsable(t *testing.T) {
	r := goodRow(t, 1)
	r.Captions = nil
	dir := t.TempDir()
	_, err := Build(context.Background(), []ingest.Input{ingest.FromRows("mem", r)}, Options{Out: dir})
	want := `no usable row in 1 read: 1 no caption; the first: mem: row 0 (key "row-0001"): no caption; captions are .txt files`
	if err == nil || !fault.IsUser(err) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v", err)
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	report, err := Build(context.Background(), []ingest.Input{ingest.FromRows("mem", goodRows(t, 9)...)}, Options{Out: dir, DryRun: true})
	if err != nil || report.RowsOut != 9 || report.Shards != 1 {
		t.Errorf("report %+v, error %v", report, err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a dry run made the directory")
	}
}

func TestSmallerImages(t *testing.T) {
	r := goodRow(t, 1)
	r.Image = jpegBytes(t, picture(120, 80, 3))
	small := goodRow(t, 2)
	dir := t.TempDir()
	report, err := Build(context.Background(), []ingest.Input{ingest.FromRows("mem", r, small)}, Options{Out: dir, Images: ImageOptions{Fit: 40}})
	if err != nil {
		t.Fatal(err)
	}
	rows := readAll(t, dir, "train")
	if m, format, err := image.Decode(bytes.NewReader(rows[0].Image)); err != nil || format != "jpeg" || m.Bounds().Dx() != 60 || m.Bounds().Dy() != 40 || rows[0].Width != 60 {
		t.Errorf("image of %d×%d, format %s, error %v", rows[0].Width, rows[0].Height, format, err)
	}
	if !bytes.Equal(rows[1].Image, small.Image) {
		t.Error("an image that fits was stored anew")
	}
	if report.Changed["image made smaller"] != 1 {
		t.Errorf("changed %v", report.Changed)
	}
}

func TestTurn(t *testing.T) {
	// Stored 2×1: red, green. What stands at the top left of the upright picture, and its size.
	m := image.NewNRGBA(image.Rect(0, 0, 2, 1))
	m.Pix = []byte{255, 0, 0, 255, 0, 255, 0, 255}
	for orientation, want := range map[int]struct {
		w    int
		left string
	}{1: {2, "red"}, 2: {2, "green"}, 3: {2, "green"}, 4: {2, "red"}, 5: {1, "red"}, 6: {1, "red"}, 7: {1, "green"}, 8: {1, "green"}} {
		out := turn(m, orientation)
		left := map[bool]string{true: "red", false: "green"}[out.Pix[0] == 255]
		if out.Rect.Dx() != want.w || left != want.left {
			t.Errorf("orientation %d: width %d, first pixel %s", orientation, out.Rect.Dx(), left)
		}
	}
}

// fixCRC repairs the checksum of a PNG's header chunk.
func fixCRC(png []byte) {
	binary.BigEndian.PutUint32(png[29:], crc32.ChecksumIEEE(png[12:29]))
}

// TestTwoBuildsAtOnce starts the same build in two processes' stead: one writes, the other waits and finds it done.
func TestTwoBuildsAtOnce(t *testing.T) {
	dir := t.TempDir()
	input := ingest.FromRows("mem", goodRows(t, 200)...)
	results := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := Build(context.Background(), []ingest.Input{input}, Options{Out: dir})
			results <- err
		}()
	}
	finished := 0
	for range 2 {
		switch err := <-results; {
		case errors.Is(err, ErrFinished):
			finished++
		case err != nil:
			t.Error(err)
		}
	}
	if finished != 1 || len(readAll(t, dir, "train")) != 200 {
		t.Errorf("%d builds found the other's result", finished)
	}
}
