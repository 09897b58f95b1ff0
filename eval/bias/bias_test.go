package bias

import (
	"math"
	"testing"

	"tandem/eval/metrics"
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
	var steady []Variant
	for _, match := range []string{"a", "b", "c", "d"} {
		steady = append(steady, Variant{match, "light", 1, true, 0.5}, Variant{match, "dark", 1, true, 0.5})
	}
	// No flip in four pairs says no more than Wilson's interval does.
	if f := CompareVariants("concept", "tone", steady, 1); f.Flipped != metrics.Proportion(0, 4) || f.RightToWrong.High < 0.4 {
		t.Errorf("%+v of four pairs without a flip", f)
	}
}

// TestGapsOfNothing: groups that make no difference have gaps between their extremes all the same, and the interval of
// these two mostly excludes 0 where there are many groups; the p value is small in few repetitions, as it should be.
func TestGapsOfNothing(t *testing.T) {
	const repeats = 40
	for _, groups := range []int{2, 20} {
		small, excluded := 0, 0
		for k := range uint64(repeats) {
			r := prng.New(31, k, uint64(groups))
			var answers []Answer
			for i := range 60 * groups {
				answers = append(answers, Answer{Group: string(rune('a' + i%groups)), Correct: r.Float64() < 0.5, Cluster: i})
			}
			g := Compare("x", answers, k)
			if g.Compared != groups || g.Permuted != PermutedExamples {
				t.Fatalf("%+v", g)
			}
			if *g.P < 0.05 {
				small++
			}
			if g.Gap.Low > 0 {
				excluded++
			}
		}
		if small > 6 {
			t.Errorf("%d groups: p below 0.05 in %d of %d", groups, small, repeats)
		}
		if groups == 20 && excluded < repeats/2 {
			t.Errorf("intervals exclude 0 in %d of %d: the selection does not show", excluded, repeats)
		}
	}
}

// TestGapsOfClusters: one photographer a group proves nothing, however many pictures; pairs that differ in the group alone
// are compared within their object.
func TestGapsOfClusters(t *testing.T) {
	var photographers, objects, many []Answer
	for i := range 400 {
		group := []string{"a", "b"}[i%2]
		photographers = append(photographers, Answer{Group: group, Correct: i%2 == 0 || i%8 == 1, Cluster: i % 4})
		// Objects are all right or all wrong, but for every tenth, which is right in group a alone.
		objects = append(objects, Answer{Group: group, Correct: i/2%10 < 5 || i/2%10 == 9 && i%2 == 0, Cluster: i / 2})
		many = append(many, Answer{Group: group, Correct: i%2 == 0 || i%8 == 1, Cluster: i % 40})
	}
	g := Compare("x", photographers, 1)
	if *g.P < 0.2 || g.Permuted != PermutedClusters || g.Gap.Clusters != 4 || g.Gap.Low > 0 {
		t.Errorf("two photographers a group: %+v, p %g", g.Gap, *g.P)
	}
	if g.Groups[0].Accuracy.Clusters != 2 || g.Groups[0].Accuracy.High < 0.8 {
		t.Errorf("accuracy %+v of two photographers", g.Groups[0].Accuracy)
	}
	if g = Compare("x", many, 1); *g.P > 0.01 || g.Permuted != PermutedClusters {
		t.Errorf("twenty photographers a group, p %g of %s", *g.P, g.Permuted)
	}
	if g = Compare("x", objects, 1); *g.P > 0.01 || g.Permuted != PermutedWithin {
		t.Errorf("twenty objects of 200 differ, all one way: p %g of %s", *g.P, g.Permuted)
	}
	for i := range objects {
		objects[i].Cluster = i
	}
	if g = Compare("x", objects, 1); *g.P < 0.01 {
		t.Errorf("without pairs the difference is lost in that of objects: p %g", *g.P)
	}
	allRight := []Answer{}
	for i := range 40 {
		allRight = append(allRight, Answer{Group: []string{"a", "b"}[i%2], Correct: true, Cluster: i})
	}
	if g = Compare("x", allRight, 1); *g.P != 1 || !(g.Gap.Low < -0.1 && g.Gap.High > 0.1) {
		t.Errorf("%+v, p %g of two groups without a mistake", g.Gap, *g.P)
	}
}
