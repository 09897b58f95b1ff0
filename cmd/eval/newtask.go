package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"tandem/configs"
	"tandem/data/build"
	"tandem/data/ingest"
	"tandem/data/prepare"
	"tandem/eval"
	"tandem/internal/atomicfile"
	"tandem/internal/fault"
	"tandem/internal/progress"
	"tandem/internal/zeroshot"
)

const newUsage = `usage: go run ./cmd/eval new -out DIR [flags] FOLDER|CSV|IDX|PARQUET|TARS

Makes a benchmark: shards of the pictures in DIR/data and a task file DIR/task.yaml, which -task reads and which is for
you to edit: class names, templates, groups, images of no class. Folders of classes (class/picture.jpg), CSV and parquet
tables, IDX pairs and webdataset tars, CLIP_benchmark's layout too, are recognised.
`

// newFlags say what to make a benchmark of, and where.
type newFlags struct {
	out, label, name, classFile, licence string
	templates                            list
	ingest                               ingest.Options
	build                                build.Options
}

func (f *newFlags) register(flags *flag.FlagSet) {
	flags.StringVar(&f.out, "out", "", "`directory` to write")
	flags.BoolVar(&f.build.Replace, "replace", false, "replace a benchmark that is in -out already")
	flags.BoolVar(&f.build.Restart, "restart", false, "forget what an earlier run that was stopped left in -out")
	o := &f.ingest
	o.ClassDirs = true
	flags.StringVar(&o.From, "from", "auto", "kind of source: "+strings.Join(ingest.Kinds(), ", "))
	flags.StringVar(&o.Split, "split", "", "split of all pictures (default: what files or directories say, else train)")
	flags.StringVar(&o.ImageColumn, "image-column", "", "column with the image or its path (default: a known name)")
	flags.StringVar(&f.label, "label", "", "column that holds the class (default: class or label)")
	flags.StringVar(&f.name, "name", "", "the task's name (default: the directory's)")
	flags.StringVar(&f.classFile, "class-names", "", "`file` with the names of integer labels, one a line")
	flags.Var(&f.templates, "template", "prompt with a {} where the class name goes; repeatable, several are averaged")
	flags.StringVar(&f.licence, "licence", "", "the pictures' licence, kept in the task file")
}

// runNew makes a benchmark of labelled pictures.
func runNew(ctx context.Context, c *common, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("eval new", flag.ContinueOnError)
	flags.BoolVar(&c.verbose, "v", false, "print errors with everything known about them")
	var f newFlags
	f.register(flags)
	if err := parse(flags, args, stderr, newUsage); err != nil {
		return err
	}
	if flags.NArg() != 1 || f.out == "" {
		return fault.Userf("name -out and one source: %s new -out benchmark pictures/", program)
	}
	input, err := f.open(flags.Arg(0))
	if err != nil {
		return err
	}
	data := filepath.Join(f.out, "data")
	undo := made(f.out, data)
	f.build.Out, f.build.Progress = data, progress.New(stderr)
	report, err := build.Build(ctx, []ingest.Input{input}, f.build)
	if err == nil {
		err = f.write(data, flags.Arg(0), report, stdout)
	}
	if fault.IsUser(err) && undo() { // the next try is another one; after a failure the same command goes on
		if empty, ok := errors.AsType[*build.EmptyError](err); ok {
			empty.List = "" // is gone
		}
	}
	return prepare.Unlabelled(err, flags.Arg(0))
}

// open reads what the flags name and refuses what would be found out only after everything is read.
func (f *newFlags) open(location string) (ingest.Input, error) {
	if f.classFile != "" {
		content, err := os.ReadFile(f.classFile)
		if err != nil {
			return nil, fault.User(err)
		}
		f.ingest.ClassNames = strings.Split(strings.TrimSpace(strings.ReplaceAll(string(content), "\r\n", "\n")), "\n")
	}
	if err := zeroshot.CheckTemplates(f.templates); err != nil {
		return nil, fault.Userf("-template: %w", err)
	}
	if err := checkDirectories(f.out); err != nil {
		return nil, err
	}
	input, err := ingest.Open(location, f.ingest)
	if err != nil {
		return nil, err
	}
	if labels := input.Labels(); f.label != "" && labels != nil && !slices.Contains(labels, f.label) {
		return nil, fault.Userf("-label: %s has no column %q; it has %s", location, f.label, cmp.Or(strings.Join(labels, ", "), "none"))
	}
	return input, nil
}

// made returns what removes the first of some directories that is not there yet, and so all that will be made in it. It
// reports whether it did.
func made(dirs ...string) (undo func() bool) {
	for _, dir := range dirs {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return func() bool { return os.RemoveAll(dir) == nil }
		}
	}
	return func() bool { return false }
}

// write writes the task file beside the shards and says what there is.
func (f *newFlags) write(data, from string, report build.Report, stdout io.Writer) error {
	file, err := taskFile(data, f.name, f.label, f.templates, f.licence)
	if err != nil {
		return err
	}
	content, err := yaml.Marshal(file)
	if err != nil {
		return err
	}
	path := filepath.Join(f.out, "task.yaml")
	command := fmt.Sprintf("%s -ckpt DIR -task %s", program, path)
	head := fmt.Sprintf("# Made by %s new from %s.\n#\n#   %s\n", program, from, command)
	if err := atomicfile.WriteFile(path, append([]byte(head), content...), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s: %d of %d pictures\n", data, report.RowsOut, report.RowsIn)
	if len(report.Skipped) > 0 {
		fmt.Fprintf(stdout, "left out: %s (%s lists them)\n", eval.SkippedWords(report.Skipped), filepath.Join(data, build.SkippedName))
	}
	_, err = fmt.Fprintf(stdout, "%s: %d tasks; evaluate with: %s\n", path, len(file.Tasks), command)
	return err
}

// taskFile describes the shards in a directory.
func taskFile(data, name, label string, templates []string, licence string) (configs.TaskFile, error) {
	absolute, err := filepath.Abs(data)
	if err != nil {
		return configs.TaskFile{}, err
	}
	tasks, err := configs.DirectoryTasks(absolute, label)
	if err != nil {
		return configs.TaskFile{}, err
	}
	if name == "" {
		name = filepath.Base(filepath.Dir(absolute))
	}
	for i := range tasks {
		tasks[i].Name = name + "/" + tasks[i].Split
		tasks[i].Licence = licence
		if len(templates) > 0 {
			tasks[i].Templates = templates
		}
	}
	return configs.TaskFile{Tasks: tasks}, nil
}
