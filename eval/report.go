package eval

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"tandem/internal/fault"
)

// Report is a set of results for one model.
type Report struct {
	Title    string            `json:"title"`
	Model    map[string]string `json:"model"` // what it is: checkpoint, step, parameters, tokenizer
	Manifest *Manifest         `json:"manifest,omitempty"`
	Results  []Result          `json:"results"`
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

// ReadReport reads what WriteJSON wrote.
func ReadReport(path string) (*Report, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.User(err)
	}
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fault.Userf("%s is not a report: %w", path, fault.JSON(err))
	}
	if len(r.Results) == 0 {
		return nil, fault.Userf("%s holds no results", path)
	}
	return &r, nil
}

// metricInfo is how a metric is shown.
type metricInfo struct {
	name, title string
	plain       bool // a number of its own, not a share
}

// knownMetrics in the order in which they are shown; others follow by name.
var knownMetrics = []metricInfo{
	{Acc1, "top-1", false}, {Acc5, "top-5", false}, {MeanPerClassRecall, "per-class recall", false}, {MAP, "mAP", false},
	{ImageToText + "_R@1", "image→text R@1", false}, {ImageToText + "_R@5", "image→text R@5", false}, {ImageToText + "_R@10", "image→text R@10", false},
	{ImageToText + "_mAP@10", "image→text mAP@10", false}, {ImageToText + "_median_rank", "image→text median rank", true},
	{TextToImage + "_R@1", "text→image R@1", false}, {TextToImage + "_R@5", "text→image R@5", false}, {TextToImage + "_R@10", "text→image R@10", false},
	{TextToImage + "_mAP@10", "text→image mAP@10", false}, {TextToImage + "_median_rank", "text→image median rank", true},
	{Chosen, "true caption chosen", false}, {TextScore, "text score", false}, {ImageScore, "image score", false}, {GroupScore, "group score", false},
	{EffectSize, "effect size", true},
}

// WriteTable prints the report for a terminal: one line for each metric, with interval, chance and N.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "task\tmetric\tvalue\t95 % interval\tchance\tN\t")
	for _, result := range r.Results {
		name := result.Describe()
		for _, m := range append(result.Ordered(), result.doubtMetrics()...) {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t\n", name, m.Title, m.Show(m.Value), m.Range(), m.ShowChance(), m.N)
			name = ""
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, result := range r.Results {
		for _, line := range result.LeftOut() {
			if _, err := fmt.Fprintf(w, "%s: left out: %s\n", result.Task.Name, line); err != nil {
				return err
			}
		}
		for _, warning := range result.Warnings {
			if _, err := fmt.Fprintf(w, "%s: %s\n", result.Task.Name, warning); err != nil {
				return err
			}
		}
	}
	return nil
}

// Describe is the task's name with the number of answers.
func (r Result) Describe() string {
	switch {
	case r.Retrieval != nil:
		return fmt.Sprintf("%s (%d images, %d texts)", r.Task.Name, r.Retrieval.Images, r.Retrieval.Texts)
	case r.Classification != nil:
		return fmt.Sprintf("%s (%d-way)", r.Task.Name, len(r.Classification.Classes))
	case r.MultiLabel != nil:
		return fmt.Sprintf("%s (%d labels)", r.Task.Name, len(r.MultiLabel.Classes))
	case r.Association != nil:
		return fmt.Sprintf("%s (%d and %d images)", r.Task.Name, r.Association.Images[0], r.Association.Images[1])
	}
	return r.Task.Name
}

// NamedMetric is a metric with its name for machines and for people.
type NamedMetric struct {
	Name, Title string
	Plain       bool // a number of its own; otherwise a share, shown in percent
	Metric
}

// bare shows a value of the metric without its unit.
func (m NamedMetric) bare(x float64) string {
	if m.Plain {
		return fmt.Sprintf("%.4g", x)
	}
	return fmt.Sprintf("%.1f", 100*x)
}

// Show shows a value of the metric, "–" where nothing was measured.
func (m NamedMetric) Show(x float64) string {
	if m.N == 0 {
		return "–"
	}
	if m.Plain {
		return m.bare(x)
	}
	return m.bare(x) + " %"
}

// ShowChance shows the level of guessing, "–" where there is none.
func (m NamedMetric) ShowChance() string {
	if m.Chance == nil {
		return "–"
	}
	return m.Show(*m.Chance)
}

// Range shows the interval.
func (m NamedMetric) Range() string {
	if m.N == 0 {
		return "–"
	}
	return m.bare(m.Low) + " – " + m.bare(m.High)
}

// Ordered lists the metrics in the order they are shown.
func (r Result) Ordered() []NamedMetric {
	var list []NamedMetric
	metrics := r.Metrics()
	shown := map[string]bool{}
	for _, info := range knownMetrics {
		if m, ok := metrics[info.name]; ok {
			list = append(list, NamedMetric{info.name, info.title, info.plain, m})
			shown[info.name] = true
		}
	}
	for _, name := range sortedKeys(metrics) {
		if !shown[name] {
			list = append(list, NamedMetric{name, name, false, metrics[name]})
		}
	}
	return list
}

// doubtMetrics are the headline numbers of doubt, for tables.
func (r Result) doubtMetrics() []NamedMetric {
	if r.Classification == nil || r.Classification.Doubt == nil {
		return nil
	}
	d := r.Classification.Doubt
	chosen := d.Rules[0]
	list := []NamedMetric{
		{"ece", "calibration error", false, d.ECE}, {"ece_honest", "  an honest model's", false, d.ECEHonest.Metric(d.TestN)},
		{"ece_fitted", "calibration error, fitted scale", false, d.ECEFitted}, {"ece_fitted_honest", "  an honest model's", false, d.ECEFittedHonest.Metric(d.TestN)},
		{"coverage", "answered (" + chosen.Score + ", " + chosen.Goal + ")", false, chosen.Coverage},
		{"accuracy_answered", "  accuracy of these", false, chosen.Accuracy},
	}
	if chosen.FalseAccept != nil {
		list = append(list, NamedMetric{"false_accept", "  out-of-set answered", false, *chosen.FalseAccept})
	}
	if u, ok := d.Unknown[chosen.Score]; ok {
		list = append(list, NamedMetric{"auroc", "known from unknown: AUROC", false, u.AUROC}, NamedMetric{"fpr95", "known from unknown: FPR@95", false, u.FPR95})
	}
	sets := d.Conformal[0]
	return append(list, NamedMetric{"conformal_coverage", fmt.Sprintf("sets hold the truth (%s, α %g)", sets.Method, sets.Alpha), false, sets.Coverage})
}

// SkippedWords lists counts by reason, in the reasons' order; "" of none.
func SkippedWords[N int | int64](skipped map[string]N) string {
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
