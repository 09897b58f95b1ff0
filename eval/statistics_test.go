package eval

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"strings"
	"testing"

	"tandem/eval/doubt"
	"tandem/eval/metrics"
	"tandem/internal/fault"
	"tandem/internal/prng"
)

// inClusters gives every example a column "photographer" with n values.
func inClusters(set fakeSet, n int) fakeSet {
	for i, e := range set {
		e.Labels["photographer"] = fmt.Sprint("p", i%n)
	}
	return set
}

func runTask(t *testing.T, task Task, set Dataset, o Options) Result {
	t.Helper()
	r, err := NewSession(fakeEncoder{10}, o).Run(context.Background(), task, set)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// written is a report of one result as text, page, table and words about bias.
func written(t *testing.T, r Result) map[string]string {
	t.Helper()
	report := Report{Title: "x", Results: []Result{r}}
	out := map[string]string{}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"markdown": func(b *bytes.Buffer) error { return report.WriteMarkdown(b) },
		"page":     func(b *bytes.Buffer) error { return report.WriteHTML(b) },
		"table":    func(b *bytes.Buffer) error { return report.WriteTable(b) },
		"bias":     func(b *bytes.Buffer) error { return report.WriteBias(b) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = b.String()
	}
	return out
}

// TestFewClusters: with three clusters every interval is wide, and every report says so.
func TestFewClusters(t *testing.T) {
	task := colourTask()
	alone := runTask(t, task, inClusters(bigSet(30), 3), Options{Doubt: true})
	task.Cluster = "photographer"
	r := runTask(t, task, inClusters(bigSet(30), 3), Options{Doubt: true})
	for name, m := range r.Classification.Metrics {
		if width, before := m.High-m.Low, alone.Classification.Metrics[name]; m.Clusters != 3 || m.Value != before.Value || width < 0.5 || before.Clusters != 0 || width < 2*(before.High-before.Low) {
			t.Errorf("%s: %+v of three clusters, %+v of independent examples", name, m, before)
		}
	}
	if len(alone.Warnings) != 0 || len(r.Warnings) != 1 {
		t.Errorf("warnings %q and %q", alone.Warnings, r.Warnings)
	}
	const want = "3 clusters only (photographer)"
	for name, text := range written(t, r) {
		if name != "bias" && !strings.Contains(text, want) {
			t.Errorf("the %s lacks %q:\n%s", name, want, text)
		}
	}
	// Twelve clusters in all are enough, but not each half of them.
	r = runTask(t, task, inClusters(bigSet(40), 12), Options{Doubt: true})
	if m := r.Classification.Metrics[MeanPerClassRecall]; m.Clusters != 12 || r.Classification.Doubt == nil {
		t.Fatalf("%+v of twelve clusters, doubt: %s", m, r.Classification.DoubtNote)
	}
	if len(r.Warnings) == 0 || !strings.HasPrefix(r.Warnings[0], "intervals of doubt") {
		t.Errorf("warnings %q", r.Warnings)
	}
}

// TestClusterColumnMustExist: a typo does not make examples independent.
func TestClusterColumnMustExist(t *testing.T) {
	for _, task := range []Task{colourTask(), {Name: "m", Kind: MultiLabel, Data: "d", Label: "colour"}, {Name: "r", Kind: Retrieval, Data: "d"}, {Name: "s", Kind: Selection, Data: "d", Pairs: "concept"}} {
		task.Cluster = "fotographer"
		_, err := NewSession(fakeEncoder{10}, Options{}).Run(context.Background(), task, inClusters(bigSet(4), 3))
		if err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), `"fotographer"`) || !strings.Contains(err.Error(), "concept, photographer, tone") {
			t.Errorf("%s: %v", task.Name, err)
		}
	}
}

// TestPairsInClusters: pairs of one photographer are not independent, and records say whose they are.
func TestPairsInClusters(t *testing.T) {
	var set fakeSet
	for i := range 40 {
		e := example(fmt.Sprintf("e%02d", i), i%2, "", []string{"red", "green"}[i%2])
		if i%8 < 2 {
			e.Captions[0] = "blue"
		}
		e.Labels["pair"], e.Labels["photographer"] = fmt.Sprint(i/2), fmt.Sprint(i/2%4)
		set = append(set, e)
	}
	task := Task{Name: "w", Kind: Selection, Data: "d", Pairs: "pair"}
	alone := runTask(t, task, set, Options{}).Selection
	task.Cluster = "photographer"
	r := runTask(t, task, set, Options{}).Selection
	for name, m := range r.Metrics {
		if before := alone.Metrics[name]; m.Value != before.Value || m.Clusters != 4 || before.Clusters != 0 || m.High-m.Low <= before.High-before.Low {
			t.Errorf("%s: %+v by photographer, %+v alone", name, m, before)
		}
	}
	if r.Records[1].Cluster != "1" {
		t.Errorf("record %+v", r.Records[1])
	}
}

// TestRetrievalOfAllRight: a search that finds everything is not certain to.
func TestRetrievalOfAllRight(t *testing.T) {
	set := fakeSet{example("a", 0, "", "red"), example("b", 1, "", "green"), example("c", 2, "", "blue")}
	r := runTask(t, Task{Name: "r", Kind: Retrieval, Data: "d"}, set, Options{}).Retrieval
	for _, direction := range []string{ImageToText, TextToImage} {
		if got, want := r.Metrics[direction+"_R@1"], metrics.Proportion(3, 3); got.Low != want.Low || got.High != 1 || got.Clusters != 0 {
			t.Errorf("%s: %+v, want Wilson's %+v", direction, got, want)
		}
		if m := r.Metrics[direction+"_mAP@10"]; m.Low > 0.5 {
			t.Errorf("%s: mAP %+v of three queries", direction, m)
		}
	}
	// One cluster of all images says next to nothing.
	one := runTask(t, Task{Name: "r", Kind: Retrieval, Data: "d", Cluster: "photographer"}, inClusters(bigSet(10), 1), Options{})
	for name, m := range one.Retrieval.Metrics {
		if m.Clusters != 1 || len(one.Warnings) != 1 || m.High <= m.Low && !strings.HasSuffix(name, "_median_rank") {
			t.Errorf("%s: %+v, warnings %q", name, m, one.Warnings)
		}
	}
}

// TestRuleThatCannotKeepItsGoal: 30 strangers leave 15 to choose by, too few for 5 %; every report says what the rule
// does instead, and of how many pictures the share is.
func TestRuleThatCannotKeepItsGoal(t *testing.T) {
	task := colourTask()
	task.Classes = task.Classes[:2]
	task.Except = map[string][]string{"colour": {"blue"}}
	task.Unknown = &Subset{Only: map[string][]string{"colour": {"blue"}}}
	task.Doubt = &doubt.Config{FalseAccept: 0.05}
	texts := written(t, runTask(t, task, bigSet(30), Options{}))
	for name, text := range texts {
		if !strings.Contains(text, "refuses everything: 15 out-of-set images") {
			t.Errorf("the %s does not say that everything is refused:\n%s", name, text)
		}
	}
	for name, want := range map[string]string{"bias": "Of 15 pictures of none of the classes (the other 15 chose its threshold)", "page": "refuse all", "table": "accuracy of these – –"} {
		if !strings.Contains(strings.Join(strings.Fields(texts[name]), " "), want) {
			t.Errorf("the %s lacks %q:\n%s", name, want, texts[name])
		}
	}
	for name, text := range texts {
		if name != "bias" && !strings.Contains(html.UnescapeString(text), "an honest model's") {
			t.Errorf("the %s lacks what an honest model shows:\n%s", name, text)
		}
	}
}

// TestGapWords: vendors that make no difference are not said to.
func TestGapWords(t *testing.T) {
	set, r := bigSet(200), prng.New(5)
	for _, e := range set {
		e.Labels["vendor"] = fmt.Sprint("v", r.IntN(20))
	}
	result := runTask(t, colourTask(), set, Options{})
	g := result.Classification.Groups[0]
	texts := written(t, result)
	if g.Gap.Low <= 0 || *g.P < 0.05 {
		t.Fatalf("gap %+v, p %g: the test needs extremes whose interval excludes 0 by selection alone", g.Gap, *g.P)
	}
	for _, want := range []string{"these examples do not show a difference", "the extremes of 20 groups", "permutations of the groups"} {
		if !strings.Contains(texts["bias"], want) || !strings.Contains(texts["page"], want) {
			t.Errorf("bias.md or the page lacks %q:\n%s", want, texts["bias"])
		}
	}
	a := Result{Association: &AssociationResult{NameX: "x"}}
	if words := written(t, a)["bias"]; !strings.Contains(words, "one-sided") {
		t.Errorf("an association's p is one-sided:\n%s", words)
	}
}
