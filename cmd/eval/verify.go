package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
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
and compares: byte by byte, and where bytes differ value by value, each by its path in report.json. Exits with 1 if
anything differs. Where the report's backend cannot be had, name another with -backend and allow a -tolerance.
`

// runVerify evaluates again what a report says, and compares.
func runVerify(ctx context.Context, c *common, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("eval verify", flag.ContinueOnError)
	c.register(flags)
	tolerance := flags.Float64("tolerance", 0, "differences of numbers up to this, below 1, are accepted, for other machines; counts and words must be equal")
	if err := parse(flags, args, stderr, verifyUsage); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return fault.Userf("name one report: its directory or its JSON file")
	}
	if !(*tolerance >= 0 && *tolerance < 1) {
		return fault.Userf("-tolerance %g: use a number from 0 to below 1", *tolerance)
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
	v := verification{path: path, tolerance: *tolerance, all: c.verbose}
	return v.agree(old, fresh, stdout)
}

// verification is how a report's file is compared with what was measured again.
type verification struct {
	path      string
	tolerance float64
	all       bool // name all differences
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
func (v *verification) agree(old, fresh *eval.Report, stdout io.Writer) error {
	if old.Manifest.Model != fresh.Manifest.Model {
		fmt.Fprintf(stdout, "the model is another one: %.12s, the report's was %.12s\n", fresh.Manifest.Model, old.Manifest.Model)
	}
	if was := old.Manifest.Backend; was != "" && was != "auto" && was != fresh.Manifest.Backend {
		fmt.Fprintf(stdout, "the backend is %s, the report's was %s\n", fresh.Manifest.Backend, was)
	}
	for _, k := range slices.Sorted(maps.Keys(old.Manifest.Versions)) {
		if now, was := fresh.Manifest.Versions[k], old.Manifest.Versions[k]; now != was {
			fmt.Fprintf(stdout, "%s is %s, the report's was %s\n", k, cmp.Or(now, "not there"), was)
		}
	}
	written, err := writtenResults(v.path)
	if err != nil {
		return err
	}
	differing := 0
	for i, result := range fresh.Results {
		same, err := v.result(old.Results[i], result, written[i], stdout)
		if err != nil {
			return err
		}
		if !same {
			differing++
		}
	}
	if differing > 0 {
		return fmt.Errorf("%s cannot be confirmed: %d of %d results differ", v.path, differing, len(old.Results))
	}
	return nil
}

// writtenResults are a report's results as its file holds them: what this program does not know of counts, too.
func writtenResults(path string) ([]json.RawMessage, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.User(err)
	}
	var report struct {
		Results []json.RawMessage `json:"results"`
	}
	err = json.Unmarshal(content, &report)
	return report.Results, err
}

// result prints how a result agrees with the one that the report's file holds.
func (v *verification) result(old, fresh eval.Result, written []byte, stdout io.Writer) (same bool, err error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, written); err != nil {
		return false, err
	}
	now, err := json.Marshal(fresh)
	if err != nil {
		return false, err
	}
	name := old.Task.Name
	if bytes.Equal(compact.Bytes(), now) {
		_, err = fmt.Fprintf(stdout, "%s: the same, byte for byte\n", name)
		return true, err
	}
	lines, err := treeDifferences(compact.Bytes(), now, v.tolerance)
	if err != nil {
		return false, err
	}
	if len(lines) == 0 {
		_, err = fmt.Fprintf(stdout, "%s: the same within %g\n", name, v.tolerance) // within 0: written in another way
		return true, err
	}
	fmt.Fprintf(stdout, "%s: DIFFERS: %s\n", name, strings.Join(append(old.Differences(fresh), plural(len(lines), "value")), "; "))
	for i, line := range lines {
		if i == shownDifferences && !v.all {
			fmt.Fprintf(stdout, "  and %d more (-v names them)\n", len(lines)-i)
			break
		}
		fmt.Fprintf(stdout, "  %s\n", line)
	}
	return false, nil
}

// shownDifferences bounds the lines about one result.
const shownDifferences = 20

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
