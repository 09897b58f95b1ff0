// Command parity compares tandem with golden files that a peer made: for each directory it prints, check by check, how
// far tandem is from the reference and how far it may be, and exits with 1 if anything is beyond. docs/pretrained.md
// describes the directories.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"tandem/backend"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

const usage = `usage: parity [flags] DIR…

DIR is a directory of golden files: of a model (open_clip_config.json or config.json with inputs.npz), of pictures
(index.json), or a tokenizer.json of open_clip's cases.

`

type flags struct {
	backend backend.Options
	quiet   bool
	verbose bool
}

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	var f flags
	set := flag.NewFlagSet("parity", flag.ContinueOnError)
	set.Usage = func() { fmt.Fprint(stderr, usage); set.PrintDefaults() }
	set.StringVar(&f.backend.Name, "backend", backend.Auto, "where graphs run: "+strings.Join(backend.Names(), ", "))
	set.BoolVar(&f.backend.Offline, "offline", false, "download no plugin")
	set.BoolVar(&f.quiet, "q", false, "of the checks that pass, print only the one of each kind that is nearest to its tolerance")
	set.BoolVar(&f.verbose, "v", false, "print stack traces of errors")
	if err := fault.ParseFlags(set, args, stderr); errors.Is(err, flag.ErrHelp) {
		return fault.ExitOK
	} else if err != nil {
		return fault.Report(stderr, "parity", err, false)
	}
	if set.NArg() == 0 {
		return fault.Report(stderr, "parity", fault.Userf("name at least one directory of golden files; parity -h says what it holds"), false)
	}
	f.backend.Progress = progress.New(stderr)
	return fault.Report(stderr, "parity", compareAll(ctx, set.Args(), f, stdout), f.verbose)
}

// errBeyond is returned when some check is beyond its tolerance; the checks have been printed.
var errBeyond = errors.New("beyond tolerance")

func compareAll(ctx context.Context, dirs []string, f flags, stdout io.Writer) error {
	opened, err := backend.Open(ctx, f.backend)
	if err != nil {
		return err
	}
	defer opened.Close()
	exact, err := backend.Open(ctx, backend.Options{Name: backend.Go})
	if err != nil {
		return err
	}
	defer exact.Close()
	fmt.Fprintln(stdout, opened.Info)
	var failed []string
	for _, dir := range dirs {
		report, err := compare(dir, opened.Backend, exact.Backend)
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		report.print(stdout, !f.quiet)
		if report.failures() > 0 {
			failed = append(failed, filepath.Base(dir))
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("%w: %s", errBeyond, strings.Join(failed, ", "))
	}
	return nil
}
