package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/checkpoints"
	"tandem/configs"
	"tandem/data"
	"tandem/data/prepare"
	"tandem/embed"
	"tandem/eval"
	"tandem/internal/atomicfile"
	"tandem/internal/fault"
	"tandem/train"
)

// assemble builds the trainer: weights, step, schedule, log, hooks.
func (s *session) assemble(ctx context.Context) error {
	e := s.experiment
	stepper := s.stepper
	identity, err := e.Identity()
	if err != nil {
		return err
	}
	if s.teacherDigest != "" {
		identity[teacherDigest] = s.teacherDigest
	}
	rows, batch := s.loader.Rows(), int64(e.Data.Batch)
	total := e.Train.Length.ToSteps(batch, rows, 0)
	if err := s.checkLength(total, rows); err != nil {
		return err
	}
	stop := cmp.Or(s.options.steps, total)
	t := &train.Trainer{
		Config: e.Train, Stepper: stepper, Curve: e.Optim.Schedule.Over(total, batch, rows), Batches: batches{s.loader, &s.rows, s.head},
		Rows: rows, Batch: batch, Total: total, Stop: stop, SaveEvery: e.Train.SaveEvery.ToSteps(batch, rows, total),
		Root: s.root(), Export: s.model().Write, Identity: identity, Versions: s.versions(), Base: e.Init,
	}
	if s.options.saveEvery > 0 {
		t.SaveEvery = s.options.saveEvery
	}
	if err := s.addHooks(ctx, t, e.Train.EvalEvery.ToSteps(batch, rows, total)); err != nil {
		return err
	}
	var step int64
	if s.resumed != nil {
		configs.Deciding(s.resumed.Identity)
		if err := t.Restore(s.resumedDir, *s.resumed); err != nil {
			return err
		}
		step = s.resumed.Step
	}
	if err := s.writeConfig(); err != nil {
		return err
	}
	if s.logger, err = train.OpenLogger(filepath.Join(s.dir, metricsName), step, s.progress); err != nil {
		return err
	}
	t.Log = s.logger
	s.trainer = t
	s.announce(rows, total, stop)
	return nil
}

// checkLength refuses what would give the schedule another length than the recipe's, or than the run began with.
func (s *session) checkLength(total, rows int64) error {
	length := s.experiment.Train.Length
	if s.options.steps > total {
		return fault.Userf("-steps %d is more than the %d steps of train.length %s, where the schedule ends: to train longer, set train.length", s.options.steps, total, length)
	}
	if s.resumed != nil && s.resumed.Total != total {
		return fault.Userf("%s was to take %d steps in all; train.length %s of %d pairs is %d: have the data changed? Their schedules differ, so use another -dir, or start from the run with -init",
			s.resumedDir, s.resumed.Total, length, rows, total)
	}
	return nil
}

const metricsName = "metrics.jsonl"

func (s *session) newStepper(ctx context.Context) (*train.Stepper, error) {
	e := s.experiment
	store, err := s.firstWeights()
	if err != nil {
		return nil, err
	}
	if e.Loss.ScaleTarget == 0 {
		e.Loss.ScaleTarget = scaleOf(store)
	}
	step := train.Stepper{
		Model: e.Model.Config, Loss: e.Loss, Optim: e.Optim, DType: e.Train.DType(), Rematerialise: e.Train.Rematerialise, Norms: e.Train.Norms,
		Chunk: e.Train.Chunk, Devices: s.options.devices,
	}
	if n := e.Data.Negatives; n != nil {
		step.Negatives = n.Count
	}
	if err := s.fitTexts(ctx, &step); err != nil {
		return nil, err
	}
	if step.HasHead() {
		if step.Head, err = s.prepareHead(ctx, store); err != nil {
			return nil, err
		}
	}
	if err := step.Tune(store, e.Tune, e.Train.Seed); err != nil {
		return nil, fault.User(err)
	}
	return train.NewStepper(s.backend.Backend, store, step)
}

// firstWeights are those of the initial model, or random ones.
func (s *session) firstWeights() (*gml.Store, error) {
	if s.initialStore != nil {
		return s.initialStore, nil
	}
	return s.experiment.Model.Config.NewStore(s.experiment.Train.Seed)
}

// addHooks adds the evaluations during training and the choice of the best checkpoint, which must be saved before it can
// be chosen.
func (s *session) addHooks(ctx context.Context, t *train.Trainer, every int64) (err error) {
	if t.Hooks, err = s.hooks(ctx, every); err != nil {
		return err
	}
	var step int64
	if s.resumed != nil {
		step = s.resumed.Step
	}
	if s.selection, err = s.openSelection(ctx, step); err != nil || s.selection == nil {
		return err
	}
	if step != t.Stop && step%every != 0 {
		s.selection.forget(step) // measured because the run was to end there
	}
	t.Root.Protected = s.selection.protects
	t.Hooks = append(t.Hooks, s.selection.hook(every, s.currentEncoder(), s.currentHead))
	return nil
}

// model is what checkpoints carry beside the weights.
func (s *session) model() checkpoints.Model {
	m := checkpoints.Model{Config: s.experiment.Model.Config, Preprocess: s.experiment.Preprocess, Tokenizer: s.tokenizer}
	m.Source = map[string]string{"recipe": s.experiment.Name}
	if name := s.initial.Source[originName]; name != "" {
		m.Source[originName] = name
	}
	if s.experiment.Optim.EMA > 0 {
		m.Weights = checkpoints.AverageName
	}
	return m
}

// originName is the key of a model's source that says whose weights it goes back to: what is known of those holds for
// every model made from them.
const originName = "name"

// announce says what is about to happen.
func (s *session) announce(rows, total, stop int64) {
	e := s.experiment
	image, text := e.Model.FLOPs()
	s.progress.Linef("%s: %.1f M parameters (%.1f M trained), %.2f GFLOP a pair; %d pairs, %d steps of %d (%.1f epochs), %s",
		e.Name, float64(e.Model.NumParams())/1e6, float64(s.trainer.Stepper.NumTrainable())/1e6, (image+text)/1e9,
		rows, total, e.Data.Batch, float64(total)*float64(e.Data.Batch)/float64(rows), e.Train.Precision)
	if stop < total {
		s.progress.Linef("stopping after step %d", stop)
	}
}

// configName is the recipe that a run keeps of itself.
const configName = "config.yaml"

// writeConfig records the configuration as it is used, every default filled in.
func (s *session) writeConfig() error {
	e := s.experiment
	e.Data.Sources = s.named // the data sets' places differ from machine to machine
	content, err := e.YAML()
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(s.dir, configName), content, 0o644)
}

// batches adapts a data.Loader to what the trainer consumes.
type batches struct {
	loader *data.Loader
	rows   *rowSources
	head   *classHead
}

// Next implements train.Batches.
func (b batches) Next(ctx context.Context) (train.Batch, error) {
	batch, err := b.loader.Next(ctx)
	if err != nil {
		return train.Batch{}, err
	}
	cursor, err := json.Marshal(batch.Cursor)
	if err != nil {
		return train.Batch{}, err
	}
	input := train.Input{Images: batch.Images, Tokens: batch.Tokens, Keys: ranks(batch.Keys), Longest: batch.Longest, Negatives: batch.Negatives, NegativeMask: batch.NegativeMask}
	if b.head != nil {
		input.Keys = b.head.classesOf(batch.Rows)
	}
	if err := b.rows.fill(&input, batch); err != nil {
		return train.Batch{}, err
	}
	return train.Batch{
		Input: input, Cursor: cursor, Epoch: batch.Epoch, Books: b.loader.Stats(), Source: batch,
	}, nil
}

// Recycle implements train.Batches.
func (b batches) Recycle(batch train.Batch) { b.loader.Recycle(batch.Source.(*data.Batch)) }

// ranks numbers keys so that equal keys get equal numbers: 64-bit hashes do not fit the device's integers.
func ranks(keys []uint64) []int32 {
	index := make(map[uint64]int32, len(keys))
	numbers := make([]int32, len(keys))
	for i, k := range keys {
		n, ok := index[k]
		if !ok {
			n = int32(len(index))
			index[k] = n
		}
		numbers[i] = n
	}
	return numbers
}

// checkTasks finds the description of every task that the recipe names: a missing one must not turn up after hours.
func (s *session) checkTasks() error {
	e := s.experiment.Eval
	for _, ref := range slices.Concat(e.Hook, e.Final, e.Guard) {
		if _, err := configs.Tasks(ref); err != nil {
			return err
		}
	}
	if e.Select == nil {
		return nil
	}
	if info, err := os.Stat(e.Select.Task); err == nil && info.IsDir() {
		return nil // may be pictures yet to be read: openSelection checks
	}
	tasks, err := configs.Tasks(e.Select.Task)
	if err != nil {
		return err
	}
	return checkSelect(*e.Select, tasks)
}

// openTasks resolves references to tasks and opens their data, until the session ends. Data sets that are trained on are
// known by their names, the recipe's own is made as it says, trained on or not.
func (s *session) openTasks(ctx context.Context, refs []string) ([]configs.OpenTask, error) {
	s.tasks.Options = prepare.Options{Offline: s.options.offline, Progress: s.progress}
	s.tasks.Dataset = s.experiment.Dataset
	return s.tasks.Tasks(ctx, refs...)
}

// hooks are the evaluations during training.
func (s *session) hooks(ctx context.Context, every int64) ([]train.Hook, error) {
	if every == 0 || len(s.experiment.Eval.Hook) == 0 {
		return nil, nil
	}
	runs, err := s.openTasks(ctx, s.experiment.Eval.Hook)
	if err != nil {
		return nil, err
	}
	current := s.currentEncoder()
	hook := func(ctx context.Context, step int64) (map[string]float64, error) {
		encoder, err := current()
		if err != nil {
			return nil, err
		}
		values := map[string]float64{}
		options, err := s.currentHead()
		if err != nil {
			return nil, err
		}
		evaluation := eval.NewSession(encoder, options) // the weights have changed: nothing is kept from the last time
		for _, r := range runs {
			result, err := evaluation.Run(ctx, r.Task, r.Set)
			if err != nil {
				return nil, err
			}
			headline := result.Headline()
			values[r.Task.Name+" "+headline.Name] = headline.Value
		}
		return values, nil
	}
	return []train.Hook{{Name: "zero-shot", Every: every, Run: hook}}, nil
}

// currentEncoder returns a function that serves the weights in training as a checkpoint would: as they are, or their
// moving average.
func (s *session) currentEncoder() func() (*embed.Model, error) {
	var encoder *embed.Model
	var average *gml.Store
	return func() (_ *embed.Model, err error) {
		stepper := s.trainer.Stepper
		if encoder != nil {
			if average != nil {
				err = stepper.Refresh(average, true)
			}
			return encoder, err
		}
		store := stepper.Store()
		if stepper.HasAverage() {
			if average, err = stepper.Snapshot(true); err != nil {
				return nil, err
			}
			store = average
		}
		encoder, err = embed.New(s.model(), store, embed.WithBackend(s.backend.Backend), embed.WithDevices(s.options.devices))
		return encoder, err
	}
}

// report evaluates the trained model and writes what a person reads last: a table, and the page it belongs to.
func (s *session) report(ctx context.Context) error {
	refs := s.experiment.Eval.Final
	if len(refs) == 0 && s.experiment.Init == "" {
		return nil
	}
	runs, err := s.openTasks(ctx, refs)
	if err != nil {
		return err
	}
	state := s.trainer.State()
	report := &eval.Report{Title: "tandem: " + s.experiment.Name, Model: map[string]string{
		"recipe": s.experiment.Name, "steps": fmt.Sprint(state.Step), "examples seen": fmt.Sprint(state.Examples),
		"parameters": fmt.Sprintf("%.1f M", float64(s.experiment.Model.NumParams())/1e6),
	}}
	encoder, err := s.finalEncoder(ctx, report)
	if err != nil {
		return err
	}
	task := s.progress.Start("evaluating", int64(len(runs)), "tasks")
	options := s.finalHead()
	options.Pictures, options.Doubt = true, true
	evaluation := eval.NewSession(encoder, options)
	for _, r := range runs {
		result, err := evaluation.Run(ctx, r.Task, r.Set)
		if err != nil {
			task.Fail()
			return err
		}
		report.Results = append(report.Results, result)
		task.Add(1)
	}
	task.Done()
	if report.Curve, err = eval.ReadCurve(filepath.Join(s.dir, metricsName)); err != nil {
		return err
	}
	return s.writeReport(report)
}

// finalEncoder serves the model that the run arrived at.
func (s *session) finalEncoder(ctx context.Context, report *eval.Report) (*embed.Model, error) {
	if s.experiment.Init != "" {
		return s.finishTuning(ctx, report)
	}
	return s.currentEncoder()()
}

func (s *session) writeReport(report *eval.Report) error {
	page := filepath.Join(s.dir, "report.html")
	if err := atomicfile.Write(filepath.Join(s.dir, "report.json"), 0o644, report.WriteJSON); err != nil {
		return err
	}
	if err := atomicfile.Write(page, 0o644, report.WriteHTML); err != nil {
		return err
	}
	if len(report.Results) > 0 {
		if err := report.WriteTable(s.stdout); err != nil {
			return err
		}
	}
	fmt.Fprintf(s.stdout, "\nreport: %s\n", page)
	return nil
}
