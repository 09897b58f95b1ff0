package eval

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"tandem/eval/bias"
	"tandem/eval/doubt"
	"tandem/eval/record"
)

// Records are what the model thought of every example of the task.
func (r Result) Records() []record.Record {
	switch {
	case r.Classification != nil:
		return r.Classification.Records
	case r.MultiLabel != nil:
		return r.MultiLabel.Records
	case r.Retrieval != nil:
		return r.Retrieval.Records
	case r.Selection != nil:
		return r.Selection.Records
	case r.Association != nil:
		return r.Association.Records
	}
	return nil
}

// WriteMarkdown writes the report's numbers for a README.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", r.Title)
	for _, k := range sortedKeys(r.Model) {
		fmt.Fprintf(&b, "- %s: %s\n", k, r.Model[k])
	}
	b.WriteString("\n| task | metric | value | 95 % interval | chance | N |\n|---|---|--:|--:|--:|--:|\n")
	for _, result := range r.Results {
		name := result.Describe()
		for _, m := range append(result.Ordered(), result.doubtMetrics()...) {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %d |\n", cellText(name), strings.TrimSpace(m.Title), m.Show(m.Value), m.Range(), m.ShowChance(), m.N)
			name = ""
		}
	}
	if r.measuresDoubt() {
		fmt.Fprintf(&b, "\n%s\n", honestWords)
	}
	for _, result := range r.Results {
		for _, warning := range result.Warnings {
			fmt.Fprintf(&b, "\nNote on %s: %s.\n", cellText(result.Task.Name), warning)
		}
		for _, line := range result.LeftOut() {
			fmt.Fprintf(&b, "\nLeft out of %s: %s.\n", cellText(result.Task.Name), line)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// honestWords say how to read a calibration error.
const honestWords = "A calibration error is not 0 on a limited number of examples, whatever the model: beside it stands what an honest model, " +
	"right as often as it says, shows with the same confidences (mean, and the range of 95 % of the draws). Only an error beyond that range speaks against the model."

func (r *Report) measuresDoubt() bool {
	return slices.ContainsFunc(r.Results, func(r Result) bool { return r.Classification != nil && r.Classification.Doubt != nil })
}

// cellText keeps a name from breaking a table.
func cellText(s string) string { return strings.ReplaceAll(s, "|", "\\|") }

// clipBenchmark is one result as CLIP_benchmark writes it.
type clipBenchmark struct {
	Dataset    string             `json:"dataset"`
	Model      string             `json:"model"`
	Pretrained string             `json:"pretrained"`
	Task       string             `json:"task"`
	Metrics    map[string]float64 `json:"metrics"`
	Language   string             `json:"language"`
}

// clipNames are CLIP_benchmark's names of tasks and metrics.
var clipNames = map[string]string{
	Acc1: "acc1", Acc5: "acc5", MeanPerClassRecall: "mean_per_class_recall", MAP: "mean_average_precision",
	TextToImage + "_R@1": "image_retrieval_recall@1", TextToImage + "_R@5": "image_retrieval_recall@5", TextToImage + "_R@10": "image_retrieval_recall@10",
	ImageToText + "_R@1": "text_retrieval_recall@1", ImageToText + "_R@5": "text_retrieval_recall@5", ImageToText + "_R@10": "text_retrieval_recall@10",
	TextScore: "text_acc", ImageScore: "image_acc", GroupScore: "acc", Chosen: "text_acc",
}

// WriteCLIPBenchmark writes an array of results as CLIP_benchmark writes each of them. Numbers that it does not have are
// left out.
func (r *Report) WriteCLIPBenchmark(w io.Writer) error {
	list := []clipBenchmark{}
	for _, result := range r.Results {
		c := clipBenchmark{Dataset: result.Task.Name, Model: r.Model["architecture"], Pretrained: r.Model["checkpoint"], Language: "en", Metrics: map[string]float64{}}
		switch {
		case result.Retrieval != nil:
			c.Task = "zeroshot_retrieval"
		case result.Selection != nil:
			c.Task = "image_caption_selection"
		case result.Association != nil:
			continue
		default:
			c.Task = "zeroshot_classification"
		}
		for name, m := range result.Metrics() {
			if theirs, ok := clipNames[name]; ok {
				c.Metrics[theirs] = m.Value
			}
		}
		list = append(list, c)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(list)
}

// WriteBias says in plain words what was tested about bias and fine detail, what was found, and what was not tested.
func (r *Report) WriteBias(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# What was tested about bias and fine detail\n")
	tested := map[string]bool{}
	for _, result := range r.Results {
		var part strings.Builder
		result.biasWords(&part, tested)
		if part.Len() > 0 {
			fmt.Fprintf(&b, "\n## %s\n\n%s", result.Task.Name, part.String())
		}
	}
	b.WriteString("\n## What was not tested\n\n")
	for _, item := range []struct{ key, words string }{
		{"groups", "- Gaps between groups: no task named metadata columns under `groups`. Whether the model serves all groups equally well is unknown."},
		{"counterfactual", "- Counterfactual pairs: no task named pairs of pictures that differ in one attribute alone, or it had none."},
		{"association", "- Association between groups of pictures and words: no task of kind `association` was run."},
		{"selection", "- Fine detail (counting, position, colour binding, negation, text in the picture): no task of kind `selection` was run; the built-in suite `fine-detail` does."},
		{"unknown", "- Answers where nothing fits: no task named out-of-set images under `unknown`."},
	} {
		if !tested[item.key] {
			b.WriteString(item.words + "\n")
		}
	}
	b.WriteString("- Anything about people that the columns above do not hold. A gap that nobody labelled cannot be seen here.\n" +
		"- Other data than these. A small gap on these pictures is no promise for yours: label some of your own and run the same task on them.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Result) biasWords(b *strings.Builder, tested map[string]bool) {
	if c := r.Classification; c != nil {
		for _, g := range c.Groups {
			tested["groups"] = true
			if g.Worst == "" {
				fmt.Fprintf(b, "Column `%s`: fewer than two groups have %d examples or more, too few to compare.\n", g.Column, 10)
				continue
			}
			fmt.Fprintf(b, "Column `%s`, %d groups: right answers are rarest for **%s** and most frequent for **%s**. The gap is %.1f points (%s). %s\n",
				g.Column, len(g.Groups), g.Worst, g.Best, 100*g.Gap.Value, gapRange(g), gapVerdict(g))
			fmt.Fprintf(b, "%s\n", missingWords(g.Missing, g.Rest))
		}
		if f := c.Counterfactual; f != nil && f.Sets == 0 {
			fmt.Fprintf(b, "No two pictures share `%s` and differ in `%s`: nothing was compared.\n\n", f.Match, f.Attribute)
		} else if f != nil {
			tested["counterfactual"] = true
			fmt.Fprintf(b, "%d sets of pictures share `%s` and differ in `%s`. In %.1f %% of their pairs (95 %% interval %.1f to %.1f) the answer changes with it; in %.1f %% one is right and the other wrong.\n\n",
				f.Sets, f.Match, f.Attribute, 100*f.Flipped.Value, 100*f.Flipped.Low, 100*f.Flipped.High, 100*f.RightToWrong.Value)
		}
		if c.Doubt != nil && c.Doubt.UnknownN > 0 {
			tested["unknown"] = true
			b.WriteString(unknownWords(c.Doubt))
		}
	}
	if a := r.Association; a != nil {
		tested["association"] = true
		fmt.Fprintf(b, "Pictures of %s lie nearer to %s than to %s by an effect of %.2f (95 %% interval %.2f to %.2f; 0 is none, 2 the most) compared with pictures of %s; p = %.4f by permutation, one-sided: it is the probability of leaning this way as much by chance, and near 1 where pictures lean the other way.\n\n",
			a.NameX, a.NameA, a.NameB, a.Effect.Value, a.Effect.Low, a.Effect.High, a.NameY, a.P)
	}
	if s := r.Selection; s != nil && r.Headline().N > 0 {
		tested["selection"] = true
		for _, m := range r.Ordered() {
			verdict := "better than guessing"
			if m.Low <= m.ChanceOrZero() {
				verdict = "not shown to be better than guessing"
			}
			fmt.Fprintf(b, "%s in %.1f %% of %d cases (95 %% interval %.1f to %.1f; guessing: %.1f %%): %s.\n\n", strings.ToUpper(m.Title[:1])+m.Title[1:],
				100*m.Value, m.N, 100*m.Low, 100*m.High, 100*m.ChanceOrZero(), verdict)
		}
	}
}

// unknownWords say how many of the pictures that measured the rule were answered.
func unknownWords(d *doubt.Result) string {
	rule := d.Rules[0]
	if rule.FalseAccept == nil {
		return fmt.Sprintf("All %d pictures of none of the classes chose the rule's threshold; none is left to measure it.\n\n", d.UnknownN)
	}
	chose := ""
	if rest := d.UnknownN - rule.FalseAccept.N; rest > 0 {
		chose = fmt.Sprintf(" (the other %d chose its threshold)", rest)
	}
	words := fmt.Sprintf("Of %d pictures of none of the classes%s the rule (%s, %s) answers %.1f %% (95 %% interval %.1f to %.1f) all the same, where \"unknown\" is right.",
		rule.FalseAccept.N, chose, rule.Score, rule.Goal, 100*rule.FalseAccept.Value, 100*rule.FalseAccept.Low, 100*rule.FalseAccept.High)
	if rule.Note != "" {
		words += " It " + rule.Note + "."
	}
	return words + "\n\n"
}

// gapRange is the interval of a gap, and what is not in it.
func gapRange(g bias.Gaps) string {
	words := fmt.Sprintf("95 %% interval %.1f to %.1f", 100*g.Gap.Low, 100*g.Gap.High)
	if g.Compared > 2 {
		words += fmt.Sprintf(", as if these two had been named beforehand: picked as the extremes of %d groups, they are likely to lie closer together on other pictures", g.Compared)
	}
	return words
}

// gapVerdict says what the permutations of labels show.
func gapVerdict(g bias.Gaps) string {
	if g.P == nil {
		return "Whether chance explains it was not tested."
	}
	words := fmt.Sprintf("If groups made no difference, the extremes would be as far apart with a probability of p = %.3f (%d permutations of the groups' labels over %s): ", *g.P, bias.GapPermutations, g.Permuted)
	if *g.P < 0.05 {
		return words + "that is more than chance explains."
	}
	return words + "these examples do not show a difference."
}

func missingWords(missing, rest int) string {
	var parts []string
	if missing > 0 {
		parts = append(parts, fmt.Sprintf("%d examples have no value and are in no group.", missing))
	}
	if rest > 0 {
		parts = append(parts, fmt.Sprintf("%d examples are in groups too small to be listed.", rest))
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, " ") + "\n"
}
