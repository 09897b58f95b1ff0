package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tandem/checkpoints"
	"tandem/internal/fault"
)

// How a training is to be stopped, for stoppedMain: at the nth line that it prints with some text in it, by SIGKILL or as
// SIGINT does.
const (
	stopAtEnv  = "STOP_AT"
	stopNthEnv = "STOP_NTH"
	stopByEnv  = "STOP_BY"
	byKill     = "kill"
	byCancel   = "cancel"
)

// stopper is a standard error that stops the program before the line that it waits for is followed by anything.
type stopper struct {
	at   string
	nth  int
	stop func()
}

func (s *stopper) Write(p []byte) (int, error) {
	n, err := os.Stderr.Write(p)
	if s.nth -= strings.Count(string(p), s.at); s.nth <= 0 && s.stop != nil {
		s.stop()
		s.stop = nil
	}
	return n, err
}

// stoppedMain is the command train, which stops itself.
func stoppedMain() {
	ctx, cancel := context.WithCancel(context.Background())
	nth, err := strconv.Atoi(os.Getenv(stopNthEnv))
	if err != nil {
		panic(err)
	}
	s := &stopper{at: os.Getenv(stopAtEnv), nth: nth, stop: cancel}
	if os.Getenv(stopByEnv) == byKill {
		s.stop = func() {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, s))
}

// runStopped starts a training that is stopped at the nth line with some text, and returns what it printed.
func runStopped(t *testing.T, by, at string, nth int, args ...string) string {
	t.Helper()
	cmd := exec.Command("train-stopped", args...)
	cmd.Env = append(command(t).Env, stopAtEnv+"="+at, stopNthEnv+"="+strconv.Itoa(nth), stopByEnv+"="+by)
	var printed bytes.Buffer
	cmd.Stderr = &printed
	err := cmd.Run()
	switch code := cmd.ProcessState.ExitCode(); {
	case by == byKill && code != -1, by == byCancel && code != fault.ExitInterrupted:
		t.Fatalf("ended with %v\n%s", err, &printed)
	}
	return printed.String()
}

// tuneRecipe is a fine-tuning that patience ends, with hooks, a guard and a sweep; it starts from a model beside it.
const tuneRecipe = `
base: ./tiny.yaml
name: tune
data:
  positives: kind
  sources: [{shards: shapes, captions: [{column: kind}]}]
loss: {duplicates: positive}
optim: {lr: 1.0e-3}
train: {length: 12 steps, eval_every: 2 steps, save_every: ""}
eval:
  hook: [shapes/heldout-name]
  final: [shapes/heldout-name]
  guard: [shapes/count]
  select: {task: kinds.yaml, patience: 2}
  wise: {alphas: [0, 0.5, 1]}
`

const kindsTask = `
name: kinds/val
data: shapes
split: test
label: kind
templates: ["{}"]
`

// tuning makes a directory with a recipe of a fine-tuning, what it starts from, and its task, and goes there. It returns
// the command's arguments for a run.
func tuning(t *testing.T) func(run string, more ...string) []string {
	t.Helper()
	recipe, err := os.ReadFile(tiny(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{"tiny.yaml": string(recipe), "tune.yaml": tuneRecipe, "kinds.yaml": kindsTask} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mustRun(t, "-config", "tiny.yaml", "-dir", "base", "-backend", "go", "-steps", "4", "-set", "eval.hook=[]", "-set", "eval.final=[]")
	return func(run string, more ...string) []string {
		return append([]string{"-config", "tune.yaml", "-dir", run, "-init", "base", "-backend", "go"}, more...)
	}
}

// outcome is what a run came to: what must not depend on how often it was stopped.
type outcome struct {
	Selection string
	Summary   tuningSummary
	Losses    []float64
	Events    []string
	Final     map[string]string
}

func outcomeOf(t *testing.T, run string) outcome {
	t.Helper()
	o := outcome{Losses: losses(t, run), Final: sumsBelow(t, filepath.Join(run, checkpoints.FinalName))}
	selection, err := os.ReadFile(filepath.Join(run, selectionName))
	if err != nil {
		t.Fatal(err)
	}
	o.Selection = string(selection)
	summary, err := os.ReadFile(filepath.Join(run, tuningName))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(summary, &o.Summary); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(run, metricsName))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(log) {
		var event map[string]any
		if err := json.Unmarshal(line, &event); err != nil {
			t.Fatal(err)
		}
		if name := event["event"]; name != nil && name != "checkpoint" { // one more is saved where a run is interrupted
			delete(event, "seconds")
			o.Events = append(o.Events, fmt.Sprint(event))
		}
	}
	return o
}

// TestStoppedAnywhere stops a fine-tuning at every kind of moment, by SIGKILL and by an interrupt, and resumes it: length,
// losses, measurements, chosen checkpoint and final weights are those of a run never stopped. An interrupt always tells
// the way on, and what it tells holds.
func TestStoppedAnywhere(t *testing.T) {
	args := tuning(t)
	mustRun(t, args("whole")...)
	want := outcomeOf(t, "whole")
	if steps := len(want.Losses); steps < 4 || steps == 12 {
		t.Fatalf("patience ends the whole run after %d steps of 12: the test wants it between", steps)
	}
	ignored := cmpopts.IgnoreFields(tuningSummary{}, "Seconds", "PeakBytes")
	for i, test := range []struct {
		at  string
		nth int
		by  []string
	}{
		{"steps of 16", 1, []string{byCancel}},                             // before the first step
		{"step 1/", 1, []string{byKill}},                                   // after it
		{"saved ", 1, []string{byKill, byCancel}},                          // between saving and measuring
		{"zero-shot after step 4", 1, []string{byKill}},                    // between two measurements
		{"select after", len(want.Losses) / 2, []string{byKill, byCancel}}, // patience has just ended the run
		{"interpolating", 1, []string{byKill}},
		{"evaluating", 1, []string{byCancel}},
	} {
		for _, by := range test.by {
			t.Run(fmt.Sprintf("%s at %s %d", by, test.at, test.nth), func(t *testing.T) {
				run := fmt.Sprint(by, i)
				printed := runStopped(t, by, test.at, test.nth, args(run)...)
				saved, err := filepath.Glob(filepath.Join(run, "checkpoints", "step-*"))
				if err != nil {
					t.Fatal(err)
				}
				way := "Go on with: train " + strings.Join(args(run, "-resume"), " ") + "\n"
				if len(saved) == 0 {
					way = "Start again with: train " + strings.Join(args(run), " ") + "\n"
				}
				if by == byCancel && !strings.Contains(printed, way) {
					t.Errorf("nothing about %q in\n%s", way, printed)
				}
				if len(saved) == 0 {
					mustRun(t, args(run)...)
				} else {
					mustRun(t, args(run, "-resume")...)
				}
				got := outcomeOf(t, run)
				if diff := cmp.Diff(want, got, ignored); diff != "" {
					t.Errorf("the outcome differs (-whole +stopped):\n%s", diff)
				}
				if least := want.Summary.Seconds / 20; got.Summary.Seconds < least {
					t.Errorf("training took %g s by the summary, want more than %g", got.Summary.Seconds, least)
				}
			})
		}
	}
	mustRun(t, args("whole", "-resume")...) // has ended already
	if diff := cmp.Diff(want, outcomeOf(t, "whole"), ignored); diff != "" {
		t.Errorf("resuming a run that has ended changes it (-before +after):\n%s", diff)
	}
}

// TestStoppedByLength: a run in two parts (-steps) measures at the end of the first; that does not count in the second.
func TestStoppedByLength(t *testing.T) {
	args := tuning(t)
	mustRun(t, args("whole")...)
	mustRun(t, args("parts", "-steps", "3")...)
	mustRun(t, args("parts", "-resume")...)
	want, got := outcomeOf(t, "whole"), outcomeOf(t, "parts")
	want.Events, got.Events = nil, nil // the log keeps the measurement
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(tuningSummary{}, "Seconds", "PeakBytes")); diff != "" {
		t.Errorf("the outcome differs (-whole +parts):\n%s", diff)
	}
}

// TestSavesWhereEitherIsDue: checkpoints to choose from do not take the place of those of train.save_every.
func TestSavesWhereEitherIsDue(t *testing.T) {
	args := tuning(t)
	mustRun(t, args("run", "-steps", "6", "-save-every", "2", "-set", "train.eval_every=3", "-set", "train.keep=9", "-set", "eval.select.patience=0")...)
	saved, err := filepath.Glob("run/checkpoints/step-*")
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, path := range saved {
		steps = append(steps, strings.TrimLeft(strings.TrimPrefix(filepath.Base(path), "step-"), "0"))
	}
	if want := []string{"2", "3", "4", "6"}; !slices.Equal(steps, want) {
		t.Errorf("saved steps %v, want %v", steps, want)
	}
}

// TestResumeCommand: what an interruption prints survives a shell, with every flag.
func TestResumeCommand(t *testing.T) {
	args := []string{"-config", "my recipe.yaml", "-dir", "it's", "-data", "d", "-init", "hf://a/b", "-set", "eval.select={task: a, patience: 1}", "-set", "x=",
		"-steps", "3", "-save-every", "7", "-backend", "go", "-devices", "2", "-offline", "-resume"}
	o, err := parse(args, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "-c", `train() { printf '%s\n' "$@"; }; `+o.command()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if diff := cmp.Diff(args, strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")); diff != "" {
		t.Errorf("a shell makes of %s (-want +got):\n%s", o.command(), diff)
	}
}

// TestInterruptedElsewhere: -check, and a training whose vocabulary is not made yet, end as quietly.
func TestInterruptedElsewhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	args := []string{"-config", tiny(t), "-dir", dir, "-steps", "2", "-backend", "go"}
	if out := runStopped(t, byCancel, "vocabulary", 1, args...); !strings.HasSuffix(out, "Start again with: train "+strings.Join(args, " ")+"\n") {
		t.Errorf("the way on is not at the end of\n%s", out)
	}
	if out := runStopped(t, byCancel, "vocabulary", 1, append(args, "-check")...); !strings.HasSuffix(out, "\ntrain: interrupted\n") {
		t.Errorf("-check ends with\n%s", out)
	}
	if err := command(t, append(args, "-resume")...).Run(); fault.Code(err) != fault.ExitOK {
		t.Errorf("-resume without a checkpoint starts from the beginning, here %v", err)
	}
}
