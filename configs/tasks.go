package configs

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tandem/data"
	"tandem/data/shard"
	"tandem/eval"
	"tandem/internal/fault"
	"tandem/internal/strictyaml"
)

// TaskFile is a YAML file of tasks: one task, or a suite of several.
type TaskFile struct {
	eval.Task `yaml:",inline"`
	Tasks     []eval.Task `yaml:"tasks,omitempty"`
}

//go:embed tasks/*.yaml
var taskFiles embed.FS

// TaskNames lists the embedded task files.
func TaskNames() []string {
	entries, _ := fs.Glob(taskFiles, "tasks/*.yaml")
	for i, e := range entries {
		entries[i] = strings.TrimSuffix(filepath.Base(e), ".yaml")
	}
	slices.Sort(entries)
	return entries
}

// Tasks finds tasks by the name of an embedded file, the path of a YAML file, or a directory of labelled shards. A name
// with a slash picks one task of a suite, "emoji/group", or one split of a directory, "shards/test"; of a file or a
// directory, FILE#NAME does.
func Tasks(ref string) ([]eval.Task, error) {
	location, name := splitRef(ref)
	tasks, err := allTasks(location)
	if err != nil || name == "" {
		return tasks, err
	}
	return pick(tasks, location, name)
}

// splitRef takes the task's name off FILE#NAME.
func splitRef(ref string) (location, name string) {
	if _, err := os.Stat(ref); err == nil {
		return ref, ""
	}
	if at := strings.LastIndexByte(ref, '#'); at > 0 {
		return ref[:at], ref[at+1:]
	}
	return ref, ""
}

// pick finds one task by its name.
func pick(tasks []eval.Task, location, name string) ([]eval.Task, error) {
	var names []string
	for _, t := range tasks {
		if t.Name == name {
			return []eval.Task{t}, nil
		}
		names = append(names, t.Name)
	}
	return nil, fault.Userf("%s has no task %q: it has %s", location, name, strings.Join(names, ", "))
}

func allTasks(ref string) ([]eval.Task, error) {
	if info, err := os.Stat(ref); err == nil && info.IsDir() {
		return DirectoryTasks(ref, "")
	}
	if strings.HasSuffix(ref, ".yaml") || strings.HasSuffix(ref, ".yml") {
		content, err := os.ReadFile(ref)
		if err != nil {
			return nil, fault.Userf("task file %s: %w", ref, err)
		}
		return parseTasks(ref, content)
	}
	suite, _, _ := strings.Cut(ref, "/")
	content, err := taskFiles.ReadFile("tasks/" + suite + ".yaml")
	if err != nil {
		if tasks := splitTask(ref); tasks != nil {
			return tasks, nil
		}
		if filepath.IsAbs(ref) || strings.HasSuffix(ref, "/") || strings.HasPrefix(ref, ".") {
			return nil, fault.Userf("no such directory: %s", ref)
		}
		return nil, fault.Userf("task %q is unknown: use one of %s, a YAML file, or a directory of labelled shards", ref, strings.Join(TaskNames(), ", "))
	}
	tasks, err := parseTasks(suite+".yaml", content)
	if err != nil || ref == suite {
		return tasks, err
	}
	return pick(tasks, "suite "+suite, ref)
}

// splitTask is the task of one split of a shard directory, nil if ref names no such split.
func splitTask(ref string) []eval.Task {
	dir, split := filepath.Dir(ref), filepath.Base(ref)
	tasks, err := DirectoryTasks(dir, "")
	if err != nil {
		return nil
	}
	for _, t := range tasks {
		if t.Split == split {
			return []eval.Task{t}
		}
	}
	return nil
}

func parseTasks(name string, content []byte) ([]eval.Task, error) {
	var file TaskFile
	if err := strictyaml.Decode(name, content, &file); err != nil {
		return nil, err
	}
	tasks := file.Tasks
	if len(tasks) == 0 {
		tasks = []eval.Task{file.Task}
	}
	for i, t := range tasks {
		t = inherit(t, file.Task)
		if err := readLists(&t, filepath.Dir(name)); err != nil {
			return nil, err
		}
		if err := t.Validate(); err != nil {
			return nil, fault.Userf("%s: %w", name, err)
		}
		tasks[i] = t
	}
	return tasks, nil
}

// inherit lets the tasks of a suite leave out what the suite says for all.
func inherit(t, suite eval.Task) eval.Task {
	if t.Data == "" {
		t.Data = suite.Data
	}
	if t.Split == "" {
		t.Split = suite.Split
	}
	if t.Licence == "" {
		t.Licence = suite.Licence
	}
	if t.Citation == "" {
		t.Citation = suite.Citation
	}
	if len(t.Templates) == 0 {
		t.Templates = suite.Templates
	}
	if t.Kind == "" {
		t.Kind = suite.Kind
	}
	if t.Doubt == nil {
		t.Doubt = suite.Doubt
	}
	if len(t.Groups) == 0 {
		t.Groups = suite.Groups
	}
	if t.Cluster == "" {
		t.Cluster = suite.Cluster
	}
	if t.Count == 0 {
		t.Count = suite.Count
	}
	return t
}

// DirectoryTasks makes a task of each split of a shard directory: classification by the column label, by default "class"
// or "label" where there is one, and retrieval otherwise. The classes are those of all splits.
func DirectoryTasks(dir, label string) ([]eval.Task, error) {
	content, err := os.ReadFile(filepath.Join(dir, shard.ManifestName))
	if err != nil {
		return nil, fault.Userf("%s is not a directory of shards: it has no %s (make one with: go run ./cmd/data build -out DIR %s)", dir, shard.ManifestName, dir)
	}
	manifest, err := shard.ParseManifest(filepath.Join(dir, shard.ManifestName), content)
	if err != nil {
		return nil, err
	}
	columns, candidates := manifest.Columns(shard.RoleLabel), []string{"class", "label"}
	if label != "" {
		if !slices.Contains(columns, label) {
			return nil, fault.Userf("%s has no label column %q: it has %s", dir, label, strings.Join(columns, ", "))
		}
		candidates = []string{label}
	}
	kind := eval.Task{Kind: eval.Retrieval}
	if i := slices.IndexFunc(candidates, func(c string) bool { return slices.Contains(columns, c) }); i >= 0 {
		kind = eval.Task{Kind: eval.Classification, Label: candidates[i], Templates: manifest.Templates}
		if kind.Classes, err = directoryClasses(dir, manifest, kind.Label); err != nil {
			return nil, err
		}
	}
	if kind.Kind == eval.Retrieval && manifest.Captions.Count == 0 {
		return nil, fault.Userf("%s has neither captions nor a column class or label; it has %s: name the column with the class, as label in a task file or with new -label", dir, cmp.Or(strings.Join(columns, ", "), "no label"))
	}
	var tasks []eval.Task
	for _, split := range manifest.SplitNames() {
		task := kind
		task.Name, task.Data, task.Split = filepath.Base(dir)+"/"+split, dir, split
		tasks = append(tasks, task)
	}
	return tasks, nil
}

// directoryClasses are a label's classes in the source's order, or else its values in all splits: a class that one split
// happens to lack is an answer there all the same.
func directoryClasses(dir string, manifest *shard.Manifest, label string) ([]eval.Class, error) {
	if names := manifest.Classes[label]; len(names) > 0 {
		return eval.NamedClasses(names), nil
	}
	ctx := context.Background() // a local directory: nothing to wait for
	set, err := data.OpenShards(ctx, dir, "")
	if err != nil {
		return nil, err
	}
	values, err := set.Values(ctx, label)
	return eval.ClassesOf(values, nil), errors.Join(err, set.Close())
}

// readLists fills classes and templates from the files that a task names: one a line, relative to the task's file.
func readLists(t *eval.Task, base string) error {
	for _, list := range []struct {
		key  string
		file *string
		use  func(lines []string)
	}{
		{"classes_file", &t.ClassesFile, func(lines []string) {
			t.Classes = eval.NamedClasses(lines)
		}},
		{"templates_file", &t.TemplatesFile, func(lines []string) { t.Templates = lines }},
	} {
		if *list.file == "" {
			continue
		}
		path := *list.file
		if !filepath.IsAbs(path) {
			path = filepath.Join(base, path)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return fault.Userf("task %s: %s: %w", t.Name, list.key, err)
		}
		list.use(strings.Split(strings.TrimSpace(strings.ReplaceAll(string(content), "\r\n", "\n")), "\n"))
		*list.file = ""
	}
	return nil
}
