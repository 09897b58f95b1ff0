// Command eval measures a trained CLIP without training it: zero-shot classification and retrieval on tasks, and the
// classification of single images against labels given on the command line.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"tandem/backend"
	"tandem/configs"
	"tandem/data/prepare"
	"tandem/embed"
	"tandem/eval"
	"tandem/internal/atomicfile"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// common are the flags that every subcommand has.
type common struct {
	checkpoint string
	backend    string
	offline    bool
	verbose    bool
}

func (c *common) register(flags *flag.FlagSet) {
	flags.StringVar(&c.checkpoint, "ckpt", "", "`directory` of a checkpoint, or of a run, whose newest one is taken")
	flags.StringVar(&c.backend, "backend", "auto", "auto, xla:cpu, xla:cuda, xla:tpu or go")
	flags.BoolVar(&c.offline, "offline", false, "never download anything")
	flags.BoolVar(&c.verbose, "v", false, "print errors with everything known about them")
}

// open loads the model.
func (c *common) open(p *progress.Reporter) (*embed.Model, error) {
	if c.checkpoint == "" {
		return nil, fault.Userf("-ckpt is missing: give a checkpoint's directory or a run's")
	}
	return embed.Load(c.checkpoint,
		embed.WithBackendOptions(backend.Options{Name: c.backend, Offline: c.offline, Progress: p}),
		embed.WithWarnings(func(line string) { p.Linef("%s", line) }))
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	command := runTasks
	if len(args) > 0 && args[0] == "classify" {
		command, args = runClassify, args[1:]
	}
	var c common
	err := command(ctx, &c, args, stdout, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return fault.ExitOK
	}
	if errors.Is(err, errFlags) {
		return fault.ExitUsage // flag printed it
	}
	return fault.Report(stderr, "eval", err, c.verbose)
}

// errFlags marks an error that the flag package has printed already.
var errFlags = errors.New("bad flags")

func parse(flags *flag.FlagSet, args []string, stderr io.Writer, usage string) error {
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, usage)
		flags.PrintDefaults()
	}
	err := flags.Parse(args)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	return errFlags
}

const tasksUsage = `usage: eval -ckpt DIR -task NAME|FILE|DIR [flags]
       eval classify -ckpt DIR -labels "dog,cat" IMAGE…

Evaluates a model on a task: a built-in one, a YAML file, or a directory of labelled shards.
`

// runTasks evaluates tasks and writes a report.
func runTasks(ctx context.Context, c *common, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("eval", flag.ContinueOnError)
	c.register(flags)
	var refs list
	flags.Var(&refs, "task", "what to evaluate: one of "+strings.Join(configs.TaskNames(), ", ")+", one of their tasks (emoji/group), a YAML `file` or a directory of shards; repeatable")
	jsonPath := flags.String("json", "", "write the report for machines to this `file`")
	htmlPath := flags.String("html", "", "write the report for people to this `file`")
	if err := parse(flags, args, stderr, tasksUsage); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fault.Userf("unexpected argument %q: tasks are named with -task", flags.Arg(0))
	}
	if len(refs) == 0 {
		return fault.Userf("-task is missing: use one of %s, a YAML file, or a directory of shards", strings.Join(configs.TaskNames(), ", "))
	}
	p := progress.New(stderr)
	tasks, err := openTasks(ctx, refs, prepare.Options{Offline: c.offline, Progress: p})
	if err != nil {
		return err
	}
	m, err := c.open(p)
	if err != nil {
		return err
	}
	report := &eval.Report{Title: "tandem evaluation", Model: describe(m)}
	for _, t := range tasks {
		bar := p.Start(t.task.Name, t.size(), "images")
		result, err := eval.Run(ctx, counted{m, bar}, t.task, t.set)
		if err != nil {
			bar.Fail()
			return err
		}
		bar.Done()
		report.Results = append(report.Results, result)
	}
	return write(report, *jsonPath, *htmlPath, stdout)
}

func write(report *eval.Report, jsonPath, htmlPath string, stdout io.Writer) error {
	if jsonPath != "" {
		if err := atomicfile.Write(jsonPath, 0o644, report.WriteJSON); err != nil {
			return err
		}
	}
	if htmlPath != "" {
		if err := atomicfile.Write(htmlPath, 0o644, report.WriteHTML); err != nil {
			return err
		}
	}
	return report.WriteTable(stdout)
}

// describe is what a report says of the model.
func describe(m *embed.Model) map[string]string {
	facts := map[string]string{
		"checkpoint": m.Dir, "parameters": fmt.Sprintf("%.1f M", float64(m.Config.NumParams())/1e6),
		"tokenizer": fmt.Sprintf("%.12s", m.Tokenizer.Fingerprint()),
	}
	for k, v := range m.Source {
		facts[k] = v
	}
	return facts
}

// list collects a repeatable flag.
type list []string

func (l *list) String() string     { return strings.Join(*l, ", ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }
