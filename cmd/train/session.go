package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/gofrs/flock"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/backend"
	"tandem/checkpoints"
	"tandem/configs"
	"tandem/data"
	"tandem/data/prepare"
	"tandem/internal/fault"
	"tandem/internal/progress"
	"tandem/tokenizer"
	"tandem/train"
)

// session is a training being put together.
type session struct {
	options    options
	experiment configs.Experiment
	dir        string
	progress   *progress.Reporter
	stdout     io.Writer

	backend   *backend.Backend
	tokenizer tokenizer.Tokenizer
	loader    *data.Loader
	logger    *train.Logger
	trainer   *train.Trainer

	initial       checkpoints.Model // what training starts from, where the recipe names it
	initialStore  *gml.Store
	stepper       *train.Stepper
	rows          rowSources // computed before training
	head          *classHead // of loss.name head
	selection     *selection
	tasks         configs.Opener      // and their data
	teacherDigest string              // of loss.distill
	named         []data.SourceConfig // what is trained on, as the recipe says it
	warnings      []string

	resumed    *train.State // where to go on, nil for a new run
	resumedDir string
}

// execute runs the command: prepare, train, evaluate.
func execute(ctx context.Context, o options, stdout io.Writer, p *progress.Reporter) (err error) {
	experiment, err := o.load(p.Linef)
	if err != nil {
		return err
	}
	s := &session{options: o, experiment: experiment, dir: o.runDir(experiment.Name), progress: p, stdout: stdout}
	defer func() { err = s.interrupted(ctx, errors.Join(err, s.tasks.Close())) }()
	if o.check {
		if s.backend, err = backend.Open(ctx, backend.Options{Name: o.backend, Offline: o.offline, Progress: p, KeepMemory: true}); err != nil {
			return err
		}
		s.experiment.Train = s.experiment.Train.On(s.backend.Info.Accelerated())
		return s.preflight(ctx)
	}
	if o.resume && !s.begun() {
		return fault.Userf("%s holds no run to resume: leave out -resume to begin one, or name the run with -dir", s.dir)
	}
	unlock, err := s.claimDir()
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.findState(); err != nil {
		return err
	}
	if err := s.checkTasks(); err != nil {
		return err
	}
	if s.backend, err = backend.Open(ctx, backend.Options{Name: o.backend, Offline: o.offline, Progress: p, Devices: o.devices, KeepMemory: true, KeepCompiled: true}); err != nil {
		return err
	}
	p.Linef("%s", s.backend.Info)
	s.experiment.Train = s.experiment.Train.On(s.backend.Info.Accelerated())
	if batch := s.experiment.Data.Batch; batch%o.devices != 0 {
		return fault.Userf("-devices %d does not divide data.batch %d", o.devices, batch)
	}
	for _, prepare := range []func(context.Context) error{s.prepareInit, s.prepareData, s.prepareTokenizer, s.prepareStep, s.openLoader} {
		if err := prepare(ctx); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, s.closeLoader()) }()
	if err := s.assemble(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.logger.Close()) }()
	if err := s.trainer.Run(ctx); err != nil {
		return err
	}
	return s.report(ctx)
}

// begun reports whether the directory holds a run, if only one without a checkpoint.
func (s *session) begun() bool {
	for _, name := range []string{configName, checkpoints.CheckpointsName} {
		if _, err := os.Stat(filepath.Join(s.dir, name)); err == nil {
			return true
		}
	}
	return false
}

// claimDir makes the run directory and locks it against a second training.
func (s *session) claimDir() (unlock func(), err error) {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, fault.User(err)
	}
	lock := flock.New(filepath.Join(s.dir, ".lock"))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", s.dir, err)
	}
	if !ok {
		return nil, fault.Userf("%s is in use by another training", s.dir)
	}
	return func() {
		if entries, err := os.ReadDir(s.dir); err == nil && len(entries) == 1 { // nothing came of it: leave no trace
			os.RemoveAll(s.dir)
			if s.options.dir == "" {
				os.Remove(filepath.Dir(s.dir)) // runs/, if nothing else is in it
			}
		}
		lock.Unlock()
	}, nil
}

func (s *session) root() checkpoints.Root {
	t := s.experiment.Train
	return checkpoints.Root{Dir: filepath.Join(s.dir, checkpoints.CheckpointsName), Keep: t.Keep, KeepEvery: t.KeepEvery}
}

// findState decides where the run starts: anew in an empty directory, or from the newest good checkpoint.
func (s *session) findState() error {
	root := s.root()
	for _, parent := range []checkpoints.Root{root, {Dir: s.dir}} { // base and final lie in the latter
		if err := parent.Clean(); err != nil {
			return err
		}
	}
	_, dir, skipped, ok, err := root.Newest()
	if err != nil {
		return err
	}
	for _, bad := range skipped {
		s.progress.Linef("passing over a broken checkpoint: %s", fault.OneLine(bad))
	}
	switch {
	case !s.options.resume && (ok || len(skipped) > 0):
		return fault.Userf("%s holds a run already: continue it with -resume, or choose another directory with -dir", s.dir)
	case !s.options.resume:
		return nil
	case !ok && len(skipped) > 0:
		return fmt.Errorf("%s: none of the %d checkpoints is whole", root.Dir, len(skipped))
	case !ok:
		s.progress.Linef("%s has no checkpoint yet: starting from the beginning", s.dir)
		return nil
	}
	state, err := train.ReadState(dir)
	if err != nil {
		return err
	}
	s.resumed, s.resumedDir = &state, dir
	s.progress.Linef("resuming %s after step %d", dir, state.Step)
	return nil
}

// prepareData builds the data set that the recipe names, if its shards are not there, and those that its sources name.
func (s *session) prepareData(ctx context.Context) (err error) {
	d := &s.experiment.Data
	if len(d.Sources) == 0 {
		d.Sources = []data.SourceConfig{{Shards: s.experiment.Dataset.Name}}
		*d = d.WithDefaults()
	}
	s.named = slices.Clone(d.Sources)
	for i, source := range d.Sources {
		config := s.experiment.Dataset
		if config.Name != source.Shards {
			config = prepare.Config{Name: source.Shards}
		}
		if !slices.Contains(prepare.Names(), source.Shards) {
			continue
		}
		if d.Sources[i].Shards, err = prepare.Ensure(ctx, config, prepare.Options{Offline: s.options.offline, Progress: s.progress}); err != nil {
			return err
		}
		if s.tasks.Own == nil {
			s.tasks.Own = map[string]string{}
		}
		s.tasks.Own[source.Shards] = d.Sources[i].Shards
	}
	return nil
}

// prepareTokenizer takes CLIP's vocabulary, loads one, trains one on the captions, or goes on with the run's own.
func (s *session) prepareTokenizer(ctx context.Context) (err error) {
	c := s.experiment.Tokenizer
	switch {
	case c.Kind == configs.TokenizerInit: // came with the model
	case s.resumed != nil:
		s.tokenizer, err = tokenizer.Load(filepath.Join(s.resumedDir, checkpoints.TokenizerName))
	case c.Kind == configs.TokenizerCLIP:
		s.tokenizer = tokenizer.CLIP()
	case c.Kind == configs.TokenizerTrain:
		s.tokenizer, err = s.trainTokenizer(ctx)
	default:
		s.tokenizer, err = tokenizer.Load(c.Kind)
	}
	if err != nil {
		return err
	}
	if vocab := s.experiment.Model.Text.Vocab; s.tokenizer.VocabSize() > vocab {
		return fault.Userf("the tokenizer has %d ids, model.text.vocab only %d: set model.text.vocab=%d",
			s.tokenizer.VocabSize(), vocab, s.tokenizer.VocabSize())
	}
	return nil
}

func (s *session) trainTokenizer(ctx context.Context) (tokenizer.Tokenizer, error) {
	var failed error
	captions := captionsOf(ctx, s.experiment.Data.Sources, &failed)
	context := s.experiment.Model.Text.Context
	bpe, coverage, err := tokenizer.Train(captions, s.experiment.Tokenizer.Vocab, tokenizer.TrainOptions{Context: context})
	if failed != nil {
		return nil, failed
	}
	if err != nil {
		return nil, err
	}
	s.progress.Linef("vocabulary: %d ids from %d captions; %.1f tokens a caption (95 %%: %d, longest %d), %d cut at %d",
		coverage.VocabSize, coverage.Captions, coverage.MeanTokens, coverage.P95Tokens, coverage.MaxTokens, coverage.Truncated, context)
	return bpe, nil
}

// captionsOf yields every caption that the training may see, templates applied. After an error, which failed holds, it ends.
func captionsOf(ctx context.Context, sources []data.SourceConfig, failed *error) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, src := range sources {
			more := true
			*failed = eachCaption(ctx, src, func(text string) bool {
				more = yield(text)
				return more
			})
			if *failed != nil || !more {
				return
			}
		}
	}
}

// quarantineName is the file of a run that lists the rows of the data that turned out unusable.
const quarantineName = "quarantine.jsonl"

// closeLoader says what was wrong with the data, if anything.
func (s *session) closeLoader() error {
	if books := s.loader.Stats(); books.BadRows > 0 {
		s.progress.Linef("%d unusable rows of the data were replaced by others; they are listed in %s", books.BadRows, filepath.Join(s.dir, quarantineName))
	}
	return s.loader.Close()
}

func (s *session) openLoader(ctx context.Context) (err error) {
	// The loader outlives a cancelled context: the step under way is finished and saved.
	s.loader, err = data.Open(context.WithoutCancel(ctx), s.experiment.Data, data.Options{
		Tokenizer: s.tokenizer, Context: s.experiment.Model.Text.Context,
		Quarantine: filepath.Join(s.dir, quarantineName), Log: s.progress.Linef, SkipImages: s.rows.images != nil,
	})
	if err != nil || s.resumed == nil || len(s.resumed.Cursor) == 0 { // no step was done: the data start where they start
		return err
	}
	var cursor data.Cursor
	if err := json.Unmarshal(s.resumed.Cursor, &cursor); err != nil {
		return fmt.Errorf("%s: data cursor: %w", s.resumedDir, err)
	}
	return s.loader.Resume(cursor)
}

// versions names everything that can change a number.
func (s *session) versions() map[string]string {
	v := map[string]string{"go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH, "backend": s.backend.Info.String()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/gomlx/gomlx" || m.Path == "github.com/gomlx/go-xla" {
				v[m.Path] = m.Version
			}
		}
	}
	return v
}
