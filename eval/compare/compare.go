// Package compare sets reports of several models side by side: their metrics by task, paired tests on the same examples,
// and by name whatever keeps two numbers from being comparable.
package compare

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"tandem/eval"
	"tandem/eval/metrics"
	"tandem/eval/record"
	"tandem/internal/fault"
)

// Names of the files of a report's directory.
const (
	ReportName  = "report.json"
	RecordsName = "records"
)

// RecordsPath is where a task's records lie in a report's directory.
func RecordsPath(dir, task string) string {
	return filepath.Join(dir, RecordsName, FileName(task)+".parquet")
}

// FileName makes a file name of a task's name.
func FileName(task string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '-'
	}, task)
}

// Run is one model's report with its records.
type Run struct {
	Name   string
	Dir    string
	Report *eval.Report
}

// Open reads a report: its directory or its JSON file.
func Open(path string) (Run, error) {
	dir := path
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, ReportName)
	} else {
		dir = filepath.Dir(path)
	}
	r, err := eval.ReadReport(path)
	if err != nil {
		return Run{}, err
	}
	name := filepath.Base(filepath.Clean(dir))
	if filepath.Base(path) != ReportName {
		name = strings.TrimSuffix(filepath.Base(path), ".json")
	}
	return Run{Name: name, Dir: dir, Report: r}, nil
}

// records of a task's scored examples, sorted by set and identifier; nil where the report has none.
func (r Run) records(task string) ([]record.Record, error) {
	path := RecordsPath(r.Dir, task)
	if _, err := os.Stat(path); err != nil {
		return nil, nil
	}
	list, err := record.Read(path)
	if err != nil {
		return nil, err
	}
	out := make([]record.Record, 0, len(list))
	for _, rec := range list {
		if rec.Skipped == "" && rec.Set != "validation" && rec.Set != "unknown" {
			out = append(out, rec)
		}
	}
	slices.SortFunc(out, byID) // draws depend on the order
	return out, nil
}

func byID(a, b record.Record) int { return cmp.Or(cmp.Compare(a.Set, b.Set), cmp.Compare(a.ID, b.ID)) }

// of keeps the records of one set, "" for all.
func of(set string, records []record.Record) []record.Record {
	if set == "" {
		return records
	}
	var out []record.Record
	for _, r := range records {
		if r.Set == set {
			out = append(out, r)
		}
	}
	return out
}

// Comparison is several models on several tasks.
type Comparison struct {
	Models []string `json:"models"`
	Rows   []Row    `json:"rows"`
	Pairs  []Pair   `json:"pairs"`
}

// Row is one metric of one task, a cell for each model; nil where the model has no such number.
type Row struct {
	Task   string            `json:"task"`
	Metric string            `json:"metric"`
	Title  string            `json:"-"`
	Cells  []*metrics.Metric `json:"cells"`
	shown  eval.NamedMetric
}

// Pair compares one model with the first on one metric of one task: the headline, and of a retrieval the same metric of
// the other direction.
type Pair struct {
	Task   string `json:"task"`
	Metric string `json:"metric"`
	Title  string `json:"-"`
	A      string `json:"a"`
	B      string `json:"b"`
	N      int    `json:"n"` // examples that both scored
	// Difference is b − a of the metric over the common examples. Nil where nothing was tested, and NotTested says why.
	*metrics.Paired
	NotTested string `json:"not_tested,omitempty"`
	// Counts are of a metric that is a share of right answers, else nil.
	*Counts
	// Differences names what was not the same; with any of them the numbers do not compare models alone.
	Differences []string `json:"differences,omitempty"`
	Note        string   `json:"note,omitempty"`
	plain, low  bool     // the metric is a number of its own; less of it is better
}

// Counts are the examples on which two models differ.
type Counts struct {
	OnlyA   int     `json:"only_a"` // only a got them right
	OnlyB   int     `json:"only_b"`
	McNemar float64 `json:"mcnemar_p"`
}

// Compare compares runs; the first is the one the others are held against.
func Compare(runs []Run) (*Comparison, error) {
	if len(runs) < 2 {
		return nil, fault.Userf("a comparison needs two reports: name their directories or JSON files")
	}
	c := &Comparison{}
	for i, r := range runs {
		name := r.Name
		for slices.Contains(c.Models, name) {
			name = fmt.Sprintf("%s (%d)", r.Name, i+1)
		}
		runs[i].Name = name
		c.Models = append(c.Models, name)
	}
	for _, task := range taskNames(runs) {
		c.addRows(task, runs)
		for i := 1; i < len(runs); i++ {
			if err := c.addPairs(task, runs[0], runs[i]); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// taskNames lists all tasks in the order of the reports.
func taskNames(runs []Run) []string {
	var names []string
	for _, r := range runs {
		for _, result := range r.Report.Results {
			if !slices.Contains(names, result.Task.Name) {
				names = append(names, result.Task.Name)
			}
		}
	}
	return names
}

func find(r Run, task string) *eval.Result {
	for i, result := range r.Report.Results {
		if result.Task.Name == task {
			return &r.Report.Results[i]
		}
	}
	return nil
}

func (c *Comparison) addRows(task string, runs []Run) {
	first := len(c.Rows)
	for i, r := range runs {
		result := find(r, task)
		if result == nil {
			continue
		}
		for _, m := range result.Ordered() {
			at := slices.IndexFunc(c.Rows[first:], func(row Row) bool { return row.Metric == m.Name })
			if at < 0 {
				at = len(c.Rows) - first
				c.Rows = append(c.Rows, Row{Task: task, Metric: m.Name, Title: m.Title, Cells: make([]*metrics.Metric, len(runs)), shown: m})
			}
			value := m.Metric
			c.Rows[first+at].Cells[i] = &value
		}
	}
}

// addPairs tests what the task's headline says.
func (c *Comparison) addPairs(task string, a, b Run) error {
	resultA, resultB := find(a, task), find(b, task)
	if resultA == nil || resultB == nil {
		return nil
	}
	recordsA, err := a.records(task)
	if err != nil {
		return err
	}
	recordsB, err := b.records(task)
	if err != nil {
		return err
	}
	differences := resultA.Differences(*resultB)
	for _, m := range tested(*resultA) {
		p := Pair{Task: task, Metric: m.Name, Title: m.Title, A: a.Name, B: b.Name, Differences: differences, plain: m.Plain}
		other := m
		var has bool
		if other.Metric, has = resultB.Metrics()[m.Name]; !has {
			p.NotTested = fmt.Sprintf("%s has no %s", b.Name, m.Title)
		} else {
			p.NotTested = p.test(m, other, recordsA, recordsB)
		}
		c.Pairs = append(c.Pairs, p)
	}
	return nil
}

// test fills in a pair from both models' records, or says why it cannot.
func (p *Pair) test(a, b eval.NamedMetric, recordsA, recordsB []record.Record) string {
	s, ok := statistics[p.Metric]
	switch {
	case recordsA == nil || recordsB == nil:
		return "no records: write them with -out, and the models can be compared example by example"
	case !ok:
		return "the records have no score of an example for " + p.Title
	}
	p.low = s.low
	recordsA, recordsB = of(s.set, recordsA), of(s.set, recordsB)
	for _, side := range []struct {
		name    string
		metric  eval.NamedMetric
		records []record.Record
	}{{p.A, a, recordsA}, {p.B, b, recordsB}} {
		if !s.gives(side.metric, side.records) {
			return fmt.Sprintf("the records of %s are not those of its report, or of an older version: evaluate it again with -out", side.name)
		}
	}
	commonA, commonB := common(recordsA, recordsB)
	p.N = len(commonA)
	if p.N == 0 {
		return "no example is in both"
	}
	if n := max(len(recordsA), len(recordsB)); n > p.N {
		p.Note = fmt.Sprintf("%d of %d examples are in both", p.N, n)
	}
	paired := s.paired(commonA, commonB, clusters(commonA))
	if math.IsNaN(paired.Difference.Value) || math.IsNaN(paired.Difference.Low) {
		return "the examples in both do not give " + p.Title
	}
	p.Paired = &paired
	if s.right {
		p.Counts = s.counts(commonA, commonB)
	}
	return ""
}

// common are the records of the examples that both have, in the same order; both lists are sorted.
func common(a, b []record.Record) (inA, inB []record.Record) {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch order := byID(a[i], b[j]); {
		case order < 0:
			i++
		case order > 0:
			j++
		default:
			inA, inB = append(inA, a[i]), append(inB, b[j])
			i, j = i+1, j+1
		}
	}
	return inA, inB
}

// clusters numbers the records' clusters, nil where each example stands alone.
func clusters(records []record.Record) []int {
	index, clustered := map[string]int{}, false
	out := make([]int, len(records))
	for i, r := range records {
		name := r.Cluster
		if name == "" {
			name = fmt.Sprintf("\x00%d", i)
		} else {
			clustered = true
		}
		if _, ok := index[name]; !ok {
			index[name] = len(index)
		}
		out[i] = index[name]
	}
	if !clustered {
		return nil
	}
	return out
}

// counts are of a statistic that is a share of right answers.
func (s statistic) counts(a, b []record.Record) *Counts {
	c := &Counts{}
	for i := range a {
		switch x, y := s.score(a[i]), s.score(b[i]); {
		case x > y:
			c.OnlyA++
		case y > x:
			c.OnlyB++
		}
	}
	c.McNemar = metrics.McNemar(c.OnlyA, c.OnlyB)
	return c
}

// Verdict says in a few words what a pair shows.
func (p Pair) Verdict() string {
	better, worse := p.B, p.A
	if p.low {
		better, worse = p.A, p.B
	}
	switch {
	case p.Paired == nil:
		return "not tested: " + p.NotTested
	case p.Difference.Low > 0:
		return better + " is better"
	case p.Difference.High < 0:
		return worse + " is better"
	}
	return "no difference shown"
}

// WriteJSON writes the comparison for machines.
func (c *Comparison) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(c)
}

// cell shows one number.
func (r Row) cell(i int) string {
	if r.Cells[i] == nil {
		return "–"
	}
	m := r.shown
	m.Metric = *r.Cells[i]
	return m.Show(m.Value) + " (" + m.Range() + ")"
}

// numbers are the pair's columns of the table.
func (p Pair) numbers() string {
	if p.Paired == nil {
		return "–\t–\t–\t–\t–\t–"
	}
	d := p.Difference
	text := fmt.Sprintf("%s\t%s – %s\t%.4f", p.show(d.Value), p.show(d.Low), p.show(d.High), p.P)
	if p.Counts == nil {
		return text + "\t–\t–\t–"
	}
	return text + fmt.Sprintf("\t%.4f\t%d\t%d", p.McNemar, p.OnlyA, p.OnlyB)
}

// show writes a difference: points of a share, or the number itself.
func (p Pair) show(x float64) string {
	if p.plain {
		return fmt.Sprintf("%+.3g", x)
	}
	return fmt.Sprintf("%+.1f", 100*x)
}

// WriteTable prints the comparison for a terminal.
func (c *Comparison) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "task\tmetric\t%s\t\n", strings.Join(c.Models, "\t"))
	last := ""
	for _, row := range c.Rows {
		name := row.Task
		if name == last {
			name = ""
		}
		last = row.Task
		fmt.Fprintf(t, "%s\t%s\t", name, row.Title)
		for i := range c.Models {
			fmt.Fprintf(t, "%s\t", row.cell(i))
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "task\tmetric\tcompared\tdifference\t95 % interval\tp (bootstrap)\tp (McNemar)\tonly a right\tonly b right\tN\t")
	for _, p := range c.Pairs {
		fmt.Fprintf(t, "%s\t%s\t%s − %s\t%s\t%d\t%s\n", p.Task, p.Title, p.B, p.A, p.numbers(), p.N, p.Verdict())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, p := range c.Pairs {
		if p.Note != "" {
			fmt.Fprintf(w, "note: %s, %s and %s: %s\n", p.Task, p.A, p.B, p.Note)
		}
		if len(p.Differences) > 0 {
			fmt.Fprintf(w, "NOT THE SAME TASK: %s, %s and %s: %s\n", p.Task, p.A, p.B, strings.Join(p.Differences, "; "))
		}
	}
	return nil
}
