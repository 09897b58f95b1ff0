package configs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"tandem/data/prepare"
	"tandem/eval"
)

// OpenTask is a task with its data, nil where the task generates them.
type OpenTask struct {
	Task eval.Task
	Set  *eval.Shards
	// Ref is what names this task alone on a command line.
	Ref string
}

// Size is how many images the task will look at, -1 if only reading them tells.
func (t OpenTask) Size() int64 {
	if t.Set == nil || len(t.Task.Where)+len(t.Task.Only)+len(t.Task.Except) > 0 {
		return -1
	}
	return t.Set.Len()
}

// Opener finds tasks and their data, and keeps the data open until Close: tasks on the same split share it. Data sets
// that tandem can make are made if need be.
type Opener struct {
	Options prepare.Options
	// Own are the shards of data sets that are known already, by name: those that a training uses.
	Own map[string]string
	// Dataset says how the data set of its name is made, where that is not as its recipe says.
	Dataset prepare.Config

	sets map[[2]string]*eval.Shards // by location and split
}

// Tasks resolves references as Tasks does and opens their data. A directory without shards, of images, tables or tars, is
// read into shards in the directory of prepared data first.
func (o *Opener) Tasks(ctx context.Context, refs ...string) ([]OpenTask, error) {
	var open []OpenTask
	for _, ref := range refs {
		file, name := splitRef(ref)
		location, err := prepare.Directory(ctx, file, o.Options)
		if err != nil {
			return nil, err
		}
		tasks, err := allTasks(location)
		if err == nil && name != "" {
			tasks, err = pick(tasks, file, name)
		}
		if err != nil {
			return nil, err
		}
		for _, task := range tasks {
			t, err := o.Task(ctx, task)
			if err != nil {
				return nil, err
			}
			if t.Ref = file + "#" + task.Name; strings.HasPrefix(task.Name, file+"/") {
				t.Ref = task.Name // of a suite that is built in
			}
			open = append(open, t)
		}
	}
	return open, nil
}

// Task opens a task's data.
func (o *Opener) Task(ctx context.Context, task eval.Task) (OpenTask, error) {
	if task.Probe != "" {
		return OpenTask{Task: task}, nil // generated
	}
	set, err := o.shards(ctx, task.Data, task.Split)
	if err != nil {
		return OpenTask{}, fmt.Errorf("task %s: %w", task.Name, err)
	}
	return OpenTask{Task: task, Set: set}, nil
}

// Open opens a split of a data set: it is what eval.Options.Open wants.
func (o *Opener) Open(ctx context.Context, data, split string) (eval.Dataset, error) {
	return o.shards(ctx, data, split)
}

func (o *Opener) shards(ctx context.Context, data, split string) (*eval.Shards, error) {
	location, err := o.locate(ctx, data)
	if err != nil {
		return nil, err
	}
	key := [2]string{location, split}
	if set, ok := o.sets[key]; ok {
		return set, nil
	}
	set, err := eval.OpenShards(ctx, location, split)
	if err != nil {
		return nil, err
	}
	if o.sets == nil {
		o.sets = map[[2]string]*eval.Shards{}
	}
	o.sets[key] = set
	return set, nil
}

// locate finds a data set's shards. Those of a recipe's own data set are the ones that the recipe trains on.
func (o *Opener) locate(ctx context.Context, data string) (string, error) {
	if location, ok := o.Own[data]; ok {
		return location, nil
	}
	if !slices.Contains(prepare.Names(), data) {
		return data, nil
	}
	if data == o.Dataset.Name {
		return prepare.Ensure(ctx, o.Dataset, o.Options)
	}
	config := prepare.Config{Name: data}
	recipe, err := Load(data)
	if err == nil && recipe.Dataset.Name == data {
		config = recipe.Dataset
	} else if err != nil && slices.Contains(Names(), data) {
		return "", err
	}
	return prepare.Ensure(ctx, config, o.Options)
}

// Close closes all data. No evaluation may be running.
func (o *Opener) Close() error {
	var errs []error
	for _, set := range o.sets {
		errs = append(errs, set.Close())
	}
	o.sets = nil
	return errors.Join(errs...)
}
