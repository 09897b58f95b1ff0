package metrics

import (
	"math"
	"math/rand/v2"
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

// TestRate: of independent zeros and ones it is Wilson's interval; no interval of a share has no width; and one of few
// clusters is as wide as one of as many cases.
func TestRate(t *testing.T) {
	ones := func(n, hits int) []float64 {
		values := make([]float64, n)
		for i := range hits {
			values[i] = 1
		}
		return values
	}
	inClusters := func(n, size int) []int {
		clusters := make([]int, n)
		for i := range clusters {
			clusters[i] = i / size
		}
		return clusters
	}
	for _, clusters := range [][]int{nil, inClusters(90, 1)} {
		if got, want := Rate(ones(90, 48), clusters, 1), Proportion(48, 90); got != want {
			t.Errorf("%+v of independent examples, want %+v", got, want)
		}
	}
	three := Rate(ones(90, 3), inClusters(90, 30), 1)
	if low, high := wilson(3.0/90, 3); three.Clusters != 3 || !three.Rough() || three.Low > low || three.High < high {
		t.Errorf("%+v of three clusters, want to hold %.3f – %.3f", three, low, high)
	}
	if one := Rate(ones(90, 48), make([]int, 90), 1); one.High-one.Low < 0.5 {
		t.Errorf("%+v of one cluster: that is next to nothing", one)
	}
	none, alone := Rate(ones(300, 0), inClusters(300, 3), 1), Proportion(0, 100)
	if none.Low != 0 || none.High != alone.High || none.Rough() {
		t.Errorf("%+v of 100 clusters without a hit, want as of 100 cases: %+v", none, alone)
	}
	if single := Rate(ones(300, 1), inClusters(300, 3), 1); single.High < Proportion(1, 300).High {
		t.Errorf("%+v is narrower than that of independent examples", single)
	}
	if same := Rate([]float64{1, 1, 1, 1, 1}, nil, 1); same.Low > 0.6 {
		t.Errorf("%+v of five ones", same)
	}
	if level := Rate([]float64{0.5, 0.5, 0.5, 0.5}, nil, 1); !(level.Low < 0.5 && level.High > 0.5) {
		t.Errorf("%+v of four equal values has no width", level)
	}
}

// TestRateCovers: intervals of clustered shares hold the truth in most repetitions, for few clusters and many, where the
// examples of a cluster agree and where they do not.
func TestRateCovers(t *testing.T) {
	const repeats, p = 100, 0.1
	for _, groups := range []int{3, 12, 40} {
		for _, agree := range []float64{0, 0.5, 1} {
			held := 0
			for k := range uint64(repeats) {
				if m := Rate(agreeing(prng.New(11, k, uint64(groups)), groups, agree, p)); m.Low <= p && p <= m.High {
					held++
				}
			}
			if held < repeats*86/100 {
				t.Errorf("%d clusters that agree in %g: %d of %d intervals hold %g", groups, agree, held, repeats, p)
			}
		}
	}
}

// agreeing draws clusters of eight zeros and ones, a share p of ones; so large a share of a cluster says the same.
func agreeing(r *rand.Rand, groups int, share, p float64) (values []float64, clusters []int, seed uint64) {
	for g := range groups {
		common := r.Float64()
		for range 8 {
			u := r.Float64()
			if r.Float64() < share {
				u = common
			}
			v := 0.0
			if u < p {
				v = 1
			}
			values, clusters = append(values, v), append(clusters, g)
		}
	}
	return values, clusters, r.Uint64()
}

// TestDetectClusters: doubled examples do not narrow the interval where they are known to be doubles.
func TestDetectClusters(t *testing.T) {
	r := prng.New(3)
	var known, unknown Scores
	for i := range 40 {
		a, b := r.NormFloat64()+1, r.NormFloat64()
		for range 8 {
			known.Values, known.Clusters = append(known.Values, a), append(known.Clusters, i)
			unknown.Values, unknown.Clusters = append(unknown.Values, b), append(unknown.Clusters, i)
		}
	}
	blind, aware := Detect(Scores{Values: known.Values}, Scores{Values: unknown.Values}, 1).AUROC, Detect(known, unknown, 1).AUROC
	if blind.Value != aware.Value || aware.Clusters != 80 || blind.Clusters != 0 {
		t.Errorf("%+v by cluster, %+v without", aware, blind)
	}
	if ratio := (aware.High - aware.Low) / (blind.High - blind.Low); ratio < 2 || ratio > 4 {
		t.Errorf("clusters of eight widen the interval %g times, want about 2.8", ratio)
	}
	if few := Detect(Scores{Values: []float64{1, 2}}, Scores{Values: []float64{0, 0}}, 1).AUROC; few.Value != 1 || few.Low > 0.6 {
		t.Errorf("%+v of two and two examples", few)
	}
}
