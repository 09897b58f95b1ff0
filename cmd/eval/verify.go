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
	v := verification{path: path, tolerance: *tolerance, all: c.verbose, lost: map[string]string{}}
	fresh, err := v.again(ctx, c, old, stdout, stderr)
	if err != nil {
		return err
	}
	return v.agree(old, fresh, stdout)
}

// verification is how a report's file is compared with what was measured again.
type verification struct {
	path      string
	tolerance float64
	all       bool // name all differences
	// lost are directories of pictures that are not there any more, by the data that were prepared from them.
	lost map[string]string
}

// again runs a report's tasks.
func (v *verification) again(ctx context.Context, c *common, old *eval.Report, stdout, stderr io.Writer) (*eval.Report, error) {
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
	now, err := v.prepareAgain(ctx, old.Manifest.Sources, opener.Options, stdout)
	if err != nil {
		return nil, err
	}
	for _, r := range old.Results {
		r.Task.Data = cmp.Or(now[r.Task.Data], r.Task.Data)
		t, err := opener.Task(ctx, r.Task)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, t)
	}
	f := evaluateFlags{cache: "none", doubt: old.Manifest.Doubt, seed: old.Manifest.Seed}
	fresh, err := f.evaluateTasks(ctx, c, p, opener, tasks)
	if err != nil {
		return nil, err
	}
	for i, r := range old.Results { // where a directory's shards lie depends on its files' times, and is no difference
		fresh.Results[i].Task.Data = r.Task.Data
	}
	return fresh, nil
}

// prepareAgain looks at the directories of pictures as they are today, and says what has changed in them. It returns where
// their shards are now, by where they were.
func (v *verification) prepareAgain(ctx context.Context, sources map[string]string, o prepare.Options, stdout io.Writer) (map[string]string, error) {
	now := map[string]string{}
	for _, shards := range slices.Sorted(maps.Keys(sources)) {
		source := sources[shards]
		if _, err := os.Stat(source); err != nil {
			v.lost[shards] = source
			continue
		}
		location, err := prepare.Directory(ctx, source, o)
		if err != nil {
			return nil, err
		}
		if now[shards] = location; location == shards {
			continue
		}
		changes, err := prepare.ChangesSince(shards, source)
		if err != nil {
			return nil, err
		}
		if what := changes.String(); what != "" {
			fmt.Fprintf(stdout, "%s has changed since the report: %s\n", source, what)
		} else {
			fmt.Fprintf(stdout, "%s was prepared again: what the report was measured on is not there any more\n", source)
		}
	}
	return now, nil
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
	if source := v.lost[old.Task.Data]; source != "" {
		_, err = fmt.Fprintf(stdout, "%s: DIFFERS: %s is gone; what was prepared from it is still here and %s\n", name, source,
			map[bool]string{true: "gives the same", false: "differs, too"}[bytes.Equal(compact.Bytes(), now)])
		return false, err
	}
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
