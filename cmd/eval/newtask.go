package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"

	"tandem/configs"
	"tandem/data/build"
	"tandem/data/ingest"
	"tandem/internal/atomicfile"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

const newUsage = `usage: eval new -out DIR [flags] FOLDER|CSV|IDX|PARQUET|TARS

Makes a benchmark: shards of the pictures in DIR/data and a task file DIR/task.yaml, which eval -task reads and which is
for you to edit: class names, templates, groups, images of no class. Folders of classes (class/picture.jpg), CSV and
parquet tables, IDX pairs and webdataset tars, CLIP_benchmark's layout too, are recognised.
`

// runNew makes a benchmark of labelled pictures.
func runNew(ctx context.Context, c *common, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("eval new", flag.ContinueOnError)
	flags.BoolVar(&c.verbose, "v", false, "print errors with everything known about them")
	out := flags.String("out", "", "`directory` to write")
	o := ingest.Options{ClassDirs: true}
	flags.StringVar(&o.From, "from", "auto", "kind of source: "+strings.Join(ingest.Kinds(), ", "))
	flags.StringVar(&o.Split, "split", "", "split of all pictures (default: what files or directories say, else train)")
	flags.StringVar(&o.ImageColumn, "image-column", "", "column with the image or its path (default: a known name)")
	label := flags.String("label", "", "column that holds the class (default: class or label)")
	name := flags.String("name", "", "the task's name (default: the directory's)")
	classFile := flags.String("class-names", "", "`file` with the names of integer labels, one a line")
	var templates list
	flags.Var(&templates, "template", "prompt with a {} where the class name goes; repeatable, several are averaged")
	licence := flags.String("licence", "", "the pictures' licence, kept in the task file")
	if err := parse(flags, args, stderr, newUsage); err != nil {
		return err
	}
	if flags.NArg() != 1 || *out == "" {
		return fault.Userf("name -out and one source: eval new -out benchmark pictures/")
	}
	if *classFile != "" {
		content, err := os.ReadFile(*classFile)
		if err != nil {
			return fault.User(err)
		}
		o.ClassNames = strings.Split(strings.TrimSpace(strings.ReplaceAll(string(content), "\r\n", "\n")), "\n")
	}
	input, err := ingest.Open(flags.Arg(0), o)
	if err != nil {
		return err
	}
	data := filepath.Join(*out, "data")
	report, err := build.Build(ctx, []ingest.Input{input}, build.Options{Out: data, Progress: progress.New(stderr)})
	if err != nil {
		return err
	}
	if err := report.Check(); err != nil {
		return err
	}
	file, err := taskFile(data, *name, *label, templates, *licence)
	if err != nil {
		return err
	}
	content, err := yaml.Marshal(file)
	if err != nil {
		return err
	}
	path := filepath.Join(*out, "task.yaml")
	head := "# Made by eval new from " + flags.Arg(0) + ".\n#\n#   eval -ckpt DIR -task " + path + "\n"
	if err := atomicfile.WriteFile(path, append([]byte(head), content...), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s: %d tasks; evaluate with: eval -ckpt DIR -task %s\n", path, len(file.Tasks), path)
	return nil
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
