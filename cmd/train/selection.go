package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"tandem/checkpoints"
	"tandem/configs"
	"tandem/embed"
	"tandem/eval"
	"tandem/internal/atomicfile"
	"tandem/internal/fault"
	"tandem/train"
)

// selection follows the metric that chooses the best checkpoint.
type selection struct {
	config configs.Select
	path   string // of the history
	run    configs.OpenTask

	History []measurement `json:"history"`
}

// measurement is the metric after a step.
type measurement struct {
	Step  int64   `json:"step"`
	Value float64 `json:"value"`
}

const selectionName = "selection.json"

// openSelection reads what an earlier part of the run measured, up to the step it goes on from.
func (s *session) openSelection(ctx context.Context, step int64) (*selection, error) {
	config := s.experiment.Eval.Select
	if config == nil {
		return nil, nil
	}
	runs, err := s.openTasks(ctx, []string{config.Task})
	if err != nil {
		return nil, err
	}
	var tasks []eval.Task
	for _, r := range runs {
		tasks = append(tasks, r.Task)
	}
	if err := checkSelect(*config, tasks); err != nil {
		return nil, err
	}
	sel := &selection{config: *config, path: filepath.Join(s.dir, selectionName), run: runs[0]}
	if err := checkpoints.ReadJSON(sel.path, sel); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	sel.forget(step + 1)
	return sel, nil
}

// best is the index of the first of the best measurements, -1 without any.
func (sel *selection) best() int {
	best := -1
	for i, m := range sel.History {
		if best < 0 || m.Value > sel.History[best].Value {
			best = i
		}
	}
	return best
}

// bestStep is the step of the best checkpoint so far.
func (sel *selection) bestStep() (int64, bool) {
	if i := sel.best(); i >= 0 {
		return sel.History[i].Step, true
	}
	return 0, false
}

// protects spares the best checkpoint from retention, and with it every one that is not measured yet.
func (sel *selection) protects(step int64) bool {
	best, ok := sel.bestStep()
	return ok && step == best
}

// hook measures the metric, of steps that are saved, or they could not be chosen; it ends the training when patience has
// run out.
func (sel *selection) hook(every int64, encoder func() (*embed.Model, error), head func() (eval.Options, error)) train.Hook {
	return train.Hook{Name: "select", Every: every, Saved: true, Enough: sel.enough, Run: func(ctx context.Context, step int64) (map[string]float64, error) {
		enc, err := encoder()
		if err != nil {
			return nil, err
		}
		options, err := head()
		if err != nil {
			return nil, err
		}
		value, name, err := sel.measure(ctx, eval.NewSession(enc, options))
		if err != nil {
			return nil, err
		}
		sel.forget(step) // a run killed before it could log the step
		sel.History = append(sel.History, measurement{step, value})
		if err := sel.write(); err != nil {
			return nil, err
		}
		values := map[string]float64{sel.run.Task.Name + " " + name: value}
		if sel.enough() {
			return values, train.ErrEnough
		}
		return values, nil
	}}
}

// enough reports whether patience has run out.
func (sel *selection) enough() bool {
	waited := len(sel.History) - 1 - sel.best()
	return sel.config.Patience > 0 && waited >= sel.config.Patience
}

// forget drops the measurements from a step on.
func (sel *selection) forget(step int64) {
	sel.History = slices.DeleteFunc(sel.History, func(m measurement) bool { return m.Step >= step })
}

func (sel *selection) write() error {
	return atomicfile.Write(sel.path, 0o644, jsonWriter(sel))
}

// measure is the chosen metric of a model.
func (sel *selection) measure(ctx context.Context, evaluation *eval.Session) (value float64, name string, err error) {
	result, err := evaluation.Run(ctx, sel.run.Task, sel.run.Set)
	if err != nil {
		return 0, "", err
	}
	return metricOf(result, sel.config.Metric)
}

// checkSelect refuses, before anything is trained, several tasks to choose by, and a metric that the task does not have or
// that is better the smaller it is.
func checkSelect(config configs.Select, tasks []eval.Task) error {
	if len(tasks) != 1 {
		return fault.Userf("eval.select.task %s is a suite of %d tasks: name one of them", config.Task, len(tasks))
	}
	t := tasks[0]
	name := cmp.Or(config.Metric, t.Metric)
	names := slices.DeleteFunc(t.MetricNames(), func(name string) bool { return strings.HasSuffix(name, eval.MedianRank) })
	if name != "" && !slices.Contains(names, name) {
		return fault.Userf("eval.select.metric %q is none that task %s can be chosen by: use %s", name, t.Name, strings.Join(names, ", "))
	}
	return nil
}

// metricOf picks a metric by name, the headline without one.
func metricOf(r eval.Result, name string) (float64, string, error) {
	if headline := r.Headline(); name == "" {
		return headline.Value, headline.Name, nil
	}
	var known []string
	for _, m := range r.Ordered() {
		if m.Name == name {
			return m.Value, m.Name, nil
		}
		known = append(known, m.Name)
	}
	return 0, "", fault.Userf("eval.select.metric %q is not one of task %s: it has %v", name, r.Task.Name, known)
}

// checkTaskOverlap warns of a task that is judged by the data that chose the model.
func (s *session) checkTaskOverlap(sel *selection, judged []configs.OpenTask) {
	for _, r := range judged {
		if sel != nil && r.Task.Data == sel.run.Task.Data && r.Task.Split == sel.run.Task.Split {
			s.warn("task %s and eval.select.task %s use the same split %q: what chose the model cannot judge it fairly", r.Task.Name, sel.run.Task.Name, fmt.Sprint(r.Task.Split))
		}
	}
}
