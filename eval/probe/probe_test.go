package probe

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tandem/internal/fault"
	"tandem/internal/prng"
	"tandem/internal/zeroshot"
)

// clouds draws n rows of each class around k directions of the unit sphere.
func clouds(n, k, dim int, noise float64, seed uint64) Set {
	s := Set{}
	for c := range k {
		s.Classes = append(s.Classes, string(rune('a'+c)))
	}
	for i := range n * k {
		r := prng.New(seed, uint64(i))
		row := make([]float32, dim)
		for j := range row {
			row[j] = float32(noise * r.NormFloat64())
		}
		row[i%k]++
		zeroshot.Normalise(row)
		s.Rows, s.Labels = append(s.Rows, row), append(s.Labels, i%k)
	}
	return s
}

func TestLinearLearnsWhatIsThere(t *testing.T) {
	train, validation, test := clouds(40, 4, 16, 0.4, 1), clouds(10, 4, 16, 0.4, 2), clouds(50, 4, 16, 0.4, 3)
	m, trials, err := TrainLinear(train, validation, LinearOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if a := Accuracy(m, test); a.Value < 0.8 {
		t.Errorf("accuracy %+v: the classes are well apart", a)
	}
	if len(trials) != len(DefaultLambdas()) {
		t.Errorf("%d trials", len(trials))
	}
	again, _, _ := TrainLinear(train, validation, LinearOptions{})
	for c := range m.Weights {
		if !slices.Equal(m.Weights[c], again.Weights[c]) {
			t.Fatal("the same training gave other weights")
		}
	}
}

// TestLinearIsAtTheMinimum checks the gradient of the documented objective at the solution, worked out apart.
func TestLinearIsAtTheMinimum(t *testing.T) {
	const lambda = 1e-2
	train := clouds(20, 3, 5, 0.7, 4)
	m, _, err := TrainLinear(train, Set{}, LinearOptions{Lambdas: []float64{lambda}})
	if err != nil {
		t.Fatal(err)
	}
	for c := range m.Weights {
		var bias float64
		for j := range m.Weights[c] {
			gradient := lambda * float64(m.Weights[c][j])
			for i, row := range train.Rows {
				residual := m.Probabilities(row)[c]
				if train.Labels[i] == c {
					residual--
				}
				gradient += residual * float64(row[j]) / float64(train.Len())
				if j == 0 {
					bias += residual / float64(train.Len())
				}
			}
			if math.Abs(gradient) > 2e-6 {
				t.Errorf("gradient of weight %d,%d is %g", c, j, gradient)
			}
		}
		if math.Abs(bias) > 2e-6 {
			t.Errorf("gradient of bias %d is %g", c, bias)
		}
	}
}

func TestKNNAndTipAdapter(t *testing.T) {
	train, validation, test := clouds(30, 4, 16, 0.3, 1), clouds(10, 4, 16, 0.3, 2), clouds(25, 4, 16, 0.3, 3)
	knn, err := TrainKNN(train, validation)
	if err != nil {
		t.Fatal(err)
	}
	if a := Accuracy(knn, test); a.Value < 0.8 {
		t.Errorf("k-NN %+v", a)
	}
	wrong := make([][]float32, 4) // a zero-shot classifier that knows nothing
	for c := range wrong {
		wrong[c] = make([]float32, 16)
		wrong[c][15-c] = 1
	}
	tip, err := TrainTipAdapter(train, validation, wrong, 1)
	if err != nil {
		t.Fatal(err)
	}
	zero := &TipAdapter{Train: train, Text: wrong, Scale: 1, Beta: 1}
	if a, b := Accuracy(tip, test).Value, Accuracy(zero, test).Value; a < b+0.2 {
		t.Errorf("tip-adapter %g, zero-shot %g", a, b)
	}
}

func TestFewShotRisesAndRepeats(t *testing.T) {
	train, test := clouds(30, 5, 24, 0.5, 1), clouds(40, 5, 24, 0.5, 2)
	points, err := FewShot(train, test, FewShotOptions{Seeds: 3, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	if len(points) != 5 || points[4].Mean <= points[0].Mean || points[0].Deviation == 0 {
		t.Errorf("curve %+v", points)
	}
	again, _ := FewShot(train, test, FewShotOptions{Seeds: 3, Seed: 7})
	for i := range points {
		if !slices.Equal(points[i].Accuracy, again[i].Accuracy) {
			t.Error("another curve from the same seed")
		}
	}
}

func TestShotsAreNested(t *testing.T) {
	s := clouds(12, 3, 4, 1, 5)
	two, four := s.Shots(2, 9), s.Shots(4, 9)
	if two.Len() != 6 || four.Len() != 12 || without(two, four).Len() != 0 {
		t.Errorf("%d and %d rows, %d of the first not in the second", two.Len(), four.Len(), without(two, four).Len())
	}
	first, second := s.Split(0.25, 1)
	if first.Len() != 27 || second.Len() != 9 || without(second, first).Len() != 9 {
		t.Errorf("split into %d and %d", first.Len(), second.Len())
	}
}

func TestFiles(t *testing.T) {
	train := clouds(6, 3, 5, 0.3, 1)
	linear, _, err := TrainLinear(train, train, LinearOptions{Lambdas: []float64{0.1, 1}})
	if err != nil {
		t.Fatal(err)
	}
	text := train.Rows[:3]
	for kind, p := range map[string]Predictor{
		KindLinear: linear, KindKNN: &KNN{Train: train, K: 3}, KindTipAdapter: &TipAdapter{Train: train, Text: text, Scale: 10, Alpha: 2, Beta: 3},
	} {
		path := filepath.Join(t.TempDir(), "p.json")
		if err := Save(path, p, "model-1", map[string]string{"data": "clouds"}); err != nil {
			t.Fatal(err)
		}
		loaded, f, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if f.Kind != kind || f.Model != "model-1" || f.Dim != 5 || f.Notes["data"] != "clouds" {
			t.Errorf("file %+v", f)
		}
		for _, row := range train.Rows {
			if !slices.Equal(loaded.Probabilities(row), p.Probabilities(row)) {
				t.Fatalf("%s: other probabilities after loading", kind)
			}
		}
	}
}

func TestBadFilesAreNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.json")
	if err := Save(path, &Linear{Classes: []string{"a", "b"}, Weights: [][]float32{{1}, {2}}, Bias: []float32{0, 0}}, "", nil); err != nil {
		t.Fatal(err)
	}
	good, _ := os.ReadFile(path)
	for name, test := range map[string]struct{ from, to, want string }{
		"kind":   {`"linear"`, `"magic"`, "kind"},
		"format": {`tandem-probe`, `other`, "not a probe"},
		"dim":    {`"dim":1`, `"dim":2`, "not 2 × 2 float32"},
		"json":   {`{`, ``, "not a probe file"},
	} {
		os.WriteFile(path, bytes.Replace(good, []byte(test.from), []byte(test.to), 1), 0o644)
		if _, _, err := Load(path); err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), test.want) && name != "kind" {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, _, err := Load(path + "x"); !fault.IsUser(err) {
		t.Errorf("missing file: %v", err)
	}
}
