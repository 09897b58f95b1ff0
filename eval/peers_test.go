package eval

import (
	"encoding/json"
	"flag"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"tandem/eval/doubt"
	"tandem/eval/metrics"
	"tandem/eval/probe"
	"tandem/eval/retrieve"
	"tandem/internal/zeroshot"
)

var peersFile = flag.String("peers", "testdata/peers.json", "fixture that scripts/eval_peer.py wrote")

// peersInput are embeddings as scripts/eval_peer.py draws them.
type peersInput struct {
	Images    [][]float32 `json:"images"`
	Classes   [][]float32 `json:"classes"`
	Truth     []int       `json:"truth"`
	Texts     [][]float32 `json:"texts"`
	Captions  int         `json:"captions"`
	Many      [][]bool    `json:"many"`
	Strangers [][]float32 `json:"strangers"`
	Other     []int       `json:"other"`
	Scale     float64     `json:"scale"`
}

// TestPeers computes what scikit-learn, torchmetrics and CLIP_benchmark computed from the same embeddings: each number
// must agree to 1e-6. The probes' solvers stop at slightly different points: 1e-4.
func TestPeers(t *testing.T) {
	data, err := os.ReadFile(*peersFile)
	if err != nil {
		t.Fatal(err)
	}
	var fixture struct {
		Inputs peersInput         `json:"inputs"`
		Want   map[string]float64 `json:"want"`
	}
	if err := json.Unmarshal(data, &fixture); err != nil {
		t.Fatal(err)
	}
	got := fixture.Inputs.measure(t)
	if len(fixture.Want) < 30 {
		t.Fatalf("the fixture holds %d numbers", len(fixture.Want))
	}
	for _, key := range slices.Sorted(func(yield func(string) bool) {
		for key := range fixture.Want {
			if !yield(key) {
				return
			}
		}
	}) {
		peer, name, _ := strings.Cut(key, "/")
		value, ok := got[name]
		difference, limit := math.Abs(value-fixture.Want[key]), 1e-6
		if strings.HasPrefix(name, "probe") {
			limit = 1e-4
		}
		if !ok || !(difference <= limit) {
			t.Errorf("%s: %.9f, %s has %.9f", name, value, peer, fixture.Want[key])
		}
		t.Logf("%-14s %-28s %.9f difference %.1e", peer, name, value, difference)
	}
}

func (in peersInput) measure(t *testing.T) map[string]float64 {
	t.Helper()
	var names []Class
	e := &Embedded{Rows: in.Images, Reasons: make([]string, len(in.Images))}
	label := func(i int) string { return string(rune('a' + i)) }
	for c := range in.Classes {
		names = append(names, Class{Name: label(c)})
	}
	for i, truth := range in.Truth {
		e.Examples = append(e.Examples, Example{ID: "image " + string(rune(i)), Labels: map[string]string{"class": label(truth)}})
	}
	c := &zeroshot.Classifier{Classes: names, Rows: in.Classes, Scale: in.Scale}
	a := score(c, Task{Label: "class"}, e)
	r := a.result()
	got := map[string]float64{}
	for name, m := range r.Metrics {
		got[name] = m.Value
	}
	got["log_loss"] = a.LogLoss(in.Scale)
	got["ece"] = doubt.CalibrationError(doubt.EqualWidth(a.TopProbabilities(in.Scale), a.Correct()))
	in.rank(t, got, a)
	in.probe(t, got, names)
	onlyMine, onlyOther := 0, 0
	for i, mine := range a.Correct() {
		if other := in.Other[i] == in.Truth[i]; mine && !other {
			onlyMine++
		} else if other && !mine {
			onlyOther++
		}
	}
	got["mcnemar_p"] = metrics.McNemar(onlyMine, onlyOther)
	return got
}

// rank fills in the ranking metrics.
func (in peersInput) rank(t *testing.T, got map[string]float64, a *answers) {
	t.Helper()
	scores := make([][]float64, a.Len())
	for i, sims := range a.Similarities {
		for _, s := range sims {
			scores[i] = append(scores[i], float64(s))
		}
	}
	got["mAP"] = metrics.MeanAveragePrecision(scores, in.Many, nil)
	if interval := metrics.MeanAveragePrecisionInterval(scores, in.Many, nil, 1); math.Abs(interval.Value-got["mAP"]) > 1e-12 {
		t.Errorf("mAP is %g with an interval and %g without", interval.Value, got["mAP"])
	}
	strangers := make([]float64, len(in.Strangers))
	for i, row := range in.Strangers {
		sims := make([]float32, len(in.Classes))
		a.classifier.Similarities(sims, row)
		strangers[i] = zeroshot.Confidence(zeroshot.BySimilarity, sims, 1)
	}
	known := a.Confidences(zeroshot.BySimilarity, 1)
	d := metrics.Detect(metrics.Scores{Values: known}, metrics.Scores{Values: strangers}, 1)
	got["auroc"], got["aupr"], got["fpr95"] = d.AUROC.Value, d.AUPR.Value, d.FPR95.Value
	all, is := slices.Concat(known, strangers), make([]bool, len(known)+len(strangers))
	for i := range known {
		is[i] = true
	}
	for name, value := range map[string]float64{"auroc": metrics.AUROC(all, is), "aupr": metrics.AveragePrecision(all, is), "fpr95": metrics.FPRAt(0.95, all, is)} {
		if math.Abs(value-got[name]) > 1e-12 {
			t.Errorf("%s is %g alone and %g with its interval", name, value, got[name])
		}
	}
	relevant := make([][]int, len(in.Images))
	for text := range in.Texts {
		relevant[text/in.Captions] = append(relevant[text/in.Captions], text)
	}
	toText, toImage, err := retrieve.Rank(retrieve.FromRows(in.Images), retrieve.FromRows(in.Texts), retrieve.NewLinks(relevant))
	if err != nil {
		t.Fatal(err)
	}
	for direction, ranks := range map[string]*retrieve.Ranks{ImageToText: toText, TextToImage: toImage} {
		for i, k := range cutoffs {
			got[direction+retrievalMetrics[i]] = metrics.Mean(ranks.RecallAt(k), nil, 1).Value
		}
		got[direction+"_mAP"] = metrics.Mean(ranks.AveragePrecisionAt(0), nil, 1).Value
	}
}

// probe trains at the penalty that the script uses.
func (in peersInput) probe(t *testing.T, got map[string]float64, names []Class) {
	t.Helper()
	set := probe.Set{Rows: in.Images, Labels: in.Truth}
	for _, c := range names {
		set.Classes = append(set.Classes, c.Name)
	}
	m, _, err := probe.TrainLinear(set, probe.Set{}, probe.LinearOptions{Lambdas: []float64{1e-2}})
	if err != nil {
		t.Fatal(err)
	}
	loss := 0.0
	for i, row := range set.Rows {
		loss -= math.Log(m.Probabilities(row)[set.Labels[i]]) / float64(set.Len())
	}
	got["probe_log_loss"], got["probe_accuracy"] = loss, probe.Accuracy(m, set).Value
}
