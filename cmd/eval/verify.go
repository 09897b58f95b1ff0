package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"tandem/configs"
	"tandem/data/prepare"
	"tandem/eval"
	"tandem/eval/compare"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

const verifyUsage = `usage: go run ./cmd/eval verify [-ckpt DIR] REPORT

Runs a report's tasks again, with the checkpoint, backend and seed that its manifest names and without cached embeddings,
and compares: byte by byte, and where bytes differ number by number. Exits with 1 if anything differs.
`

// runVerify evaluates again what a report says, and compares.
func runVerify(ctx context.Context, c *common, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("eval verify", flag.ContinueOnError)
	c.register(flags)
	tolerance := flags.Float64("tolerance", 0, "differences of numbers up to this are accepted, for other machines")
	if err := parse(flags, args, stderr, verifyUsage); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return fault.Userf("name one report: its directory or its JSON file")
	}
	path := flags.Arg(0)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, compare.ReportName)
	}
	old, err := eval.ReadReport(path)
	if err != nil {
		return err
	}
	if old.Manifest == nil {
		return fault.Userf("%s has no manifest: only reports that eval wrote can be run again", path)
	}
	fresh, err := again(ctx, c, old, stderr)
	if err != nil {
		return err
	}
	return agree(path, old, fresh, *tolerance, stdout)
}

// again runs a report's tasks.
func again(ctx context.Context, c *common, old *eval.Report, stderr io.Writer) (*eval.Report, error) {
	if c.checkpoint == "" {
		c.checkpoint = old.Manifest.Checkpoint
	}
	if c.backend == "auto" && old.Manifest.Backend != "" {
		c.backend = old.Manifest.Backend
	}
	c.devices = max(1, c.devices, old.Manifest.Devices)
	p := progress.New(stderr)
	opener := &configs.Opener{Options: prepare.Options{Offline: c.offline, Progress: p}}
	defer opener.Close()
	var tasks []configs.OpenTask
	for _, r := range old.Results {
		t, err := opener.Task(ctx, r.Task)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, t)
	}
	f := evaluateFlags{cache: "none", doubt: old.Manifest.Doubt, seed: old.Manifest.Seed}
	return f.evaluateTasks(ctx, c, p, opener, tasks)
}

// agree prints what differs; an error says that something does.
func agree(path string, old, fresh *eval.Report, tolerance float64, stdout io.Writer) error {
	if old.Manifest.Model != fresh.Manifest.Model {
		fmt.Fprintf(stdout, "the model is another one: %.12s, the report's was %.12s\n", fresh.Manifest.Model, old.Manifest.Model)
	}
	for k, v := range old.Manifest.Versions {
		if now := fresh.Manifest.Versions[k]; now != v {
			fmt.Fprintf(stdout, "%s is %s, the report's was %s\n", k, now, v)
		}
	}
	differing := 0
	for i := range old.Results {
		a, b := old.Results[i], fresh.Results[i]
		same, err := sameBytes(a, b)
		if err != nil {
			return err
		}
		lines, largest := numbers(a, b)
		for _, d := range a.Differences(b) {
			lines = append(lines, d)
			largest = tolerance + 1
		}
		switch {
		case same:
			fmt.Fprintf(stdout, "%s: the same, byte for byte\n", a.Task.Name)
			continue
		case largest <= tolerance && tolerance > 0:
			fmt.Fprintf(stdout, "%s: the same within %g\n", a.Task.Name, tolerance)
			continue
		}
		differing++
		fmt.Fprintf(stdout, "%s: DIFFERS: %s\n", a.Task.Name, strings.Join(lines, "; "))
	}
	if differing > 0 {
		return fmt.Errorf("%s cannot be confirmed: %d of %d results differ", path, differing, len(old.Results))
	}
	return nil
}

// sameBytes compares two results as a report writes them.
func sameBytes(a, b eval.Result) (bool, error) {
	x, err := json.Marshal(a)
	if err != nil {
		return false, err
	}
	y, err := json.Marshal(b)
	return bytes.Equal(x, y), err
}

// numbers lists the metrics that differ and the largest difference.
func numbers(a, b eval.Result) (lines []string, largest float64) {
	other := b.Metrics()
	for _, m := range a.Ordered() {
		now := other[m.Name]
		for _, d := range []float64{now.Value - m.Value, now.Low - m.Low, now.High - m.High} {
			largest = max(largest, d, -d)
		}
		if now.Value != m.Value || now.N != m.N {
			lines = append(lines, fmt.Sprintf("%s is %s of %d, the report says %s of %d", m.Title, m.Show(now.Value), now.N, m.Show(m.Value), m.N))
		}
	}
	if len(lines) == 0 {
		lines = []string{"the metrics agree; intervals, doubt or groups do not"}
	}
	return lines, largest
}
