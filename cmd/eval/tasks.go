package main

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"tandem/configs"
	"tandem/data/prepare"
	"tandem/eval"
	"tandem/internal/progress"
)

// openTask is a task with its data.
type openTask struct {
	task eval.Task
	set  *eval.Shards
}

// openTasks resolves references; data sets that tandem can build are built if need be.
func openTasks(ctx context.Context, refs []string, o prepare.Options) ([]openTask, error) {
	var open []openTask
	for _, ref := range refs {
		tasks, err := configs.Tasks(ref)
		if err != nil {
			return nil, err
		}
		for _, task := range tasks {
			location, err := locate(ctx, task.Data, o)
			if err != nil {
				return nil, fmt.Errorf("task %s: %w", task.Name, err)
			}
			set, err := eval.OpenShards(ctx, location, task.Split)
			if err != nil {
				return nil, fmt.Errorf("task %s: %w", task.Name, err)
			}
			open = append(open, openTask{task, set})
		}
	}
	return open, nil
}

// locate finds a task's shards. The data of a recipe's own data set are those that the recipe trains on.
func locate(ctx context.Context, data string, o prepare.Options) (string, error) {
	if !slices.Contains(prepare.Names(), data) {
		return data, nil
	}
	recipe, err := configs.Load(data)
	if err != nil {
		return "", err
	}
	return prepare.Ensure(ctx, recipe.Dataset, o)
}

// counted shows how far an evaluation is.
type counted struct {
	eval.Encoder
	bar *progress.Task
}

// EncodeImageSeq implements eval.Encoder.
func (c counted) EncodeImageSeq(ctx context.Context, images iter.Seq2[[]byte, error]) iter.Seq2[[]float32, error] {
	return func(yield func([]float32, error) bool) {
		for row, err := range c.Encoder.EncodeImageSeq(ctx, images) {
			c.bar.Add(1)
			if !yield(row, err) {
				return
			}
		}
	}
}

// size is how many images a task will look at, -1 if only reading them tells.
func (t openTask) size() int64 {
	if len(t.task.Where) > 0 {
		return -1
	}
	return t.set.Len()
}
