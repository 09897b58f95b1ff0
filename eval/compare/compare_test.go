package compare

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tandem/eval"
	"tandem/eval/metrics"
	"tandem/eval/record"
	"tandem/internal/fault"
)

// task is a classification of three classes.
func task() eval.Task {
	return eval.Task{Name: "birds/test", Kind: eval.Classification, Data: "birds", Split: "test", Label: "species", Templates: []string{"a {}"}}
}

// run writes a report with the records of one task: right says which of the examples the model got right.
func run(t *testing.T, name string, right []bool, clusters []string) Run {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	var records []record.Record
	hits := 0
	for i, ok := range right {
		r := record.Record{Set: "test", ID: fmt.Sprint("e", i), Correct: ok, Known: true}
		if ok {
			r.Score = 1
			hits++
		}
		if clusters != nil {
			r.Cluster = clusters[i]
		}
		records = append(records, r)
	}
	// None of these may be compared: they were fitted on, are of no class, or were never scored.
	records = append(records, record.Record{Set: "validation", ID: "v", Correct: true, Score: 1}, record.Record{Set: "unknown", ID: "u"}, record.Record{Set: "test", ID: "s", Skipped: "no label"})
	if err := os.MkdirAll(filepath.Join(dir, RecordsName), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := record.Write(RecordsPath(dir, task().Name), records); err != nil {
		t.Fatal(err)
	}
	result := eval.Result{Task: task(), Classification: &eval.ClassificationResult{
		Classes: []string{"robin", "tit", "wren"}, Metrics: map[string]eval.Metric{eval.Acc1: metrics.Proportion(hits, len(right))}},
	}
	var b bytes.Buffer
	if err := (&eval.Report{Title: name, Results: []eval.Result{result}}).WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ReportName), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// marks is n times each of the given outcomes, one after the other.
func marks(outcomes ...any) (list []bool) {
	for i := 0; i < len(outcomes); i += 2 {
		for range outcomes[i].(int) {
			list = append(list, outcomes[i+1].(bool))
		}
	}
	return list
}

// TestPairByHand: 90 examples that both get right, 2 that only the first does, 8 that only the second does. The exact
// binomial test gives 2·(1 + 10 + 45)/1024.
func TestPairByHand(t *testing.T) {
	a := run(t, "first", marks(90, true, 2, true, 8, false), nil)
	b := run(t, "second", marks(90, true, 2, false, 8, true), nil)
	c, err := Compare([]Run{a, b})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Pairs) != 1 || len(c.Rows) != 1 {
		t.Fatalf("%d pairs, %d rows", len(c.Pairs), len(c.Rows))
	}
	p := c.Pairs[0]
	if p.N != 100 || p.OnlyA != 2 || p.OnlyB != 8 || math.Abs(p.McNemar-0.109375) > 1e-12 || math.Abs(p.Difference.Value-0.06) > 1e-12 {
		t.Errorf("%+v", p)
	}
	// The difference of 6 points has a standard error of √(10 − 100·0.06²)/100, 3.1 points: the interval touches 0.
	if p.Difference.Low < -0.02 || p.Difference.Low > 0.02 || p.Difference.High < 0.10 || p.Difference.High > 0.14 || p.P < 0.02 || p.P > 0.15 {
		t.Errorf("interval %+v, p %g", p.Difference, p.P)
	}
	if p.Note != "" || len(p.Differences) > 0 {
		t.Errorf("note %q, differences %v", p.Note, p.Differences)
	}
}

// TestVerdicts: what the interval shows, and nothing more.
func TestVerdicts(t *testing.T) {
	low, high := marks(20, true, 80, false), marks(60, true, 40, false)
	for _, test := range []struct {
		a, b []bool
		want string
	}{{low, high, "b is better"}, {high, low, "a is better"}, {low, low, "no difference shown"}} {
		c, err := Compare([]Run{run(t, "a", test.a, nil), run(t, "b", test.b, nil)})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Pairs[0].Verdict(); got != test.want {
			t.Errorf("%q, want %q (%+v)", got, test.want, c.Pairs[0].Difference)
		}
	}
}

// TestClustersWiden: 100 examples that are 4 clusters of equals say less than 100 independent ones.
func TestClustersWiden(t *testing.T) {
	clusters := make([]string, 100)
	for i := range clusters {
		clusters[i] = fmt.Sprint("c", i/25)
	}
	width := func(clusters []string) float64 {
		c, err := Compare([]Run{run(t, "a", marks(100, false), clusters), run(t, "b", marks(50, true, 50, false), clusters)})
		if err != nil {
			t.Fatal(err)
		}
		return c.Pairs[0].Difference.High - c.Pairs[0].Difference.Low
	}
	if alone, together := width(nil), width(clusters); together < 2*alone {
		t.Errorf("interval of %g for independent examples, of %g for clusters", alone, together)
	}
}

// TestWhatIsNotTheSame: other templates, another order of classes and a part of the data are named.
func TestWhatIsNotTheSame(t *testing.T) {
	a, b := run(t, "a", marks(10, true), nil), run(t, "b", marks(8, true), nil)
	other := &b.Report.Results[0]
	other.Task.Templates = []string{"an {}"}
	other.Classification.Classes = []string{"tit", "robin", "wren"}
	other.Inputs = eval.Inputs{Templates: "t", Classes: "c", Examples: 8}
	c, err := Compare([]Run{a, b})
	if err != nil {
		t.Fatal(err)
	}
	p, said := c.Pairs[0], ""
	for _, d := range p.Differences {
		said += d + "\n"
	}
	for _, want := range []string{"0 and 8 examples", `templates: number 0 is "a {}" and "an {}"`, "classes: another order"} {
		if !strings.Contains(said, want) {
			t.Errorf("differences lack %q:\n%s", want, said)
		}
	}
	if p.N != 8 || p.Note != "8 of 10 examples are in both" {
		t.Errorf("%d examples, note %q", p.N, p.Note)
	}
	var table, page bytes.Buffer
	if err := c.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "NOT THE SAME TASK: birds/test") || !strings.Contains(page.String(), "did not run the same task") {
		t.Errorf("the table or the page does not say so:\n%s", table.String())
	}
}

// TestManyRuns: models of one name are told apart; tasks that only some ran have empty cells; a run without records is
// shown and not tested.
func TestManyRuns(t *testing.T) {
	a, b, alone := run(t, "m", marks(5, true, 5, false), nil), run(t, "m", marks(6, true, 4, false), nil), run(t, "n", marks(10, true), nil)
	if err := os.RemoveAll(filepath.Join(b.Dir, RecordsName)); err != nil {
		t.Fatal(err)
	}
	alone.Report.Results[0].Task.Name = "other"
	c, err := Compare([]Run{a, b, alone})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Models, []string{"m", "m (2)", "n"}) {
		t.Errorf("models %v", c.Models)
	}
	if len(c.Rows) != 2 || c.Rows[0].Cells[2] != nil || c.Rows[1].Cells[0] != nil || c.Rows[1].Cells[2] == nil || c.Rows[0].cell(2) != "–" {
		t.Errorf("rows %+v", c.Rows)
	}
	if len(c.Pairs) != 1 || !strings.HasPrefix(c.Pairs[0].Verdict(), "not tested: no records") {
		t.Errorf("pairs %+v", c.Pairs)
	}
	var b1, b2 bytes.Buffer
	if c.WriteJSON(&b1) != nil || c.WriteJSON(&b2) != nil || !bytes.Equal(b1.Bytes(), b2.Bytes()) || !bytes.Contains(b1.Bytes(), []byte(`"not_tested": "no records`)) || bytes.Contains(b1.Bytes(), []byte("mcnemar_p")) {
		t.Errorf("JSON:\n%s", b1.String())
	}
}

func TestMistakes(t *testing.T) {
	if _, err := Compare([]Run{{}}); err == nil || !fault.IsUser(err) {
		t.Errorf("one run: error %v", err)
	}
	if _, err := Open(t.TempDir()); err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), ReportName) {
		t.Errorf("an empty directory: error %v", err)
	}
	r := run(t, "m", marks(3, true), nil)
	if err := os.WriteFile(RecordsPath(r.Dir, task().Name), []byte("no parquet"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Compare([]Run{r, r}); err == nil || !strings.Contains(err.Error(), "birds-test.parquet") {
		t.Errorf("damaged records: error %v", err)
	}
	for in, want := range map[string]string{"emoji/group": "emoji-group", "a b:c": "a-b-c", "x.y_z-1": "x.y_z-1", "../up": "..-up"} {
		if got := FileName(in); got != want {
			t.Errorf("FileName(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestMarks: the axis holds every interval.
func TestMarks(t *testing.T) {
	c := Comparison{Pairs: []Pair{{Paired: &metrics.Paired{Difference: metrics.Metric{Value: 0.01, Low: -0.12, High: 0.04}}}, {}}}
	if c.Reach() != 20 {
		t.Errorf("the axis reaches %d points", c.Reach())
	}
	m := c.Pairs[0].Mark(20)
	if math.Abs(m["value"]-52.5) > 1e-9 || math.Abs(m["low"]-20) > 1e-9 || math.Abs(m["right"]-40) > 1e-9 {
		t.Errorf("marks %v", m)
	}
	if got := c.Pairs[0].Signed(); got != "+1.0 (−12.0 – +4.0)" {
		t.Errorf("shown as %q", got)
	}
}
