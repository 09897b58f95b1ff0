// Command eval measures a trained CLIP without training it: zero-shot classification, retrieval and choices between
// captions on tasks, with intervals, doubt and group gaps; comparisons of reports; probes; and the classification of
// single images against labels given on the command line.
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
	"tandem/embed"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// program is how messages tell the user to run this command: eval alone is a word of the shell's own.
const program = "go run ./cmd/eval"

// common are the flags that every subcommand has.
type common struct {
	checkpoint string
	backend    string
	offline    bool
	devices    int
	verbose    bool
}

func (c *common) register(flags *flag.FlagSet) {
	flags.StringVar(&c.checkpoint, "ckpt", "", "`directory` of a checkpoint or of a run, of which the final model is taken, or the newest checkpoint")
	flags.StringVar(&c.backend, "backend", "auto", "auto, xla:cpu, xla:cuda, xla:tpu or go")
	flags.BoolVar(&c.offline, "offline", false, "never download anything")
	flags.IntVar(&c.devices, "devices", 1, "`number` of devices to split each batch of images or texts over")
	flags.BoolVar(&c.verbose, "v", false, "print errors with everything known about them")
}

// open loads the model.
func (c *common) open(p *progress.Reporter) (*embed.Model, error) {
	if c.checkpoint == "" {
		return nil, fault.Userf("-ckpt is missing: give a checkpoint's directory or a run's")
	}
	if c.devices < 1 {
		return nil, fault.Userf("-devices %d: at least one is needed", c.devices)
	}
	return embed.Load(c.checkpoint, embed.WithDevices(c.devices),
		embed.WithBackendOptions(backend.Options{Name: c.backend, Offline: c.offline, Progress: p}),
		embed.WithWarnings(func(line string) { p.Linef("%s", line) }))
}

// command is one thing that eval does.
type command func(ctx context.Context, c *common, args []string, stdout, stderr io.Writer) error

// commands by name; without a name, tasks are evaluated.
var commands = map[string]command{
	"classify":         runClassify,
	"probe":            runProbe,
	"compare":          runCompare,
	"verify":           runVerify,
	"new":              runNew,
	"fetch-classnames": runFetchClassnames,
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	do := command(runTasks)
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		named, ok := commands[args[0]]
		if !ok {
			return fault.Report(stderr, "eval", fault.Userf("command %q is unknown: use classify, probe, compare, verify, new or fetch-classnames; tasks are named with -task", args[0]), false)
		}
		do, args = named, args[1:]
	}
	var c common
	err := do(ctx, &c, args, stdout, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return fault.ExitOK
	}
	return fault.Report(stderr, "eval", err, c.verbose)
}

func parse(flags *flag.FlagSet, args []string, stderr io.Writer, usage string) error {
	flags.Usage = func() {
		fmt.Fprintln(stderr, usage)
		flags.PrintDefaults()
	}
	flags.Init(strings.Replace(flags.Name(), "eval", program, 1), flags.ErrorHandling())
	return fault.ParseFlags(flags, args, stderr)
}

// list collects a repeatable flag.
type list []string

func (l *list) String() string     { return strings.Join(*l, ", ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }
