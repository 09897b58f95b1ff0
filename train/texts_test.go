package train

import (
	"math"
	"testing"

	"tandem/backend/backendtest"
	"tandem/loss"
	"tandem/model"
	"tandem/optim"
)

// TestSharedTexts: encoding equal texts of a batch once, and cutting them to the length that most fit, changes no
// parameter, no moment and no metric, whether a batch's texts fit or not.
func TestSharedTexts(t *testing.T) {
	const batch = 12
	lc := loss.Config{Duplicates: loss.DuplicatesPositive}.WithDefaults()
	c := tinyModel()
	b := backendtest.Go(t)
	want, wantMetrics := steps(t, b, c, lc, mode{}, batch)
	for _, m := range []mode{{texts: 1}, {texts: 7}, {texts: 12}, {length: 4}, {texts: 7, length: 6}} {
		got, metrics := steps(t, b, c, lc, m, batch)
		compareRuns(t, got, want, 1e-6)
		for i, w := range wantMetrics {
			if g := metrics[i]; math.Abs(float64(g.Loss-w.Loss)) > 2e-6*float64(w.Loss) || g.Accuracy != w.Accuracy {
				t.Errorf("%+v, step %d: %+v, want %+v", m, i, g, w)
			}
		}
	}
}

// TestTextsThatRun: the text tower gets as many rows and columns as there are different texts and tokens, where most
// batches' fit, and all of them where they do not.
func TestTextsThatRun(t *testing.T) {
	c := tinyModel()
	in := pairs(c, 12, 0)
	texts, places := differentRows(in.Tokens, c.Text.Context)
	n, full := len(texts)/c.Text.Context, c.Text.Context
	if n < 4 || n > 11 {
		t.Fatalf("%d different texts of 12: the input tests nothing", n)
	}
	for i, at := range places {
		for j := range full {
			if texts[int(at)*full+j] != in.Tokens[i*full+j] {
				t.Fatalf("pair %d is not text %d", i, at)
			}
		}
	}
	last := c
	last.Text.Pool = model.PoolLast
	for name, test := range map[string]struct {
		s            Stepper
		rows, length int
	}{
		"none":             {Stepper{Model: c}, 12, full},
		"they fit":         {Stepper{Model: c, DistinctTexts: n + 1, TextLength: in.Longest}, n + 1, in.Longest},
		"too many":         {Stepper{Model: c, DistinctTexts: n - 1}, 12, full},
		"too long":         {Stepper{Model: c, TextLength: in.Longest - 1}, 12, full},
		"last token reads": {Stepper{Model: last, TextLength: in.Longest}, 12, full},
		"dropout":          {Stepper{Model: c, DistinctTexts: n, AdapterDropout: 0.1}, 12, full},
		"several devices":  {Stepper{Model: c, DistinctTexts: n, Devices: 2}, 12, full},
	} {
		batch, err := test.s.newBatch(in, optim.Config{}.WithDefaults().Schedule.Over(10, 12, 100), 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		inputs, err := batch.inputs(0, 12)
		if err != nil {
			t.Fatal(err)
		}
		if got := inputs.tokens.Shape().Dimensions; got[0] != test.rows || got[1] != test.length {
			t.Errorf("%s: the text tower gets %v tokens, want [%d %d]", name, got, test.rows, test.length)
		}
	}
}
