package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"tandem/configs"
	"tandem/data/build"
	"tandem/data/ingest"
	"tandem/data/prepare"
	"tandem/data/shard"
	"tandem/eval"
	"tandem/internal/progress"
)

// openTask is a task with its data.
type openTask struct {
	task eval.Task
	set  *eval.Shards
}

// opener finds data and keeps them open.
type opener struct {
	options prepare.Options
	sets    []*eval.Shards
}

func (o *opener) close() {
	for _, s := range o.sets {
		s.Close()
	}
}

// tasks resolves references; data sets that tandem can build are built if need be, and directories of images or tars
// become shards in the directory of prepared data.
func (o *opener) tasks(ctx context.Context, refs []string) ([]openTask, error) {
	var open []openTask
	for _, ref := range refs {
		ref, err := o.ensureShards(ctx, ref)
		if err != nil {
			return nil, err
		}
		tasks, err := configs.Tasks(ref)
		if err != nil {
			return nil, err
		}
		for _, task := range tasks {
			t, err := o.task(ctx, task)
			if err != nil {
				return nil, err
			}
			open = append(open, t)
		}
	}
	return open, nil
}

func (o *opener) task(ctx context.Context, task eval.Task) (openTask, error) {
	if task.Probe != "" {
		return openTask{task, nil}, nil // generated
	}
	set, err := o.shards(ctx, task.Data, task.Split)
	if err != nil {
		return openTask{}, fmt.Errorf("task %s: %w", task.Name, err)
	}
	return openTask{task, set}, nil
}

func (o *opener) shards(ctx context.Context, data, split string) (*eval.Shards, error) {
	location, err := locate(ctx, data, o.options)
	if err != nil {
		return nil, err
	}
	set, err := eval.OpenShards(ctx, location, split)
	if err != nil {
		return nil, err
	}
	o.sets = append(o.sets, set)
	return set, nil
}

// open is eval.Options.Open.
func (o *opener) open(ctx context.Context, data, split string) (eval.Dataset, error) {
	return o.shards(ctx, data, split)
}

// ensureShards makes shards of a directory that has none: images in folders, CLIP_benchmark's webdataset layout, IDX.
func (o *opener) ensureShards(ctx context.Context, ref string) (string, error) {
	info, err := os.Stat(ref)
	if err != nil || !info.IsDir() {
		return ref, nil
	}
	if _, err := os.Stat(filepath.Join(ref, shard.ManifestName)); err == nil {
		return ref, nil
	}
	input, err := openInput(ref, ingest.Options{ClassDirs: true})
	if err != nil {
		return "", err
	}
	root := o.options.Root
	if root == "" {
		if root, err = prepare.DefaultRoot(); err != nil {
			return "", err
		}
	}
	absolute, err := filepath.Abs(ref)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, absolute)
	for _, part := range input.Parts() {
		fmt.Fprintln(h, part.Name, part.Stamp)
	}
	dir := filepath.Join(root, "tasks", hex.EncodeToString(h.Sum(nil))[:16], filepath.Base(absolute))
	if _, err := os.Stat(filepath.Join(dir, shard.ManifestName)); err == nil {
		return dir, nil
	}
	return dir, buildShards(ctx, input, dir, o.options.Progress)
}

// openInput opens a location for evaluation. A directory with a split inside, as CLIP_benchmark lays it out, is read
// whole.
func openInput(location string, o ingest.Options) (ingest.Input, error) {
	return ingest.Open(location, o)
}

func buildShards(ctx context.Context, input ingest.Input, dir string, p *progress.Reporter) error {
	report, err := build.Build(ctx, []ingest.Input{input}, build.Options{Out: dir, Progress: p})
	if err != nil {
		return err
	}
	return report.Check()
}

// locate finds a task's shards. The data of a recipe's own data set are those that the recipe trains on.
func locate(ctx context.Context, data string, o prepare.Options) (string, error) {
	if !slices.Contains(prepare.Names(), data) {
		return data, nil
	}
	config := prepare.Config{Name: data}
	recipe, err := configs.Load(data)
	if err == nil && recipe.Dataset.Name == data {
		config = recipe.Dataset
	} else if err != nil && slices.Contains(configs.Names(), data) {
		return "", err
	}
	return prepare.Ensure(ctx, config, o)
}

// counted shows how far an evaluation is.
type counted struct {
	eval.Encoder
	bar *progress.Task
}

// EncodeImageSeq implements eval.Encoder.
func (c *counted) EncodeImageSeq(ctx context.Context, images iter.Seq2[[]byte, error]) iter.Seq2[[]float32, error] {
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
	if t.set == nil || len(t.task.Where)+len(t.task.Only)+len(t.task.Except) > 0 {
		return -1
	}
	return t.set.Len()
}
