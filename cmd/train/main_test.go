package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/testscript"

	"tandem/data/prepare"
	"tandem/internal/atomicfile"
	"tandem/internal/fault"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"train": main, "train-stopped": stoppedMain})
}

// shards is where the tests of this package keep generated data sets.
var shards = filepath.Join(os.TempDir(), "tandem-test-data")

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// tiny is the path of the smallest recipe.
func tiny(t *testing.T) string { return absolute(t, "testdata/tiny.yaml") }

func TestScripts(t *testing.T) {
	recipe, hf := tiny(t), absolute(t, "../../embed/testdata/hf")
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv(prepare.RootEnv, shards)
			env.Setenv("TINY", recipe)
			env.Setenv("HF", hf)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": code, "cut": cut, "sameLog": sameLog, "limited": limited},
	})
}

// code N ARGS… runs train with ARGS and checks its exit code.
func code(ts *testscript.TestScript, _ bool, args []string) {
	checkCode(ts, args[0], ts.Exec("train", args[1:]...))
}

func checkCode(ts *testscript.TestScript, want string, err error) {
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != want {
		ts.Fatalf("exit code %s, want %s", got, want)
	}
}

// cut PATTERN N leaves the first N bytes of the files that match.
func cut(ts *testscript.TestScript, _ bool, args []string) {
	paths, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	if len(paths) == 0 {
		ts.Fatalf("nothing matches %s", args[0])
	}
	for _, path := range paths {
		ts.Check(os.Truncate(path, size))
	}
}

// sameLog A B N compares two runs' logs: losses within rounding, and N hooks with the same results.
func sameLog(ts *testscript.TestScript, _ bool, args []string) {
	read := func(run string) (losses []float64, hooks []map[string]any) {
		for line := range strings.Lines(ts.ReadFile(filepath.Join(run, "metrics.jsonl"))) {
			var record map[string]any
			ts.Check(json.Unmarshal([]byte(line), &record))
			if loss, ok := record["loss"].(float64); ok {
				losses = append(losses, loss)
			} else if record["event"] == "zero-shot" {
				delete(record, "seconds")
				hooks = append(hooks, record)
			}
		}
		return losses, hooks
	}
	losses, hooks := read(args[0])
	otherLosses, otherHooks := read(args[1])
	if want := args[2]; fmt.Sprint(len(hooks)) != want {
		ts.Fatalf("%d hooks ran, want %s", len(hooks), want)
	}
	if diff := cmp.Diff(hooks, otherHooks); diff != "" {
		ts.Fatalf("hooks differ (-%s +%s):\n%s", args[0], args[1], diff)
	}
	if diff := cmp.Diff(losses, otherLosses, cmpopts.EquateApprox(1e-4, 0)); diff != "" {
		ts.Fatalf("losses differ (-%s +%s):\n%s", args[0], args[1], diff)
	}
}

// limited N BLOCKS ARGS… runs train, whose files cannot grow over BLOCKS·512 bytes, and checks its exit code: to the
// program a full disk.
func limited(ts *testscript.TestScript, _ bool, args []string) {
	script := "ulimit -f " + args[1] + `; exec train "$@"`
	checkCode(ts, args[0], ts.Exec("sh", append([]string{"-c", script, "sh"}, args[2:]...)...))
}

// command is a training in a process of its own, with the given backend.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("train", args...)
	cmd.Env = append(os.Environ(), prepare.RootEnv+"="+shards)
	return cmd
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := command(t, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("train %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestOwnData: -data takes the place of the recipe's data and of its tasks.
func TestOwnData(t *testing.T) {
	own, err := prepare.Ensure(t.Context(), prepare.Config{Name: "shapes", Shapes: prepare.ShapesConfig{Seed: 2, Size: 32, Train: 64, Test: 32}}, prepare.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	out := mustRun(t, "-config", tiny(t), "-data", own, "-dir", filepath.Join(t.TempDir(), "run"), "-backend", "go", "-steps", "2")
	if !strings.Contains(out, filepath.Base(own)+"/test") || strings.Contains(out, "shapes/name") {
		t.Errorf("the tasks are not those of the data:\n%s", out)
	}
}

// TestKilledTrainingResumesBitForBit kills a training with SIGKILL between checkpoints and in the middle of writing one,
// and resumes it each time: the last checkpoint equals that of a training never interrupted, file by file, and so do the
// losses on the way. The number of workers, which may change, does change.
func TestKilledTrainingResumesBitForBit(t *testing.T) {
	whole, killed := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "killed")
	mustRun(t, "-config", tiny(t), "-dir", whole)

	args := []string{"-config", tiny(t), "-dir", killed, "-save-every", "4"}
	checkpoint := func(name string) func() bool {
		return func() bool {
			found, _ := filepath.Glob(filepath.Join(killed, "checkpoints", name))
			return len(found) > 0
		}
	}
	killWhen(t, checkpoint("step-000000012"), args...)
	args = append(args, "-resume", "-set", "data.workers=3")
	killWhen(t, checkpoint(".tmp-step-000000024-*"), args...)
	killWhen(t, checkpoint("step-000000032"), args...)
	mustRun(t, args...)
	if diff := cmp.Diff(lastCheckpoint(t, whole), lastCheckpoint(t, killed)); diff != "" {
		t.Errorf("checkpoints differ (-whole +killed):\n%s", diff)
	}
	if diff := cmp.Diff(losses(t, whole), losses(t, killed)); diff != "" {
		t.Errorf("losses differ (-whole +killed):\n%s", diff)
	}
}

// killWhen starts a training and kills it as soon as something has come about.
func killWhen(t *testing.T, come func() bool, args ...string) {
	t.Helper()
	cmd := command(t, args...)
	var printed bytes.Buffer
	cmd.Stderr = &printed
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for !come() {
		select {
		case err := <-ended:
			t.Fatalf("the training ended too early: %v\n%s", err, &printed)
		case <-time.After(100 * time.Microsecond):
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Fatal("the training ended before it was killed")
	}
}

// lastCheckpoint maps the files of a run's newest checkpoint to their sums.
func lastCheckpoint(t *testing.T, dir string) map[string]string {
	t.Helper()
	return sumsBelow(t, filepath.Join(dir, "checkpoints", "step-000000040"))
}

// sumsBelow maps the files of a directory to their sums.
func sumsBelow(t *testing.T, dir string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		sum := sha256.Sum256(content)
		sums[strings.TrimPrefix(path, dir)] = hex.EncodeToString(sum[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

// losses reads the metrics log: each step must be there once.
func losses(t *testing.T, dir string) []float64 {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, metricsName))
	if err != nil {
		t.Fatal(err)
	}
	var out []float64
	for line := range bytes.Lines(content) {
		var record struct {
			Step int
			Loss *float64
		}
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if record.Loss == nil {
			continue // a saved checkpoint, an evaluation
		}
		out = append(out, *record.Loss)
		if record.Step != len(out) {
			t.Fatalf("step %d is line %d", record.Step, len(out))
		}
	}
	return out
}

// TestGoldenLossCurve holds the losses of the tiny training over all layers of the system: generated data, shards,
// order, augmentation, tokenizer, initialisation, gradients, optimiser. A change on purpose renews the file with
//
//	UPDATE=1 go test -run GoldenLossCurve ./cmd/train
//
// The tolerance is for other processors and XLA versions, whose sums round in another order.
func TestGoldenLossCurve(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	mustRun(t, "-config", tiny(t), "-dir", dir)
	got := losses(t, dir)
	path := "testdata/tiny_losses.json"
	if os.Getenv("UPDATE") != "" {
		err := atomicfile.Write(path, 0o644, func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetIndent("", " ")
			return e.Encode(got)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want []float64
	if err := json.Unmarshal(content, &want); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d steps, want %d", len(got), len(want))
	}
	for i := range want {
		if math.Abs(got[i]-want[i]) > 1e-3*want[i] {
			t.Errorf("step %d: loss %.6f, want %.6f", i+1, got[i], want[i])
		}
	}
}

// TestInterruptSaves ends a training by SIGINT: the step is finished and saved, and the way on printed.
func TestInterruptSaves(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	args := []string{"-config", tiny(t), "-dir", dir, "-set", "train.length=100000 steps", "-set", "train.save_every=99999 steps", "-set", "train.eval_every=99999 steps"}
	cmd := command(t, args...)
	var printed bytes.Buffer
	cmd.Stderr = &printed
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); !fileHolds(filepath.Join(dir, metricsName), `"step":`); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no step in two minutes\n%s", &printed)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != fault.ExitInterrupted {
		t.Fatalf("ended with %v, want exit status %d\n%s", err, fault.ExitInterrupted, &printed)
	}
	if want := "Go on with: train -config"; !strings.Contains(printed.String(), want) {
		t.Errorf("nothing about %q in\n%s", want, &printed)
	}
	if saved, _ := filepath.Glob(filepath.Join(dir, "checkpoints", "step-*", "model.safetensors")); len(saved) != 1 {
		t.Errorf("saved %v, want one checkpoint", saved)
	}
}

func fileHolds(path, text string) bool {
	content, _ := os.ReadFile(path)
	return bytes.Contains(content, []byte(text))
}
