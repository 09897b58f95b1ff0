package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"

	"tandem/internal/fault"
)

// contestant is a program that prints a Result, or the peers' line, as JSON.
type contestant struct {
	name    string
	command []string
	peer    bool
}

// measured are a contestant's numbers of one round.
type measured struct{ rate, medianMS, peakRSS, gflops float64 }

// compare runs everyone in turn, round after round, and prints medians over rounds, spreads and ratios.
func compare(ctx context.Context, o options, stdout, stderr io.Writer) error {
	if _, err := os.Stat(filepath.Join(o.scripts, "torch_train.py")); err != nil {
		return fault.Userf("-scripts %s: the peers' scripts are not there; run from the repository's root", o.scripts)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	field := contestants(o, self)
	rounds := make([][]measured, len(field))
	for round := range o.rounds {
		for i, c := range field {
			m, err := c.run(ctx, o)
			if err != nil {
				return err
			}
			rounds[i] = append(rounds[i], m)
			fmt.Fprintf(stderr, "round %d: %-24s %7.1f images/s, %6.0f MiB\n", round+1, c.name, m.rate, m.peakRSS)
		}
	}
	if o.json {
		return writeRounds(stdout, o, field, rounds)
	}
	return writeTable(stdout, o, field, rounds)
}

// contestants lists who runs. The peers' batch, steps and warm-up are ours.
func contestants(o options, self string) []contestant {
	common := []string{"--config", o.config, "--steps", strconv.Itoa(o.steps), "--warm", strconv.Itoa(o.warmup - 1), "--batch", strconv.Itoa(o.batch)}
	ours := []string{self, "-json", "-config", o.config, "-steps", strconv.Itoa(o.steps), "-warmup", strconv.Itoa(o.warmup),
		"-batch", strconv.Itoa(o.batch), "-dtype", o.dtype, "-captions", o.captions, "-backend", o.backend}
	torch, jax := filepath.Join(o.scripts, "torch_train.py"), filepath.Join(o.scripts, "jax_train.py")
	mode := "eager"
	jaxArgs := []string{}
	if o.dtype == "bfloat16" {
		mode, jaxArgs = "bf16", append(jaxArgs, "--bf16")
	}
	if o.infer != "" {
		ours = append(ours, "-infer", o.infer)
		common = append(common, "--infer")
	}
	script := func(path string, args ...string) []string {
		return append(append([]string{o.python, path}, common...), args...)
	}
	return []contestant{
		{"tandem", ours, false},
		{"open_clip " + mode, script(torch, "--mode", mode), true},
		{"JAX", script(jax, jaxArgs...), true},
	}
}

// run runs a contestant once. Peers get the allocator of -preload in front; ours brings its own.
func (c contestant) run(ctx context.Context, o options) (measured, error) {
	command := append(strings.Fields(o.prefix), c.command...)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "BENCH_RESULTS=", "PYTHONDONTWRITEBYTECODE=1")
	if c.peer && o.preload != "" {
		cmd.Env = append(cmd.Env, "LD_PRELOAD="+o.preload)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return measured{}, fmt.Errorf("%s: %w: %s", c.name, err, lastLine(stderr.Bytes()))
	}
	return readLine(c, lastLine(out))
}

// readLine reads our line of JSON or the peers'.
func readLine(c contestant, line []byte) (measured, error) {
	var ours Result
	var theirs struct {
		Rate   float64 `json:"img_per_s_median"`
		Median float64 `json:"median_s"`
		RSS    float64 `json:"peak_rss_mib"`
		GFLOPs float64 `json:"gflops"`
	}
	var err error
	m := measured{}
	if c.peer {
		err = json.Unmarshal(line, &theirs)
		m = measured{theirs.Rate, theirs.Median * 1000, theirs.RSS, theirs.GFLOPs}
	} else {
		err = json.Unmarshal(line, &ours)
		m = measured{ours.Rate, ours.MedianMS, ours.PeakRSS, ours.GFLOPs}
	}
	if err == nil && m.rate <= 0 {
		err = fmt.Errorf("no throughput in it")
	}
	if err != nil {
		return m, fmt.Errorf("%s printed %q: %w", c.name, line, err)
	}
	return m, nil
}

func lastLine(out []byte) []byte {
	out = bytes.TrimSpace(out)
	return out[bytes.LastIndexByte(out, '\n')+1:]
}

// summary is one contestant over all rounds. Ratio is the median over rounds of ours/theirs, both of the same round.
type summary struct {
	Name                       string    `json:"name"`
	Rate                       float64   `json:"images_per_s"`
	Low                        float64   `json:"images_per_s_low"`
	High                       float64   `json:"images_per_s_high"`
	PeakRSS                    float64   `json:"peak_rss_mib"`
	Ratio, RatioLow, RatioHigh float64   `json:"-"`
	Ratios                     []float64 `json:"tandem_over_this"`
}

func summarise(field []contestant, rounds [][]measured) []summary {
	rows := make([]summary, len(field))
	for i, c := range field {
		var rates, ratios []float64
		for round, m := range rounds[i] {
			rates = append(rates, m.rate)
			ratios = append(ratios, rounds[0][round].rate/m.rate)
			rows[i].PeakRSS = max(rows[i].PeakRSS, m.peakRSS)
		}
		rows[i].Name, rows[i].Ratios = c.name, ratios
		rows[i].Rate, rows[i].Low, rows[i].High = spread(rates)
		rows[i].Ratio, rows[i].RatioLow, rows[i].RatioHigh = spread(ratios)
	}
	return rows
}

// spread is median, least and most.
func spread(values []float64) (mid, low, high float64) {
	low, high = values[0], values[0]
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	return median(values), low, high
}

func writeRounds(w io.Writer, o options, field []contestant, rounds [][]measured) error {
	return json.NewEncoder(w).Encode(map[string]any{
		"config": o.config, "batch": o.batch, "dtype": o.dtype, "infer": o.infer, "captions": o.captions,
		"rounds": o.rounds, "preload": o.preload, "results": summarise(field, rounds),
	})
}

func writeTable(w io.Writer, o options, field []contestant, rounds [][]measured) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "%s, batch %d, %d rounds\timages/s (spread)\ttandem is faster by (spread)\tpeak MiB\n", o.config, o.batch, o.rounds)
	for i, s := range summarise(field, rounds) {
		ratio := ""
		if i > 0 {
			ratio = fmt.Sprintf("%.2f× (%.2f–%.2f)", s.Ratio, s.RatioLow, s.RatioHigh)
		}
		fmt.Fprintf(t, "%s\t%.1f (%.1f–%.1f)\t%s\t%.0f\n", s.Name, s.Rate, s.Low, s.High, ratio, s.PeakRSS)
	}
	return t.Flush()
}
