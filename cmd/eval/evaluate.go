package main

import (
	"context"
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
	"tandem/eval/record"
	"tandem/internal/atomicfile"
	"tandem/internal/fault"
	"tandem/internal/progress"
	"tandem/internal/zeroshot"
)

const tasksUsage = `usage: go run ./cmd/eval -ckpt DIR -task NAME|FILE|DIR [-out DIR] [flags]
       go run ./cmd/eval classify -ckpt DIR -labels "dog,cat" [-rule FILE] [-probe FILE] IMAGE…
       go run ./cmd/eval probe -ckpt DIR -task TASK [-train SPLIT] [-save FILE]
       go run ./cmd/eval compare REPORT REPORT…
       go run ./cmd/eval verify REPORT
       go run ./cmd/eval new -out DIR FOLDER|CSV|IDX|PARQUET|TARS
       go run ./cmd/eval fetch-classnames -out DIR

Evaluates a model on a task: a built-in one, a YAML file, or a directory of labelled images or shards.
`

// evaluateFlags say what to evaluate, how, and what to write.
type evaluateFlags struct {
	tasks                     list
	out, json, html, md, clip string
	cache                     string
	doubt                     bool
	seed                      uint64
}

func (f *evaluateFlags) register(flags *flag.FlagSet) {
	flags.Var(&f.tasks, "task", "what to evaluate: one of "+strings.Join(configs.TaskNames(), ", ")+", one of their tasks (emoji/group), a YAML `file` or a directory of shards, images or tars; repeatable")
	flags.StringVar(&f.out, "out", "", "write the whole report to this `directory`: JSON, HTML, Markdown, bias.md, records of every example in parquet, rules for \"unknown\"")
	flags.StringVar(&f.json, "json", "", "write the report for machines to this `file`")
	flags.StringVar(&f.html, "html", "", "write the report for people to this `file`")
	flags.StringVar(&f.md, "md", "", "write the report as Markdown to this `file`")
	flags.StringVar(&f.clip, "clip-benchmark", "", "write the results in CLIP_benchmark's form to this `file`")
	flags.StringVar(&f.cache, "cache", "auto", "`directory` of cached embeddings; auto is in the user's cache directory, none keeps none")
	flags.BoolVar(&f.doubt, "doubt", true, "measure calibration, rules for \"unknown\" and prediction sets of every classification")
	flags.Uint64Var(&f.seed, "seed", 0, "of bootstrap draws, random splits and permutations")
}

// cacheDir is the directory of cached embeddings, "" for none.
func (f *evaluateFlags) cacheDir() (string, error) { return cacheDirectory(f.cache) }

func cacheDirectory(flag string) (string, error) {
	switch flag {
	case "none", "":
		return "", nil
	case "auto":
		dir, err := os.UserCacheDir()
		if err != nil {
			return "", fault.Userf("no directory for cached embeddings: name one with -cache, or -cache none (%w)", err)
		}
		return filepath.Join(dir, "tandem", "embeddings"), nil
	}
	return flag, nil
}

// runTasks evaluates tasks and writes a report.
func runTasks(ctx context.Context, c *common, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("eval", flag.ContinueOnError)
	c.register(flags)
	var f evaluateFlags
	f.register(flags)
	if err := parse(flags, args, stderr, tasksUsage); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fault.Userf("unexpected argument %q: tasks are named with -task", flags.Arg(0))
	}
	if len(f.tasks) == 0 {
		return fault.Userf("-task is missing: use one of %s, a YAML file, or a directory", strings.Join(configs.TaskNames(), ", "))
	}
	if err := f.checkPaths(); err != nil {
		return err
	}
	p := progress.New(stderr)
	report, err := f.evaluate(ctx, c, p)
	if err != nil {
		return err
	}
	return f.write(report, stdout)
}

// checkPaths refuses what could not be written, before anything is computed.
func (f *evaluateFlags) checkPaths() error {
	if err := checkOutputs(f.json, f.html, f.md, f.clip); err != nil {
		return err
	}
	cache, err := f.cacheDir()
	if err != nil {
		return err
	}
	return checkDirectories(f.out, cache)
}

// evaluate runs all tasks.
func (f *evaluateFlags) evaluate(ctx context.Context, c *common, p *progress.Reporter) (*eval.Report, error) {
	opener := &configs.Opener{Options: prepare.Options{Offline: c.offline, Progress: p}}
	defer opener.Close()
	tasks, err := opener.Tasks(ctx, f.tasks...)
	if err != nil {
		return nil, err
	}
	return f.evaluateTasks(ctx, c, p, opener, tasks)
}

func (f *evaluateFlags) evaluateTasks(ctx context.Context, c *common, p *progress.Reporter, opener *configs.Opener, tasks []configs.OpenTask) (*eval.Report, error) {
	m, err := c.open(p)
	if err != nil {
		return nil, err
	}
	fingerprint, err := m.Fingerprint()
	if err != nil {
		return nil, err
	}
	cache, err := f.cacheDir()
	if err != nil {
		return nil, err
	}
	report := &eval.Report{Title: "tandem evaluation", Model: describe(m), Manifest: &eval.Manifest{
		Checkpoint: m.Dir, Model: fingerprint, Backend: m.Backend.Name, Devices: c.devices, Seed: f.seed, Doubt: f.doubt, Versions: versions(m),
	}}
	encoder := &counted{Encoder: m}
	session := eval.NewSession(encoder, eval.Options{
		Cache: cache, Model: c.embeddings(m, fingerprint), Open: opener.Open, Doubt: f.doubt, Pictures: true, Seed: f.seed,
	})
	for _, t := range tasks {
		encoder.bar = p.Start(t.Task.Name, t.Size(), "images")
		result, err := session.Run(ctx, t.Task, t.Set)
		if err != nil {
			encoder.bar.Fail()
			return nil, err
		}
		encoder.bar.Done()
		report.Results = append(report.Results, result)
	}
	return report, nil
}

// write writes what the flags ask for and prints the table.
func (f *evaluateFlags) write(report *eval.Report, stdout io.Writer) error {
	if f.out != "" {
		if err := writeDirectory(f.out, report); err != nil {
			return err
		}
	}
	for _, file := range []struct {
		path string
		fill func(io.Writer) error
	}{{f.json, report.WriteJSON}, {f.html, report.WriteHTML}, {f.md, report.WriteMarkdown}, {f.clip, report.WriteCLIPBenchmark}} {
		if file.path == "" {
			continue
		}
		if err := atomicfile.Write(file.path, 0o644, file.fill); err != nil {
			return err
		}
	}
	if err := report.WriteTable(stdout); err != nil {
		return err
	}
	if f.out != "" {
		fmt.Fprintf(stdout, "\nreport: %s\n", filepath.Join(f.out, "report.html"))
	}
	return nil
}

// writeDirectory writes everything a report consists of.
func writeDirectory(dir string, report *eval.Report) error {
	for _, sub := range []string{compare.RecordsName, "rules"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	for _, result := range report.Results {
		if records := result.Records(); len(records) > 0 {
			if err := record.Write(compare.RecordsPath(dir, result.Task.Name), records); err != nil {
				return err
			}
		}
		if c := result.Classification; c != nil && c.Doubt != nil {
			if err := zeroshot.WriteRule(filepath.Join(dir, "rules", compare.FileName(result.Task.Name)+".json"), c.Doubt.Chosen); err != nil {
				return err
			}
		}
	}
	for _, file := range []struct {
		name string
		fill func(io.Writer) error
	}{
		{"report.html", report.WriteHTML}, {"report.md", report.WriteMarkdown}, {"bias.md", report.WriteBias},
		{"clip_benchmark.json", report.WriteCLIPBenchmark}, {compare.ReportName, report.WriteJSON},
	} {
		if err := atomicfile.Write(filepath.Join(dir, file.name), 0o644, file.fill); err != nil {
			return err
		}
	}
	return nil
}
