package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tandem/checkpoints/safetensors"
	"tandem/internal/fault"
	"tandem/internal/npy"
)

const (
	models   = "../../checkpoints/foreign/testdata/golden"
	pictures = "../../imaging/testdata/open_clip"
	tokens   = "../../tokenizer/testdata/clip_golden.json"
)

func parity(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), args, nil, &out, &errs)
	return code, out.String(), errs.String()
}

// TestModels runs every check of every golden model on the pure-Go backend.
func TestModels(t *testing.T) {
	dirs, err := filepath.Glob(models + "/*")
	if err != nil || len(dirs) != 11 {
		t.Fatalf("%d golden models, want 11 (%v)", len(dirs), err)
	}
	code, out, errs := parity(append([]string{"-backend", "go", "-q"}, dirs...)...)
	if code != fault.ExitOK {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	if n := strings.Count(out, "checks within tolerance"); n != len(dirs) {
		t.Errorf("%d summaries, want %d:\n%s", n, len(dirs), out)
	}
}

// TestXLA runs one of them on XLA.
func TestXLA(t *testing.T) {
	if code, out, errs := parity("-backend", "xla:cpu", models+"/hf_siglip"); code != fault.ExitOK || strings.Count(out, "  ok ") < 150 {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
}

func TestPicturesAndTokens(t *testing.T) {
	code, out, errs := parity("-backend", "go", pictures, tokens)
	if code != fault.ExitOK || !strings.Contains(out, "5 variants") || !strings.Contains(out, "69 texts for CLIP's tokenizer") {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
}

// copyGolden copies a golden directory, which a test may then damage.
func copyGolden(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(models, name))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestDamage: whatever is wrong must be found, by the checks that it concerns.
func TestDamage(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, dir string)
		want   string // a pattern in the output
	}{
		{"one weight is off", func(t *testing.T, dir string) {
			changeWeights(t, dir, "visual.ln_pre.bias", func(x []float32) { x[3] += 1e-3 })
		}, `FAIL visual\.ln_pre `},
		{"a bias of no effect is off", func(t *testing.T, dir string) {
			changeWeights(t, dir, "logit_scale", func(x []float32) { x[0] += 1e-4 })
		}, `FAIL logit_scale_exp`},
		{"a gradient is off", func(t *testing.T, dir string) {
			changeArrays(t, filepath.Join(dir, "grads.npz"), func(a map[string]npy.Array) { a["visual.proj"].Data.([]float32)[0] += 0.01 })
		}, `FAIL visual\.proj `},
		{"a gradient is missing", func(t *testing.T, dir string) {
			changeArrays(t, filepath.Join(dir, "grads.npz"), func(a map[string]npy.Array) { delete(a, "visual.proj") })
		}, `FAIL visual\.proj +the reference has no such tensor`},
		{"a weight after three steps is off", func(t *testing.T, dir string) {
			changeArrays(t, filepath.Join(dir, "outputs_f64.npz"), func(a map[string]npy.Array) { a["after3/visual.proj"].Data.([]float64)[0] += 1e-4 })
		}, `FAIL visual\.proj `},
		{"something decays that should not", func(t *testing.T, dir string) {
			writeTo(t, filepath.Join(dir, "no_decay.json"), `["logit_scale"]`)
		}, `FAIL visual\.ln_pre\.weight`},
		{"a loss is not a number", func(t *testing.T, dir string) {
			changeArrays(t, filepath.Join(dir, "outputs_f64.npz"), func(a map[string]npy.Array) {
				losses := a["train_losses"].Data.([]float64)
				losses[1] -= losses[1] / (losses[1] - losses[1])
			})
		}, `FAIL train_losses`},
		{"an unknown module", func(t *testing.T, dir string) {
			changeArrays(t, filepath.Join(dir, "intermediates.npz"), func(a map[string]npy.Array) { a["visual.mystery"] = a["visual.ln_pre"] })
		}, `FAIL visual\.mystery +tandem has no such module`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := copyGolden(t, "vit_gelu")
			c.damage(t, dir)
			code, out, errs := parity("-backend", "go", dir)
			if code != fault.ExitFailure || !regexp.MustCompile(c.want).MatchString(out) || !strings.Contains(errs, "parity: beyond tolerance: vit_gelu") {
				t.Errorf("exit code %d, want %d and %q:\n%s%s", code, fault.ExitFailure, c.want, out, errs)
			}
		})
	}
}

func changeWeights(t *testing.T, dir, name string, change func([]float32)) {
	t.Helper()
	path := filepath.Join(dir, "open_clip_model.safetensors")
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var entries []safetensors.Entry
	for _, info := range f.Tensors() {
		raw := make([]byte, info.Bytes())
		if err := f.Read(info, raw); err != nil {
			t.Fatal(err)
		}
		if info.Name == name {
			values := make([]float32, info.Elements())
			if err := safetensors.Float32s(info.DType, raw, values); err != nil {
				t.Fatal(err)
			}
			change(values)
			if raw, err = safetensors.AppendFloat32s(nil, info.DType, values); err != nil {
				t.Fatal(err)
			}
		}
		entries = append(entries, safetensors.Entry{Info: info, Write: func(w io.Writer) error { _, err := w.Write(raw); return err }})
	}
	f.Close()
	if err := safetensors.WriteFile(path, nil, entries); err != nil {
		t.Fatal(err)
	}
}

func changeArrays(t *testing.T, path string, change func(map[string]npy.Array)) {
	t.Helper()
	arrays, err := npy.ReadZip(path)
	if err != nil {
		t.Fatal(err)
	}
	change(arrays)
	var out bytes.Buffer
	if err := npy.WriteZip(&out, arrays); err != nil {
		t.Fatal(err)
	}
	writeTo(t, path, out.String())
}

func writeTo(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestWithoutFloat64 compares with the peer's float32 where it has nothing else.
func TestWithoutFloat64(t *testing.T) {
	dir := copyGolden(t, "vit_gelu")
	if err := os.Rename(filepath.Join(dir, "outputs_f64.npz"), filepath.Join(dir, "outputs.npz")); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := parity("-backend", "go", dir); code != fault.ExitOK {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
}

func TestUsage(t *testing.T) {
	damaged := copyGolden(t, "vit_gelu")
	writeTo(t, filepath.Join(damaged, "inputs.npz"), "no zip")
	noJSON := filepath.Join(t.TempDir(), "tokens.json")
	writeTo(t, noJSON, "{}")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, fault.ExitUsage, "name at least one directory"},
		{[]string{"-nonsense"}, fault.ExitUsage, "flag provided but not defined"},
		{[]string{"-h"}, fault.ExitOK, "usage: parity"},
		{[]string{"-backend", "cuda", models}, fault.ExitUsage, `backend "cuda" is not known`},
		{[]string{"-backend", "go", "nowhere"}, fault.ExitUsage, "nowhere: stat nowhere: no such file"},
		{[]string{"-backend", "go", models}, fault.ExitUsage, "no golden directory"},
		{[]string{"-backend", "go", damaged}, fault.ExitUsage, "inputs.npz"},
		{[]string{"-backend", "go", noJSON}, fault.ExitUsage, "there are no cases in it"},
	} {
		code, _, errs := parity(c.args...)
		if code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exit code %d, want %d; %q, want %q", c.args, code, c.code, errs, c.want)
		}
	}
}
