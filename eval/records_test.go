package eval

import (
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tandem/eval/doubt"
	"tandem/eval/metrics"
	"tandem/eval/record"
	"tandem/internal/prng"
	"tandem/internal/zeroshot"
)

// blurredEncoder puts texts near the colour that they name, with noise that is a function of the text.
type blurredEncoder struct{ fakeEncoder }

func (e blurredEncoder) EncodeTexts(_ context.Context, texts []string) ([][]float32, error) {
	rows := make([][]float32, len(texts))
	for i, text := range texts {
		rows[i] = e.blur(text, 0.2)
	}
	return rows, nil
}

// blur is a row near the colour that a text names, or of noise alone.
func (e blurredEncoder) blur(text string, noise float64) []float32 {
	row := make([]float32, 8)
	for c, name := range colours {
		if strings.Contains(text, name) {
			row[c] = 1
		}
	}
	r := prng.New(uint64(len(text)), prng.Mix(uint64(text[0]), uint64(text[len(text)-1])))
	for i := range row {
		row[i] += float32(noise * r.NormFloat64())
	}
	zeroshot.Normalise(row)
	return row
}

// namedSet is a bigSet that a session can hold rows of.
func namedSet(n int) markedSet {
	set := bigSet(n)
	return markedSet{set, fmt.Sprint("named", n)}
}

// blurredSession holds a set's rows, made here: near what the caption says, with so much noise that answers and ranks vary.
func blurredSession(t *testing.T, set markedSet, o Options) *Session {
	t.Helper()
	s := NewSession(blurredEncoder{fakeEncoder{10}}, o)
	e := &Embedded{Data: "d"}
	for i, example := range set.fakeSet {
		r := prng.New(7, uint64(i))
		row := make([]float32, 8)
		row[colourOfCaption(example)] = 1
		for k := range row {
			row[k] += float32(0.45 * r.NormFloat64())
		}
		zeroshot.Normalise(row)
		reason := ""
		if i%17 == 3 {
			row, reason = nil, "truncated"
		}
		example.Image = nil
		e.Examples, e.Rows, e.Reasons = append(e.Examples, example), append(e.Rows, row), append(e.Reasons, reason)
	}
	s.sets = append(s.sets, keptSet{set.Fingerprint(), e})
	return s
}

func colourOfCaption(e Example) int {
	for c, name := range colours {
		if strings.Contains(e.Captions[0], name) {
			return c
		}
	}
	return 7
}

// throughFile writes records and reads them back: what the file does not hold is not there to compute with.
func throughFile(t *testing.T, records []record.Record) (scored []record.Record, skipped map[string]int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "r.parquet")
	if err := record.Write(path, records); err != nil {
		t.Fatal(err)
	}
	all, err := record.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err == nil {
		t.Logf("%d records, %d bytes each", len(all), info.Size()/int64(len(all)))
	}
	skipped = map[string]int{}
	for _, r := range all {
		switch {
		case r.Skipped == "":
			scored = append(scored, r)
		case r.Set != "unknown" && r.Set != "validation":
			skipped[r.Skipped]++
		}
	}
	return scored, skipped
}

// share is the part of the records that are something, of those that count.
func share(records []record.Record, counts, is func(record.Record) bool) float64 {
	n, hits := 0.0, 0.0
	for _, r := range records {
		if counts(r) {
			if n++; is(r) {
				hits++
			}
		}
	}
	return hits / n
}

func mustEqual(t *testing.T, name string, got, want float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > 1e-9 {
		t.Errorf("%s from the records is %.9f, the report says %.9f", name, got, want)
	}
}

// errorOfBins is the calibration error by definition.
func errorOfBins(records []record.Record, confidence func(record.Record) float64) float64 {
	var n, gap [doubt.Bins]float64
	total := 0.0
	for _, r := range records {
		b := min(doubt.Bins-1, int(confidence(r)*doubt.Bins))
		n[b]++
		total++
		gap[b] -= confidence(r)
		if r.Correct {
			gap[b]++
		}
	}
	sum := 0.0
	for _, g := range gap {
		sum += math.Abs(g) / total
	}
	return sum
}

// TestRecordsOfAClassification: the report's numbers, doubt's too, follow from the records alone: with halves of the
// examples, with validation examples, and with either goal.
func TestRecordsOfAClassification(t *testing.T) {
	for name, change := range map[string]func(*Task){
		"halves": func(*Task) {},
		"validation": func(task *Task) {
			task.Where, task.Validation = map[string]string{"vendor": "x"}, &Subset{Where: map[string]string{"vendor": "y"}}
		},
		"false accept": func(task *Task) {
			task.Doubt = &doubt.Config{FalseAccept: 0.2, Conformal: zeroshot.APS, Score: zeroshot.BySimilarity}
		},
	} {
		t.Run(name, func(t *testing.T) {
			task := colourTask()
			task.Classes = append(task.Classes[:2], Class{Name: "grey"}, Class{Name: "pink"}, Class{Name: "teal"}, Class{Name: "ochre"})
			task.Except = map[string][]string{"colour": {"blue"}}
			task.Doubt = &doubt.Config{Coverage: 0.8}
			task.Unknown = &Subset{Only: map[string][]string{"colour": {"blue"}}}
			change(&task)
			set := namedSet(150)
			s := blurredSession(t, set, Options{Doubt: true})
			result, err := runOn(t, s, task, set)
			if err != nil {
				t.Fatal(err)
			}
			checkClassification(t, result.Classification)
		})
	}
}

// runOn runs a task on rows that the session holds for the whole set: subsets are cut out of them.
func runOn(t *testing.T, s *Session, task Task, set markedSet) (Result, error) {
	t.Helper()
	whole := s.sets[0].set
	s.sets = nil
	subsets := []Subset{task.subset()}
	for _, other := range []*Subset{task.Validation, task.Unknown} {
		if other != nil {
			subsets = append(subsets, *other)
		}
	}
	if a := task.Association; a != nil {
		subsets = append(subsets, a.X, a.Y)
	}
	for _, subset := range subsets {
		part := &Embedded{Data: subset.key()}
		for i, e := range whole.Examples {
			if subset.wants(e) {
				part.Examples, part.Rows, part.Reasons = append(part.Examples, e), append(part.Rows, whole.Rows[i]), append(part.Reasons, whole.Reasons[i])
			}
		}
		s.sets = append(s.sets, keptSet{fingerprint(filter(set, subset)), part})
	}
	return s.Run(context.Background(), task, set)
}

func checkClassification(t *testing.T, c *ClassificationResult) {
	t.Helper()
	records, skipped := throughFile(t, c.Records)
	if !maps.Equal(skipped, c.Skipped) || len(skipped) == 0 {
		t.Errorf("skipped %v, the report says %v", skipped, c.Skipped)
	}
	isTest := func(r record.Record) bool { return r.Set == "test" }
	correct := func(r record.Record) bool { return r.Correct }
	mustEqual(t, "top-1", share(records, isTest, correct), c.Metrics[Acc1].Value)
	mustEqual(t, "top-5", share(records, isTest, func(r record.Record) bool { return slices.Contains(r.TopClasses, r.Label) }), c.Metrics[Acc5].Value)
	recalls, classes := 0.0, 0.0
	for _, class := range c.Classes {
		if x := share(records, func(r record.Record) bool { return isTest(r) && r.Label == class }, correct); !math.IsNaN(x) {
			recalls += x
			classes++
		}
	}
	mustEqual(t, "per-class recall", recalls/classes, c.Metrics[MeanPerClassRecall].Value)

	var measured []record.Record
	fitted, strangers, loss := 0, 0, 0.0
	for _, r := range records {
		switch {
		case r.Set == "unknown" && r.Part != "":
			strangers++
		case r.Part == record.Measured:
			measured = append(measured, r)
			loss -= math.Log(r.FittedLabelProbability)
		case r.Part == record.Fitted:
			fitted++
		}
	}
	d := c.Doubt
	if fitted != d.ValidationN || len(measured) != d.TestN || strangers != d.UnknownN || d.UnknownN == 0 {
		t.Fatalf("%d fitted, %d measured, %d unknown; the report says %d, %d, %d", fitted, len(measured), strangers, d.ValidationN, d.TestN, d.UnknownN)
	}
	all, known := func(record.Record) bool { return true }, func(r record.Record) bool { return r.Known }
	mustEqual(t, "calibration error", errorOfBins(measured, func(r record.Record) float64 { return r.Probability }), d.ECE.Value)
	mustEqual(t, "calibration error, fitted", errorOfBins(measured, func(r record.Record) float64 { return r.FittedProbability }), d.ECEFitted.Value)
	mustEqual(t, "log loss, fitted", loss/float64(len(measured)), d.LogLossFitted)
	mustEqual(t, "coverage", share(measured, all, known), d.Rules[0].Coverage.Value)
	mustEqual(t, "accuracy of the answered", share(measured, known, correct), d.Rules[0].Accuracy.Value)
	mustEqual(t, "sets hold the truth", share(measured, all, func(r record.Record) bool { return r.SetHolds }), d.Conformal[0].Coverage.Value)
	mustEqual(t, "false accepts", share(records, func(r record.Record) bool { return r.Set == "unknown" && r.Part == record.Measured }, known), d.Rules[0].FalseAccept.Value)
	var confidence []float64
	var isKnown []bool
	for _, r := range append(measured, records...) {
		if r.Set == "unknown" || len(confidence) < len(measured) {
			confidence, isKnown = append(confidence, r.Confidence), append(isKnown, r.Set != "unknown")
		}
	}
	mustEqual(t, "AUROC", metrics.AUROC(confidence, isKnown), d.Unknown[d.Rules[0].Score].AUROC.Value)
	if d.Rules[0].Coverage.Value == 1 || d.ECE.Value == 0 || c.Metrics[Acc5].Value == 1 || d.ECE.Value == d.ECEFitted.Value {
		t.Errorf("the example is too easy to show anything: coverage %g, error %g", d.Rules[0].Coverage.Value, d.ECE.Value)
	}
}

// TestRecordsOfLabels: mAP from the similarities of all classes.
func TestRecordsOfLabels(t *testing.T) {
	set := namedSet(40)
	for i := range set.fakeSet {
		if labels := set.fakeSet[i].Labels; i%4 == 0 {
			labels["colour"] += " | vendor " + labels["vendor"]
		} else if i%7 == 0 {
			labels["colour"] = ""
		}
	}
	task := Task{Name: "m", Kind: MultiLabel, Data: "d", Label: "colour", Cluster: "concept"}
	for _, name := range []string{"red", "green", "blue", "vendor x", "vendor y", "nothing", "grey"} { // more than the first five
		task.Classes = append(task.Classes, Class{Name: name})
	}
	result, err := runOn(t, blurredSession(t, set, Options{}), task, set)
	if err != nil {
		t.Fatal(err)
	}
	records, skipped := throughFile(t, result.MultiLabel.Records)
	if !maps.Equal(skipped, result.MultiLabel.Skipped) {
		t.Errorf("skipped %v, the report says %v", skipped, result.MultiLabel.Skipped)
	}
	sum, present := 0.0, 0.0
	for _, class := range task.Classes {
		var scores []float64
		var is []bool
		for _, r := range records {
			scores = append(scores, r.TopSimilarities[slices.Index(r.TopClasses, class.Name)])
			is = append(is, slices.Contains(strings.Split(strings.ReplaceAll(r.Label, " | ", "|"), "|"), class.Name))
		}
		if slices.Contains(is, true) {
			sum += metrics.AveragePrecision(scores, is)
			present++
		}
	}
	mustEqual(t, "mAP", sum/present, result.MultiLabel.Metrics[MAP].Value)
	if present != 5 {
		t.Errorf("%g classes have examples, want 5", present)
	}
}

// TestRecordsOfASearch: R@k, mAP@10 and the clusters of both directions.
func TestRecordsOfASearch(t *testing.T) {
	set := namedSet(20)
	for i := range set.fakeSet {
		e := &set.fakeSet[i]
		e.Captions = append(e.Captions, fmt.Sprintf("%s %c of %s", e.Labels["colour"], 'a'+i%26, e.ID))
		if i == 5 {
			e.Labels["concept"] = ""
		}
	}
	task := Task{Name: "r", Kind: Retrieval, Data: "d", Match: "colour", Cluster: "concept"}
	result, err := runOn(t, blurredSession(t, set, Options{}), task, set)
	if err != nil {
		t.Fatal(err)
	}
	records, skipped := throughFile(t, result.Retrieval.Records)
	if !maps.Equal(skipped, result.Retrieval.Skipped) || len(skipped) == 0 {
		t.Errorf("skipped %v, the report says %v", skipped, result.Retrieval.Skipped)
	}
	for _, direction := range []string{ImageToText, TextToImage} {
		in, n, precision := func(r record.Record) bool { return r.Set == direction }, 0.0, 0.0
		clusters := map[string]bool{}
		for _, r := range records {
			if in(r) {
				n++
				precision += r.AveragePrecision
				clusters[r.Cluster] = true
			}
		}
		for _, k := range cutoffs {
			name := fmt.Sprintf("%s_R@%d", direction, k)
			mustEqual(t, name, share(records, in, func(r record.Record) bool { return r.Rank > 0 && r.Rank <= int64(k) }), result.Retrieval.Metrics[name].Value)
		}
		mustEqual(t, direction+" mAP@10", precision/n, result.Retrieval.Metrics[direction+"_mAP@10"].Value)
		if !clusters["3"] || !clusters["e005"] || clusters["e006"] || clusters[""] { // the column's value, or the image without one
			t.Errorf("%s: clusters %v", direction, slices.Sorted(maps.Keys(clusters)))
		}
	}
}

// TestRecordsOfChoicesAndAssociations: the true caption, pairs, and the effect size.
func TestRecordsOfChoicesAndAssociations(t *testing.T) {
	set := namedSet(20)
	for i := range set.fakeSet {
		set.fakeSet[i].Labels["lie"] = "a " + colours[(i+1)%3] + " lie"
		set.fakeSet[i].Labels["pair"] = fmt.Sprint(i / 2)
	}
	run := func(task Task) Result {
		t.Helper()
		result, err := runOn(t, blurredSession(t, set, Options{}), task, set)
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	all := func(record.Record) bool { return true }
	chosen := run(Task{Name: "c", Kind: Selection, Data: "d", Wrong: []string{"lie"}})
	records, skipped := throughFile(t, chosen.Selection.Records)
	mustEqual(t, "chosen", share(records, all, func(r record.Record) bool { return r.Correct }), chosen.Selection.Metrics[Chosen].Value)
	if !maps.Equal(skipped, chosen.Selection.Skipped) || len(skipped) == 0 {
		t.Errorf("skipped %v, the report says %v", skipped, chosen.Selection.Skipped)
	}
	pairs := run(Task{Name: "p", Kind: Selection, Data: "d", Pairs: "pair"})
	records, skipped = throughFile(t, pairs.Selection.Records)
	for name, is := range map[string]func(record.Record) bool{
		TextScore: func(r record.Record) bool { return r.TextCorrect }, ImageScore: func(r record.Record) bool { return r.ImageCorrect },
		GroupScore: func(r record.Record) bool { return r.Correct },
	} {
		mustEqual(t, name, share(records, all, is), pairs.Selection.Metrics[name].Value)
	}
	if !maps.Equal(skipped, pairs.Selection.Skipped) {
		t.Errorf("skipped %v, the report says %v", skipped, pairs.Selection.Skipped)
	}
	association := run(Task{Name: "a", Kind: Association, Data: "d", Association: &AssociationConfig{
		X: Subset{Where: map[string]string{"colour": "red"}}, Y: Subset{Where: map[string]string{"colour": "green"}}, A: []string{"red"}, B: []string{"blue"}}})
	records, skipped = throughFile(t, association.Association.Records)
	var x, y, both []float64
	for _, r := range records {
		if both = append(both, r.Score); r.Set == "x" {
			x = append(x, r.Score)
		} else {
			y = append(y, r.Score)
		}
	}
	mean := func(v []float64) float64 { return metrics.Mean(v, nil, 0).Value }
	squares := 0.0
	for _, s := range both {
		squares += (s - mean(both)) * (s - mean(both))
	}
	mustEqual(t, "effect size", (mean(x)-mean(y))/math.Sqrt(squares/float64(len(both)-1)), association.Association.Effect.Value)
	if !maps.Equal(skipped, association.Association.Skipped) || len(skipped) == 0 {
		t.Errorf("skipped %v, the report says %v", skipped, association.Association.Skipped)
	}
}
