package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"tandem/data/build"
	"tandem/data/ingest"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

// buildMemory is a soft limit: near it the garbage collector works harder.
const buildMemory = 900 << 20

type buildFlags struct {
	build  build.Options
	ingest ingest.Options

	json                                bool
	shardSize                           string
	holdout                             repeated
	templates                           repeated
	captions, labels, scripts, noHeader listFlag
	classFile, model                    string
}

func (f *buildFlags) define(e *env) {
	fs := e.flags
	o, in := &f.build, &f.ingest
	fs.StringVar(&o.Out, "out", "", "directory to write; an unfinished build in it is gone on with")
	fs.StringVar(&in.From, "from", "auto", "kind of source: "+strings.Join(ingest.Kinds(), ", "))
	fs.BoolVar(&o.DryRun, "dry-run", false, "read and check everything, write nothing")
	fs.BoolVar(&f.json, "json", false, "print the result as one line of JSON")
	fs.BoolVar(&o.Restart, "restart", false, "forget an unfinished build in -out")
	fs.BoolVar(&o.Replace, "replace", false, "replace finished shards in -out")
	fs.IntVar(&o.Workers, "workers", 0, "checking and decoding in parallel (default: number of processors)")
	fs.Int64Var(&o.MaxRows, "max-rows", 0, "read no more rows than this")
	fs.StringVar(&f.shardSize, "shard-size", "256MB", "size to close a shard at")

	fs.StringVar(&in.Split, "split", "", "split of all rows (default: what files, directories or a column say, else train)")
	fs.Var(&f.holdout, "holdout", "NAME=SHARE: move this share of the rows of split train to another split, chosen by key; may be repeated")
	fs.StringVar(&in.ImageColumn, "image-column", "", "column with the image or its path (default: a known name)")
	fs.StringVar(&in.KeyColumn, "key-column", "", "column that names the row (default: a known name)")
	fs.StringVar(&in.SplitColumn, "split-column", "", "column that names the split (default: split)")
	fs.Var(&f.captions, "caption-columns", "columns with captions (default: a known name)")
	fs.Var(&f.labels, "labels", "columns or fields to keep as labels; none for none (default: every other column of a list)")
	fs.Var(&f.noHeader, "columns", "names of the columns of a CSV or TSV file without header line")
	fs.StringVar(&in.ImageRoot, "images", "", "directory of the images that a list names (default: the list's)")
	fs.BoolVar(&in.ClassDirs, "class-dirs", false, "folders: a directory is a class, its name the label class")
	fs.StringVar(&f.classFile, "class-names", "", "file with the names of integer labels, one a line")
	fs.Var(&f.templates, "template", "caption made of labels, like \"a photo of a {class}\"; may be repeated")

	fs.IntVar(&o.Images.Fit, "fit", 0, "make larger images so small that the shortest side has this many pixels")
	fs.BoolVar(&o.Images.Longest, "fit-longest", false, "-fit is about the longest side")
	fs.StringVar(&o.Images.Format, "format", "", "store all images as jpeg or png (default: as they are)")
	fs.IntVar(&o.Images.Quality, "quality", 0, "of JPEGs stored anew (default 90)")
	fs.IntVar(&o.Images.MinSide, "min-side", 0, "skip images whose shortest side has fewer pixels")
	fs.Float64Var(&o.Images.MaxAspect, "max-aspect", 0, "skip images longer than so many times their shortest side")
	fs.BoolVar(&o.Images.HeaderOnly, "header-only", false, "trust images whose header can be read, do not decode them")

	fs.BoolVar(&o.Captions.Raw, "raw-captions", false, "do not normalise spaces and Unicode composition")
	fs.IntVar(&o.Captions.MinChars, "min-chars", 0, "drop shorter captions")
	fs.IntVar(&o.Captions.MaxChars, "max-chars", 0, "drop longer captions (default 10000)")
	fs.Var(&f.scripts, "scripts", "keep captions mostly in these Unicode scripts, like Latin,Cyrillic")
	fs.StringVar(&f.model, "model", "", "with -min-score: the checkpoint or run that rates how captions fit pictures")
	fs.Float64Var(&o.MinScore, "min-score", 0, "drop captions whose similarity to the picture is less")
	fs.StringVar(&o.Dedup, "dedup", "none", "drop duplicate images: none, exact (same bytes) or near (dHash)")
	fs.IntVar(&o.NearDistance, "near-distance", 0, "bits, 0 to 3, in which the hashes of near-duplicates may differ")
}

func runBuild(ctx context.Context, e *env, args []string) error {
	f := &buildFlags{}
	f.define(e)
	locations, err := e.parse(args, 1, -1)
	if err != nil {
		return err
	}
	if err := f.finish(e); err != nil {
		return err
	}
	inputs, err := f.open(locations)
	if err != nil {
		return err
	}
	if err := f.addScore(e.progress); err != nil {
		return err
	}
	debug.SetMemoryLimit(buildMemory)
	report, err := build.Build(ctx, inputs, f.build)
	if err != nil {
		if report.RowsIn > 0 && !f.build.DryRun && !fault.IsUser(err) {
			e.progress.Linef("finished shards stay in %s: the same command goes on from there", f.build.Out)
		}
		return err
	}
	return f.print(e, report)
}

// finish turns flags into options.
func (f *buildFlags) finish(e *env) (err error) {
	o := &f.build
	o.Progress = e.progress
	if o.ShardBytes, err = parseSize(f.shardSize); err != nil {
		return fault.Userf("-shard-size %q: %w", f.shardSize, err)
	}
	if len(f.holdout) > 0 {
		o.Holdout = map[string]float64{}
	}
	for _, h := range f.holdout {
		name, share, ok := strings.Cut(h, "=")
		x, err := strconv.ParseFloat(share, 64)
		if !ok || err != nil {
			return fault.Userf("-holdout %q: want NAME=SHARE, like val=0.01", h)
		}
		o.Holdout[name] = x
	}
	o.Captions.Scripts = f.scripts
	in := &f.ingest
	in.CaptionColumns, in.LabelColumns, in.NoHeader, in.Templates = f.captions, f.labels, f.noHeader, f.templates
	in.MaxImageBytes = 64 << 20
	if f.classFile != "" {
		data, err := os.ReadFile(f.classFile)
		if err != nil {
			return fault.User(err)
		}
		in.ClassNames = strings.Split(strings.TrimSpace(strings.ReplaceAll(string(data), "\r\n", "\n")), "\n")
	}
	return nil
}

// open makes inputs of NAME=LOCATION or LOCATION.
func (f *buildFlags) open(locations []string) ([]ingest.Input, error) {
	var inputs []ingest.Input
	for _, location := range locations {
		o := f.ingest
		if name, rest, ok := strings.Cut(location, "="); ok && !strings.ContainsAny(name, "/\\.") {
			o.Name, location = name, rest
		}
		in, err := ingest.Open(location, o)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, in)
	}
	return inputs, nil
}

func (f *buildFlags) print(e *env, r build.Report) error {
	if f.json {
		return json.NewEncoder(e.stdout).Encode(r)
	}
	verb := "wrote"
	if f.build.DryRun {
		verb = "would write"
	}
	fmt.Fprintf(e.stdout, "%s %d rows of %d with %d captions in %d shards, %s, splits %s\n", verb, r.RowsOut, r.RowsIn, r.Captions, r.Shards, progress.FormatBytes(r.Bytes), strings.Join(r.Splits, ", "))
	for _, list := range []struct {
		title string
		of    map[string]int64
	}{{"skipped", r.Skipped}, {"changed", r.Changed}} {
		for _, name := range slices.Sorted(maps.Keys(list.of)) {
			fmt.Fprintf(e.stdout, "  %s %8d  %s\n", list.title, list.of[name], name)
		}
	}
	if r.Captions == 0 {
		fmt.Fprintln(e.stdout, "no captions: enough to evaluate on; to train, make them of labels with -template or with data.sources[].captions")
	}
	if len(r.Skipped) > 0 && !f.build.DryRun {
		fmt.Fprintf(e.stdout, "every skipped row is listed in %s/%s\n", f.build.Out, build.SkippedName)
	}
	return nil
}

// parseSize reads "256MB", "64MiB" or a number of bytes.
func parseSize(s string) (int64, error) {
	units := []struct {
		suffix string
		factor float64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}
	for _, u := range units {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		x, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(x > 0 && x*u.factor < 1<<62) {
			return 0, fmt.Errorf("want a size like 256MB or 64MiB")
		}
		return int64(x * u.factor), nil
	}
	panic("unreachable: the last suffix is empty")
}
