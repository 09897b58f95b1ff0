package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/checkpoints"
	"tandem/checkpoints/foreign"
	"tandem/configs"
	"tandem/embed"
	"tandem/eval"
	"tandem/internal/atomicfile"
	"tandem/train"
	"tandem/train/tune"
)

// tuningName is what a fine-tuning came to, for tables: unlike report.json it holds what differs from run to run.
const tuningName = "tuning.json"

// tuningSummary is tuning.json. Shares are of 1, the target's null without tasks to judge by, the guard's without guard tasks.
type tuningSummary struct {
	Init         string   `json:"init"`
	Alpha        float64  `json:"alpha"`
	Step         int64    `json:"step"`
	TargetBefore *float64 `json:"target_before"`
	TargetTuned  *float64 `json:"target_tuned"`
	TargetTaken  *float64 `json:"target_taken"`
	GuardBefore  *float64 `json:"guard_before"`
	GuardTuned   *float64 `json:"guard_tuned"`
	GuardTaken   *float64 `json:"guard_taken"`
	Trained      int      `json:"trained"`
	Parameters   int      `json:"parameters"`
	Seconds      float64  `json:"seconds"`
	PeakBytes    int64    `json:"peak_bytes"`
}

func summaryOf(t *eval.Tuning, parameters int) tuningSummary {
	before, after, taken := t.Before(), t.After(), t.Taken()
	s := tuningSummary{
		Init: t.Init, Alpha: taken.Alpha, Step: t.BestStep, Trained: t.Trained, Parameters: parameters, Seconds: t.Seconds, PeakBytes: t.PeakBytes,
	}
	if len(before.Targets) > 0 {
		s.TargetBefore, s.TargetTuned, s.TargetTaken = new(before.Target()), new(after.Target()), new(taken.Target())
	}
	if len(before.Guards) > 0 {
		s.GuardBefore, s.GuardTuned, s.GuardTaken = new(before.Guard()), new(after.Guard()), new(taken.Guard())
	}
	return s
}

// ends are the two models of a fine-tuning and a third to put others into.
type ends struct {
	base, tuned, into *gml.Store
	head              [][]float32  // of tuned, nil without one
	encoder           *embed.Model // of into
	step              int64        // of tuned
}

// openEnds reads the initial model and the best checkpoint from disk, as they would be read later.
func (s *session) openEnds(ctx context.Context) (*ends, error) {
	e := &ends{step: s.trainer.State().Step}
	if s.selection != nil {
		if best, ok := s.selection.bestStep(); ok {
			e.step = best
		}
	}
	var err error
	load := func(dir string) (store *gml.Store) {
		if err == nil {
			_, store, err = foreign.Load(ctx, dir, foreign.Options{}, foreign.HubOptions{Offline: true}, nil)
		}
		return store
	}
	base, tuned := filepath.Join(s.dir, baseName), s.root().StepDir(e.step)
	e.base, e.tuned, e.into = load(base), load(tuned), load(tuned)
	if err != nil {
		return nil, err
	}
	if e.head, err = s.tunedHead(tuned); err != nil {
		return nil, err
	}
	e.encoder, err = embed.New(s.model(), e.into, embed.WithBackend(s.backend.Backend), embed.WithDevices(s.options.devices))
	return e, err
}

// finishTuning measures the initial and the fine-tuned model on the target and the guard tasks, interpolates between
// them, and leaves the chosen model in the run's directory.
func (s *session) finishTuning(ctx context.Context, report *eval.Report) (*embed.Model, error) {
	e, err := s.openEnds(ctx)
	if err != nil {
		return nil, err
	}
	guards, err := s.openTasks(ctx, s.experiment.Eval.Guard)
	if err != nil {
		return nil, err
	}
	targets, err := s.openTasks(ctx, s.experiment.Eval.Final)
	if err != nil {
		return nil, err
	}
	took, err := train.TimeSpent(filepath.Join(s.dir, metricsName))
	if err != nil {
		return nil, err
	}
	t := &eval.Tuning{Init: s.experiment.Init, Trained: s.trainer.Stepper.NumTrainable(), BestStep: e.step, Seconds: took.Seconds(), PeakBytes: peakMemory()}
	if err := s.sweep(ctx, e, t, targets, guards); err != nil {
		return nil, err
	}
	alpha := t.Points[t.Chosen].Alpha
	if err := tune.Interpolate(s.experiment.Model.Config, e.into, e.base, e.tuned, alpha); err != nil {
		return nil, err
	}
	if s.head != nil {
		s.head.taken = s.head.at(e.head, alpha)
	}
	report.Tuning = t
	if err := atomicfile.Write(filepath.Join(s.dir, tuningName), 0o644, jsonWriter(summaryOf(t, s.experiment.Model.NumParams()))); err != nil {
		return nil, err
	}
	for _, line := range t.Lines() {
		s.progress.Linef("%s", line)
	}
	return e.encoder, s.writeFinal(e, alpha)
}

// sweep measures each α; without a sweep the two ends.
func (s *session) sweep(ctx context.Context, e *ends, t *eval.Tuning, targets, guards []configs.OpenTask) error {
	alphas, wise := []float64{0, 1}, s.experiment.Eval.Wise
	if wise != nil {
		alphas = wise.Alphas
		t.Select = s.selection.run.Task.Name
	}
	task := s.progress.Start("interpolating", int64(len(alphas)), "models")
	var chosenBy []float64
	for _, alpha := range alphas {
		point, err := s.measure(ctx, e, alpha, targets, guards)
		if err != nil {
			task.Fail()
			return err
		}
		if wise != nil {
			chosenBy = append(chosenBy, *point.Select)
		}
		t.Points = append(t.Points, point)
		task.Add(1)
	}
	task.Done()
	t.Chosen = len(alphas) - 1
	if wise != nil {
		t.Chosen = tune.ChooseAlpha(chosenBy, *wise.Tolerance)
	}
	return nil
}

// measure evaluates the model at one α.
func (s *session) measure(ctx context.Context, e *ends, alpha float64, targets, guards []configs.OpenTask) (eval.AlphaPoint, error) {
	p := eval.AlphaPoint{Alpha: alpha}
	if err := tune.Interpolate(s.experiment.Model.Config, e.into, e.base, e.tuned, alpha); err != nil {
		return p, err
	}
	evaluation := eval.NewSession(e.encoder, s.evaluation(s.head.at(e.head, alpha)))
	if s.experiment.Eval.Wise != nil {
		value, _, err := s.selection.measure(ctx, evaluation)
		if err != nil {
			return p, err
		}
		p.Select = &value
	}
	var err error
	if p.Targets, err = headlines(ctx, evaluation, targets); err != nil {
		return p, err
	}
	p.Guards, err = headlines(ctx, evaluation, guards)
	return p, err
}

// headlines are the tasks' first metrics.
func headlines(ctx context.Context, evaluation *eval.Session, runs []configs.OpenTask) ([]eval.TaskValue, error) {
	var values []eval.TaskValue
	for _, r := range runs {
		result, err := evaluation.Run(ctx, r.Task, r.Set)
		if err != nil {
			return nil, err
		}
		m := result.Ordered()[0]
		values = append(values, eval.TaskValue{Task: r.Task.Name, Metric: m.Name, Value: m.Value})
	}
	return values, nil
}

// writeFinal writes the chosen model as a directory that every command reads.
func (s *session) writeFinal(e *ends, alpha float64) error {
	m := s.model()
	m.Weights = checkpoints.WeightsName
	m.Source["init"] = s.experiment.Init
	m.Source["step"] = fmt.Sprint(e.step)
	m.Source["wise_alpha"] = fmt.Sprint(alpha)
	dir := filepath.Join(s.dir, checkpoints.FinalName)
	err := checkpoints.WriteDir(dir, func(tmp string) error {
		if err := m.Write(tmp); err != nil {
			return err
		}
		if s.head != nil {
			if err := writeHead(filepath.Join(tmp, headName), s.head.taken, m.Source); err != nil {
				return err
			}
		}
		return checkpoints.WriteTensors(filepath.Join(tmp, checkpoints.WeightsName), variables(e.into))
	})
	switch {
	case err != nil:
		return err
	case alpha == 0:
		s.progress.Linef("the initial model is in %s", dir)
	default:
		s.progress.Linef("the model of step %d at α = %g is in %s", e.step, alpha, dir)
	}
	return nil
}

// jsonWriter writes v indented.
func jsonWriter(v any) func(io.Writer) error {
	return func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
}
