package eval

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"tandem/eval/bias"
	"tandem/eval/metrics"
	"tandem/eval/record"
	"tandem/eval/retrieve"
)

// pick keeps some records.
func pick(records []record.Record, wanted func(record.Record) bool) []record.Record {
	return slices.DeleteFunc(slices.Clone(records), func(r record.Record) bool { return !wanted(r) })
}

// clusterNumbers numbers the records' clusters; those without one stand alone.
func clusterNumbers(records []record.Record) []int {
	index, out := map[string]int{}, make([]int, len(records))
	for i, r := range records {
		key := r.Cluster
		if key == "" {
			key = fmt.Sprintf("\x00%d", i)
		}
		if _, ok := index[key]; !ok {
			index[key] = len(index)
		}
		out[i] = index[key]
	}
	return out
}

// rateOf is the mean of something over records, with the interval that the report gives it.
func rateOf(records []record.Record, value func(record.Record) float64) Metric {
	values := make([]float64, len(records))
	for i, r := range records {
		values[i] = value(r)
	}
	return metrics.Rate(values, clusterNumbers(records), 0)
}

func indicator(is func(record.Record) bool) func(record.Record) float64 {
	return func(r record.Record) float64 {
		if is(r) {
			return 1
		}
		return 0
	}
}

// mustFollow compares a whole metric: value, interval, number of examples and of clusters. Levels of guessing are the
// task's and not of the records.
func mustFollow(t *testing.T, name string, got, want Metric) {
	t.Helper()
	mustEqual(t, name, got.Value, want.Value)
	mustEqual(t, name+", low", got.Low, want.Low)
	mustEqual(t, name+", high", got.High, want.High)
	if got.N != want.N || got.Clusters != want.Clusters || got.N == 0 {
		t.Errorf("%s: %d examples in %d clusters from the records, the report says %d in %d", name, got.N, got.Clusters, want.N, want.Clusters)
	}
}

func isCorrect(r record.Record) bool { return r.Correct }

// checkShares: headline metrics with their intervals, counts of classes, and the confusion matrix.
func checkShares(t *testing.T, c *ClassificationResult, test []record.Record) {
	t.Helper()
	mustFollow(t, "top-1", rateOf(test, indicator(isCorrect)), c.Metrics[Acc1])
	mustFollow(t, "top-5", rateOf(test, indicator(func(r record.Record) bool { return slices.Contains(r.TopClasses, r.Label) })), c.Metrics[Acc5])
	recall := c.Metrics[MeanPerClassRecall]
	if recall.N != len(test) || recall.Clusters != c.Metrics[Acc1].Clusters || !(recall.Low < recall.Value && recall.Value < recall.High) {
		t.Errorf("per-class recall %+v of %d examples", recall, len(test))
	}
	for i, class := range c.PerClass {
		n := len(pick(test, func(r record.Record) bool { return r.Label == class.Name }))
		predicted := pick(test, func(r record.Record) bool { return r.Prediction == class.Name })
		if right := len(pick(predicted, isCorrect)); n != class.N || len(predicted) != class.Predicted || right != class.Correct || right != c.Confusion[i][i] {
			t.Errorf("%s: %d, %d predicted, %d of them right, the report says %+v and %d", class.Name, n, len(predicted), right, class, c.Confusion[i][i])
		}
		for k, other := range c.Classes {
			if n := len(pick(predicted, func(r record.Record) bool { return r.Label == other })); n != c.Confusion[k][i] {
				t.Errorf("%s for %s: %d times, the report says %d", class.Name, other, n, c.Confusion[k][i])
			}
		}
	}
}

// checkBias: groups, the gap between the extremes, and counterfactual pairs.
func checkBias(t *testing.T, c *ClassificationResult, test []record.Record) {
	t.Helper()
	for _, gaps := range c.Groups {
		value := func(r record.Record) string { return r.Metadata[gaps.Column] }
		if missing := len(pick(test, func(r record.Record) bool { return value(r) == "" })); missing != gaps.Missing {
			t.Errorf("%d without %s, the report says %d", missing, gaps.Column, gaps.Missing)
		}
		worst, best, n := math.Inf(1), math.Inf(-1), gaps.Missing
		for _, g := range gaps.Groups {
			members := pick(test, func(r record.Record) bool { return value(r) == g.Name })
			accuracy := rateOf(members, indicator(isCorrect))
			mustFollow(t, "accuracy of "+g.Name, accuracy, g.Accuracy)
			mustEqual(t, "error of "+g.Name, 1-accuracy.Value, g.Error)
			mustEqual(t, "recall of "+g.Name, recallOf(members), g.Recall)
			n += len(members)
			worst, best = min(worst, accuracy.Value), max(best, accuracy.Value)
		}
		if n != len(test) || gaps.Rest != 0 {
			t.Errorf("%d of %d examples are in groups of %s", n, len(test), gaps.Column)
		}
		if len(gaps.Groups) > 1 {
			mustEqual(t, "gap of "+gaps.Column, best-worst, gaps.Gap.Value)
		}
	}
	var flipped, mixed, shift []float64
	for i, a := range test {
		for _, b := range test[i+1:] {
			if f := c.Counterfactual; a.Metadata[f.Match] == b.Metadata[f.Match] && a.Metadata[f.Attribute] != b.Metadata[f.Attribute] {
				flipped = append(flipped, indicator(func(record.Record) bool { return a.Prediction != b.Prediction })(a))
				mixed = append(mixed, indicator(func(record.Record) bool { return a.Correct != b.Correct })(a))
				shift = append(shift, math.Abs(a.LabelProbability-b.LabelProbability))
			}
		}
	}
	for name, pair := range map[string]struct {
		values []float64
		want   Metric
	}{"flipped": {flipped, c.Counterfactual.Flipped}, "right to wrong": {mixed, c.Counterfactual.RightToWrong}, "shift": {shift, c.Counterfactual.Shift}} {
		mustEqual(t, name, metrics.Mean(pair.values, nil, 0).Value, pair.want.Value)
		if len(pair.values) != pair.want.N || pair.want.Value == 0 {
			t.Errorf("%s: %d pairs, the report says %+v", name, len(pair.values), pair.want)
		}
	}
}

// recallOf is the mean recall over the classes that occur.
func recallOf(records []record.Record) float64 {
	byClass := map[string][]record.Record{}
	for _, r := range records {
		byClass[r.Label] = append(byClass[r.Label], r)
	}
	sum := 0.0
	for _, members := range byClass {
		sum += rateOf(members, indicator(isCorrect)).Value / float64(len(byClass))
	}
	return sum
}

// checkDoubt: what was measured of the rule and of the sets, with intervals, and of the model's own probabilities.
func checkDoubt(t *testing.T, c *ClassificationResult, measured, strangers []record.Record) {
	t.Helper()
	d := c.Doubt
	answers := func(r record.Record) bool { return r.Known }
	mustFollow(t, "coverage", rateOf(measured, indicator(answers)), d.Rules[0].Coverage)
	mustFollow(t, "accuracy of the answered", rateOf(pick(measured, answers), indicator(isCorrect)), d.Rules[0].Accuracy)
	mustFollow(t, "false accepts", rateOf(strangers, indicator(answers)), *d.Rules[0].FalseAccept)
	mustFollow(t, "sets hold the truth", rateOf(measured, indicator(func(r record.Record) bool { return r.SetHolds })), d.Conformal[0].Coverage)
	mean := func(value func(record.Record) float64) float64 {
		sum := 0.0
		for _, r := range measured {
			sum += value(r) / float64(len(measured))
		}
		return sum
	}
	mustEqual(t, "mean size of sets", mean(func(r record.Record) float64 { return float64(r.SetSize) }), d.Conformal[0].MeanSize)
	mustEqual(t, "empty sets", mean(indicator(func(r record.Record) bool { return r.SetSize == 0 })), d.Conformal[0].Empty)
	mustEqual(t, "log loss", mean(func(r record.Record) float64 { return -math.Log(r.LabelProbability) }), d.LogLoss)
	var margins []float64
	var isKnown []bool
	for _, r := range append(slices.Clone(measured), strangers...) {
		margins, isKnown = append(margins, r.Margin), append(isKnown, r.Set != "unknown")
	}
	if len(strangers) == d.UnknownN { // detection is of all of them, however the threshold was chosen
		mustEqual(t, "AUROC of the margin", metrics.AUROC(margins, isKnown), d.Unknown["margin"].AUROC.Value)
	}
}

// TestMetricsFollowFromRecords: the other kinds' metrics with their intervals, by cluster and without.
func TestMetricsFollowFromRecords(t *testing.T) {
	set := namedSet(30)
	for i := range set.fakeSet {
		e := &set.fakeSet[i]
		e.Labels["lie"], e.Labels["pair"], e.Labels["tags"] = "a "+colours[(i+1)%3]+" lie", fmt.Sprint(i/2), e.Labels["colour"]
		e.Captions = append(e.Captions, fmt.Sprintf("%s %c of %s", e.Labels["colour"], 'a'+i%26, e.ID))
		if i%5 == 0 {
			e.Labels["tags"] = ""
		}
	}
	for _, cluster := range []string{"", "concept"} {
		run := func(task Task) (Result, []record.Record) {
			t.Helper()
			task.Name, task.Data, task.Cluster = "t", "d", cluster
			result, err := runOn(t, blurredSession(t, set, Options{}), task, set)
			if err != nil {
				t.Fatal(err)
			}
			records, _ := throughFile(t, result.Records())
			return result, records
		}
		several, records := run(Task{Kind: MultiLabel, Label: "tags", Classes: colourTask().Classes})
		checkLabels(t, several.MultiLabel, records)
		found, records := run(Task{Kind: Retrieval, Match: "colour"})
		for _, direction := range []string{ImageToText, TextToImage} {
			checkDirection(t, found.Retrieval.Metrics, direction, pick(records, func(r record.Record) bool { return r.Set == direction }))
		}
		chosen, records := run(Task{Kind: Selection, Wrong: []string{"lie"}})
		mustFollow(t, "chosen", rateOf(records, indicator(isCorrect)), chosen.Selection.Metrics[Chosen])
		pairs, records := run(Task{Kind: Selection, Pairs: "pair"})
		mustFollow(t, "group score", rateOf(records, indicator(isCorrect)), pairs.Selection.Metrics[GroupScore])
		mustFollow(t, "text score", rateOf(records, indicator(func(r record.Record) bool { return r.TextCorrect })), pairs.Selection.Metrics[TextScore])
		mustFollow(t, "image score", rateOf(records, indicator(func(r record.Record) bool { return r.ImageCorrect })), pairs.Selection.Metrics[ImageScore])
	}
	task := Task{Name: "a", Kind: Association, Data: "d", Association: &AssociationConfig{
		X: Subset{Where: map[string]string{"colour": "red"}}, Y: Subset{Where: map[string]string{"colour": "green"}}, A: []string{"red"}, B: []string{"blue"}}}
	result, err := runOn(t, blurredSession(t, set, Options{}), task, set)
	if err != nil {
		t.Fatal(err)
	}
	records, _ := throughFile(t, result.Records())
	var scores []float64
	for _, r := range records { // those of X come first
		scores = append(scores, r.Score)
	}
	nx := len(pick(records, func(r record.Record) bool { return r.Set == "x" }))
	mustFollow(t, "effect", metrics.Bootstrap(len(scores), nil, 0, bias.EffectOf(scores, nx)), result.Association.Metrics[EffectSize])
	if result.Association.Images != [2]int{nx, len(scores) - nx} {
		t.Errorf("%d and %d images, the report says %v", nx, len(scores)-nx, result.Association.Images)
	}
}

// checkLabels: mAP with its interval and the classes' average precision.
func checkLabels(t *testing.T, m *MultiLabelResult, records []record.Record) {
	t.Helper()
	scores, positive := make([][]float64, len(records)), make([][]bool, len(records))
	for i, r := range records {
		scores[i], positive[i] = make([]float64, len(m.Classes)), make([]bool, len(m.Classes))
		for c, name := range m.Classes {
			scores[i][c] = r.TopSimilarities[slices.Index(r.TopClasses, name)]
			positive[i][c] = slices.Contains(SplitLabels(r.Label), name)
		}
	}
	mustFollow(t, "mAP", metrics.MeanAveragePrecisionInterval(scores, positive, clusterNumbers(records), 0), m.Metrics[MAP])
	for c, class := range m.PerClass {
		var column []float64
		var is []bool
		for i := range records {
			column, is = append(column, scores[i][c]), append(is, positive[i][c])
		}
		mustEqual(t, "AP of "+class.Name, metrics.AveragePrecision(column, is), class.AP)
		if n := len(pick(records, func(r record.Record) bool { return r.Label == class.Name })); n != class.N || n == 0 || n == len(records) {
			t.Errorf("%s: %d images, the report says %d", class.Name, n, class.N)
		}
	}
}

// checkDirection: all metrics of one direction of a retrieval.
func checkDirection(t *testing.T, all map[string]Metric, direction string, records []record.Record) {
	t.Helper()
	for _, k := range cutoffs {
		mustFollow(t, fmt.Sprintf("%s R@%d", direction, k),
			rateOf(records, indicator(func(r record.Record) bool { return r.Rank > 0 && r.Rank <= int64(k) })), all[fmt.Sprintf("%s_R@%d", direction, k)])
	}
	mustFollow(t, direction+" mAP@10", rateOf(records, func(r record.Record) float64 { return r.AveragePrecision }), all[direction+"_mAP@10"])
	var ranks []float64
	for _, r := range records {
		ranks = append(ranks, float64(r.Rank))
	}
	mustFollow(t, direction+" median rank", retrieve.MedianRank(ranks, clusterNumbers(records), 0), all[direction+MedianRank])
}
