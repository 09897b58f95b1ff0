// Command convert turns models of open_clip, Hugging Face transformers and OpenAI into tandem's, and back. It says what it
// found, warns of what goes wrong silently, and writes the whole new directory or nothing. docs/pretrained.md has examples.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"tandem/checkpoints"
	"tandem/checkpoints/foreign"
	"tandem/checkpoints/peft"
	"tandem/internal/fault"
	"tandem/internal/progress"
	"tandem/model"
	"tandem/tokenizer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

const usage = `usage: convert [flags] -to open_clip|hf|tandem SRC DST
       convert [flags] SRC

SRC is a directory, a safetensors file beside its configuration, a run of tandem's, or hf://org/name[@revision].
DST is a new directory. Without -to and DST, convert says what it found and writes nothing.

`

type flags struct {
	from, to, model    string
	merge              string
	imageSize, context int
	offline, verbose   bool
}

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	var f flags
	set := flag.NewFlagSet("convert", flag.ContinueOnError)
	set.Usage = func() { fmt.Fprint(stderr, usage); set.PrintDefaults() }
	set.StringVar(&f.from, "from", "auto", "format of SRC: auto, open_clip, hf, openai or tandem")
	set.StringVar(&f.to, "to", "", "format of DST: open_clip, hf or tandem")
	set.StringVar(&f.model, "model", "", "built-in `name` that describes weights without a configuration, like ViT-B-32-quickgelu")
	set.IntVar(&f.imageSize, "image-size", 0, "resize the image tower's position embeddings to pictures of `N` pixels")
	set.IntVar(&f.context, "context", 0, "resize the text tower's position embeddings to texts of `N` tokens")
	set.StringVar(&f.merge, "merge", "", "merge the low-rank adapters in `DIR` (adapter_config.json, adapter_model.safetensors) into the weights")
	set.BoolVar(&f.offline, "offline", false, "take hf:// models from the cache only")
	set.BoolVar(&f.verbose, "v", false, "print stack traces of errors")
	if err := fault.ParseFlags(set, args, stderr); errors.Is(err, flag.ErrHelp) {
		return fault.ExitOK
	} else if err != nil {
		return fault.Report(stderr, "convert", err, false)
	}
	if err := checkArguments(set.NArg(), f.to); err != nil {
		return fault.Report(stderr, "convert", err, false)
	}
	return fault.Report(stderr, "convert", convert(ctx, f, set.Arg(0), set.Arg(1), stdout, stderr), f.verbose)
}

// checkArguments wants SRC, and DST where there is a format for it.
func checkArguments(n int, to string) error {
	switch {
	case n == 0:
		return fault.Userf("name a model: convert SRC says what it is, convert -to FORMAT SRC DST converts it")
	case n > 2:
		return fault.Userf("%d arguments where SRC and DST are two: flags stand before them", n)
	case n == 2 && to == "":
		return fault.Userf("say with -to what DST is to be: open_clip, hf or tandem")
	case n == 1 && to != "":
		return fault.Userf("-to %s needs a new directory DST after SRC", to)
	}
	return nil
}

var formats = map[string]foreign.Format{
	"auto": "", "open_clip": foreign.FormatOpenCLIP, "hf": foreign.FormatHF, "openai": foreign.FormatOpenAI, "tandem": foreign.FormatTandem,
}

// check refuses flags that nothing can follow, before anything is fetched.
func (f flags) check() (opts foreign.Options, to foreign.Format, err error) {
	from, known := formats[f.from]
	if !known {
		return opts, "", fault.Userf("-from %s is not known: it can be auto, open_clip, hf, openai or tandem", f.from)
	}
	to, known = formats[f.to]
	if f.to != "" && (!known || to == "" || to == foreign.FormatOpenAI) {
		return opts, "", fault.Userf("-to %s is not known: it can be open_clip, hf or tandem", f.to)
	}
	if f.imageSize < 0 || f.context < 0 {
		return opts, "", fault.Userf("-image-size %d and -context %d must not be negative", f.imageSize, f.context)
	}
	opts = foreign.Options{From: from, ImageSize: f.imageSize, Context: f.context}
	if f.model != "" {
		config, err := model.ByName(f.model)
		if err != nil {
			return opts, "", fault.User(err)
		}
		opts.Model = &config
	}
	return opts, to, nil
}

func convert(ctx context.Context, f flags, src, dst string, stdout, stderr io.Writer) error {
	opts, to, err := f.check()
	if err != nil {
		return err
	}
	if entries, err := os.ReadDir(dst); dst != "" && err == nil && len(entries) > 0 {
		return fault.Userf("%s exists and is not empty: give a new directory", dst)
	}
	warn := func(line string) { fmt.Fprintf(stderr, "convert: warning: %s\n", line) }
	path, err := locate(ctx, src, f, opts, warn, stderr)
	if err != nil {
		return err
	}
	opts.Name = src
	c, err := foreign.Open(path, opts)
	if err != nil {
		return err
	}
	defer c.Close()
	tok, tokErr := c.Tokenizer()
	describe(stdout, c, tok, tokErr)
	for _, line := range c.Notes {
		fmt.Fprintf(stdout, "note        %s\n", line)
	}
	for _, line := range c.Traps(tok) {
		warn(line)
	}
	if to == "" && f.merge != "" {
		return fault.Userf("-merge writes a model: say which format with -to, and where")
	}
	if to == "" {
		return nil
	}
	return write(ctx, c, tok, tokErr, f, to, dst, stdout, warn)
}

// locate finds SRC on disk, and checks the files of a model of tandem's.
func locate(ctx context.Context, src string, f flags, opts foreign.Options, warn func(string), stderr io.Writer) (string, error) {
	path, err := foreign.Locate(ctx, src, opts.From, foreign.HubOptions{Offline: f.offline, Progress: progress.New(stderr)}, warn)
	if err == nil && path == src && checkpoints.IsModelDir(src) {
		err = fault.User(checkpoints.Verify(src))
	}
	return path, err
}

func write(ctx context.Context, c *foreign.Checkpoint, tok tokenizer.Tokenizer, tokErr error, f flags, to foreign.Format, dst string, stdout io.Writer, warn func(string)) error {
	if tok == nil && to == foreign.FormatTandem {
		warn(fmt.Sprintf("no tokenizer (%s): tandem's other commands will want one in %s/%s", fault.OneLine(tokErr), dst, checkpoints.TokenizerName))
	}
	m, err := c.Model(tok)
	if err != nil {
		return err
	}
	if f.merge != "" {
		adapters, err := peft.Read(f.merge, c.Config)
		if err != nil {
			return err
		}
		m.Params = peft.Merged{Parameters: m.Params, Adapters: adapters}
		m.Source["merged_adapter"] = f.merge
	}
	m.Params = interruptible{m.Params, ctx}
	notes, err := foreign.Export(dst, to, m)
	if err != nil {
		return err
	}
	for _, line := range notes {
		fmt.Fprintf(stdout, "note        %s\n", line)
	}
	return summarise(stdout, dst, to)
}

// interruptible stops an export between two parameters, so that it can clean up.
type interruptible struct {
	foreign.Parameters
	ctx context.Context
}

// Raw implements foreign.Parameters.
func (i interruptible) Raw(p model.Param, buffer []byte) ([]byte, error) {
	if err := i.ctx.Err(); err != nil {
		return nil, err
	}
	return i.Parameters.Raw(p, buffer)
}

// describe says what was found.
func describe(w io.Writer, c *foreign.Checkpoint, tok tokenizer.Tokenizer, tokErr error) {
	v, t := c.Config.Vision, c.Config.Text
	line := func(what, format string, args ...any) {
		fmt.Fprintf(w, "%-11s %s\n", what, fmt.Sprintf(format, args...))
	}
	line("found", "%s in %s", c.Format, c.Path)
	if c.Origin != nil && c.Format == foreign.FormatTandem {
		line("origin", "%s, %s", c.Origin.Format, c.Origin.Name)
	}
	if v.Kind == model.ResNet {
		line("images", "modified ResNet, %d pixels, width %d, blocks %v, %d heads, attention pooling", v.ImageSize, v.Width, v.Stages, v.Heads)
	} else {
		line("images", "vision transformer, %d pixels in patches of %d, width %d, %d layers, %d heads, MLP %d, pooling %s",
			v.ImageSize, v.PatchSize, v.Width, v.Layers, v.Heads, v.MLPWidth, v.Pool)
	}
	line("texts", "transformer, %d tokens of %d, width %d, %d layers, %d heads, MLP %d, pooling %s", t.Context, t.Vocab, t.Width, t.Layers, t.Heads, t.MLPWidth, t.Pool)
	line("embedding", "%d numbers%s", c.Config.EmbedDim, map[bool]string{true: ", logit bias"}[c.Config.LogitBiasInit != nil])
	line("activation", "%s (images), %s (texts)", cmp.Or(string(v.Activation), "relu"), t.Activation)
	line("parameters", "%s, %s", grouped(c.Config.NumParams()), strings.Join(c.Types(), ", "))
	line("pixels", "resize %s, %s, mean %.5g, std %.5g", c.Preprocess.Resize, c.Preprocess.Interpolation, v.Mean, v.Std)
	if tok == nil {
		line("tokenizer", "none: %s", fault.OneLine(tokErr))
		return
	}
	line("tokenizer", "%s ids, start %d, end %d, padding %d, fingerprint %.12s", grouped(tok.VocabSize()), tok.Start(), tok.End(), tok.Pad(), tok.Fingerprint())
}

// grouped writes 151277313 as 151,277,313.
func grouped(n int) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
