package metrics

import (
	"math"
	"testing"

	"tandem/internal/prng"
)

func TestAveragePrecisionByHand(t *testing.T) {
	for _, test := range []struct {
		name     string
		scores   []float64
		positive []bool
		ap       float64
		auroc    float64
		fpr      float64
	}{
		{"perfect", []float64{4, 3, 2, 1}, []bool{true, true, false, false}, 1, 1, 0},
		{"worst", []float64{1, 2, 3, 4}, []bool{true, false, false, false}, 0.25, 0, 1},
		{"mixed", []float64{4, 3, 2, 1}, []bool{true, false, true, false}, (1 + 2.0/3) / 2, 0.75, 0.5},
		{"all level", []float64{1, 1, 1, 1}, []bool{true, false, true, false}, 0.5, 0.5, 1},
	} {
		if got := AveragePrecision(test.scores, test.positive); math.Abs(got-test.ap) > 1e-12 {
			t.Errorf("%s: average precision %g, want %g", test.name, got, test.ap)
		}
		if got := AUROC(test.scores, test.positive); math.Abs(got-test.auroc) > 1e-12 {
			t.Errorf("%s: AUROC %g, want %g", test.name, got, test.auroc)
		}
		if got := FPRAt(0.95, test.scores, test.positive); math.Abs(got-test.fpr) > 1e-12 {
			t.Errorf("%s: FPR@95 %g, want %g", test.name, got, test.fpr)
		}
	}
	if !math.IsNaN(AUROC([]float64{1, 2}, []bool{true, true})) || !math.IsNaN(FPRAt(0.95, nil, nil)) || AveragePrecision([]float64{1}, []bool{false}) != 0 {
		t.Error("one-sided sets must give NaN or 0")
	}
}

// TestMeanInterval: the bootstrap of the mean comes near the normal interval, and clusters of equal values widen it by
// the square root of their size.
func TestMeanInterval(t *testing.T) {
	values := make([]float64, 400)
	clusters := make([]int, len(values))
	for i := range values {
		values[i] = float64((i / 4) % 2)
		clusters[i] = i / 4
	}
	alone, together := Mean(values, nil, 1), Mean(values, clusters, 1)
	if w := alone.High - alone.Low; math.Abs(w-2*1.96*0.5/20) > 0.012 {
		t.Errorf("interval %g wide, want about 0.098", w)
	}
	if ratio := (together.High - together.Low) / (alone.High - alone.Low); math.Abs(ratio-2) > 0.25 {
		t.Errorf("clusters of four widen the interval %g times, want about 2", ratio)
	}
	if again := Mean(values, clusters, 1); again != together {
		t.Error("another interval from the same seed")
	}
	generic := Bootstrap(len(values), clusters, 1, func(items []int) float64 {
		var sum float64
		for _, i := range items {
			sum += values[i]
		}
		return sum / float64(len(items))
	})
	if generic != together {
		t.Errorf("Bootstrap %+v and Mean %+v differ", generic, together)
	}
}

// TestIntervalCovers: 95 % intervals hold the truth in about 95 % of repetitions.
func TestIntervalCovers(t *testing.T) {
	wilson, bootstrap := 0, 0
	const repeats = 300
	for k := range uint64(repeats) {
		r := prng.New(5, k)
		values, hits := make([]float64, 120), 0
		for i := range values {
			if r.Float64() < 0.3 {
				values[i] = 1
				hits++
			}
		}
		if m := Share(hits, len(values), 0); m.Low <= 0.3 && 0.3 <= m.High {
			wilson++
		}
		if m := Mean(values, nil, k); m.Low <= 0.3 && 0.3 <= m.High {
			bootstrap++
		}
	}
	if wilson < repeats*90/100 || bootstrap < repeats*90/100 || wilson == repeats {
		t.Errorf("of %d intervals %d (Wilson) and %d (bootstrap) hold the truth", repeats, wilson, bootstrap)
	}
}

func TestMcNemar(t *testing.T) {
	// Exact values of the binomial test: 2·P(X ≤ 2 | 12, ½) = 2·79/4096; of equals 1.
	if p := McNemar(2, 10); math.Abs(p-2*79.0/4096) > 1e-12 {
		t.Errorf("p = %g", p)
	}
	if McNemar(5, 5) != 1 || McNemar(0, 0) != 1 {
		t.Error("no difference must give 1")
	}
	exact, normal := McNemar(950, 1049), McNemar(951, 1050)
	if math.Abs(exact-normal) > 2e-3 {
		t.Errorf("exact %g and approximation %g are apart", exact, normal)
	}
}

func TestPairedBootstrap(t *testing.T) {
	a, b := make([]float64, 200), make([]float64, 200)
	for i := range a {
		a[i] = float64(i % 2)
		b[i] = a[i]
		if i%10 == 0 {
			b[i] = 1
		}
	}
	p := PairedBootstrap(a, b, nil, 3)
	if math.Abs(p.Difference.Value-0.1) > 1e-12 || p.Difference.Low <= 0 || p.P > 0.01 {
		t.Errorf("%+v: b is better by a tenth", p)
	}
	if q := PairedBootstrap(a, a, nil, 3); q.P != 1 || q.Difference.Value != 0 {
		t.Errorf("%+v of equal models", q)
	}
}

// TestPairedStatistic: of a mean it is PairedBootstrap to the last bit, clusters too; a statistic that is no number in some
// draws is tested on the others.
func TestPairedStatistic(t *testing.T) {
	a, b, clusters := make([]float64, 60), make([]float64, 60), make([]int, 60)
	for i := range a {
		a[i], b[i], clusters[i] = float64(i%2), float64(i%3/2), i/4
	}
	mean := func(values []float64) func(items []int) float64 {
		return func(items []int) float64 {
			var sum float64
			for _, i := range items {
				sum += values[i]
			}
			return sum / float64(len(items))
		}
	}
	for _, clusters := range [][]int{nil, clusters} {
		got, want := PairedStatistic(len(a), clusters, 3, mean(a), mean(b)), PairedBootstrap(a, b, clusters, 3)
		if math.Abs(got.P-want.P) > 0.01 || math.Abs(got.Difference.Value-want.Difference.Value) > 1e-12 || math.Abs(got.Difference.Low-want.Difference.Low) > 1e-12 || math.Abs(got.Difference.High-want.Difference.High) > 1e-12 {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	onlyWithFirst := func(items []int) float64 {
		for _, i := range items {
			if i == 0 {
				return 1
			}
		}
		return math.NaN()
	}
	zero := func([]int) float64 { return 0 }
	if p := PairedStatistic(60, nil, 3, zero, onlyWithFirst); p.Difference.Low != 1 || p.Difference.High != 1 || p.P > 0.01 {
		t.Errorf("%+v: every draw that is a number is above 0", p)
	}
	if p := PairedStatistic(0, nil, 3, zero, zero); p.P != 1 || p.Difference.N != 0 {
		t.Errorf("%+v of nothing", p)
	}
}
