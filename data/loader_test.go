package data

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/data/shard"
	"tandem/imaging"
	"tandem/internal/fault"
)

// letters is a tokenizer for tests: one id for each byte, start 1, end 2, padding 0.
type letters struct{}

func (letters) Encode(dst []int32, text string) int {
	clear(dst)
	dst[0] = 1
	n := 1
	for ; n < len(dst)-1 && n <= len(text); n++ {
		dst[n] = int32(text[n-1]) + 3
	}
	dst[n] = 2
	return n + 1
}

const testContext = 24

func encodePNG(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func drawing(w, h, i int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.SetNRGBA(x, y, color.NRGBA{uint8(x*9 + i), uint8(y*7 + i*3), uint8(i), 255})
		}
	}
	return m
}

func testImage(t testing.TB, i int) []byte {
	return encodePNG(t, drawing(14+i%5, 12+i%3, i))
}

// testRows are n rows; each i for which bad(i) holds has an image that no decoder takes.
func testRows(t testing.TB, n int, bad func(i int) bool) []*shard.Row {
	rows := make([]*shard.Row, n)
	for i := range rows {
		rows[i] = &shard.Row{
			Key: fmt.Sprint("k", i), Image: testImage(t, i), Captions: []string{fmt.Sprintf("row %d", i), fmt.Sprintf("the row %d", i)},
			Labels: map[string]string{"class": fmt.Sprint("c", i%3)}, Width: 14 + i%5, Height: 12 + i%3,
		}
		if i%2 == 0 {
			rows[i].Labels["alt"] = fmt.Sprintf("alt %d", i)
		}
		if bad != nil && bad(i) {
			rows[i].Image = rows[i].Image[:len(rows[i].Image)/2]
		}
	}
	return rows
}

// writeShards writes rows to files of `per` rows each, and the manifest.
func writeShards(t testing.TB, rows []*shard.Row, per int) string {
	t.Helper()
	dir := t.TempDir()
	labels := []string{"alt", "class"}
	schema, err := shard.Schema(labels)
	if err != nil {
		t.Fatal(err)
	}
	m := &shard.Manifest{Format: shard.Format, Version: shard.FormatVersion, Schema: schema, Splits: map[string]shard.SplitInfo{}}
	for i := 0; i < len(rows); i += per {
		w, err := shard.NewWriter(dir, fmt.Sprintf("train-%05d.parquet", i/per), "train", labels)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows[i:min(i+per, len(rows))] {
			if err := w.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		info, err := w.Close()
		if err != nil {
			t.Fatal(err)
		}
		m.Files = append(m.Files, info)
		s := m.Splits["train"]
		m.Splits["train"] = shard.SplitInfo{Rows: s.Rows + info.Rows, Files: s.Files + 1, Bytes: s.Bytes + info.Bytes}
	}
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, shard.ManifestName), data, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func testConfig(batch int, dirs ...string) Config {
	c := Config{Batch: batch, Seed: 7, Image: imaging.DefaultTrainConfig(8), MaxBadFraction: 1}
	c.Image.Scale = [2]float64{0.5, 1}
	for _, d := range dirs {
		c.Sources = append(c.Sources, SourceConfig{Shards: d})
	}
	return c
}

func open(t testing.TB, c Config, o Options) *Loader {
	t.Helper()
	o.Tokenizer, o.Context = letters{}, testContext
	l, err := Open(context.Background(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// print is everything in a batch that must not depend on workers, restarts or caches.
type print struct {
	Pixels, Tokens string
	Keys           []uint64
	Rows           []RowID
	Longest        int
	Cursor         Cursor
	Epoch          float64
}

func next(t testing.TB, l *Loader) print {
	t.Helper()
	b, err := l.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Recycle(b)
	return print{
		fmt.Sprintf("%x", sha256.Sum256(b.Images)), fmt.Sprint(b.Tokens), slices.Clone(b.Keys), slices.Clone(b.Rows), b.Longest, b.Cursor, b.Epoch,
	}
}

func take(t testing.TB, l *Loader, n int) []print {
	t.Helper()
	prints := make([]print, n)
	for i := range prints {
		prints[i] = next(t, l)
	}
	return prints
}

func everySeventh(i int) bool { return i%7 == 3 }

func TestWorkersChangeNothing(t *testing.T) {
	dir := writeShards(t, testRows(t, 90, everySeventh), 40)
	var want []print
	var list string
	for _, workers := range []int{1, 8, 3} {
		c := testConfig(16, dir)
		c.Workers, c.Prefetch = workers, workers
		c.Sources[0].Captions = []CaptionColumn{{Column: "captions"}, {Column: "alt", Probability: 3, Template: "see {}"}}
		file := filepath.Join(t.TempDir(), "quarantine.jsonl")
		got := take(t, open(t, c, Options{Quarantine: file}), 20)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want, list = got, string(data)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d workers: %s", workers, diff)
		}
		if string(data) != list {
			t.Errorf("%d workers: another quarantine file:\n%s\n%s", workers, data, list)
		}
	}
	if n := strings.Count(list, "\n"); n != 13 {
		t.Errorf("%d rows in quarantine, want the 13 bad ones", n)
	}
	for _, p := range want {
		for _, r := range p.Rows {
			if everySeventh(int(r.Row)) {
				t.Fatalf("bad row %d in a batch", r.Row)
			}
		}
	}
}

func TestQuarantineFile(t *testing.T) {
	dir := writeShards(t, testRows(t, 30, func(i int) bool { return i == 17 }), 10)
	file := filepath.Join(t.TempDir(), "q.jsonl")
	l := open(t, testConfig(10, dir), Options{Quarantine: file})
	take(t, l, 9)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var bad BadRow
	if err := json.Unmarshal(data, &bad); err != nil {
		t.Fatalf("%q: %v", data, err)
	}
	if bad.Reason != "damaged image" || bad.File != dir+"/train-00001.parquet" || bad.Row != 7 || bad.Key != "k17" || bad.SetRow != 17 || bad.Error == "" {
		t.Errorf("listed %+v", bad)
	}
	s := l.Stats()
	if s.BadRows != 1 || s.Skipped["damaged image"] < 3 || s.Batches != 9 || s.Pairs != 90 || s.Read < 90 || s.Decoded < 90 || s.ReadBytes == 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestEveryRowOnceAnEpoch also covers batches that lie over the border of epochs.
func TestEveryRowOnceAnEpoch(t *testing.T) {
	dir := writeShards(t, testRows(t, 50, nil), 20)
	for _, shuffle := range []string{"rows", "windows", "none"} {
		c := testConfig(8, dir)
		c.Shuffle, c.ShuffleBlock, c.ShuffleWindow = shuffle, 4, 3
		l := open(t, c, Options{})
		var rows []int64
		for range 25 { // 200 rows: 4 epochs
			for _, r := range next(t, l).Rows {
				rows = append(rows, r.Row)
			}
		}
		var orders []string
		for e := range 4 {
			epoch := rows[50*e : 50*e+50]
			orders = append(orders, fmt.Sprint(epoch))
			slices.Sort(epoch)
			for i, r := range epoch {
				if int64(i) != r {
					t.Fatalf("%s: epoch %d is not a permutation: %v", shuffle, e, epoch)
				}
			}
		}
		if differ := orders[0] != orders[1]; differ == (shuffle == "none") {
			t.Errorf("%s: two epochs in the same order: %v", shuffle, !differ)
		}
	}
}

// TestResume goes on from the cursor of each batch in turn, in a new loader, and must get what the first run got; the
// quarantine file ends up the same.
func TestResume(t *testing.T) {
	one := writeShards(t, testRows(t, 40, everySeventh), 15)
	two := writeShards(t, testRows(t, 23, nil), 10)
	c := testConfig(9, one, two)
	c.Sources[0].Weight, c.Sources[1].Weight = 1, 2
	c.Sources[0].Captions = []CaptionColumn{{Column: "captions"}, {Column: "alt"}}
	file := filepath.Join(t.TempDir(), "q.jsonl")
	want := take(t, open(t, c, Options{Quarantine: file}), 16)
	list, _ := os.ReadFile(file)
	for k := range 15 {
		// A run that was killed some batches after its last checkpoint, with more lines than the checkpoint knows.
		file := filepath.Join(t.TempDir(), "q.jsonl")
		killed := open(t, c, Options{Quarantine: file})
		cursor := take(t, killed, k+1)[k].Cursor
		take(t, killed, k%4)
		killed.Close()
		text, err := json.Marshal(cursor)
		if err != nil {
			t.Fatal(err)
		}
		var restored Cursor
		if err := json.Unmarshal(text, &restored); err != nil {
			t.Fatal(err)
		}
		l := open(t, c, Options{Quarantine: file})
		if err := l.Resume(restored); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[k+1:], take(t, l, 15-k)); diff != "" {
			t.Fatalf("after batch %d: %s", k, diff)
		}
		if again, _ := os.ReadFile(file); !bytes.Equal(list, again) {
			t.Fatalf("after batch %d: quarantine\n%s\nwant\n%s", k, again, list)
		}
	}
}

// TestResumeInPlace rewinds a running loader.
func TestResumeInPlace(t *testing.T) {
	l := open(t, testConfig(6, writeShards(t, testRows(t, 20, everySeventh), 20)), Options{})
	first := take(t, l, 6)
	if err := l.Resume(first[2].Cursor); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first[3:], take(t, l, 3)); diff != "" {
		t.Error(diff)
	}
}

func TestRanks(t *testing.T) {
	dir := writeShards(t, testRows(t, 48, nil), 20)
	const ranks = 3
	c := testConfig(4, dir)
	whole := c
	whole.Batch *= ranks
	big := open(t, whole, Options{})
	var parts [ranks]*Loader
	for r := range parts {
		parts[r] = open(t, c, Options{Rank: r, Ranks: ranks})
	}
	seen := map[int64]int{}
	for range 4 { // one epoch of 48
		want := next(t, big)
		var rows []RowID
		for _, l := range parts {
			p := next(t, l)
			rows = append(rows, p.Rows...)
			if p.Cursor != want.Cursor || p.Epoch != want.Epoch {
				t.Errorf("cursor %+v, the whole has %+v", p.Cursor, want.Cursor)
			}
		}
		if diff := cmp.Diff(want.Rows, rows); diff != "" {
			t.Fatal("the parts are not the whole: ", diff)
		}
		for _, r := range rows {
			seen[r.Row]++
		}
	}
	if len(seen) != 48 {
		t.Errorf("an epoch of all ranks covers %d of 48 rows", len(seen))
	}
}

func TestMixture(t *testing.T) {
	a, b := writeShards(t, testRows(t, 60, nil), 60), writeShards(t, testRows(t, 15, nil), 60)
	tests := []struct {
		name   string
		change func(c *Config)
		want   [2]int // pairs of each source in an epoch
	}{
		{"natural", func(c *Config) {}, [2]int{60, 15}},
		{"weights", func(c *Config) { c.Sources[0].Weight, c.Sources[1].Weight = 1, 1 }, [2]int{38, 37}},
		{"temperature 2", func(c *Config) { c.Temperature = 2 }, [2]int{50, 25}},
		{"repeat", func(c *Config) { c.Sources[1].Repeat = 4 }, [2]int{60, 60}},
		{"epoch of 10", func(c *Config) { c.EpochRows = 10 }, [2]int{8, 2}},
		{"epoch of 200", func(c *Config) { c.EpochRows = 200 }, [2]int{160, 40}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := testConfig(5, a, b)
			test.change(&c)
			l := open(t, c, Options{})
			total := test.want[0] + test.want[1]
			if l.Rows() != int64(total) {
				t.Fatalf("epoch of %d rows, want %d", l.Rows(), total)
			}
			const epochs = 3
			var count [epochs][2]int
			drawn := [2]map[int64]int{{}, {}}
			for g := range int64(epochs * total) {
				at := l.order.at(g)
				count[g/int64(total)][at.source]++
				drawn[at.source][at.row]++
			}
			for e := range count {
				if count[e] != test.want {
					t.Errorf("epoch %d: %v pairs, want %v", e, count[e], test.want)
				}
			}
			for s, rows := range []int{60, 15} {
				least, most := 1<<30, 0
				for r := range rows {
					least, most = min(least, drawn[s][int64(r)]), max(most, drawn[s][int64(r)])
				}
				if most-least > 1 {
					t.Errorf("source %d: rows drawn between %d and %d times", s, least, most)
				}
			}
		})
	}
}

func TestCaptionProbabilities(t *testing.T) {
	rows := testRows(t, 200, nil)
	for i := 1; i < len(rows); i += 4 {
		rows[i].Labels["alt"] = "" // as good as none
	}
	dir := writeShards(t, rows, 200)
	c := testConfig(100, dir)
	c.Sources[0].Captions = []CaptionColumn{{Column: "captions", Probability: 1}, {Column: "alt", Probability: 3}}
	l := open(t, c, Options{})
	alt, even, plain := 0, 0, 0
	for range 40 {
		b, err := l.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range b.Rows {
			isAlt := b.tokens(i)[1] == 'a'+3
			if r.Row%2 == 1 && isAlt {
				t.Fatal("a row without alt text got one")
			}
			if r.Row%2 == 0 {
				even++
				if isAlt {
					alt++
				}
			}
			if b.tokens(i)[1] == 'r'+3 {
				plain++
			}
		}
		l.Recycle(b)
	}
	if share := float64(alt) / float64(even); share < 0.70 || share > 0.80 {
		t.Errorf("alt text in %.2f of the rows that have it, want about 0.75", share)
	}
	if bad := l.Stats().BadRows; bad != 0 {
		t.Errorf("%d rows were unusable: an empty text was drawn", bad)
	}
	if plain == 0 || plain == even {
		t.Errorf("one of several captions is never drawn: %d of 4000 are the first", plain)
	}
}

func TestKeys(t *testing.T) {
	rows := testRows(t, 12, nil)
	for i, r := range rows {
		r.Captions = []string{fmt.Sprint("caption ", i/2)}
	}
	rows[10].Labels["class"] = "" // no label either
	delete(rows[11].Labels, "class")
	dir := writeShards(t, rows, 12)
	for _, positives := range []string{"", "class"} {
		c := testConfig(12, dir)
		c.Positives, c.Shuffle = positives, "none"
		p := next(t, open(t, c, Options{}))
		for i := range 10 {
			for j := range i {
				want := i/2 == j/2
				if positives == "class" {
					want = i%3 == j%3
				}
				if (p.Keys[i] == p.Keys[j]) != want {
					t.Errorf("positives %q: rows %d and %d have equal keys: %v, want %v", positives, i, j, !want, want)
				}
			}
		}
		if positives == "class" && (slices.Contains(p.Keys[:10], p.Keys[10]) || slices.Contains(p.Keys[:10], p.Keys[11])) {
			t.Error("a row without the label shares a key with one that has it")
		}
		if p.Keys[10] != p.Keys[11] { // of the same caption
			t.Errorf("positives %q: the keys of two rows without label are not those of their captions", positives)
		}
	}
}

func TestLongest(t *testing.T) {
	rows := testRows(t, 4, nil)
	for i, r := range rows {
		r.Captions = []string{strings.Repeat("x", 1+i*30)}
	}
	c := testConfig(1, writeShards(t, rows, 4))
	c.Shuffle = "none"
	l := open(t, c, Options{})
	var got []int
	for range 4 {
		got = append(got, next(t, l).Longest)
	}
	if !slices.Equal(got, []int{3, testContext, testContext, testContext}) || l.Stats().LongCaptions < 3 {
		t.Errorf("longest %v, stats %+v", got, l.Stats())
	}
}

// TestCacheChangesNothing compares no cache, one with room for some pictures, and one with room for all, over epochs.
func TestCacheChangesNothing(t *testing.T) {
	dir := writeShards(t, testRows(t, 30, everySeventh), 30)
	for _, fit := range []int{0, 10} {
		var want []print
		for _, size := range []int64{1, 20_000, 1 << 30} {
			c := testConfig(10, dir)
			c.Cache = CacheConfig{Bytes: size, Fit: fit}
			l := open(t, c, Options{})
			got := take(t, l, 9)
			s := l.Stats()
			if s.CacheBytes > size {
				t.Errorf("cache of %d bytes, limit %d", s.CacheBytes, size)
			}
			if hits := s.CacheHits > 0; hits != (size > 1) {
				t.Errorf("cache of %d bytes: %d hits", size, s.CacheHits)
			}
			if want == nil {
				want = got
			} else if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("fit %d, cache of %d bytes: %s", fit, size, diff)
			}
		}
		if fit == 0 {
			if diff := cmp.Diff(want, take(t, open(t, testConfig(10, dir), Options{}), 9)); diff != "" {
				t.Error("without a cache: ", diff)
			}
		}
	}
}

func TestConfigErrors(t *testing.T) {
	dir := writeShards(t, testRows(t, 20, nil), 20)
	tests := []struct {
		name   string
		change func(c *Config)
		want   string
	}{
		{"no sources", func(c *Config) { c.Sources = nil }, "data.sources is empty"},
		{"no directory", func(c *Config) { c.Sources[0].Shards = "" }, "data.sources[0].shards is not set"},
		{"not there", func(c *Config) { c.Sources[0].Shards += "x" }, "data.sources[0]: " + dir + "x: no manifest.json"},
		{"scheme", func(c *Config) { c.Sources[0].Shards = "ftp://x/y" }, `unknown kind of location "ftp"`},
		{"split", func(c *Config) { c.Sources[0].Split = "val" }, `no split "val"; it has [train]`},
		{"batch", func(c *Config) { c.Batch = 0 }, "data.batch must lie in 1"},
		{"large batch", func(c *Config) { c.Batch = 21 }, "data.batch 21 is larger than the data set of 20 rows"},
		{"column", func(c *Config) { c.Sources[0].Captions = []CaptionColumn{{Column: "title"}} }, `no caption or label column "title"; it has captions, alt, class`},
		{"positives", func(c *Config) { c.Positives = "colour" }, `no caption or label column "colour"`},
		{"template", func(c *Config) { c.Sources[0].Captions = []CaptionColumn{{Column: "alt", Template: "x"}} }, `template "x" has no {}`},
		{"probability", func(c *Config) { c.Sources[0].Captions = []CaptionColumn{{Column: "alt", Probability: -1}} }, "data.sources[0].captions[0].probability must lie in"},
		{"shuffle", func(c *Config) { c.Shuffle = "some" }, `data.shuffle "some" is unknown`},
		{"image", func(c *Config) { c.Image.Size = 0 }, "data.image.size must be"},
		{"weight and repeat", func(c *Config) { c.Sources[0].Weight, c.Sources[0].Repeat = 1, 1 }, "give weight or repeat, not both"},
		{"one weight", func(c *Config) { c.Sources = append(c.Sources, SourceConfig{Shards: dir, Weight: 1}) }, "1 of 2 sources have a weight"},
		{"temperature", func(c *Config) { c.Temperature = -1 }, "data.temperature must lie in"},
		{"fraction", func(c *Config) { c.MaxBadFraction = 2 }, "data.max_bad_fraction must be at most 1"},
		{"fit", func(c *Config) { c.Cache.Fit = 4 }, "data.cache.fit 4 is smaller than the 8 pixels"},
		{"tiny share", func(c *Config) {
			c.Sources = append(c.Sources, SourceConfig{Shards: dir, Weight: 1e-9})
			c.Sources[0].Weight = 1
		}, "gets no row of an epoch"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := testConfig(4, dir)
			test.change(&c)
			l, err := Open(context.Background(), c, Options{Tokenizer: letters{}, Context: testContext})
			if err == nil {
				l.Close()
			}
			if err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want the user's %q", err, test.want)
			}
		})
	}
}

func TestCursorErrors(t *testing.T) {
	l := open(t, testConfig(4, writeShards(t, testRows(t, 20, nil), 20)), Options{})
	if err := l.Resume(Cursor{Position: 4, EpochRows: 21}); err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), "20 rows an epoch, at the checkpoint it had 21") {
		t.Errorf("changed data set: %v", err)
	}
	lost := open(t, testConfig(4, l.config.Sources[0].Shards), Options{Quarantine: filepath.Join(t.TempDir(), "gone.jsonl")})
	if err := lost.Resume(Cursor{Position: 8, EpochRows: 20, Bad: 2}); err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), "gone.jsonl") {
		t.Errorf("lost list of bad rows: %v", err)
	}
	if err := l.Resume(Cursor{Position: -4, EpochRows: 20}); err == nil {
		t.Error("a negative position was taken")
	}
}

func TestBudget(t *testing.T) {
	dir := writeShards(t, testRows(t, 100, everySeventh), 100)
	file := filepath.Join(t.TempDir(), "q.jsonl")
	var stopped []string
	for _, workers := range []int{1, 4} {
		c := testConfig(10, dir)
		c.MaxBadFraction, c.Workers = 0.05, workers
		l := open(t, c, Options{Quarantine: file})
		var err error
		for range 10 {
			if _, err = l.Next(context.Background()); err != nil {
				break
			}
		}
		if err == nil || !strings.Contains(err.Error(), "6 rows are unusable, more than the 5 that data.max_bad_fraction allows; the last: "+dir) {
			t.Fatalf("error %v", err)
		}
		stopped = append(stopped, err.Error())
		if _, again := l.Next(context.Background()); again != err {
			t.Errorf("the next call says %v", again)
		}
		if data, _ := os.ReadFile(file); bytes.Count(data, []byte("\n")) != 6 {
			t.Errorf("quarantine file %q", data)
		}
	}
	if stopped[0] != stopped[1] {
		t.Errorf("1 worker stops with %q, 4 with %q", stopped[0], stopped[1])
	}
}

func TestNothingButBadRows(t *testing.T) {
	l := open(t, testConfig(4, writeShards(t, testRows(t, 8, func(int) bool { return true }), 8)), Options{})
	if _, err := l.Next(context.Background()); err == nil || !strings.Contains(err.Error(), "were all unusable") {
		t.Errorf("error %v", err)
	}
}

// TestDamage cuts, removes and damages shards under a loader.
func TestDamage(t *testing.T) {
	run := func(t *testing.T, change func(path string) error) (*Loader, error) {
		dir := writeShards(t, testRows(t, 600, nil), 600)
		l := open(t, testConfig(50, dir), Options{})
		if err := change(filepath.Join(dir, "train-00000.parquet")); err != nil {
			t.Fatal(err)
		}
		for range 12 {
			b, err := l.Next(context.Background())
			if err != nil {
				return l, err
			}
			l.Recycle(b)
		}
		return l, nil
	}
	t.Run("cut before it is opened", func(t *testing.T) {
		_, err := run(t, func(path string) error { return os.Truncate(path, 5000) })
		if err == nil || !strings.Contains(err.Error(), "5000 bytes, the manifest says") || !strings.Contains(err.Error(), "train-00000.parquet") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("gone", func(t *testing.T) {
		_, err := run(t, os.Remove)
		if err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), "the manifest lists it but it is not there") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("images overwritten", func(t *testing.T) {
		l, err := run(t, func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt(make([]byte, 3000), 40_000)
			return err
		})
		s := l.Stats()
		if err != nil || s.Skipped["damaged shard row"] == 0 {
			t.Errorf("error %v, stats %+v", err, s)
		}
	})
}

func TestStopping(t *testing.T) {
	before := runtime.NumGoroutine()
	dir := writeShards(t, testRows(t, 60, nil), 60)
	for n := range 4 {
		l := open(t, testConfig(16, dir), Options{})
		ctx, cancel := context.WithCancel(context.Background())
		for range n {
			if _, err := l.Next(ctx); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		if _, err := l.Next(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		// A cancelled Next loses nothing.
		fresh := open(t, testConfig(16, dir), Options{})
		want := take(t, fresh, int(l.Cursor().Position/16)+1)
		if diff := cmp.Diff(want[len(want)-1], next(t, l)); diff != "" {
			t.Error("after a cancelled Next: ", diff)
		}
		if err := errors.Join(l.Close(), l.Close(), fresh.Close()); err != nil {
			t.Error(err)
		}
		if _, err := l.Next(context.Background()); err == nil {
			t.Error("a closed loader gives batches")
		}
	}
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, before %d", runtime.NumGoroutine(), before)
}

// TestWindowsStayLocal holds that the windowed order reads few blocks at a time.
func TestWindowsStayLocal(t *testing.T) {
	s := sourceOrder{rows: 10_007, kind: shuffleWindows, block: 100, window: 5}
	blocks := map[int64]bool{}
	for p := range int64(500) {
		blocks[s.at(1, 0, 0, p)/100] = true
	}
	if len(blocks) > 6 {
		t.Errorf("the first 500 rows come from %d blocks, want 5 or 6", len(blocks))
	}
	seen := make([]bool, s.rows)
	for p := range s.rows {
		r := s.at(1, 0, 3, p)
		if seen[r] {
			t.Fatalf("row %d comes twice", r)
		}
		seen[r] = true
	}
}

func TestParseSources(t *testing.T) {
	got, err := ParseSources("a::s3://b/c", "1::2.5")
	want := []SourceConfig{{Shards: "a", Repeat: 1}, {Shards: "s3://b/c", Repeat: 2.5}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, bad := range []string{"1", "1::2::3", "1::x", "1::0"} {
		if _, err := ParseSources("a::b", bad); err == nil || !fault.IsUser(err) {
			t.Errorf("factors %q: error %v", bad, err)
		}
	}
}

// TestSteadyAllocations holds that the memory of a batch is made once: what is left is a few small objects a batch.
func TestSteadyAllocations(t *testing.T) {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, drawing(64, 48, 1), nil); err != nil {
		t.Fatal(err)
	}
	rows := testRows(t, 64, nil)
	for _, r := range rows {
		r.Image = b.Bytes()
	}
	dir := writeShards(t, rows, 64)
	for _, cache := range []int64{0, 1 << 30} {
		c := testConfig(64, dir)
		c.Workers, c.Cache.Bytes = 1, cache
		l := open(t, c, Options{})
		take(t, l, 4)
		perBatch := testing.AllocsPerRun(20, func() {
			b, err := l.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			l.Recycle(b)
		})
		t.Logf("cache of %d bytes: %.1f allocations a batch of 64", cache, perBatch)
		if perBatch > 12 {
			t.Errorf("cache of %d bytes: %.1f allocations a batch of 64 images", cache, perBatch)
		}
	}
}
