// Package compare sets reports of several models side by side: their metrics by task, paired tests on the same examples,
// and by name whatever keeps two numbers from being comparable.
package compare

import (
	"encoding/json"
	"fmt"
	"io"
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

// records of a task, by set and identifier; nil where the report has none.
func (r Run) records(task string) (map[string]record.Record, error) {
	path := RecordsPath(r.Dir, task)
	if _, err := os.Stat(path); err != nil {
		return nil, nil
	}
	list, err := record.Read(path)
	if err != nil {
		return nil, err
	}
	out := make(map[string]record.Record, len(list))
	for _, rec := range list {
		if rec.Skipped == "" && rec.Set != "validation" && rec.Set != "unknown" {
			out[rec.Set+"\x00"+rec.ID] = rec
		}
	}
	return out, nil
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

// Pair compares one model with the first on one task.
type Pair struct {
	Task string `json:"task"`
	A    string `json:"a"`
	B    string `json:"b"`
	N    int    `json:"n"` // examples that both scored
	// Difference is b − a of the score that the headline averages, over the common examples.
	metrics.Paired
	OnlyA   int     `json:"only_a"` // examples that only a got right
	OnlyB   int     `json:"only_b"`
	McNemar float64 `json:"mcnemar_p"`
	// Differences names what was not the same; with any of them the numbers do not compare models alone.
	Differences []string `json:"differences,omitempty"`
	Note        string   `json:"note,omitempty"`
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
			if err := c.addPair(task, runs[0], runs[i]); err != nil {
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

func (c *Comparison) addPair(task string, a, b Run) error {
	resultA, resultB := find(a, task), find(b, task)
	if resultA == nil || resultB == nil {
		return nil
	}
	p := Pair{Task: task, A: a.Name, B: b.Name, Differences: resultA.Differences(*resultB), McNemar: 1, Paired: metrics.Paired{P: 1}}
	recordsA, err := a.records(task)
	if err != nil {
		return err
	}
	recordsB, err := b.records(task)
	if err != nil {
		return err
	}
	if recordsA == nil || recordsB == nil {
		p.Note = "no records: write them with -out, and the models can be compared example by example"
		c.Pairs = append(c.Pairs, p)
		return nil
	}
	p.test(recordsA, recordsB)
	c.Pairs = append(c.Pairs, p)
	return nil
}

func (p *Pair) test(a, b map[string]record.Record) {
	var keys []string
	for key := range a {
		if _, ok := b[key]; ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys) // maps have no order, and draws depend on it
	var scoresA, scoresB []float64
	var clusters []int
	index := map[string]int{}
	clustered := false
	for i, key := range keys {
		x, y := a[key], b[key]
		scoresA, scoresB = append(scoresA, x.Score), append(scoresB, y.Score)
		name := x.Cluster
		if name == "" {
			name = fmt.Sprintf("\x00%d", i)
		} else {
			clustered = true
		}
		if _, ok := index[name]; !ok {
			index[name] = len(index)
		}
		clusters = append(clusters, index[name])
		switch {
		case x.Correct && !y.Correct:
			p.OnlyA++
		case y.Correct && !x.Correct:
			p.OnlyB++
		}
	}
	if !clustered {
		clusters = nil
	}
	p.N = len(keys)
	if n := max(len(a), len(b)); n > p.N {
		p.Note = fmt.Sprintf("%d of %d examples are in both", p.N, n)
	}
	if p.N > 0 {
		p.Paired = metrics.PairedBootstrap(scoresA, scoresB, clusters, 0)
		p.McNemar = metrics.McNemar(p.OnlyA, p.OnlyB)
	}
}

// Verdict says in a few words what a pair shows.
func (p Pair) Verdict() string {
	switch {
	case p.N == 0:
		return "not tested"
	case p.Difference.Low > 0:
		return p.B + " is better"
	case p.Difference.High < 0:
		return p.A + " is better"
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
	fmt.Fprintln(t, "task\tcompared\tdifference\t95 % interval\tp (bootstrap)\tp (McNemar)\tonly a right\tonly b right\tN\t")
	for _, p := range c.Pairs {
		d := p.Difference
		fmt.Fprintf(t, "%s\t%s − %s\t%+.1f\t%+.1f – %+.1f\t%.4f\t%.4f\t%d\t%d\t%d\t%s\n", p.Task, p.B, p.A, 100*d.Value, 100*d.Low, 100*d.High, p.P, p.McNemar, p.OnlyA, p.OnlyB, p.N, p.Verdict())
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
