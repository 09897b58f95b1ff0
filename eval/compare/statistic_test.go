package compare

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/eval"
	"tandem/eval/record"
)

// report writes a report of one result with its records.
func report(t *testing.T, name string, result eval.Result, records []record.Record) Run {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(filepath.Join(dir, RecordsName), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := record.Write(RecordsPath(dir, result.Task.Name), records); err != nil {
		t.Fatal(err)
	}
	return Run{Name: name, Dir: dir, Report: &eval.Report{Results: []eval.Result{result}}}
}

func pairs(t *testing.T, a, b Run) []Pair {
	t.Helper()
	c, err := Compare([]Run{a, b})
	if err != nil {
		t.Fatal(err)
	}
	return c.Pairs
}

// metric is a number with the level of guessing left out.
func metric(value float64, n int) eval.Metric { return eval.Metric{Value: value, N: n} }

// search is a retrieval of 40 images and 40 texts; ranks are of the first right candidate.
func search(t *testing.T, name, headline string, toText, toImage func(i int) int64, cluster func(i int) string) Run {
	t.Helper()
	var records []record.Record
	values := map[string]eval.Metric{}
	for d, rank := range map[string]func(i int) int64{eval.ImageToText: toText, eval.TextToImage: toImage} {
		hits := map[int64]float64{}
		for i := range 40 {
			r := rank(i)
			rec := record.Record{Set: d, ID: fmt.Sprint(d, i), Rank: r, Correct: r == 1, Cluster: cluster(i)}
			if r <= 10 {
				rec.AveragePrecision = 1 / float64(r)
			}
			records = append(records, rec)
			for _, k := range []int64{1, 5, 10} {
				if r <= k {
					hits[k] += 1.0 / 40
				}
			}
			values[d+"_mAP@10"] = metric(values[d+"_mAP@10"].Value+rec.AveragePrecision/40, 40)
		}
		for k, share := range hits {
			values[fmt.Sprintf("%s_R@%d", d, k)] = metric(share, 40)
		}
		values[d+"_median_rank"] = metric(statistics[d+"_median_rank"].all(of(d, records)), 40)
	}
	task := eval.Task{Name: "search", Kind: eval.Retrieval, Data: "d", Metric: headline}
	return report(t, name, eval.Result{Task: task, Retrieval: &eval.RetrievalResult{Images: 40, Texts: 40, Metrics: values}}, records)
}

// TestEachDirectionIsTested: one pair for each direction, whose difference is that of the headline, with the clusters of
// the task.
func TestEachDirectionIsTested(t *testing.T) {
	alone := func(i int) string { return fmt.Sprint("image ", i) }
	together := func(i int) string { return fmt.Sprint("concept ", i/10) }
	first := func(i int) int64 { return []int64{1, 3, 8, 20}[i%4] }  // R@1 25, R@5 50, R@10 75 %
	better := func(i int) int64 { return []int64{1, 1, 4, 20}[i%4] } // R@1 50, R@5 75 %
	for name, want := range map[string][2]float64{
		"": {0.25, 0}, "image_to_text_R@1": {0.25, 0}, "text_to_image_R@5": {0, 0.25}, "text_to_image_mAP@10": {0, (2.0/3 + 1.0/8) / 4},
	} {
		a, b := search(t, "a", name, first, first, alone), search(t, "b", name, better, first, alone)
		if strings.HasPrefix(name, eval.TextToImage) {
			a, b = search(t, "a", name, first, first, alone), search(t, "b", name, first, better, alone)
			want[0], want[1] = want[1], want[0]
		}
		list := pairs(t, a, b)
		if len(list) != 2 || name != "" && list[0].Metric != name || strings.HasPrefix(list[1].Metric, list[0].Metric[:13]) {
			t.Fatalf("headline %q: pairs %+v", name, list)
		}
		for i, p := range list {
			headline := b.Report.Results[0].Metrics()[p.Metric].Value - a.Report.Results[0].Metrics()[p.Metric].Value
			if p.N != 40 || math.Abs(p.Difference.Value-headline) > 1e-9 || math.Abs(p.Difference.Value-want[i]) > 1e-9 {
				t.Errorf("headline %q, %s: difference %g of %d, the reports' %g", name, p.Metric, p.Difference.Value, p.N, headline)
			}
			if (p.Counts == nil) != strings.Contains(p.Metric, "mAP") {
				t.Errorf("%s: McNemar's counts %+v", p.Metric, p.Counts)
			}
		}
		if list[0].Verdict() != "b is better" || list[1].Verdict() != "no difference shown" {
			t.Errorf("headline %q: %q and %q", name, list[0].Verdict(), list[1].Verdict())
		}
	}
	width := func(cluster func(int) string) float64 {
		half := func(i int) int64 { return []int64{1, 20}[i/20] }
		p := pairs(t, search(t, "a", "", first, first, cluster), search(t, "b", "", half, first, cluster))[0]
		return p.Difference.High - p.Difference.Low
	}
	if narrow, wide := width(alone), width(together); wide < 1.5*narrow {
		t.Errorf("an interval of %g with clusters, of %g without", wide, narrow)
	}
	p := pairs(t, search(t, "a", "image_to_text_median_rank", first, first, alone), search(t, "b", "image_to_text_median_rank", func(int) int64 { return 2 }, first, alone))
	if math.Abs(p[0].Difference.Value+3.5) > 1e-9 || p[0].Verdict() != "b is better" || !strings.HasPrefix(p[0].Signed(), "−3.5 (") || p[0].Drawn() {
		t.Errorf("median rank: %+v, %s, %s: less is better, and ranks are no points", p[0].Difference, p[0].Verdict(), p[0].Signed())
	}
}

// labels is a task of several labels an image: 30 images, every third of class x; noise makes the ranking worse.
func labels(t *testing.T, name string, noise float64, classes int) Run {
	t.Helper()
	names := []string{"x", "y", "p", "q", "r", "s"}
	var records []record.Record
	for i := range 30 {
		r := record.Record{Set: "test", ID: fmt.Sprint(i), Label: []string{"x", "y", "x | y"}[i%3], Cluster: fmt.Sprint(i / 2)}
		for c, class := range names[:classes] {
			r.TopClasses = append(r.TopClasses, class)
			similarity := noise * math.Mod(float64(i*(c+7))*0.377, 1)
			if strings.Contains(r.Label, class) {
				similarity++
			}
			r.TopSimilarities = append(r.TopSimilarities, similarity)
		}
		records = append(records, r)
	}
	value := statistics[eval.MAP].all(records)
	task := eval.Task{Name: "m", Kind: eval.MultiLabel, Data: "d", Label: "l"}
	return report(t, name, eval.Result{Task: task, MultiLabel: &eval.MultiLabelResult{Classes: names, Metrics: map[string]eval.Metric{eval.MAP: metric(value, 30)}}}, records)
}

// TestSeveralLabelsAreTested: the difference is that of mAP, and its draws are of images.
func TestSeveralLabelsAreTested(t *testing.T) {
	good, bad := labels(t, "good", 0.5, 6), labels(t, "bad", 3, 6)
	valueOf := func(r Run) float64 { return r.Report.Results[0].MultiLabel.Metrics[eval.MAP].Value }
	if valueOf(good) != 1 || valueOf(bad) > 0.95 {
		t.Fatalf("mAP %g and %g show nothing", valueOf(good), valueOf(bad))
	}
	p := pairs(t, good, bad)[0]
	if p.Metric != eval.MAP || p.N != 30 || math.Abs(p.Difference.Value-(valueOf(bad)-1)) > 1e-9 || p.Difference.High >= 0 || p.P > 0.01 || p.Counts != nil || p.Verdict() != "good is better" {
		t.Errorf("%+v %+v %s", p, p.Paired, p.Verdict())
	}
	if same := pairs(t, bad, bad)[0]; same.Difference.Low != 0 || same.Difference.High != 0 || same.P != 1 {
		t.Errorf("a model and itself: %+v", same.Paired)
	}
}

// TestRecallIsTested: with the mean over classes as the headline, a model that gives up a rare class is worse though it has
// more right answers.
func TestRecallIsTested(t *testing.T) {
	build := func(name string, common, rare int) Run {
		var records []record.Record
		for i := range 100 {
			r := record.Record{Set: "test", ID: fmt.Sprint(i), Label: "common", Correct: i < common}
			if i >= 80 {
				r.Label, r.Correct = "rare", i-80 < rare
			}
			records = append(records, r)
		}
		task := task()
		task.Metric = eval.MeanPerClassRecall
		return report(t, name, eval.Result{Task: task, Classification: &eval.ClassificationResult{Metrics: map[string]eval.Metric{
			eval.Acc1: metric(float64(common+rare)/100, 100), eval.MeanPerClassRecall: metric(float64(common)/160+float64(rare)/40, 100)}}}, records)
	}
	p := pairs(t, build("fair", 60, 15), build("lazy", 78, 2))[0]
	if p.Metric != eval.MeanPerClassRecall || math.Abs(p.Difference.Value-(78.0/160+2.0/40-60.0/160-15.0/40)) > 1e-9 || p.Verdict() != "fair is better" || p.Counts != nil {
		t.Errorf("%+v %+v: %s", p, p.Paired, p.Verdict())
	}
}

// TestWhatIsNotTested says so, and shows no difference of 0.
func TestWhatIsNotTested(t *testing.T) {
	association := func(name string) Run {
		records := []record.Record{{Set: "x", ID: "1", Score: 1}, {Set: "x", ID: "2", Score: 0.8}, {Set: "y", ID: "3", Score: 0}, {Set: "y", ID: "4", Score: 0.1}}
		return report(t, name, eval.Result{Task: eval.Task{Name: "w", Kind: eval.Association}, Association: &eval.AssociationResult{
			Metrics: map[string]eval.Metric{eval.EffectSize: metric(statistics[eval.EffectSize].all(records), 4)}}}, records)
	}
	if p := pairs(t, association("a"), association("b"))[0]; p.Paired == nil || p.N != 4 || p.Difference.Value != 0 || p.Verdict() != "no difference shown" {
		t.Errorf("an association: %+v", p)
	}
	forged, five, odd := labels(t, "a", 1, 6), labels(t, "a", 1, 6), labels(t, "a", 1, 6)
	forged.Report.Results[0].MultiLabel.Metrics[eval.MAP] = metric(0.99, 30)
	list, err := record.Read(RecordsPath(five.Dir, "m"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range list { // as versions before wrote them: the first five
		at := i % 6
		list[i].TopClasses, list[i].TopSimilarities = append(list[i].TopClasses[:at:at], list[i].TopClasses[at+1:]...), append(list[i].TopSimilarities[:at:at], list[i].TopSimilarities[at+1:]...)
	}
	if err := record.Write(RecordsPath(five.Dir, "m"), list); err != nil {
		t.Fatal(err)
	}
	odd.Report.Results[0].MultiLabel.Metrics = map[string]eval.Metric{"luck": metric(0.5, 30)}
	for want, run := range map[string]Run{"are not those of its report": forged, "of an older version": five, "no score of an example for luck": odd} {
		c, err := Compare([]Run{run, run})
		if err != nil {
			t.Fatal(err)
		}
		var table, page, machine bytes.Buffer
		if c.WriteTable(&table) != nil || c.WriteHTML(&page) != nil || c.WriteJSON(&machine) != nil {
			t.Fatal("the comparison cannot be written")
		}
		p := c.Pairs[0]
		if p.Paired != nil || !strings.HasPrefix(p.Verdict(), "not tested: ") || !strings.Contains(p.Verdict(), want) {
			t.Errorf("want %q: %q", want, p.Verdict())
		}
		if strings.Contains(table.String(), "+0.0") || !strings.Contains(table.String(), want) || strings.Contains(page.String(), "+0.0") || !strings.Contains(page.String(), want) || strings.Contains(machine.String(), "difference\"") {
			t.Errorf("want %q and no difference:\n%s", want, table.String())
		}
	}
}
