package doubt

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tandem/eval/metrics"
	"tandem/internal/prng"
	"tandem/internal/zeroshot"
)

// world draws answers whose probabilities are softmax(scale × similarities) exactly: the truth is drawn from them. Those
// drawn as unknown have similarities of no class.
func world(n, classes int, scale float64, seed uint64) Answers {
	var a Answers
	for i := range n {
		r := prng.New(seed, uint64(i))
		sims := make([]float32, classes)
		for c := range sims {
			sims[c] = float32(0.1 * r.NormFloat64())
		}
		sims[r.IntN(classes)] += 0.3
		u, truth := r.Float64(), 0
		for c, p := range zeroshot.Softmax(sims, scale) {
			if u -= p; u < 0 {
				truth = c
				break
			}
		}
		a.Similarities, a.Truth = append(a.Similarities, sims), append(a.Truth, truth)
	}
	return a
}

func strangers(n, classes int, seed uint64) Answers {
	var a Answers
	for i := range n {
		r := prng.New(seed, uint64(i))
		sims := make([]float32, classes)
		for c := range sims {
			sims[c] = float32(0.1 * r.NormFloat64())
		}
		a.Similarities, a.Truth = append(a.Similarities, sims), append(a.Truth, -1)
	}
	return a
}

func TestFitScaleFindsTheTruth(t *testing.T) {
	for _, scale := range []float64{3, 12, 40} {
		if got := FitScale(world(4000, 5, scale, 1)); math.Abs(got/scale-1) > 0.12 {
			t.Errorf("fitted %g where the world has %g", got, scale)
		}
	}
}

// TestErrorsOfDraws holds the errors with their intervals to bins made anew for every draw.
func TestErrorsOfDraws(t *testing.T) {
	for _, n := range []int{1, 7, 15, 400} {
		r := prng.New(5, uint64(n))
		confidence, correct := make([]float64, n), make([]bool, n)
		for i := range confidence {
			confidence[i] = r.Float64()
			correct[i] = r.Float64() < confidence[i]*confidence[i]
		}
		clusters := make([]int, n)
		for i := range clusters {
			clusters[i] = i / 7
		}
		for name, test := range map[string]struct {
			bins func([]float64, []bool) []Bin
			fast func([]float64, []bool, []int, uint64) metrics.Metric
		}{"width": {EqualWidth, equalWidthError}, "mass": {EqualMass, equalMassError}} {
			want := metrics.Bootstrap(n, clusters, 3, func(items []int) float64 {
				c, right := make([]float64, len(items)), make([]bool, len(items))
				for k, i := range items {
					c[k], right[k] = confidence[i], correct[i]
				}
				return CalibrationError(test.bins(c, right))
			}).Widened()
			if diff := cmp.Diff(want, test.fast(confidence, correct, clusters, 3), cmpopts.EquateApprox(0, 1e-12)); diff != "" {
				t.Errorf("%s of %d (-want +got):\n%s", name, n, diff)
			}
		}
	}
}

// TestCalibrationError: a world that is honest at its own scale has a small error there, and a large one at another.
func TestCalibrationError(t *testing.T) {
	a := world(4000, 5, 12, 2)
	correct := a.Correct()
	for name, bin := range map[string]func([]float64, []bool) []Bin{"width": EqualWidth, "mass": EqualMass} {
		honest, sure := CalibrationError(bin(a.TopProbabilities(12), correct)), CalibrationError(bin(a.TopProbabilities(100), correct))
		if honest > 0.03 || sure < 0.1 {
			t.Errorf("%s: error %g at the true scale, %g at another", name, honest, sure)
		}
	}
	// By hand: two bins, |0.5 − 0.55| of two examples and |1 − 0.9| of one.
	bins := EqualWidth([]float64{0.55, 0.55, 0.9}, []bool{true, false, true})
	if got, want := CalibrationError(bins), (2*0.05+0.1)/3; math.Abs(got-want) > 1e-12 {
		t.Errorf("error %g, want %g", got, want)
	}
	if mass := EqualMass([]float64{0.1, 0.2, 0.3}, []bool{true, true, true}); len(mass) != 3 || mass[0].Low != 0.1 {
		t.Errorf("bins %+v", mass)
	}
}

// TestConformalCoverage is the guarantee: over twenty random splits the sets hold the truth as often as promised, within
// the range that the numbers of examples allow, for both methods and several rates.
func TestConformalCoverage(t *testing.T) {
	validation, test := world(600, 8, 10, 3), world(600, 8, 10, 4)
	for _, method := range []string{zeroshot.LAC, zeroshot.APS} {
		for _, alpha := range []float64{0.05, 0.1, 0.3} {
			c, sets, err := MeasureConformal(method, alpha, validation, test, 10, 5)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Splits) != Repeats || c.Within < 17 || math.Abs(c.Mean-(1-alpha)) > 0.015 {
				t.Errorf("%s α %g: mean coverage %.4f, %d of %d splits in %.3v", method, alpha, c.Mean, c.Within, len(c.Splits), c.Expected)
			}
			if c.Coverage.High < 1-alpha {
				t.Errorf("%s α %g: saved sets cover %+v", method, alpha, c.Coverage)
			}
			if method == zeroshot.LAC && c.MeanSize >= 8 || sets.Quantile != c.Quantile {
				t.Errorf("%s α %g: sets of %g classes", method, alpha, c.MeanSize)
			}
		}
	}
}

// TestExpectedCoverage against the beta-binomial's mean and a simulation of order statistics.
func TestExpectedCoverage(t *testing.T) {
	const n, m, alpha = 50, 40, 0.2
	want := expectedCoverage(n, m, alpha)
	inside := 0
	const repeats = 2000
	for k := range uint64(repeats) {
		r := prng.New(9, k)
		scores := make([]float64, n+m)
		for i := range scores {
			scores[i] = r.Float64()
		}
		q, hits := quantile(scores[:n], alpha), 0
		for _, s := range scores[n:] {
			if s <= q {
				hits++
			}
		}
		if c := float64(hits) / m; c >= want[0] && c <= want[1] {
			inside++
		}
	}
	if share := float64(inside) / repeats; share < 0.94 || share > 0.985 {
		t.Errorf("range %v holds %.3f of the coverages", want, share)
	}
	if quantile([]float64{1, 2}, 0.1) != math.MaxFloat64 {
		t.Error("two scores cannot promise 90 %")
	}
}

func TestRules(t *testing.T) {
	validation, test, unknown := world(500, 6, 12, 6), world(500, 6, 12, 7), strangers(400, 6, 8)
	r, err := Evaluate(Config{Score: zeroshot.BySimilarity}, validation, test, unknown, 50, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range r.Rules {
		if math.Abs(rule.Coverage.Value-0.95) > 0.03 {
			t.Errorf("%s answers %+v, want 95 %%", rule.Score, rule.Coverage)
		}
		if rule.FalseAccept == nil || rule.FalseAccept.Value >= rule.Coverage.Value {
			t.Errorf("%s: false accepts %+v", rule.Score, rule.FalseAccept)
		}
	}
	if r.Rules[0].Score != zeroshot.BySimilarity || r.Chosen.Score != zeroshot.BySimilarity || r.Chosen.Conformal == nil {
		t.Errorf("chosen %+v", r.Chosen)
	}
	if d := r.Unknown[zeroshot.BySimilarity].AUROC; d.Value < 0.75 || d.Low > d.Value || d.High < d.Value || d.N != 900 {
		t.Errorf("AUROC %+v: strangers have lower similarities", d)
	}
	if r.ECEFitted.Value >= r.ECE.Value || math.Abs(r.FittedScale-12) > 3 {
		t.Errorf("error %g fitted, %g before, scale %g", r.ECEFitted.Value, r.ECE.Value, r.FittedScale)
	}
	strict, err := Evaluate(Config{FalseAccept: 0.05}, validation, test, unknown, 50, 1)
	if err != nil {
		t.Fatal(err)
	}
	if f := strict.Rules[0].FalseAccept; f.Low > 0.05 || strict.Rules[0].Coverage.Value > r.Rules[0].Coverage.Value {
		t.Errorf("false accepts %+v where 5 %% are allowed", f)
	}
	if again, _ := Evaluate(Config{FalseAccept: 0.05}, validation, test, unknown, 50, 1); again.Rules[0].Threshold != strict.Rules[0].Threshold || again.ECE != strict.ECE {
		t.Error("another result from the same input")
	}
}

func TestRiskCoverage(t *testing.T) {
	points, area := RiskCoverage([]float64{0.9, 0.5, 0.7, 0.1}, []bool{true, false, true, true}, 100)
	if math.Abs(area-(0+0+1.0/3+1.0/4)/4) > 1e-12 || len(points) != 4 || points[3].Risk != 0.25 || points[1].Coverage != 0.5 {
		t.Errorf("area %g, points %+v", area, points)
	}
	if thin, same := RiskCoverage(make([]float64, 5000), make([]bool, 5000), 100); len(thin) != 100 || math.Abs(same-1) > 1e-9 {
		t.Errorf("%d points, area %g of answers that are all wrong", len(thin), same)
	}
}

func TestBadConfigs(t *testing.T) {
	for _, c := range []Config{{Score: "luck"}, {Coverage: 2}, {Coverage: 0.9, FalseAccept: 0.1}, {Alpha: 1}, {Conformal: "maybe"}, {FalseAccept: -1}} {
		if c.WithDefaults().Validate() == nil {
			t.Errorf("%+v passed", c)
		}
	}
	a := world(30, 3, 5, 1)
	if _, err := Evaluate(Config{FalseAccept: 0.1}, a, a, Answers{}, 1, 1); err == nil {
		t.Error("false accepts without out-of-set images")
	}
}

// TestRuleFile: what is saved answers like what was fitted.
func TestRuleFile(t *testing.T) {
	a := world(400, 5, 12, 1)
	for _, score := range zeroshot.RuleScores() {
		r, err := Evaluate(Config{Score: score, Coverage: 0.8, Conformal: zeroshot.APS}, a, world(200, 5, 12, 2), Answers{}, 12, 1)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "rule.json")
		if err := zeroshot.WriteRule(path, r.Chosen); err != nil {
			t.Fatal(err)
		}
		loaded, err := zeroshot.ReadRule(path)
		if err != nil {
			t.Fatal(err)
		}
		known := 0
		for _, s := range a.Similarities {
			if loaded.Known(s) != r.Chosen.Known(s) {
				t.Fatalf("%s: another answer after loading", score)
			}
			if loaded.Known(s) {
				known++
			}
			p := zeroshot.Softmax(s, loaded.Scale)
			if !slices.Equal(loaded.Conformal.Set(p), r.Chosen.Conformal.Set(p)) {
				t.Fatalf("%s: another set after loading", score)
			}
		}
		if known < 310 || known > 330 {
			t.Errorf("%s: %d of 400 known on the examples that 80 %% were chosen on", score, known)
		}
	}
}

// TestThresholdsKeepTheirPromise: over many small validation sets the mean share of new images that are answered is at
// least what was promised, and of strangers no more. Confidences are uniform, so that the share above a threshold is known.
func TestThresholdsKeepTheirPromise(t *testing.T) {
	const repeats = 4000
	for _, n := range []int{20, 40, 100} {
		coverage, accepted := 0.0, 0.0
		for k := range uint64(repeats) {
			r := prng.New(21, k, uint64(n))
			var a Answers
			for range n {
				a.Similarities, a.Truth = append(a.Similarities, []float32{r.Float32()}), append(a.Truth, 0)
			}
			share := func(c Config) float64 {
				threshold, note := chooseThreshold(c, zeroshot.BySimilarity, a, a, 1)
				if note != "" {
					t.Fatalf("%d examples: %s", n, note)
				}
				return 1 - threshold
			}
			coverage += share(Config{Coverage: 0.95}) / repeats
			accepted += share(Config{FalseAccept: 0.05}) / repeats
		}
		// n+1 gaps between n examples are equally likely: at 95 % the promise can be kept to one of them.
		if slack := 1 / float64(n+1); coverage < 0.949 || coverage > 0.951+slack || accepted > 0.051 || accepted < 0.049-slack {
			t.Errorf("%d examples: %.4f covered, %.4f of strangers accepted", n, coverage, accepted)
		}
	}
}

// TestTooFewForAThreshold: what no threshold can promise is said, and met by answering or refusing everything.
func TestTooFewForAThreshold(t *testing.T) {
	few, many, unknown := world(18, 4, 12, 1), world(200, 4, 12, 2), strangers(30, 4, 3)
	for _, score := range zeroshot.RuleScores() {
		all, err := Evaluate(Config{Score: score}, few, many, unknown, 12, 1)
		if err != nil {
			t.Fatal(err)
		}
		if r := all.Rules[0]; r.Coverage.Value != 1 || r.FalseAccept.Value != 1 || !strings.Contains(r.Note, "answers everything: with 18 validation examples") || !strings.Contains(r.Note, "(19 can)") || r.ThresholdText() != "none" {
			t.Errorf("%s: %+v, want everything answered", score, r)
		}
		none, err := Evaluate(Config{Score: score, FalseAccept: 0.05}, many, many, unknown, 12, 1)
		if err != nil {
			t.Fatal(err)
		}
		r := none.Rules[0]
		if r.Coverage.Value != 0 || r.FalseAccept.Value != 0 || r.FalseAccept.N != 15 || !strings.Contains(r.Note, "15 out-of-set images to choose by cannot promise 5 %") || r.ThresholdText() != "refuse all" {
			t.Errorf("%s: %+v, want everything refused", score, r)
		}
		if _, ok := none.Chosen.Measured["accuracy"]; ok || r.Accuracy.N != 0 {
			t.Errorf("%s: accuracy %+v of no answer", score, r.Accuracy)
		}
		path := filepath.Join(t.TempDir(), "rule.json")
		if err := zeroshot.WriteRule(path, none.Chosen); err != nil {
			t.Fatal(err)
		}
		if rule, err := zeroshot.ReadRule(path); err != nil || rule.Known(many.Similarities[0]) {
			t.Errorf("%s: the saved rule answers (%v)", score, err)
		}
	}
	if r, err := Evaluate(Config{Coverage: 1}, many, many, Answers{}, 12, 1); err != nil || r.Rules[0].Coverage.Value != 1 || r.Rules[0].Note == "" {
		t.Errorf("%+v, %v at 100 %%", r.Rules[0], err)
	}
}

// TestHonest: the error of a calibrated world lies among those an honest model shows, with p values that are seldom small;
// that of a model too sure of itself lies beyond. The mean of honest draws is the mean over honest worlds.
func TestHonest(t *testing.T) {
	const worlds = 40
	small, mean, expected := 0, 0.0, 0.0
	for k := range uint64(worlds) {
		a := world(150, 5, 12, 200+k)
		confidence, correct := a.TopProbabilities(12), a.Correct()
		width, mass := CalibrationError(EqualWidth(confidence, correct)), CalibrationError(EqualMass(confidence, correct))
		byWidth, byMass := honestErrors(confidence, width, mass, k)
		for _, h := range []Honest{byWidth, byMass} {
			if h.P < 0.05 {
				small++
			}
		}
		mean += (width + mass) / 2 / worlds
		expected += (byWidth.Value + byMass.Value) / 2 / worlds
	}
	if small > 10 || math.Abs(mean-expected) > 0.012 || expected < 0.03 {
		t.Errorf("honest worlds show %.4f, honest draws %.4f; p below 0.05 in %d of %d", mean, expected, small, 2*worlds)
	}
	sure, err := Evaluate(Config{}, world(100, 5, 12, 1), world(400, 5, 12, 2), Answers{}, 60, 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]struct {
		Honest
		measured float64
	}{"width": {sure.ECEHonest, sure.ECE.Value}, "mass": {sure.ECEMassHonest, sure.ECEMass.Value}} {
		if h.P > 0.01 || h.measured <= h.High || h.Low > h.Value || h.Value > h.High {
			t.Errorf("%s: error %.3f of a model too sure, honest %+v", name, h.measured, h.Honest)
		}
	}
	if sure.ECEFittedHonest.P < 0.01 || sure.ECEMassFittedHonest.P < 0.01 {
		t.Errorf("at the fitted scale: %+v, %+v", sure.ECEFittedHonest, sure.ECEMassFittedHonest)
	}
}

// TestDoubtDrawsClusters: every interval of doubt widens where ten copies of each example are known to be copies.
func TestDoubtDrawsClusters(t *testing.T) {
	copies := func(a Answers) (out Answers) {
		for i := range a.Len() {
			for range 10 {
				out.Similarities, out.Truth, out.Clusters = append(out.Similarities, a.Similarities[i]), append(out.Truth, a.Truth[i]), append(out.Clusters, i)
			}
		}
		return out
	}
	validation, test, unknown := world(200, 5, 12, 1), copies(world(60, 5, 12, 2)), copies(strangers(60, 5, 3))
	intervals := func(test, unknown Answers) map[string]metrics.Metric {
		r, err := Evaluate(Config{Coverage: 0.7}, validation, test, unknown, 20, 1)
		if err != nil {
			t.Fatal(err)
		}
		return map[string]metrics.Metric{"ece": r.ECE, "ece_mass": r.ECEMass, "coverage": r.Rules[0].Coverage, "accuracy": r.Rules[0].Accuracy,
			"false_accept": *r.Rules[0].FalseAccept, "conformal": r.Conformal[0].Coverage, "auroc": r.Unknown[r.Rules[0].Score].AUROC}
	}
	aware := intervals(test, unknown)
	test.Clusters, unknown.Clusters = nil, nil
	for name, blind := range intervals(test, unknown) {
		m := aware[name]
		if m.Value != blind.Value || m.Clusters == 0 || blind.Clusters != 0 || (m.High-m.Low)/(blind.High-blind.Low) < 1.6 {
			t.Errorf("%s: %+v by cluster, %+v without", name, m, blind)
		}
	}
}

// TestHalvesKeepClusters: images of one cluster do not both choose and measure.
func TestHalvesKeepClusters(t *testing.T) {
	a := strangers(9, 3, 1)
	a.Clusters = []int{0, 1, 1, 2, 2, 2, 3, 0, 1}
	choosing, measuring := Divide(Config{FalseAccept: 0.1}, a)
	first, second := a.Pick(choosing), a.Pick(measuring)
	for _, c := range first.Clusters {
		if slices.Contains(second.Clusters, c) {
			t.Errorf("cluster %d is in both of %v and %v", c, first.Clusters, second.Clusters)
		}
	}
	if first.Len() != 5 || second.Len() != 4 {
		t.Errorf("%d and %d examples", first.Len(), second.Len())
	}
}
