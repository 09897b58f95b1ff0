package eval

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
)

// Report is a set of results for one model.
type Report struct {
	Title   string            `json:"title"`
	Model   map[string]string `json:"model"` // what it is: checkpoint, step, parameters, tokenizer
	Results []Result          `json:"results"`
	// Tuning is set for a fine-tuned model.
	Tuning *Tuning `json:"tuning,omitempty"`
	// Curve is the training's course, if known.
	Curve []CurvePoint `json:"-"`
}

// CurvePoint is one step of a training.
type CurvePoint struct {
	Step int64
	Loss float64
}

// WriteJSON writes the report for machines. The same model on the same data gives the same bytes.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// metricOrder is the order in which metrics are shown.
var metricOrder = append(append([]string{Acc1, Acc5, MeanPerClassRecall}, recallNames[true]...), recallNames[false]...)

// metricTitles are the metrics' names for people.
var metricTitles = map[string]string{
	Acc1: "top-1", Acc5: "top-5", MeanPerClassRecall: "per-class recall",
	recallNames[true][0]: "image→text R@1", recallNames[true][1]: "R@5", recallNames[true][2]: "R@10",
	recallNames[false][0]: "text→image R@1", recallNames[false][1]: "R@5", recallNames[false][2]: "R@10",
}

// WriteTable prints the report for a terminal: one line for each metric, with interval, chance and N.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "task\tmetric\tvalue\t95 % interval\tchance\tN\t")
	for _, result := range r.Results {
		name := result.Describe()
		for _, m := range result.Ordered() {
			fmt.Fprintf(t, "%s\t%s\t%.1f %%\t%.1f – %.1f\t%.1f %%\t%d\t\n", name, m.Title, 100*m.Value, 100*m.Low, 100*m.High, 100*m.ChanceOrZero(), m.N)
			name = ""
		}
	}
	return t.Flush()
}

// Describe is the task's name with the number of answers.
func (r Result) Describe() string {
	if r.Retrieval != nil {
		return fmt.Sprintf("%s (%d images, %d texts)", r.Task.Name, r.Retrieval.Images, r.Retrieval.Texts)
	}
	return fmt.Sprintf("%s (%d-way)", r.Task.Name, len(r.Classification.Classes))
}

// NamedMetric is a metric with its name for machines and for people.
type NamedMetric struct {
	Name, Title string
	Metric
}

// Ordered lists the metrics in the order they are shown.
func (r Result) Ordered() []NamedMetric {
	var list []NamedMetric
	metrics := r.Metrics()
	for _, name := range metricOrder {
		if m, ok := metrics[name]; ok {
			list = append(list, NamedMetric{name, metricTitles[name], m})
		}
	}
	return list
}

// ChanceOrZero is the chance level, 0 where there is none.
func (m Metric) ChanceOrZero() float64 {
	if m.Chance == nil {
		return 0
	}
	return *m.Chance
}

// SkippedLine says what was left out, "" if nothing.
func (r Result) SkippedLine() string {
	skipped := map[string]int{}
	if r.Retrieval != nil {
		skipped = r.Retrieval.Skipped
	} else if r.Classification != nil {
		skipped = r.Classification.Skipped
	}
	var parts []string
	for _, reason := range sortedKeys(skipped) {
		parts = append(parts, fmt.Sprintf("%d %s", skipped[reason], reason))
	}
	return strings.Join(parts, ", ")
}

// ReadCurve reads the loss of each step from a metrics log.
func ReadCurve(path string) ([]CurvePoint, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var curve []CurvePoint
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var record struct {
			Step int64    `json:"step"`
			Loss *float64 `json:"loss"`
		}
		if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if record.Loss != nil {
			curve = append(curve, CurvePoint{record.Step, *record.Loss})
		}
	}
	return curve, lines.Err()
}
