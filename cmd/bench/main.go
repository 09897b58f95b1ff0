// Command bench measures how fast this machine trains and encodes, on random data: the parts of the first step, step
// times, throughput against the machine's own matrix-product peak, memory, page faults and allocations. With -peers it
// runs open_clip and JAX on the same model in the same minutes and prints ratios.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"tandem/backend"
	"tandem/internal/fault"
	"tandem/internal/progress"
	"tandem/model"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// options are the command line.
type options struct {
	config   string
	name     string // of the built-in model
	model    model.Config
	batch    int
	steps    int
	warmup   int
	dtype    string
	backend  string
	devices  int
	chunk    int
	block    int
	remat    bool
	infer    string
	captions string
	json     bool
	peers    bool
	rounds   int
	python   string
	scripts  string
	preload  string
	prefix   string
	forget   bool
	cache    bool
	offline  bool
	verbose  bool
}

// aliases are the configurations of the peers' scripts, with their batches.
var aliases = map[string]struct {
	model string
	batch int
}{
	"S": {"S-8", 128}, "B32": {"ViT-B-32", 16}, "B16": {"ViT-B-16", 16}, "L14": {"ViT-L-14", 8},
}

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return fault.ExitOK
	}
	if err != nil {
		return fault.Report(stderr, "bench", err, false)
	}
	if o.peers {
		err = compare(ctx, o, stdout, stderr)
	} else {
		err = single(ctx, o, stdout, progress.New(stderr))
	}
	return fault.Report(stderr, "bench", err, o.verbose)
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.config, "config", "S", "S, B32, B16, L14, or a built-in `model`")
	flags.IntVar(&o.batch, "batch", 0, "pairs a step (default the configuration's: 128 for S, 16 for B32)")
	flags.IntVar(&o.steps, "steps", 10, "measured `steps`")
	flags.IntVar(&o.warmup, "warmup", 4, "`steps` before the measured ones, the first not counted")
	flags.StringVar(&o.dtype, "dtype", "float32", "float32 or bfloat16")
	flags.StringVar(&o.backend, "backend", "auto", "auto, xla:cpu, xla:cuda, xla:tpu or go")
	flags.IntVar(&o.devices, "devices", 0, "train on `N` devices")
	flags.IntVar(&o.chunk, "chunk", 0, "pairs in memory at a time (train.chunk)")
	flags.IntVar(&o.block, "block", 0, "images of the loss in memory at a time (loss.block)")
	flags.BoolVar(&o.remat, "rematerialise", false, "recompute blocks in the backward pass")
	flags.StringVar(&o.infer, "infer", "", "measure encoding of `images` or texts instead of training")
	flags.StringVar(&o.captions, "captions", "full", "length of the random captions: full (as the peers' scripts) or real (median 12 tokens)")
	flags.BoolVar(&o.json, "json", false, "print one line of JSON")
	flags.BoolVar(&o.peers, "peers", false, "run open_clip and JAX in turn with this and print ratios")
	flags.IntVar(&o.rounds, "rounds", 3, "interleaved `rounds` with -peers")
	flags.StringVar(&o.python, "python", "python3", "`interpreter` with torch, open_clip and jax, for -peers")
	flags.StringVar(&o.scripts, "scripts", "scripts/peers", "`directory` of the peers' scripts")
	flags.StringVar(&o.preload, "preload", "", "allocator `library` put in front of the peers, with -peers")
	flags.StringVar(&o.prefix, "prefix", "", "`command` put in front of every program with -peers, for example \"taskset -c 0,1\"")
	flags.BoolVar(&o.forget, "forget-memory", false, "give a step's memory back to the kernel after it, as a program without backend.Options.KeepMemory does")
	flags.BoolVar(&o.cache, "cache", false, "take compiled programs from the cache and keep them there, as training does")
	flags.BoolVar(&o.offline, "offline", false, "never download anything")
	flags.BoolVar(&o.verbose, "v", false, "print errors with everything known about them")
	flags.Usage = func() {
		fmt.Fprintf(stderr, "usage: bench [flags]\n\nMeasures training steps or encoding on random data. Try: bench -config S\n\n")
		flags.PrintDefaults()
	}
	if err := fault.ParseFlags(flags, args, stderr); err != nil {
		return o, err
	}
	return o, fault.User(o.complete(flags.Args()))
}

// complete checks the options and fills in the model.
func (o *options) complete(rest []string) error {
	o.name = o.config
	if a, ok := aliases[o.name]; ok {
		o.name = a.model
		if o.batch == 0 {
			o.batch = a.batch
		}
	} else if o.batch == 0 {
		o.batch = 16
	}
	var err error
	if o.model, err = model.ByName(o.name); err != nil {
		return fmt.Errorf("-config %s: use S, B32, B16, L14 or one of %v", o.config, model.Names())
	}
	if o.captions == "real" {
		o.model.Text.Lengths = realLengths(o.model.Text.Context)
	}
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case o.batch < 1 || o.steps < 1 || o.warmup < 1 || o.rounds < 1:
		return errors.New("-batch, -steps, -warmup and -rounds must be positive")
	case o.devices < 0 || o.chunk < 0 || o.block < 0:
		return errors.New("-devices, -chunk and -block must not be negative")
	case !slices.Contains([]string{"float32", "bfloat16"}, o.dtype):
		return fmt.Errorf("-dtype %s: use float32 or bfloat16", o.dtype)
	case !slices.Contains([]string{"", "images", "texts"}, o.infer):
		return fmt.Errorf("-infer %s: use images or texts", o.infer)
	case !slices.Contains([]string{"full", "real"}, o.captions):
		return fmt.Errorf("-captions %s: use full or real", o.captions)
	case o.peers && o.config != "S" && o.config != "B32":
		return fmt.Errorf("-peers knows the configurations S and B32, not %s", o.config)
	case o.peers && o.infer == "texts":
		return errors.New("-peers compares training and -infer images")
	}
	return nil
}

// single measures this program and prints the result.
func single(ctx context.Context, o options, stdout io.Writer, p *progress.Reporter) error {
	b, err := backend.Open(ctx, backend.Options{Name: o.backend, Offline: o.offline, Progress: p, Devices: o.devices, KeepMemory: !o.forget, KeepCompiled: o.cache})
	if err != nil {
		return err
	}
	defer b.Close()
	result, err := measure(ctx, o, b)
	if err != nil {
		return err
	}
	if o.json {
		return json.NewEncoder(stdout).Encode(result)
	}
	return result.write(stdout)
}
