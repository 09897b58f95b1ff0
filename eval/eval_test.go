package eval

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"iter"
	"math"
	"strings"
	"testing"

	"tandem/internal/fault"
	"tandem/internal/zeroshot"
)

// fakeEncoder knows colours by name: images are PNGs of one colour, texts name it, rows are one-hot with a little of
// the neighbour.
type fakeEncoder struct{ scale float64 }

var colours = []string{"red", "green", "blue"}

func (fakeEncoder) row(i int) []float32 {
	row := make([]float32, len(colours))
	row[i], row[(i+1)%len(row)] = 1, 0.25
	zeroshot.Normalise(row)
	return row
}

func (e fakeEncoder) Scale() float64 { return e.scale }

func (e fakeEncoder) EncodeTexts(_ context.Context, texts []string) ([][]float32, error) {
	rows := make([][]float32, len(texts))
	for i, text := range texts {
		for c, name := range colours {
			if strings.Contains(text, name) {
				rows[i] = e.row(c)
			}
		}
		if rows[i] == nil {
			return nil, fmt.Errorf("unknown text %q", text)
		}
	}
	return rows, nil
}

type badImage struct{}

func (badImage) Error() string       { return "broken file" }
func (badImage) ImageReason() string { return "corrupt" }

// EncodeImageSeq reads ahead by three, as real encoders do.
func (e fakeEncoder) EncodeImageSeq(_ context.Context, images iter.Seq2[[]byte, error]) iter.Seq2[[]float32, error] {
	return func(yield func([]float32, error) bool) {
		var files [][]byte
		flush := func() bool {
			for _, file := range files {
				img, err := png.Decode(bytes.NewReader(file))
				if err != nil {
					if !yield(nil, badImage{}) {
						return false
					}
					continue
				}
				if !yield(e.row(colourOf(img.At(0, 0))), nil) {
					return false
				}
			}
			files = nil
			return true
		}
		for file, err := range images {
			if err != nil {
				flush()
				yield(nil, err)
				return
			}
			if files = append(files, file); len(files) == 3 && !flush() {
				return
			}
		}
		flush()
	}
}

func colourOf(c color.Color) int {
	r, g, b, _ := c.RGBA()
	switch {
	case r > g && r > b:
		return 0
	case g > b:
		return 1
	default:
		return 2
	}
}

// fakeSet is a list of examples; an example without image ends it with an error.
type fakeSet []Example

var errDisk = errors.New("disk on fire")

func (s fakeSet) Examples(context.Context) iter.Seq2[Example, error] {
	return func(yield func(Example, error) bool) {
		for _, e := range s {
			var err error
			if e.Image == nil {
				err = errDisk
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func picture(i int) []byte {
	img := image.NewNRGBA(image.Rect(0, 0, 4, 4))
	for p := range 16 {
		img.Pix[4*p+i], img.Pix[4*p+3] = 255, 255
	}
	var b bytes.Buffer
	png.Encode(&b, img)
	return b.Bytes()
}

func example(id string, shown int, label string, captions ...string) Example {
	return Example{ID: id, Image: picture(shown), Labels: map[string]string{"colour": label}, Captions: captions}
}

func classify(t *testing.T, set Dataset) (*ClassificationResult, error) {
	t.Helper()
	task := Task{Name: "t", Data: "d", Label: "colour", Templates: []string{"a {} thing", "something {c}"}}
	for _, name := range colours {
		task.Classes = append(task.Classes, Class{Name: name})
	}
	r, err := Run(context.Background(), fakeEncoder{scale: 10}, task, set)
	return r.Classification, err
}

func TestClassification(t *testing.T) {
	set := fakeSet{
		example("a", 0, "red"), example("b", 1, "green"), example("c", 2, "blue"), example("d", 0, "red"),
		example("wrong", 1, "blue"), // looks green
		example("nolabel", 1, ""), example("odd", 1, "pink"),
		{ID: "broken", Image: []byte("not a png"), Labels: map[string]string{"colour": "red"}},
		example("e", 2, "blue"),
	}
	r, err := classify(t, set)
	if err != nil {
		t.Fatal(err)
	}
	if m := r.Metrics[Acc1]; m.N != 6 || math.Abs(m.Value-5.0/6) > 1e-12 || m.Low > m.Value || m.High < m.Value {
		t.Errorf("acc1 %+v, want 5 of 6", m)
	}
	if m, ok := r.Metrics[Acc5]; ok {
		t.Errorf("acc5 %+v of three classes says nothing, and is shown", m)
	}
	// Recalls: red 2/2, green 1/1, blue 2/3.
	if m := r.Metrics[MeanPerClassRecall]; math.Abs(m.Value-(1+1+2.0/3)/3) > 1e-12 {
		t.Errorf("mean per-class recall %+v", m)
	}
	if r.Confusion[2][1] != 1 || r.Confusion[2][2] != 2 || r.Confusion[0][0] != 2 {
		t.Errorf("confusion %v", r.Confusion)
	}
	want := map[string]int{"no label": 1, "label is no class": 1, "image: corrupt": 1}
	if fmt.Sprint(r.Skipped) != fmt.Sprint(want) {
		t.Errorf("skipped %v, want %v", r.Skipped, want)
	}
	for _, s := range r.Samples {
		total := 0.0
		for _, g := range s.Ranking {
			total += g.Probability
		}
		if math.Abs(total-1) > 1e-9 || s.Correct != (s.ID != "wrong") {
			t.Errorf("sample %s: probabilities add up to %g, correct %v", s.ID, total, s.Correct)
		}
	}
}

func TestClassificationStopsAtAnErrorOfTheSet(t *testing.T) {
	if _, err := classify(t, fakeSet{example("a", 0, "red"), {ID: "gone"}}); !errors.Is(err, errDisk) {
		t.Fatalf("error %v, want the set's", err)
	}
}

func TestRetrieval(t *testing.T) {
	task := Task{Name: "t", Kind: Retrieval, Data: "d"}
	set := fakeSet{
		example("a", 0, "", "a red one", "red"), example("b", 1, "", "green"), example("c", 2, "", "blue"),
		example("d", 0, "", "red"), // shares a caption with a
		example("e", 1, "", "a blue lie"),
		{ID: "mute", Image: picture(0)},
	}
	r, err := Run(context.Background(), fakeEncoder{scale: 10}, task, set)
	if err != nil {
		t.Fatal(err)
	}
	if r.Retrieval.Images != 5 || r.Retrieval.Texts != 5 {
		t.Errorf("%d images, %d texts, want 5 and 5: a caption that two images share is one text", r.Retrieval.Images, r.Retrieval.Texts)
	}
	// Image→text R@1: "a red one" and "red" are both right for a; d has only "red", with "a red one" level and
	// irrelevant: a miss. b is right, c's "blue" is level with the lie: a miss. e's only caption ranks last.
	if m := r.Retrieval.Metrics["image_to_text_R@1"]; m.N != 5 || math.Abs(m.Value-2.0/5) > 1e-12 {
		t.Errorf("image→text R@1 %+v, want 2 of 5", m)
	}
	if m := r.Retrieval.Metrics["text_to_image_R@10"]; m.Value != 1 || *m.Chance != 1 {
		t.Errorf("text→image R@10 %+v, want 1 with five images", m)
	}
	if r.Retrieval.Skipped["no caption"] != 1 {
		t.Errorf("skipped %v", r.Retrieval.Skipped)
	}
}

// TestRetrievalWithoutMatchValue: an image whose column is empty belongs to nothing; a column that is nowhere is a mistake.
func TestRetrievalWithoutMatchValue(t *testing.T) {
	set := fakeSet{example("a", 0, "red", "a red one"), example("b", 1, "green", "green"), example("c", 2, "", "blue"), example("d", 0, "", "a green lie")}
	r, err := Run(context.Background(), fakeEncoder{scale: 10}, Task{Name: "t", Kind: Retrieval, Data: "d", Match: "colour"}, set)
	if err != nil {
		t.Fatal(err)
	}
	if r.Retrieval.Images != 2 || r.Retrieval.Texts != 2 || r.Retrieval.Skipped["no match value"] != 2 {
		t.Errorf("%d images, %d texts, skipped %v: two of four have no value", r.Retrieval.Images, r.Retrieval.Texts, r.Retrieval.Skipped)
	}
	_, err = Run(context.Background(), fakeEncoder{scale: 10}, Task{Name: "t", Kind: Retrieval, Data: "d", Match: "clour"}, set)
	if err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), `"clour"`) || !strings.Contains(err.Error(), "the columns are colour") {
		t.Errorf("a column that is nowhere: error %v", err)
	}
}

func TestRetrievalMatchesByColumn(t *testing.T) {
	task := Task{Name: "t", Kind: Retrieval, Data: "d", Match: "colour"}
	set := fakeSet{example("a", 0, "red", "a red one"), example("b", 0, "red", "red"), example("c", 1, "green", "green")}
	r, err := Run(context.Background(), fakeEncoder{scale: 10}, task, set)
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range r.Retrieval.Metrics {
		if m.Value != 1 {
			t.Errorf("%s is %g, want 1: every red text fits every red image", name, m.Value)
		}
	}
}

// TestWilson checks against the textbook formula worked out apart, and its known values at the ends.
func TestWilson(t *testing.T) {
	for _, test := range []struct {
		hits, n   int
		low, high float64
	}{{0, 10, 0, 0.2775328}, {5, 10, 0.2365931, 0.7634069}, {308, 1000, 0.2801662, 0.3373032}} {
		m := Share(test.hits, test.n, 0)
		if math.Abs(m.Low-test.low) > 1e-6 || math.Abs(m.High-test.high) > 1e-6 {
			t.Errorf("%d of %d: [%.7f, %.7f], want [%.7f, %.7f]", test.hits, test.n, m.Low, m.High, test.low, test.high)
		}
	}
}

func TestReports(t *testing.T) {
	set := fakeSet{example("a", 0, "red", "red"), example("<b>", 1, "blue", "a <script>green</script> thing")}
	report := Report{Title: "test", Model: map[string]string{"checkpoint": "x"}, Curve: []CurvePoint{{1, 5}, {2, 4}, {3, 1}}}
	for _, task := range []Task{
		{Name: "colours", Data: "d", Label: "colour"},
		{Name: "search", Kind: Retrieval, Data: "d"},
	} {
		result, err := Run(context.Background(), fakeEncoder{scale: 10}, task, set)
		if err != nil {
			t.Fatal(err)
		}
		report.Results = append(report.Results, result)
	}
	var page, table, first, second bytes.Buffer
	if err := report.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"colours (2-way)", "data:image/png;base64,", "<path d=\"M", "Confusion", "&lt;script&gt;"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("page lacks %q", want)
		}
	}
	for _, no := range []string{"http://", "https://", "<script", "ZgotmplZ"} {
		if strings.Contains(page.String(), no) {
			t.Errorf("page holds %q", no)
		}
	}
	if err := report.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "search (2 images, 2 texts)") {
		t.Errorf("table:\n%s", table.String())
	}
	report.WriteJSON(&first)
	report.WriteJSON(&second)
	if first.Len() == 0 || !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("JSON differs from one writing to the next")
	}
}
