package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"tandem/checkpoints"
	"tandem/internal/prng"
	"tandem/optim"
)

// Batches delivers a training's batches in order.
type Batches interface {
	// Next returns the next batch. It blocks until one is ready and is called from one goroutine.
	Next(ctx context.Context) (Batch, error)
	// Recycle takes back the memory of a batch that is no longer needed.
	Recycle(Batch)
}

// Batch is one step's input with the place it came from.
type Batch struct {
	Input
	// Cursor is where to go on after this batch, as the source wants it back on resume.
	Cursor json.RawMessage
	// Epoch is how often the data have been seen after this batch.
	Epoch float64
	// Books says what became of the data so far, for the log; nil if the source keeps none. It is encoded as JSON.
	Books any
	// Source is the source's own handle, for Recycle.
	Source any
}

// Hook is something that happens between steps, on a schedule: an evaluation, for example.
type Hook struct {
	Name  string
	Every int64 // steps; 0: only at the end
	// Run returns numbers for the log. step is the number of steps done. A step is run again where a run was killed before
	// its numbers were in the log.
	Run func(ctx context.Context, step int64) (map[string]float64, error)
	// Saved says that there must be a checkpoint of each step that the hook runs after.
	Saved bool
	// Enough, if set, says whether the numbers so far end the training, as ErrEnough does: a resumed run asks it first.
	Enough func() bool
}

func (h Hook) due(step int64, last bool) bool { return last || due(h.Every, step) }

// Trainer runs the loop. The order after each step is fixed: finite check, log, checkpoint, hooks.
type Trainer struct {
	Config  Config
	Stepper *Stepper
	Curve   optim.Curve
	Batches Batches
	Rows    int64 // of the data set, for durations in epochs
	Batch   int64 // pairs a step

	// Total is the length of the schedule in steps; the run stops at Stop, which may be earlier.
	Total, Stop int64
	// SaveEvery is in steps; the last step is always saved.
	SaveEvery int64

	Root checkpoints.Root
	// Export writes what makes a step directory a model beside its weights: configuration, tokenizer.
	Export func(dir string) error
	// Identity is the part of the configuration that must not change on resume, flattened to dotted keys.
	Identity map[string]string
	// Base names the model that training started from, for adapters.
	Base string
	// Versions of everything that can change a number.
	Versions map[string]string

	Hooks []Hook
	Log   *Logger

	state State
	saved int64 // step of the newest checkpoint
	clock clock
}

// ErrInterrupted is returned when the context was cancelled: the step under way was finished, and what is done is saved.
var ErrInterrupted = errors.New("interrupted")

// ErrDiverged is returned when too many steps in a row were not finite.
var ErrDiverged = errors.New("loss or gradients stayed non-finite")

// Run trains from the current state to Stop.
func (t *Trainer) Run(ctx context.Context) error {
	t.clock.start()
	if enough, err := t.catchUp(ctx); enough || err != nil {
		return err
	}
	bad := 0
	for t.state.Step < t.Stop {
		record, err := t.step(ctx)
		if err != nil {
			return t.fail(ctx, err)
		}
		stopping := ctx.Err() != nil
		last := t.state.Step == t.Stop || stopping
		if err := t.Log.Step(record, last); err != nil {
			return err
		}
		if record.Finite {
			bad = 0
		} else if bad++; bad >= t.Config.MaxBadSteps {
			return errors.Join(t.diverged(bad), t.Log.Flush())
		}
		if last || t.saveDue() { // after a broken step too: it changed no weight
			if err := t.save(); err != nil {
				return err
			}
		}
		if stopping {
			return ErrInterrupted
		}
		if err := t.runHooks(ctx, last); errors.Is(err, ErrEnough) {
			return t.stopEarly()
		} else if err != nil {
			return t.fail(ctx, err)
		}
	}
	return nil
}

// ErrEnough is what a hook returns to end a training early, with its numbers: it has seen enough.
var ErrEnough = errors.New("training ended early")

// catchUp makes up for the hooks that a resumed run was interrupted before: those due after the step that it goes on
// from. It reports whether they, or those before, end the training.
func (t *Trainer) catchUp(ctx context.Context) (enough bool, err error) {
	if t.state.Step == 0 {
		return false, nil
	}
	err = t.runHooks(ctx, t.state.Step == t.Stop)
	if errors.Is(err, ErrEnough) {
		return true, t.stopEarly()
	} else if err != nil {
		return false, t.fail(ctx, err)
	}
	return slices.ContainsFunc(t.Hooks, func(h Hook) bool { return h.Enough != nil && h.Enough() }), nil
}

// saveDue reports whether a checkpoint of the current step is wanted.
func (t *Trainer) saveDue() bool {
	return due(t.SaveEvery, t.state.Step) ||
		slices.ContainsFunc(t.Hooks, func(h Hook) bool { return h.Saved && due(h.Every, t.state.Step) })
}

// stopEarly ends a run that a hook wants ended.
func (t *Trainer) stopEarly() error {
	if t.saved == t.state.Step {
		return t.Log.Flush()
	}
	return t.save()
}

// diverged says what happened and what helps.
func (t *Trainer) diverged(bad int) error {
	advice := "lower optim.lr, lengthen the warmup or set optim.clip_norm"
	if t.saved > 0 {
		advice += "; the last good checkpoint is " + t.Root.StepDir(t.saved)
	}
	return fmt.Errorf("%w for %d steps up to step %d: %s", ErrDiverged, bad, t.state.Step, advice)
}

// fail turns an error that a cancelled context caused into ErrInterrupted, after saving what is done. Before the first
// step there is nothing to save, and nothing to go on from.
func (t *Trainer) fail(ctx context.Context, err error) error {
	if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	if t.state.Step > t.saved {
		if err := t.save(); err != nil {
			return err
		}
	}
	return ErrInterrupted
}

func due(every, step int64) bool { return every > 0 && step%every == 0 }

// step waits for a batch and trains on it.
func (t *Trainer) step(ctx context.Context) (Record, error) {
	t.clock.lap()
	batch, err := t.Batches.Next(ctx)
	if err != nil {
		return Record{}, err
	}
	wait := t.clock.lap()
	step := t.state.Step
	metrics, err := t.Stepper.Step(batch.Input, t.Curve, step, t.seed(step))
	if err != nil {
		return Record{}, err
	}
	elapsed := t.clock.lap()
	compile := t.Stepper.TakeCompileTime()
	t.state.Step++
	t.state.Examples += t.Batch
	t.state.Cursor = batch.Cursor
	t.Batches.Recycle(batch)
	return Record{
		Step: t.state.Step, Total: t.Stop, Examples: t.state.Examples, Epoch: batch.Epoch, Metrics: metrics,
		LearningRate: t.Stepper.Optim.LearningRate * t.Curve.Factor(step),
		Wait:         wait.Seconds(), Seconds: (elapsed - compile).Seconds(), Compile: compile.Seconds(),
		ImagesPerSecond: float64(t.Batch) / (elapsed - compile + wait).Seconds(),
		Data:            batch.Books,
	}, nil
}

// seed of a step's own random numbers.
func (t *Trainer) seed(step int64) int64 {
	return int64(prng.Mix(t.Config.Seed, uint64(step))>>1 | 1) // never 0, which GoMLX takes for "no seed"
}

func (t *Trainer) runHooks(ctx context.Context, last bool) error {
	for _, h := range t.Hooks {
		if !h.due(t.state.Step, last) || t.Log.has(h.Name, t.state.Step) {
			continue
		}
		t.clock.lap()
		values, err := h.Run(ctx, t.state.Step)
		enough := errors.Is(err, ErrEnough)
		if err != nil && !enough {
			return fmt.Errorf("%s after step %d: %w", h.Name, t.state.Step, err)
		}
		if err := t.Log.Event(h.Name, t.state.Step, t.clock.lap(), values); err != nil {
			return err
		}
		if enough {
			return ErrEnough
		}
	}
	return nil
}

// clock measures laps.
type clock struct{ last time.Time }

func (c *clock) start() { c.last = time.Now() }

func (c *clock) lap() time.Duration {
	now := time.Now()
	d := now.Sub(c.last)
	c.last = now
	return d
}
