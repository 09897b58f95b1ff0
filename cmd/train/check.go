package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"tandem/checkpoints"
	"tandem/checkpoints/foreign"
	"tandem/configs"
	"tandem/internal/fault"
	"tandem/loss"
	"tandem/optim"
	"tandem/train"
)

// measuredSteps are what -check runs to tell the time: the first compiles and is not counted.
const measuredSteps = 4

// preflight says what a training would take and what looks wrong, without leaving anything behind: a few steps are run
// for the time and the memory, their result is thrown away.
func (s *session) preflight(ctx context.Context) error {
	scratch, err := os.MkdirTemp("", "tandem-check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	s.dir = scratch
	for _, prepare := range []func(context.Context) error{s.prepareInit, s.prepareData, s.prepareTokenizer, s.prepareStep, s.openLoader} {
		if err := prepare(ctx); err != nil {
			return err
		}
	}
	defer s.loader.Close()
	if err := s.checkFingerprint(ctx); err != nil {
		return err
	}
	stepper := s.stepper
	if _, err := s.openTasksOf(ctx); err != nil {
		return err
	}
	before := residentMemory()
	e := s.experiment
	rows, batch := s.loader.Rows(), int64(e.Data.Batch)
	total := e.Train.Length.ToSteps(batch, rows, 0)
	probe, err := s.probe(ctx, stepper, e.Optim.Schedule.Over(total, batch, rows))
	if err != nil {
		return err
	}
	if err := s.checkCaptions(ctx); err != nil {
		return err
	}
	s.checkTraps(probe, rows, total)
	return s.writeCheck(stepper, probe, before, rows, total)
}

// openTasksOf opens every task that the recipe names: a missing one must not turn up after hours.
func (s *session) openTasksOf(ctx context.Context) ([]configs.OpenTask, error) {
	eval := s.experiment.Eval
	var all []configs.OpenTask
	refs := append(append(append([]string(nil), eval.Hook...), eval.Final...), eval.Guard...)
	for _, ref := range refs {
		runs, err := s.openTasks(ctx, []string{ref})
		if err != nil {
			return nil, err
		}
		all = append(all, runs...)
	}
	sel, err := s.openSelection(ctx, 0)
	if err != nil {
		return nil, err
	}
	if sel != nil {
		s.checkTaskOverlap(sel, all)
	}
	return all, nil
}

// probeResult is what a few steps showed.
type probeResult struct {
	seconds    float64 // of a step
	compile    float64
	wait       float64 // of a step, for data
	duplicates float64 // share of pairs whose caption or label another pair of the batch has too
	longest    int
	loss       float64
	finite     bool
}

// probe runs a few steps and throws their result away.
func (s *session) probe(ctx context.Context, stepper *train.Stepper, curve optim.Curve) (probeResult, error) {
	p := probeResult{finite: true}
	source := batches{s.loader, &s.rows, s.head}
	for step := range int64(measuredSteps) {
		began := time.Now()
		batch, err := source.Next(ctx)
		if err != nil {
			return p, err
		}
		waited := time.Since(began).Seconds()
		metrics, err := stepper.Step(batch.Input, curve, step, step+1)
		if err != nil {
			return p, err
		}
		took := time.Since(began).Seconds() - waited
		if step == 0 {
			p.compile, p.loss = took, float64(metrics.Loss)
		} else {
			p.seconds += took / (measuredSteps - 1)
			p.wait += waited / (measuredSteps - 1)
		}
		p.finite = p.finite && metrics.Finite
		p.duplicates += duplicateShare(batch.Keys) / measuredSteps
		p.longest = max(p.longest, batch.Longest)
		source.Recycle(batch)
	}
	return p, nil
}

// duplicateShare is the share of keys that occur before in the batch.
func duplicateShare(keys []int32) float64 {
	seen := map[int32]bool{}
	for _, k := range keys {
		seen[k] = true
	}
	return 1 - float64(len(seen))/float64(max(1, len(keys)))
}

// checkFingerprint refuses a tokenizer that is not the one the initial model was trained with.
func (s *session) checkFingerprint(ctx context.Context) error {
	dir := s.experiment.Init
	if dir == "" || foreign.IsHub(dir) {
		return nil
	}
	path, err := localModel(ctx, dir, func(string, ...any) {})
	if err != nil || !checkpoints.IsModelDir(path) {
		return err
	}
	_, want, err := checkpoints.ReadModelFile(path)
	if err != nil || want == "" || want == s.tokenizer.Fingerprint() {
		return err
	}
	return fault.Userf("%s: the tokenizer is not the one that the model was trained with (fingerprint %.12s, want %.12s)",
		filepath.Join(path, checkpoints.TokenizerName), s.tokenizer.Fingerprint(), want)
}

// checkCaptions warns when captions are cut at the context: those that the recipe trains on, templates applied.
func (s *session) checkCaptions(ctx context.Context) error {
	if s.stepper.HasHead() {
		return nil // reads none
	}
	context := s.experiment.Model.Text.Context
	sample, err := s.sampleCaptions(ctx)
	if err != nil {
		return err
	}
	if share := float64(sample.full) / float64(max(1, sample.captions)); share > 0.01 {
		s.warn("%.1f %% of the captions fill all %d tokens of the context and are probably cut: shorten them, or resize with model.text.context", 100*share, context)
	}
	return nil
}

// checkTraps warns of what goes wrong silently.
func (s *session) checkTraps(p probeResult, rows, total int64) {
	e := s.experiment
	batch := int64(e.Data.Batch)
	low, high := e.LRRange[0], e.LRRange[1]
	switch lr := e.Optim.LearningRate; {
	case high > 0 && (lr > high || lr < low):
		s.warn("optim.lr %g lies outside the range that this recipe was measured in, %g to %g", lr, low, high)
	case high == 0 && e.Init != "" && e.Tune.LoRA == nil && lr > fullTuningLR:
		s.warn("optim.lr %g is high for fine-tuning a whole tower: above %g it tends to forget what it knew", lr, fullTuningLR)
	}
	contrast := !s.stepper.HasHead() // a head compares pictures with classes, however the batch is made
	if contrast && p.duplicates > 0.05 && e.Loss.Duplicates == loss.DuplicatesIgnore && e.Loss.Name != "" {
		s.warn("%.0f %% of a batch share a caption with another pair and count as its negatives: set loss.duplicates to positive or mask", 100*p.duplicates)
	}
	if contrast && batch < 32 {
		s.warn("data.batch %d gives each pair %d negatives: contrast wants more, 64 at least", batch, batch-1)
	}
	if batch > rows {
		s.warn("data.batch %d is more than the %d pairs there are: a batch holds the same picture twice", batch, rows)
	}
	if total*batch < rows {
		s.warn("%d steps of %d see only %.0f %% of the %d pairs", total, batch, 100*float64(total*batch)/float64(rows), rows)
	}
	if !p.finite {
		s.warn("a step was not finite: the learning rate or the weights are broken")
	}
	if p.wait > p.seconds {
		s.warn("a step waits %.2f s for data and computes %.2f s: see data.cache and data.workers", p.wait, p.seconds)
	}
}

// fullTuningLR is above what published fine-tunings of whole CLIP towers use (WiSE-FT 3e-5, FLYP 1e-5, LiT's text tower
// from scratch apart), with room for small models.
const fullTuningLR = 3e-4

// What XLA takes on the CPU, measured with S-8 (docs/finetune.md): while it compiles, before the step needs its own
// memory, and for good.
const (
	compiling = 410 << 20
	compiled  = 150 << 20
)

// peakEstimate is the memory of the process at its peak, and what of it is neither the model's nor the step's. before is
// the process as the model was loaded.
func (s *session) peakEstimate(m train.Memory, before int64) (peak, other int64) {
	other = max(0, before-m.Weights-m.Optimiser)
	compiler := int64(0)
	if info := s.backend.Info; info.PluginPath != "" && strings.HasPrefix(info.Devices[0], "cpu") {
		other += compiled
		compiler = compiling - compiled
	}
	return m.Weights + m.Optimiser + other + max(compiler, m.Gradients+m.Activations), other
}

// writeCheck prints what was found.
func (s *session) writeCheck(stepper *train.Stepper, p probeResult, before, rows, total int64) error {
	e := s.experiment
	length := stepper.CutLength(p.longest)
	m := stepper.Estimate(e.Data.Batch, length, s.rows.images != nil, s.rows.texts != nil)
	peak, other := s.peakEstimate(m, before)
	t := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
	line := func(what, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", what, fmt.Sprintf(format, args...)) }
	all := e.Model.NumParams()
	trained := stepper.NumTrainable()
	line("recipe", "%s%s", e.Name, from(e))
	line("parameters", "%s, trained %s (%.2f %%)", grouped(all), grouped(trained), 100*float64(trained)/float64(all))
	for _, rule := range stepper.Optim.Rules {
		line("  rule", "%s", describeRule(rule))
	}
	line("data", "%s pairs, batch %d, %d steps, %.1f epochs", grouped(int(rows)), e.Data.Batch, total, float64(total)*float64(e.Data.Batch)/float64(rows))
	if stepper.DistinctTexts > 0 {
		line("texts", "%d different captions of at most %d tokens: a batch encodes each once", stepper.DistinctTexts, stepper.TextLength)
	}
	line("memory", "%s estimated, of it weights %s, gradients %s, optimiser %s, activations %s; %s for program, compiler and data",
		bytesOf(peak), bytesOf(m.Weights), bytesOf(m.Gradients), bytesOf(m.Optimiser), bytesOf(m.Activations), bytesOf(other))
	line("", "%s measured at the peak of %d steps", bytesOf(peakMemory()), measuredSteps)
	line("time", "%.2f s a step (%.0f pairs/s), compiling %.0f s: about %s for %d steps, evaluations apart",
		p.seconds+p.wait, float64(e.Data.Batch)/(p.seconds+p.wait), p.compile, duration(p, total), total)
	line("first loss", "%.3f", p.loss)
	line("warnings", "%d", len(s.warnings))
	for _, w := range s.warnings {
		line("", "%s", w)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if available := memoryAvailable(); available > 0 && m.Total() > available+residentMemory() {
		return fault.Userf("the training wants about %s of memory, %s are free: make data.batch smaller, or set train.rematerialise", bytesOf(m.Total()), bytesOf(available))
	}
	return nil
}

func from(e configs.Experiment) string {
	if e.Init == "" {
		return ""
	}
	return ", starting from " + e.Init
}

func duration(p probeResult, total int64) time.Duration {
	return time.Duration((p.compile + float64(total)*(p.seconds+p.wait)) * float64(time.Second)).Round(time.Second)
}

func describeRule(r optim.Rule) string {
	var parts []string
	if r.Frozen {
		parts = append(parts, "frozen")
	}
	if r.LoRA {
		parts = append(parts, "lora")
	}
	if r.LRMultiple != 0 {
		parts = append(parts, fmt.Sprintf("rate × %.3g", r.LRMultiple))
	}
	if r.Decay != nil {
		parts = append(parts, fmt.Sprintf("decay %g", *r.Decay))
	}
	if len(parts) == 0 {
		parts = append(parts, "trained")
	}
	return fmt.Sprintf("%s: %s", r.Match, strings.Join(parts, ", "))
}

func bytesOf(n int64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
}

// grouped writes 151277313 as 151,277,313.
func grouped(n int) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
