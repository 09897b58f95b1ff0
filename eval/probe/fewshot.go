package probe

import (
	"fmt"
	"math"

	"tandem/internal/prng"
)

// Shots are the numbers of examples a class of a few-shot curve.
var Shots = []int{1, 2, 4, 8, 16}

// Kinds of probe.
const (
	KindLinear     = "linear"
	KindKNN        = "knn"
	KindTipAdapter = "tip-adapter"
)

// Kinds lists the kinds of probe.
func Kinds() []string { return []string{KindLinear, KindKNN, KindTipAdapter} }

// Point is one number of examples a class: accuracy on the test set over several draws.
type Point struct {
	Shots int `json:"shots"`
	// Fewest and Most are what the classes had of so many, where a class had fewer.
	Fewest    int       `json:"fewest,omitempty"`
	Most      int       `json:"most,omitempty"`
	Accuracy  []float64 `json:"accuracy"` // by seed
	Mean      float64   `json:"mean"`
	Deviation float64   `json:"deviation"` // sample standard deviation over the seeds; 0 of one seed
}

// FewShotOptions say what curve to draw.
type FewShotOptions struct {
	Kind  string // KindLinear by default
	Shots []int  // default Shots
	Seeds int    // draws for each point, default 3
	Seed  uint64
	// Text and Scale are the zero-shot classifier, for KindTipAdapter.
	Text  [][]float32
	Scale float64
}

// FewShot trains on n examples of each class of train and measures on test, for each n and seed. With few examples none
// can be spared for validation, so settings are chosen on as many other examples of train (at most four a class, the
// protocol of CoOp, Zhou et al., 2022), or on the training examples where there are no others.
func FewShot(train, test Set, o FewShotOptions) ([]Point, error) {
	if err := train.Validate(); err != nil {
		return nil, err
	}
	if err := test.Validate(); err != nil {
		return nil, fmt.Errorf("test: %w", err)
	}
	if len(o.Shots) == 0 {
		o.Shots = Shots
	}
	if o.Seeds == 0 {
		o.Seeds = 3
	}
	var points []Point
	for _, n := range o.Shots {
		p := Point{Shots: n}
		p.Fewest, p.Most = available(train, n)
		for seed := range o.Seeds {
			m, err := few(train, n, o, prng.Mix(o.Seed, uint64(seed)))
			if err != nil {
				return nil, err
			}
			p.Accuracy = append(p.Accuracy, Accuracy(m, test).Value)
		}
		p.Mean, p.Deviation = meanAndDeviation(p.Accuracy)
		points = append(points, p)
	}
	return points, nil
}

// available are the examples of the smallest and of the largest class, up to n; zeros where all have n. Classes without
// any do not count.
func available(train Set, n int) (fewest, most int) {
	counts := make([]int, len(train.Classes))
	for _, label := range train.Labels {
		counts[label]++
	}
	fewest = n
	for _, count := range counts {
		if count > 0 {
			fewest, most = min(fewest, count), max(most, min(n, count))
		}
	}
	if fewest == n {
		return 0, 0
	}
	return fewest, most
}

func few(train Set, n int, o FewShotOptions, seed uint64) (Predictor, error) {
	spare := min(n, 4)
	with := train.Shots(n+spare, seed)
	shots := train.Shots(n, seed)
	validation := without(with, shots)
	if validation.Len() == 0 {
		validation = shots
	}
	switch o.Kind {
	case KindKNN:
		return TrainKNN(shots, validation)
	case KindTipAdapter:
		return TrainTipAdapter(shots, validation, o.Text, o.Scale)
	case KindLinear, "":
		m, _, err := TrainLinear(shots, validation, LinearOptions{Lambdas: []float64{1e-5, 1e-4, 1e-3, 1e-2, 1e-1}, Iterations: 200})
		return m, err
	}
	return nil, fmt.Errorf("probe: kind %q is unknown: use %s, %s or %s", o.Kind, KindLinear, KindKNN, KindTipAdapter)
}

// without is the rows of s that are not rows of t: the same slices, not equal ones.
func without(s, t Set) Set {
	taken := map[*float32]bool{}
	for _, row := range t.Rows {
		taken[&row[0]] = true
	}
	var rest []int
	for i, row := range s.Rows {
		if !taken[&row[0]] {
			rest = append(rest, i)
		}
	}
	return s.Pick(rest)
}

func meanAndDeviation(x []float64) (mean, deviation float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	if len(x) < 2 {
		return mean, 0
	}
	for _, v := range x {
		deviation += (v - mean) * (v - mean)
	}
	return mean, math.Sqrt(deviation / float64(len(x)-1))
}
