// Command train trains a CLIP: it installs what is missing, prepares the data, trains, evaluates, and writes a run
// directory with checkpoints, metrics and a report.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"tandem/configs"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// options are the command line.
type options struct {
	config    string
	data      string
	init      string
	dir       string
	check     bool
	resume    bool
	steps     int64
	saveEvery int64
	set       assignments
	backend   string
	devices   int
	offline   bool
	verbose   bool
}

// assignments collects -set flags.
type assignments []string

func (a *assignments) String() string     { return strings.Join(*a, " ") }
func (a *assignments) Set(s string) error { *a = append(*a, s); return nil }

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return fault.ExitOK
	}
	if err != nil {
		return fault.Report(stderr, "train", err, false)
	}
	err = execute(ctx, o, stdout, progress.New(stderr))
	if stopped := (*interruption)(nil); errors.As(err, &stopped) {
		fmt.Fprintf(stderr, "train: %s\n", stopped)
		return fault.ExitInterrupted
	}
	return fault.Report(stderr, "train", err, o.verbose)
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("train", flag.ContinueOnError)
	flags.StringVar(&o.config, "config", "", "recipe: one of "+strings.Join(configs.Names(), ", ")+", or a YAML `file`")
	flags.StringVar(&o.init, "init", "", "start from this `model`: a directory of any format, a run, or hf://org/name")
	flags.StringVar(&o.data, "data", "", "train on the shards in this `directory` (data build makes them) and judge by their held-out splits, whatever the recipe's data")
	flags.BoolVar(&o.check, "check", false, "say what the training would take and what looks wrong, and train nothing")
	flags.StringVar(&o.dir, "dir", "", "run `directory` (default runs/NAME)")
	flags.BoolVar(&o.resume, "resume", false, "continue the run in -dir from its newest good checkpoint")
	flags.Int64Var(&o.steps, "steps", 0, "stop after `N` steps, at most the recipe's; the learning-rate schedule keeps the recipe's length")
	flags.Int64Var(&o.saveEvery, "save-every", 0, "save a checkpoint every `N` steps")
	flags.Var(&o.set, "set", "change a setting: `path=value`, for example optim.lr=1e-3 (repeatable)")
	flags.StringVar(&o.backend, "backend", "auto", "auto, xla:cpu, xla:cuda, xla:tpu or go")
	flags.IntVar(&o.devices, "devices", 1, "share each batch among `N` devices; the result is that of one")
	flags.BoolVar(&o.offline, "offline", false, "never download anything")
	flags.BoolVar(&o.verbose, "v", false, "print errors with everything known about them")
	flags.Usage = func() {
		fmt.Fprintf(stderr, "usage: train -config NAME|FILE [flags]\n\nTrains a CLIP. Try: go run ./cmd/train -config shapes\n\n")
		flags.PrintDefaults()
	}
	if err := fault.ParseFlags(flags, args, stderr); err != nil {
		return o, err
	}
	return o, fault.User(check(o, flags.Args()))
}

func check(o options, rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q: settings are changed with -set path=value", rest[0])
	case o.config == "":
		return fmt.Errorf("-config is missing: use one of %s, or a YAML file", strings.Join(configs.Names(), ", "))
	case o.check && o.resume:
		return fmt.Errorf("-check and -resume do not go together: -check looks at a training from its beginning; for that of a run, -config RUN/%s -check", configName)
	case o.steps < 0:
		return fmt.Errorf("-steps %d is negative", o.steps)
	case o.devices < 1:
		return fmt.Errorf("-devices %d: use at least one", o.devices)
	case o.saveEvery < 0:
		return fmt.Errorf("-save-every %d is negative", o.saveEvery)
	}
	return nil
}

// runDir is where a run lives.
func (o options) runDir(name string) string {
	if o.dir != "" {
		return o.dir
	}
	return filepath.Join("runs", name)
}
