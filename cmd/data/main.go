// Command data makes, checks and looks at the shards that training reads.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"tandem/data/prepare"
	"tandem/data/shard"
	"tandem/data/store"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

func main() { os.Exit(mainCode()) }

// mainCode is main with an exit code, for tests.
func mainCode() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// command is one sub-command. Its run parses args with flags and works.
type command struct {
	name, usage, short string
	run                func(ctx context.Context, e *env, args []string) error
}

// env is what a sub-command works with.
type env struct {
	command  command
	flags    *flag.FlagSet
	stdin    io.Reader
	stdout   io.Writer
	stderr   io.Writer
	progress *progress.Reporter
	verbose  *bool
}

var commands = []command{
	{"build", "[flags] -out DIR SOURCE…", "turn folders, lists, tars or parquet files into shards", runBuild},
	{"inspect", "[flags] SHARDS", "say what a set of shards holds, and show some of it", runInspect},
	{"verify", "[flags] SHARDS", "check every file, row and picture of a set of shards", runVerify},
	{"stats", "[flags] SHARDS", "count sizes, lengths, words, labels and duplicates, and plot them", runStats},
	{"sample", "[flags] SHARDS", "print rows drawn at random as JSON lines, and write their pictures", runSample},
	{"export", "[flags] -to FORMAT -out DIR SHARDS", "write shards as webdataset tars or Hugging Face parquet", runExport},
	{"copy", "SHARDS DESTINATION", "copy shards to another directory or bucket", runCopy},
	{"speed", "[flags] SHARDS", "measure how fast training batches come out of shards", runSpeed},
	{"fetch", "[flags] NAME", "build one of the data sets that come with the program: " + strings.Join(prepare.Names(), ", "), runFetch},
	{"tokenizer", "[flags] -out DIR SHARDS|FILE…", "train a byte-pair vocabulary on captions", runTokenizer},
	{"tokens", "[flags] < LINES", "print the token ids of lines of text", runTokens},
	{"pixels", "[flags] -npy OUT IMAGE", "write what a model would see of a picture, as a NumPy array", runPixels},
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 || args[0] == "-h" || args[0] == "-help" || args[0] == "--help" || args[0] == "help" {
		usage(stderr)
		if len(args) == 0 {
			return fault.ExitUsage
		}
		return fault.ExitOK
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == args[0] })
	if i < 0 {
		return fault.Report(stderr, "data", fault.Userf("unknown command %q; known are %s", args[0], strings.Join(names(), ", ")), false)
	}
	c := commands[i]
	e := &env{command: c, stdin: stdin, stdout: stdout, stderr: stderr, progress: progress.New(stderr)}
	e.flags = flag.NewFlagSet("data "+c.name, flag.ContinueOnError)
	e.flags.SetOutput(stderr)
	e.verbose = e.flags.Bool("v", false, "say more about errors")
	e.flags.Usage = func() {
		fmt.Fprintf(stderr, "usage: data %s %s\n%s\n\n", c.name, c.usage, c.short)
		e.flags.PrintDefaults()
	}
	err := c.run(ctx, e, args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return fault.ExitOK
	}
	return fault.Report(stderr, "data "+c.name, err, *e.verbose)
}

func names() []string {
	var all []string
	for _, c := range commands {
		all = append(all, c.name)
	}
	return all
}

func usage(w io.Writer) {
	fmt.Fprint(w, "usage: data COMMAND [flags] …\n\ncommands:\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-10s %s\n", c.name, c.short)
	}
	fmt.Fprint(w, "\n`data COMMAND -h` lists the flags of a command.\n")
}

// parse reads the flags, which may stand before and between the arguments, and returns the arguments.
func (e *env) parse(args []string, least, most int) ([]string, error) {
	var positional []string
	for {
		if err := fault.ParseFlags(e.flags, args, e.stderr); err != nil {
			return nil, err
		}
		if e.flags.NArg() == 0 {
			break
		}
		positional = append(positional, e.flags.Arg(0))
		args = e.flags.Args()[1:]
	}
	if len(positional) < least || (most >= 0 && len(positional) > most) {
		return nil, fault.Userf("wrong number of arguments; usage: data %s %s", e.command.name, e.command.usage)
	}
	return positional, nil
}

// given is the first of names that was set as a flag, "" if none was.
func (e *env) given(names ...string) (name string) {
	e.flags.Visit(func(f *flag.Flag) {
		if name == "" && slices.Contains(names, f.Name) {
			name = f.Name
		}
	})
	return name
}

// listFlag is a flag of comma-separated words.
type listFlag []string

func (l *listFlag) String() string { return strings.Join(*l, ",") }

func (l *listFlag) Set(s string) error {
	*l = nil
	for word := range strings.SplitSeq(s, ",") {
		if word = strings.TrimSpace(word); word != "" {
			*l = append(*l, word)
		}
	}
	return nil
}

// repeated is a flag that may be given several times.
type repeated []string

func (r *repeated) String() string { return strings.Join(*r, ", ") }

func (r *repeated) Set(s string) error {
	*r = append(*r, s)
	return nil
}

// openSet opens the rows of a split ("": all) of a directory of shards. The function it returns closes them.
func openSet(ctx context.Context, location, split string) (*shard.Set, func(), error) {
	st, err := store.Open(ctx, location)
	if err != nil {
		return nil, nil, err
	}
	set, err := shard.OpenSet(ctx, st, split)
	if err != nil {
		st.Close()
		return nil, nil, err
	}
	return set, func() { set.Close(); st.Close() }, nil
}
