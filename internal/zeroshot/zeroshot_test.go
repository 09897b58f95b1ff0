package zeroshot

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

// fake encodes a text as a row that depends on the text alone. It records the sizes of its calls.
type fake struct {
	calls []int
	short bool
	err   error
}

func (f *fake) Scale() float64 { return 10 }

func (f *fake) EncodeTexts(_ context.Context, texts []string) ([][]float32, error) {
	f.calls = append(f.calls, len(texts))
	rows := make([][]float32, len(texts))
	for i, text := range texts {
		rows[i] = rowOf(text)
	}
	if f.short {
		rows = rows[1:]
	}
	return rows, f.err
}

func rowOf(text string) []float32 {
	row := make([]float32, 5)
	for i, b := range []byte(text) {
		row[i%5] += float32(int(b)%7 - 3)
	}
	Normalise(row)
	return row
}

// TestEnsembles: a class is the mean of all its prompts' rows, words times templates, renormalised.
func TestEnsembles(t *testing.T) {
	classes := []Class{{Name: "cat"}, {Name: "dog", Words: []string{"dog", "hound"}}}
	c, err := NewClassifier(t.Context(), &fake{}, classes, []string{"a {}", "{c}, twice {}"})
	if err != nil {
		t.Fatal(err)
	}
	for i, prompts := range [][]string{{"a cat", "cat, twice cat"}, {"a dog", "dog, twice dog", "a hound", "hound, twice hound"}} {
		want := make([]float32, 5)
		for _, p := range prompts {
			for j, x := range rowOf(p) {
				want[j] += x
			}
		}
		Normalise(want)
		if !slices.Equal(c.Rows[i], want) {
			t.Errorf("%s: %v, want %v", classes[i].Name, c.Rows[i], want)
		}
	}
	similarities := make([]float32, 2)
	c.Similarities(similarities, rowOf("a cat"))
	if similarities[0] != Dot(c.Rows[0], rowOf("a cat")) || c.Scale != 10 {
		t.Errorf("similarities %v, scale %g", similarities, c.Scale)
	}
}

// TestPromptsAreEncodedInPieces: many prompts give the same rows as each class alone, without being held at once.
func TestPromptsAreEncodedInPieces(t *testing.T) {
	classes := make([]Class, 3*promptBatch/2)
	for i := range classes {
		classes[i].Name = strings.Repeat("x", i%40) + string(rune('a'+i%26))
	}
	enc := &fake{}
	c, err := NewClassifier(t.Context(), enc, classes, []string{"one {}", "two {}"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []int{promptBatch, promptBatch, promptBatch}; !slices.Equal(enc.calls, want) {
		t.Errorf("the encoder was called with %v prompts, want %v", enc.calls, want)
	}
	for _, i := range []int{0, promptBatch/2 - 1, promptBatch / 2, len(classes) - 1} {
		alone, err := NewClassifier(t.Context(), &fake{}, classes[i:i+1], []string{"one {}", "two {}"})
		if err != nil || !slices.Equal(alone.Rows[0], c.Rows[i]) {
			t.Errorf("class %d: %v, alone %v (%v)", i, c.Rows[i], alone.Rows[0], err)
		}
	}
}

func TestDefaultTemplate(t *testing.T) {
	c, err := NewClassifier(t.Context(), &fake{}, []Class{{Name: "cat"}}, nil)
	if err != nil || Dot(c.Rows[0], rowOf("a photo of a cat.")) < 1-1e-6 {
		t.Errorf("rows %v (%v)", c.Rows, err)
	}
}

func TestNewClassifierFails(t *testing.T) {
	broken := errors.New("broken")
	classes := []Class{{Name: "cat"}}
	for want, try := range map[string]func() error{
		"has no hole":                          func() error { _, err := NewClassifier(t.Context(), &fake{}, classes, []string{"a photo"}); return err },
		"broken":                               func() error { _, err := NewClassifier(t.Context(), &fake{err: broken}, classes, nil); return err },
		"returned 0 rows for 1 prompts":        func() error { _, err := NewClassifier(t.Context(), &fake{short: true}, classes, nil); return err },
		`template "the {d}" has no hole: writ`: func() error { return CheckTemplates([]string{"a {c}", "the {d}"}) },
	} {
		if err := try(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestSoftmax(t *testing.T) {
	for _, c := range []struct {
		x     []float64
		scale float64
		want  []float64
	}{
		{nil, 1, nil},
		{[]float64{3}, 100, []float64{1}},
		{[]float64{0, math.Log(3)}, 1, []float64{0.25, 0.75}},
		{[]float64{0.1, 0.1 + math.Log(3)/100}, 100, []float64{0.25, 0.75}},
		{[]float64{1000, 1000 + math.Log(3)}, 1, []float64{0.25, 0.75}}, // exp(1000) alone is beyond any float
		{[]float64{-1e6, 0}, 1, []float64{0, 1}},
	} {
		got := Softmax(c.x, c.scale)
		near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
		if !slices.EqualFunc(got, c.want, near) {
			t.Errorf("Softmax(%v, %g) = %v, want %v", c.x, c.scale, got, c.want)
		}
	}
}

func TestDotAndNormalise(t *testing.T) {
	for n := range 11 {
		a, b, want := make([]float32, n), make([]float32, n), float32(0)
		for i := range n {
			a[i], b[i] = float32(i+1), float32(2*i-3)
			want += a[i] * b[i]
		}
		if got := Dot(a, b); got != want {
			t.Errorf("length %d: %g, want %g", n, got, want)
		}
	}
	zeros, row := make([]float32, 3), []float32{3, 0, -4}
	Normalise(zeros)
	Normalise(row)
	if !slices.Equal(zeros, []float32{0, 0, 0}) || math.Abs(float64(Dot(row, row))-1) > 1e-6 || row[2] > 0 {
		t.Errorf("%v, %v", zeros, row)
	}
}

// TestConfidenceByHand: each score on numbers that can be checked on paper.
func TestConfidenceByHand(t *testing.T) {
	sims := []float32{0.5, 0.25, 0} // at scale 4 ln 2 the weights are 4, 2, 1
	scale := 4 * math.Ln2
	for score, want := range map[string]float64{
		BySimilarity: 0.5, ByMargin: 0.25, ByProbability: 4.0 / 7, ByEnergy: math.Log(7) / scale,
		ByEntropy: (4*math.Log(4.0/7) + 2*math.Log(2.0/7) + math.Log(1.0/7)) / 7,
	} {
		if got := Confidence(score, sims, scale); math.Abs(got-want) > 1e-6 {
			t.Errorf("%s: %g, want %g", score, got, want)
		}
	}
	if got := Confidence(ByEnergy, []float32{-1000, -1000}, 100); math.IsInf(got, 0) || math.Abs(got-(-1000+math.Ln2/100)) > 1e-9 {
		t.Errorf("energy of very small similarities: %g", got)
	}
}
