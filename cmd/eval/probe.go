package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"tandem/configs"
	"tandem/data/prepare"
	"tandem/embed"
	"tandem/eval"
	"tandem/eval/metrics"
	"tandem/eval/probe"
	"tandem/internal/atomicfile"
	"tandem/internal/fault"
	"tandem/internal/progress"
	"tandem/internal/zeroshot"
)

const probeUsage = `usage: go run ./cmd/eval probe -ckpt DIR -task TASK [-train SPLIT] [-kind linear|knn|tip-adapter] [-shots 1,2,4,8,16] [-plot FILE] [-save FILE]

Trains a small classifier on the embeddings of a task's training split and measures it on the task's own split, beside the
zero-shot classifier. Where both are the same split, a part of it is held out: the same pictures every time, by a hash of
their keys. The penalty (linear), the number of neighbours (knn) or the weights (tip-adapter) are chosen on part
of the training split. With -shots, draws a curve over the number of examples a class, of several kinds if -kind lists them.
`

type probeFlags struct {
	tasks                          list
	train, kind, shots, save, json string
	plot                           string
	cache                          string
	seeds                          int
	seed                           uint64
	validation, holdout            float64
}

// probeReport is what the command measures.
type probeReport struct {
	Task    string `json:"task"`
	Kind    string `json:"kind"`
	Train   int    `json:"train"`
	Test    int    `json:"test"`
	HeldOut int    `json:"held_out,omitempty"` // of the one split that both are of
	// What no number counts, by reason, and what no probe can get right: test examples of classes without training ones.
	SkippedTrain map[string]int `json:"skipped_train,omitempty"`
	SkippedTest  map[string]int `json:"skipped_test,omitempty"`
	Untrained    int            `json:"untrained,omitempty"`
	LeftOut      string         `json:"left_out,omitempty"` // when the data were read

	ZeroShot metrics.Metric    `json:"zero_shot"`
	Probe    *metrics.Metric   `json:"probe,omitempty"`
	Trials   []probe.Trial     `json:"trials,omitempty"`
	FewShot  []curve           `json:"few_shot,omitempty"`
	Settings map[string]string `json:"settings,omitempty"`
}

// runProbe trains a probe on cached embeddings.
func runProbe(ctx context.Context, c *common, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("eval probe", flag.ContinueOnError)
	c.register(flags)
	var f probeFlags
	flags.Var(&f.tasks, "task", "a classification task: name, YAML `file` or directory; its split is what the probe is measured on")
	flags.StringVar(&f.train, "train", "train", "`split` to train on")
	flags.StringVar(&f.kind, "kind", probe.KindLinear, "linear, knn or tip-adapter; with -shots also several, like linear,tip-adapter")
	flags.StringVar(&f.shots, "shots", "", "numbers of examples a class for a few-shot curve, like 1,2,4,8,16")
	flags.StringVar(&f.plot, "plot", "", "with -shots: draw the curves to this SVG `file`")
	flags.IntVar(&f.seeds, "seeds", 3, "draws for each point of a few-shot curve")
	flags.Float64Var(&f.holdout, "holdout", 0.2, "share to measure on of pictures that are in the task's split and in the one to train on")
	flags.Float64Var(&f.validation, "validation", 0.2, "share of the training split to choose settings on")
	flags.Uint64Var(&f.seed, "seed", 0, "of the split and the draws")
	flags.StringVar(&f.save, "save", "", "write the probe to this `file`, for classify -probe")
	flags.StringVar(&f.json, "json", "", "write the numbers to this `file`")
	flags.StringVar(&f.cache, "cache", "auto", "`directory` of cached embeddings; auto is in the user's cache directory, none keeps none")
	if err := parse(flags, args, stderr, probeUsage); err != nil {
		return err
	}
	shots, err := f.parseShots()
	if err != nil {
		return err
	}
	if err := f.validate(shots); err != nil {
		return err
	}
	if flags.NArg() > 0 || len(f.tasks) != 1 {
		return fault.Userf("name one classification task with -task")
	}
	p := progress.New(stderr)
	opener := &configs.Opener{Options: prepare.Options{Offline: c.offline, Progress: p}}
	defer opener.Close()
	tasks, err := opener.Tasks(ctx, f.tasks...)
	if err != nil {
		return err
	}
	if len(tasks) != 1 {
		return fault.Userf("%s names %d tasks: pick one, like -task %s", f.tasks[0], len(tasks), f.likely(tasks).Ref)
	}
	if kind := tasks[0].Task.Kind; kind != "" && kind != eval.Classification {
		return fault.Userf("task %s is a %s: a probe needs one label an image", tasks[0].Task.Name, kind)
	}
	return f.run(ctx, c, p, opener, tasks[0], shots, stdout)
}

// likely is the task that a probe was meant for: a classification, best of another split than the one to train on.
func (f *probeFlags) likely(tasks []configs.OpenTask) configs.OpenTask {
	best := tasks[0]
	for _, t := range tasks {
		if t.Task.Kind == eval.Classification || t.Task.Kind == "" {
			if best = t; t.Task.Split != f.train {
				break
			}
		}
	}
	return best
}

// validate checks the flags before anything is computed.
func (f *probeFlags) validate(shots []int) error {
	kinds := splitLabels(f.kind)
	for _, kind := range kinds {
		if !slices.Contains(probe.Kinds(), kind) {
			return fault.Userf("-kind %q is unknown: use linear, knn or tip-adapter", kind)
		}
	}
	switch {
	case len(kinds) == 0:
		return fault.Userf("-kind is empty: use linear, knn or tip-adapter")
	case f.plot != "" && len(shots) == 0 || len(kinds) > 1 && (len(shots) == 0 || f.save != ""):
		return fault.Userf("-plot and several kinds are for the curve of -shots, and -save keeps one kind")
	case f.seeds < 1:
		return fault.Userf("-seeds %d: at least one draw is needed", f.seeds)
	case !(f.validation > 0 && f.validation < 1):
		return fault.Userf("-validation %g is a share between 0 and 1", f.validation)
	case !(f.holdout > 0 && f.holdout < 1):
		return fault.Userf("-holdout %g is a share between 0 and 1", f.holdout)
	}
	if err := checkOutputs(f.save, f.json, f.plot); err != nil {
		return err
	}
	cache, err := cacheDirectory(f.cache)
	if err != nil {
		return err
	}
	return checkDirectories(cache)
}

func (f *probeFlags) parseShots() ([]int, error) {
	var shots []int
	for _, s := range splitLabels(f.shots) {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fault.Userf("-shots %q: %q is no number of examples", f.shots, s)
		}
		shots = append(shots, n)
	}
	return shots, nil
}

func (f *probeFlags) run(ctx context.Context, c *common, p *progress.Reporter, opener *configs.Opener, t configs.OpenTask, shots []int, stdout io.Writer) error {
	m, err := c.open(p)
	if err != nil {
		return err
	}
	d, model, err := f.embed(ctx, c, m, p, opener, t)
	if err != nil {
		return err
	}
	train, test, classifier := d.Train, d.Test, d.Classifier
	report := probeReport{
		Task: t.Task.Name, Kind: f.kind, Train: train.Len(), Test: test.Len(), HeldOut: d.HeldOut,
		SkippedTrain: d.SkippedTrain, SkippedTest: d.SkippedTest, Untrained: d.Untrained, LeftOut: d.LeftOut, Settings: map[string]string{},
	}
	zero := &probe.TipAdapter{Train: probe.Set{Classes: train.Classes}, Text: classifier.Rows, Scale: classifier.Scale}
	report.ZeroShot = probe.Accuracy(zero, test)
	if len(shots) > 0 {
		if err := f.curves(train, test, classifier, shots, &report); err != nil {
			return err
		}
	}
	if len(shots) == 0 || f.save != "" {
		trained, err := f.fit(train, classifier, &report)
		if err != nil {
			return err
		}
		accuracy := probe.Accuracy(trained, test)
		report.Probe = &accuracy
		if f.save != "" {
			notes := map[string]string{"task": t.Task.Name, "train split": f.train, "accuracy": fmt.Sprintf("%.4f of %d", accuracy.Value, accuracy.N)}
			if err := probe.Save(f.save, trained, model, notes); err != nil {
				return err
			}
		}
	}
	if f.json != "" {
		err := atomicfile.Write(f.json, 0o644, func(w io.Writer) error {
			enc := json.NewEncoder(w)
			enc.SetIndent("", "  ")
			return enc.Encode(report)
		})
		if err != nil {
			return err
		}
	}
	return report.print(stdout)
}

// curves measures every kind at every number of examples, and draws them.
func (f *probeFlags) curves(train, test probe.Set, classifier *zeroshot.Classifier, shots []int, report *probeReport) error {
	for _, kind := range splitLabels(f.kind) {
		points, err := probe.FewShot(train, test, probe.FewShotOptions{Kind: kind, Shots: shots, Seeds: f.seeds, Seed: f.seed, Text: classifier.Rows, Scale: classifier.Scale})
		if err != nil {
			return err
		}
		report.FewShot = append(report.FewShot, curve{kind, points})
	}
	if f.plot == "" {
		return nil
	}
	return atomicfile.Write(f.plot, 0o644, func(w io.Writer) error {
		return plotCurves(w, report.Task, report.FewShot, report.ZeroShot.Value)
	})
}

// embed encodes both splits and the classes.
func (f *probeFlags) embed(ctx context.Context, c *common, m *embed.Model, p *progress.Reporter, opener *configs.Opener, t configs.OpenTask) (d eval.ProbeData, model string, err error) {
	fingerprint, err := m.Fingerprint()
	if err != nil {
		return d, "", err
	}
	cache, err := cacheDirectory(f.cache)
	if err != nil {
		return d, "", err
	}
	model = c.embeddings(m, fingerprint)
	encoder := &counted{Encoder: m, bar: p.Start(t.Task.Name, -1, "images")}
	session := eval.NewSession(encoder, eval.Options{Cache: cache, Model: model, Open: opener.Open, Seed: f.seed})
	d, err = session.Labelled(ctx, t.Task, t.Set, eval.Subset{Split: f.train}, f.holdout)
	if err != nil {
		encoder.bar.Fail()
		return d, "", fmt.Errorf("task %s: %w", t.Task.Name, err)
	}
	encoder.bar.Done()
	return d, model, nil
}

// fit trains on the training split, its settings chosen on a part of it.
func (f *probeFlags) fit(train probe.Set, classifier *zeroshot.Classifier, report *probeReport) (probe.Predictor, error) {
	first, validation := train.Split(f.validation, f.seed)
	switch f.kind {
	case probe.KindKNN:
		m, err := probe.TrainKNN(first, validation)
		if err == nil {
			m.Train = train // with the number of neighbours chosen, the rest joins
			report.Settings["k"] = strconv.Itoa(m.K)
		}
		return m, err
	case probe.KindTipAdapter:
		m, err := probe.TrainTipAdapter(first, validation, classifier.Rows, classifier.Scale)
		if err == nil {
			report.Settings["alpha"], report.Settings["beta"] = fmt.Sprint(m.Alpha), fmt.Sprint(m.Beta)
		}
		return m, err
	case probe.KindLinear:
		m, trials, err := probe.TrainLinear(first, validation, probe.LinearOptions{Refit: true})
		report.Trials = trials
		return m, err
	}
	return nil, fmt.Errorf("kind %q is unknown", f.kind)
}

func (r probeReport) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name string, m metrics.Metric) {
		fmt.Fprintf(t, "%s\t%.1f %%\t%.1f – %.1f\tN %d\n", name, 100*m.Value, 100*m.Low, 100*m.High, m.N)
	}
	line(r.Task+" zero-shot", r.ZeroShot)
	for _, c := range r.FewShot {
		for _, point := range c.Points {
			name := fmt.Sprintf("%s, %d a class", c.Kind, point.Shots)
			if point.Fewest > 0 {
				name = fmt.Sprintf("%s, up to %d a class (%d to %d are there)", c.Kind, point.Shots, point.Fewest, point.Most)
			}
			fmt.Fprintf(t, "%s\t%.1f %%\t± %.1f\t%d draws\n", name, 100*point.Mean, 100*point.Deviation, len(point.Accuracy))
		}
	}
	if r.Probe != nil {
		var settings []string
		for _, k := range slices.Sorted(maps.Keys(r.Settings)) {
			settings = append(settings, k+" "+r.Settings[k])
		}
		line(strings.TrimSpace(fmt.Sprintf("%s on %d examples %s", r.Kind, r.Train, strings.Join(settings, " "))), *r.Probe)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, note := range r.notes() {
		if _, err := fmt.Fprintln(w, note); err != nil {
			return err
		}
	}
	return nil
}

// notes say what the numbers do not count.
func (r probeReport) notes() (lines []string) {
	if r.HeldOut > 0 {
		lines = append(lines, fmt.Sprintf("held out: %d examples of the split that is trained on, by a hash of their keys; no probe saw them", r.HeldOut))
	}
	for _, side := range []struct {
		name    string
		skipped map[string]int
	}{{"training", r.SkippedTrain}, {"measuring", r.SkippedTest}} {
		if line := eval.SkippedWords(side.skipped); line != "" {
			lines = append(lines, fmt.Sprintf("left out of %s: %s", side.name, line))
		}
	}
	if r.LeftOut != "" {
		lines = append(lines, "left out: "+r.LeftOut)
	}
	if r.Untrained > 0 {
		lines = append(lines, fmt.Sprintf("%d of the %d measured are of classes without a training example: they count as wrong", r.Untrained, r.Test))
	}
	return lines
}
