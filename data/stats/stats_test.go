package stats

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/data/build"
	"tandem/data/ingest"
	"tandem/data/shard"
	"tandem/data/source"
	"tandem/data/store"
)

// testSet builds a set of n pictures: widths 10 to 19, height 10; one class in three has most rows; a repeated picture
// and a Russian caption.
func testSet(t *testing.T, n int) *shard.Set {
	t.Helper()
	var rows []ingest.Row
	for i := range n {
		m := image.NewGray(image.Rect(0, 0, 10+i%10, 10))
		for k := range m.Pix {
			m.Pix[k] = uint8(i * (k + 1))
		}
		if i == 7 {
			clear(m.Pix)
		}
		if i == 17 { // the same size
			clear(m.Pix)
		}
		var b bytes.Buffer
		if err := png.Encode(&b, m); err != nil {
			t.Fatal(err)
		}
		captions := []string{fmt.Sprintf("a grey picture, number %d", i), "a picture"}
		if i == 3 {
			captions[1] = "серая картина"
		}
		e := source.Example{Key: fmt.Sprint(i), Image: b.Bytes(), Captions: captions, Split: "train"}
		if i%8 == 0 {
			e.Labels = map[string]string{"class": ""} // no label
		} else if i%4 != 0 {
			e.Labels = map[string]string{"class": []string{"a", "b", "a", "c"}[i%4]}
		}
		rows = append(rows, ingest.Row{Example: e})
	}
	dir := t.TempDir()
	if _, err := build.Build(context.Background(), []ingest.Input{ingest.FromRows("mem", rows...)}, build.Options{Out: dir}); err != nil {
		t.Fatal(err)
	}
	set, err := shard.OpenSet(context.Background(), store.Local(dir), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set
}

func TestCollect(t *testing.T) {
	set := testSet(t, 40)
	words := func(s string) int { return len(strings.Fields(s)) + 2 }
	s, err := Collect(context.Background(), set, Options{Images: true, Tokens: words, Context: 6})
	if err != nil {
		t.Fatal(err)
	}
	if s.Rows != 40 || s.Captions != 80 || s.RepeatedCaptions != 38 || s.Cut != 40 || s.RepeatedImages != 1 || s.Damaged != 0 || s.Formats["png"] != 40 {
		t.Errorf("%+v", s)
	}
	if diff := cmp.Diff(map[string]int64{"Latin": 79, "Cyrillic": 1}, s.Scripts); diff != "" {
		t.Error("scripts: ", diff)
	}
	label := s.Labels["class"]
	if diff := cmp.Diff([]Count{{"a", 10}, {"b", 10}, {"c", 10}}, label.Top); diff != "" || label.Missing != 10 || label.Least != 10 || label.Values != 3 {
		t.Errorf("label %+v: %s", label, diff)
	}
	if s.Top[0] != (Count{"a", 79}) || s.Top[1] != (Count{"picture", 79}) || s.Vocab != 4+40+2 {
		t.Errorf("words %v, %d in all", s.Top[:3], s.Vocab)
	}
	if s.Side.Min != 10 || s.Side.Max != 10 || s.Aspect.Max != 1.9 || s.Words.Max != 5 || s.PerRow.Mean != 2 {
		t.Errorf("side %+v, aspect %+v, words %+v", s.Side, s.Aspect, s.Words)
	}
	quick, err := Collect(context.Background(), set, Options{})
	if err != nil || quick.Rows != 40 || quick.Tokens.N != 0 || len(quick.Formats) != 0 || math.Abs(quick.Bytes.Mean-s.Bytes.Mean) > 1e-9 {
		t.Errorf("without images and tokens: %+v, %v", quick, err)
	}
}

func TestQuantiles(t *testing.T) {
	whole, logs := linear(1), logarithmic(4)
	for i := 1; i <= 1000; i++ {
		whole.Add(float64(i % 100))
		logs.Add(float64(i))
	}
	for _, test := range []struct {
		h           Histogram
		q, from, to float64
	}{{whole, 0.5, 49, 50}, {whole, 0.95, 94, 95}, {whole, 1, 99, 99}, {logs, 0.5, 440, 560}, {logs, 0.95, 880, 1000}, {logs, 0, 1, 1.2}} {
		if got := test.h.Quantile(test.q); got < test.from || got > test.to {
			t.Errorf("quantile %g is %g, want %g to %g", test.q, got, test.from, test.to)
		}
	}
	if whole.Mean != 49.5 || logs.Min != 1 || logs.Max != 1000 {
		t.Errorf("mean %g, from %g to %g", whole.Mean, logs.Min, logs.Max)
	}
}

func TestScript(t *testing.T) {
	for text, want := range map[string]string{
		"a cat": "Latin", "кот on mat, большой": "Cyrillic", "猫がいる": "Hiragana", "1234 !": "none", "": "none", "한국어": "Hangul", "ქართული": "Georgian",
	} {
		if got := script(text); got != want {
			t.Errorf("script(%q) = %s, want %s", text, got, want)
		}
	}
}

func TestPageAndPictures(t *testing.T) {
	set := testSet(t, 40)
	s, err := Collect(context.Background(), set, Options{Images: true, Tokens: func(s string) int { return len(s) }, Context: 20})
	if err != nil {
		t.Fatal(err)
	}
	samples, err := Draw(context.Background(), set, 6, 1)
	if err != nil {
		t.Fatal(err)
	}
	samples[2].Image = []byte("broken")
	var page bytes.Buffer
	if err := s.WritePage(&page, set, samples); err != nil {
		t.Fatal(err)
	}
	html := page.String()
	for want, n := range map[string]int{
		"<svg": 7, "<img ": 5, "not an image file": 1, "The shortest side of a picture is always 10.": 1, "http://": 14, "https://": 0, "<script": 0, "Label class": 1, "a grey picture": 6,
	} {
		if got := strings.Count(html, want); got != n {
			t.Errorf("%d times %q on the page, want %d", got, want, n)
		}
	}
	if strings.Contains(strings.ReplaceAll(html, "http://www.w3.org/", ""), "http://") {
		t.Error("the page refers to the network")
	}
	names := []string{}
	err = s.Pictures(func(name string, write func(w io.Writer) error) error {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return err
		}
		m, err := png.Decode(&b)
		if err == nil && (m.Bounds().Dx() != 960 || colours(m) < 5) {
			t.Errorf("%s: %v with %d colours", name, m.Bounds(), colours(m))
		}
		names = append(names, name)
		return err
	})
	if err != nil || len(names) != 7 || !slices.Contains(names, "label-class.png") {
		t.Errorf("pictures %v, error %v", names, err)
	}
}

// colours counts different pixels: a drawing has some, an empty canvas one.
func colours(m image.Image) int {
	seen := map[[3]uint32]bool{}
	for y := range m.Bounds().Dy() {
		for x := range m.Bounds().Dx() {
			r, g, b, _ := m.At(x, y).RGBA()
			seen[[3]uint32{r, g, b}] = true
		}
	}
	return len(seen)
}

func TestSheet(t *testing.T) {
	samples, err := Draw(context.Background(), testSet(t, 40), 7, 3)
	if err != nil {
		t.Fatal(err)
	}
	samples[1].Image = nil
	samples[2].Captions = nil
	var b bytes.Buffer
	if err := WriteSheet(&b, samples, 3, 50); err != nil {
		t.Fatal(err)
	}
	m, err := png.Decode(&b)
	if err != nil || m.Bounds().Dx() != 3*62+12 || m.Bounds().Dy() != 3*(50+12+60)+12 || colours(m) < 20 {
		t.Errorf("sheet %v, error %v", m.Bounds(), err)
	}
}

// TestDraw holds that samples follow from the seed alone and do not repeat.
func TestDraw(t *testing.T) {
	set := testSet(t, 40)
	keys := func(n int, seed uint64) (keys []string) {
		samples, err := Draw(context.Background(), set, n, seed)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range samples {
			keys = append(keys, s.Key)
		}
		return keys
	}
	if a, b := keys(10, 5), keys(10, 5); !slices.Equal(a, b) {
		t.Errorf("the same seed draws %v and %v", a, b)
	}
	if slices.Equal(keys(10, 5), keys(10, 6)) {
		t.Error("two seeds draw the same")
	}
	all := keys(100, 1)
	slices.Sort(all)
	if len(slices.Compact(all)) != 40 {
		t.Errorf("%d different rows of 40", len(all))
	}
}

func TestWrap(t *testing.T) {
	fits := func(s string) bool { return len([]rune(s)) <= 10 }
	for text, want := range map[string][]string{
		"":                                      {""},
		"short":                                 {"short"},
		"two words here":                        {"two words", "here"},
		"incomprehensibilities are":             {"incompreh…", "are"},
		"one two three four five six seven":     {"one two", "three four", "five six…"},
		"one two three four incomprehensible x": {"one two", "three four", "incompreh…"},
	} {
		if diff := cmp.Diff(want, wrap(text, 3, fits)); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}
