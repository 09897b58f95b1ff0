package retrieve

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"tandem/internal/prng"
)

func random(n, dim int, levels int, seed uint64) Matrix {
	m := Matrix{Dim: dim, Data: make([]float32, n*dim)}
	r := prng.New(seed)
	for i := range m.Data {
		if levels > 0 {
			m.Data[i] = float32(r.IntN(levels)) // few values: many ties
		} else {
			m.Data[i] = float32(r.NormFloat64())
		}
	}
	return m
}

// slowPlaces sorts whole result lists, irrelevant ones first among equals.
func slowPlaces(a, b Matrix, relevant [][]int) [][]int32 {
	out := make([][]int32, a.Len())
	for q := range out {
		order := make([]int, b.Len())
		for c := range order {
			order[c] = c
		}
		is := func(c int) int {
			if slices.Contains(relevant[q], c) {
				return 1
			}
			return 0
		}
		slices.SortFunc(order, func(x, y int) int {
			sx, sy := chosen.dot(a.Row(q), b.Row(x)), chosen.dot(a.Row(q), b.Row(y))
			switch {
			case sx > sy:
				return -1
			case sx < sy:
				return 1
			}
			return is(x) - is(y)
		})
		for place, c := range order {
			if is(c) == 1 {
				out[q] = append(out[q], int32(place))
			}
		}
	}
	return out
}

func TestRankAgainstSorting(t *testing.T) {
	was := chosen
	defer func() { chosen = was }()
	for _, chosen = range kernels() {
		t.Run(chosen.name, testRank)
	}
}

func testRank(t *testing.T) {
	for _, test := range []struct{ n, m, dim, levels, links int }{
		{40, 70, 5, 0, 1}, {70, 40, 7, 2, 3}, {3, 1100, 4, 3, 2}, {100, 600, 9, 0, 4}, {33, 33, 1, 2, 0},
	} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			a, b := random(test.n, test.dim, test.levels, 1), random(test.m, test.dim, test.levels, 2)
			forth, back := make([][]int, test.n), make([][]int, test.m)
			r := prng.New(3)
			for q := range forth {
				for range r.IntN(test.links + 1) {
					if c := r.IntN(test.m); !slices.Contains(forth[q], c) {
						forth[q], back[c] = append(forth[q], c), append(back[c], q)
					}
				}
			}
			got, gotBack, err := Rank(a, b, NewLinks(forth))
			if err != nil {
				t.Fatal(err)
			}
			compare(t, got, slowPlaces(a, b, forth))
			compare(t, gotBack, slowPlaces(b, a, back))
		})
	}
}

func compare(t *testing.T, got *Ranks, want [][]int32) {
	t.Helper()
	for q := range want {
		if !slices.Equal(got.Of(q), want[q]) {
			t.Fatalf("query %d: places %v, want %v", q, got.Of(q), want[q])
		}
	}
}

func TestMetricsByHand(t *testing.T) {
	// Query 0 finds its two candidates at places 0 and 2, query 1 its one at place 5, query 2 has none.
	r := &Ranks{Start: []int{0, 2, 3, 3}, Places: []int32{0, 2, 5}, Candidates: 10}
	if got := r.RecallAt(1); !slices.Equal(got, []float64{1, 0, 0}) {
		t.Errorf("R@1 %v", got)
	}
	if got := r.RecallAt(10); !slices.Equal(got, []float64{1, 1, 0}) {
		t.Errorf("R@10 %v", got)
	}
	want := []float64{(1 + 2.0/3) / 2, 1.0 / 6, 0}
	for q, got := range r.AveragePrecisionAt(0) {
		if math.Abs(got-want[q]) > 1e-12 {
			t.Errorf("AP of query %d is %g, want %g", q, got, want[q])
		}
	}
	if got := r.AveragePrecisionAt(2); got[0] != 0.5 || got[1] != 0 {
		t.Errorf("AP@2 %v", got)
	}
	if m := MedianRank(r.FirstRanks(), nil, 1); m.Value != 3.5 || m.N != 2 || m.Low != 1 || m.High != 6 {
		t.Errorf("median rank %+v", m)
	}
	if got := r.ChanceAt(5); math.Abs(got-((1-0.5*4/9)+0.5)/3) > 1e-12 {
		t.Errorf("chance %g", got)
	}
}

func TestHitChance(t *testing.T) {
	for _, test := range []struct {
		n, m, k int
		want    float64
	}{{10, 1, 1, 0.1}, {10, 1, 5, 0.5}, {10, 2, 5, 1 - 0.5*4/9}, {5, 1, 10, 1}, {100, 100, 1, 1}} {
		if got := hitChance(test.n, test.m, test.k); math.Abs(got-test.want) > 1e-12 {
			t.Errorf("hitChance(%d, %d, %d) = %g, want %g", test.n, test.m, test.k, got, test.want)
		}
	}
}

func TestBadShapes(t *testing.T) {
	a := random(2, 3, 0, 1)
	for name, links := range map[string]Links{"short": NewLinks([][]int{{0}}), "outside": NewLinks([][]int{{0}, {2}})} {
		if _, _, err := Rank(a, a, links); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, _, err := Rank(a, random(2, 4, 0, 1), NewLinks([][]int{{0}, {1}})); err == nil {
		t.Error("rows of different length were compared")
	}
}

func BenchmarkRank(b *testing.B) {
	const n, dim = 8192, 16
	x, y := random(n, dim, 0, 1), random(n, dim, 0, 2)
	relevant := make([][]int, n)
	for i := range relevant {
		relevant[i] = []int{i}
	}
	links := NewLinks(relevant)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Rank(x, y, links); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)*n*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mpairs/s")
}
