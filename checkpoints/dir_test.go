package checkpoints

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func fillWith(content string) func(string) error {
	return func(tmp string) error {
		if err := os.MkdirAll(filepath.Join(tmp, "tokenizer"), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(tmp, "tokenizer", "t.json"), []byte("{}"), 0o644); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(tmp, "weights"), []byte(content), 0o644)
	}
}

func save(t *testing.T, r Root, step int64, content string) string {
	t.Helper()
	dir, err := r.Save(step, fillWith(content))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSaveVerifyNewest(t *testing.T) {
	r := Root{Dir: filepath.Join(t.TempDir(), "checkpoints"), Keep: 2, KeepEvery: 100}
	for _, step := range []int64{100, 150, 200, 250, 300, 350} {
		save(t, r, step, "x")
	}
	steps, err := r.Steps()
	if err != nil {
		t.Fatal(err)
	}
	if want := []int64{100, 200, 300, 350}; !slices.Equal(steps, want) {
		t.Fatalf("kept %v, want %v: the two newest and every hundredth", steps, want)
	}
	step, dir, skipped, ok, err := r.Newest()
	if err != nil || !ok || step != 350 || len(skipped) != 0 || dir != r.StepDir(350) {
		t.Fatalf("newest is %d (%s), skipped %v, ok %v, err %v", step, dir, skipped, ok, err)
	}
	if latest, _ := os.ReadFile(filepath.Join(r.Dir, "LATEST")); string(latest) != "step-000000350\n" {
		t.Fatalf("LATEST holds %q", latest)
	}
}

func TestNewestWalksBackOverBrokenOnes(t *testing.T) {
	breakers := map[string]struct {
		do   func(dir string) error
		says string
	}{
		"truncated":    {func(dir string) error { return os.Truncate(filepath.Join(dir, "weights"), 1) }, "has 1 bytes"},
		"changed":      {func(dir string) error { return os.WriteFile(filepath.Join(dir, "weights"), []byte("12346"), 0o644) }, "sha256"},
		"missing":      {func(dir string) error { return os.Remove(filepath.Join(dir, "tokenizer", "t.json")) }, "no such file"},
		"no manifest":  {func(dir string) error { return os.Remove(filepath.Join(dir, ManifestName)) }, "not a checkpoint"},
		"bad manifest": {func(dir string) error { return os.WriteFile(filepath.Join(dir, ManifestName), []byte("{"), 0o644) }, ManifestName},
	}
	for name, b := range breakers {
		t.Run(name, func(t *testing.T) {
			r := Root{Dir: t.TempDir()}
			save(t, r, 1, "good")
			if err := b.do(save(t, r, 2, "12345")); err != nil {
				t.Fatal(err)
			}
			step, _, skipped, ok, err := r.Newest()
			if err != nil || !ok || step != 1 {
				t.Fatalf("newest is %d, ok %v, err %v; want step 1", step, ok, err)
			}
			if len(skipped) != 1 || !strings.Contains(skipped[0].Error(), b.says) {
				t.Fatalf("skipped %v, want one reason with %q", skipped, b.says)
			}
		})
	}
}

func TestFailedSaveLeavesNothing(t *testing.T) {
	r := Root{Dir: t.TempDir()}
	save(t, r, 1, "good")
	full := errors.New("no space left on device")
	if _, err := r.Save(2, func(tmp string) error { fillWith("half")(tmp); return full }); !errors.Is(err, full) {
		t.Fatalf("error %v, want the writer's", err)
	}
	entries, _ := os.ReadDir(r.Dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"LATEST", "step-000000001"}; !slices.Equal(names, want) {
		t.Fatalf("directory holds %v, want %v", names, want)
	}
}

func TestSaveReplacesTheSameStep(t *testing.T) {
	r := Root{Dir: t.TempDir()}
	save(t, r, 1, "old")
	dir := save(t, r, 1, "new")
	if got, _ := os.ReadFile(filepath.Join(dir, "weights")); string(got) != "new" {
		t.Fatalf("holds %q, want the new content", got)
	}
	if err := Verify(dir); err != nil {
		t.Fatal(err)
	}
}

func TestCleanRemovesLeftovers(t *testing.T) {
	r := Root{Dir: t.TempDir()}
	save(t, r, 1, "good")
	if err := os.MkdirAll(filepath.Join(r.Dir, ".tmp-step-000000002-123", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.Clean(); err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(r.Dir)
	if len(entries) != 2 {
		t.Fatalf("directory holds %v after Clean", entries)
	}
}

// TestWhatARunMeans: one rule for what stands for a run; a final model that is broken is not replaced by another.
func TestWhatARunMeans(t *testing.T) {
	modelIn := func(dir string) {
		t.Helper()
		err := WriteDir(dir, func(tmp string) error { return os.WriteFile(filepath.Join(tmp, ModelName), []byte("{}"), 0o644) })
		if err != nil {
			t.Fatal(err)
		}
	}
	run := t.TempDir()
	step := Root{Dir: filepath.Join(run, CheckpointsName)}.StepDir
	final := filepath.Join(run, FinalName)
	resolves := func(path, want, says string) {
		t.Helper()
		got, err := Resolve(path, func(string) {})
		if got != want || (says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s means %q (%v), want %q %s", path, got, err, want, says)
		}
	}
	resolves(run, "", "is not a checkpoint and holds none")
	modelIn(step(1))
	modelIn(step(2))
	resolves(run, step(2), "")
	modelIn(final)
	resolves(run, final, "")
	resolves(step(0), "", "does not exist")
	resolves(filepath.Dir(step(0)), step(2), "")
	resolves(step(1), step(1), "")
	if err := os.WriteFile(filepath.Join(final, ModelName), []byte("{ }"), 0o644); err != nil {
		t.Fatal(err)
	}
	resolves(run, "", "the final model of run "+run+" is broken")
	if err := os.Remove(filepath.Join(final, ModelName)); err != nil {
		t.Fatal(err)
	}
	resolves(run, "", "is broken")
	if err := os.RemoveAll(final); err != nil {
		t.Fatal(err)
	}
	resolves(run, step(2), "")
}
