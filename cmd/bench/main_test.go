package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/internal/fault"
)

func bench(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// TestMeasuresEverything runs a real training step and real encoding of a small model and reads the line of JSON.
func TestMeasuresEverything(t *testing.T) {
	for _, args := range [][]string{{}, {"-captions", "real"}, {"-infer", "images"}, {"-infer", "texts", "-captions", "real"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			code, stdout, stderr := bench(append(args, "-config", "S", "-batch", "2", "-steps", "2", "-warmup", "1", "-json", "-backend", "xla:cpu")...)
			if code != fault.ExitOK {
				t.Fatalf("exit %d: %s", code, stderr)
			}
			var r Result
			if err := json.Unmarshal([]byte(stdout), &r); err != nil {
				t.Fatalf("%q: %v", stdout, err)
			}
			if r.Rate <= 0 || r.MinMS <= 0 || r.MedianMS < r.MinMS || r.MaxMS < r.MedianMS || r.CPUMS <= 0 {
				t.Errorf("times make no sense: %+v", r)
			}
			if r.BuildS <= 0 || r.CompileS <= 0 || r.FirstS <= 0 || r.PeakRSS < 50 || r.Allocs <= 0 {
				t.Errorf("parts of the first step or memory are missing: %+v", r)
			}
			if r.GFLOPs <= 0 || r.PeakGFLOP <= 0 || r.OfPeak <= 0 || r.OfPeak > 1.5 {
				t.Errorf("%g GFLOP/s of %g is no share of a peak", r.GFLOPs, r.PeakGFLOP)
			}
		})
	}
}

func TestBadFlags(t *testing.T) {
	for want, args := range map[string][]string{
		"-config X: use S, B32":                     {"-config", "X"},
		"-dtype int8: use float32 or bfloat16":      {"-dtype", "int8"},
		"-infer sound: use images or texts":         {"-infer", "sound"},
		"must be positive":                          {"-steps", "0"},
		"must not be negative":                      {"-chunk", "-1"},
		"-peers knows the configurations S and B32": {"-peers", "-config", "B16"},
		"-scripts nowhere: the peers' scripts":      {"-peers", "-scripts", "nowhere"},
		"unexpected argument \"x\"":                 {"x"},
	} {
		code, _, stderr := bench(args...)
		if code != fault.ExitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit %d, %q; want exit 2 and %q", args, code, stderr, want)
		}
	}
}

// TestComparison puts two shell scripts in the peers' place: rounds interleave, ratios are of the same round.
func TestComparison(t *testing.T) {
	dir := t.TempDir()
	for name, line := range map[string]string{
		"torch_train.py": `{"img_per_s_median": 50, "median_s": 2, "peak_rss_mib": 900, "gflops": 1}`,
		"jax_train.py":   `{"img_per_s_median": 80, "median_s": 1, "peak_rss_mib": 800, "gflops": 1}`,
	} {
		script := "echo noise\necho '" + line + "'\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	o, err := parse([]string{"-peers", "-python", "sh", "-scripts", dir}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	field := contestants(o, "tandem")
	rounds := [][]measured{{{rate: 100}, {rate: 120}, {rate: 110}}, nil, nil}
	for range rounds[0] {
		for i := 1; i < 3; i++ {
			m, err := field[i].run(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			rounds[i] = append(rounds[i], m)
		}
	}
	rows := summarise(field, rounds)
	if got := rows[1]; got.Rate != 50 || got.Ratio != 2.2 || got.RatioLow != 2 || got.RatioHigh != 2.4 || got.PeakRSS != 900 {
		t.Errorf("open_clip's row is %+v", got)
	}
	if got := rows[2].Ratio; got != 110.0/80 {
		t.Errorf("ratio to JAX is %g", got)
	}
	field[1].command[1] = filepath.Join(dir, "missing.py")
	if _, err := field[1].run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "open_clip eager") {
		t.Errorf("a peer that fails gives %v", err)
	}
}
