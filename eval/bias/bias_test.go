package bias

import (
	"math"
	"testing"

	"tandem/internal/prng"
	"tandem/internal/zeroshot"
)

func TestGaps(t *testing.T) {
	var answers []Answer
	add := func(group string, n, right int) {
		for i := range n {
			answers = append(answers, Answer{Group: group, Truth: i % 2, Correct: i < right, Cluster: len(answers)})
		}
	}
	add("a", 100, 90)
	add("b", 100, 50)
	add("tiny", 3, 0) // too few to be the worst
	add("", 7, 7)
	g := Compare("vendor", answers, 1)
	if g.Worst != "b" || g.Best != "a" || math.Abs(g.Gap.Value-0.4) > 1e-12 || g.Gap.Low < 0.25 || g.Gap.High > 0.55 || g.Missing != 7 {
		t.Errorf("%+v", g)
	}
	if g.Groups[0].Name != "tiny" || g.Groups[0].Error != 1 || math.Abs(g.Groups[2].Recall-0.9) > 1e-12 {
		t.Errorf("groups %+v", g.Groups)
	}
	if same := Compare("x", answers[:100], 1); same.Worst != "" {
		t.Errorf("one group has no gap: %+v", same)
	}
}

func rows(n int, lean float32, seed uint64) [][]float32 {
	out := make([][]float32, n)
	for i := range out {
		r := prng.New(seed, uint64(i))
		out[i] = []float32{float32(r.NormFloat64()), float32(r.NormFloat64()), float32(r.NormFloat64())}
		out[i][0] += lean
		zeroshot.Normalise(out[i])
	}
	return out
}

func TestAssociation(t *testing.T) {
	a, b := [][]float32{{1, 0, 0}}, [][]float32{{-1, 0, 0}}
	strong, err := Associate(rows(60, 1.5, 1), rows(60, -1.5, 2), a, b, 1)
	if err != nil {
		t.Fatal(err)
	}
	if strong.Effect.Value < 1 || strong.Effect.Low > strong.Effect.Value || strong.P > 0.001 || strong.Exact {
		t.Errorf("%+v: the two sets lean apart", strong)
	}
	none, _ := Associate(rows(60, 0, 3), rows(60, 0, 4), a, b, 1)
	if math.Abs(none.Effect.Value) > 0.5 || none.P < 0.01 {
		t.Errorf("%+v of sets that do not lean", none)
	}
	// Exact: of the 20 divisions of six into threes only the observed one is as extreme.
	small, _ := Associate([][]float32{{1, 0}, {0.9, 0}, {0.8, 0}}, [][]float32{{0, 1}, {0.1, 1}, {0.2, 1}}, [][]float32{{1, 0}}, [][]float32{{0, 1}}, 1)
	if !small.Exact || math.Abs(small.P-1.0/20) > 1e-12 {
		t.Errorf("%+v, want p = 1/20 exactly", small)
	}
	if _, err := Associate(a, b, a, b, 1); err == nil {
		t.Error("one image a side was accepted")
	}
}

func TestVariants(t *testing.T) {
	f := CompareVariants("concept", "tone", []Variant{
		{"hand", "light", 1, true, 0.8}, {"hand", "dark", 2, false, 0.2}, {"hand", "dark", 1, true, 0.7},
		{"face", "light", 3, true, 0.5}, {"face", "dark", 3, true, 0.5},
		{"lone", "light", 3, true, 0.5}, {"", "dark", 3, true, 0.5},
	}, 1)
	// Pairs: hand light–dark twice (one flips), face once.
	if f.Sets != 2 || f.Flipped.N != 3 || math.Abs(f.Flipped.Value-1.0/3) > 1e-12 || math.Abs(f.Shift.Value-0.7/3) > 1e-9 {
		t.Errorf("%+v", f)
	}
}
