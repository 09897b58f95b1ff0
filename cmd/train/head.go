package main

import (
	"context"
	"errors"
	"maps"
	"slices"

	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/configs"
	"tandem/data"
	"tandem/embed"
	"tandem/eval"
	"tandem/eval/probe"
	"tandem/internal/fault"
	"tandem/internal/zeroshot"
	"tandem/train"
)

// classHead is the head of loss.name head: the classes of the task that selects, and the class of every row to train on.
type classHead struct {
	data     string               // of the task
	zeroShot *zeroshot.Classifier // what the head starts as
	rows     [][]int32            // the class of each row, by source
	taken    *zeroshot.Classifier // at the end
}

// headName is the file of a final model that holds its head as a probe, for eval classify -probe.
const headName = "head.json"

// prepareHead finds the classes among the labels of the training's rows and encodes them as the task's evaluation does.
func (s *session) prepareHead(ctx context.Context, store *gml.Store) (rows [][]float32, err error) {
	tasks, err := configs.Tasks(s.experiment.Eval.Select.Task)
	if err != nil {
		return nil, err
	}
	task := tasks[0]
	s.head = &classHead{data: task.Data}
	classes := task.Classes
	labels, words, err := s.labelsOf(ctx, task.Label)
	if err != nil {
		return nil, err
	}
	if len(classes) == 0 {
		classes = eval.ClassesOf(slices.Concat(labels...), words)
	}
	if s.head.rows, err = classesOfRows(classes, labels, task.Label); err != nil {
		return nil, err
	}
	enc, err := embed.New(s.model(), store, embed.WithBackend(s.backend.Backend))
	if err != nil {
		return nil, err
	}
	s.head.zeroShot, err = zeroshot.NewClassifier(ctx, enc, classes, task.Templates)
	if err != nil {
		return nil, err
	}
	return s.head.zeroShot.Rows, nil
}

// labelsOf reads a label column of every row to train on, by source, and the names of labels that say more than a name.
func (s *session) labelsOf(ctx context.Context, column string) (all [][]string, words map[string]string, err error) {
	words = map[string]string{}
	for _, src := range s.experiment.Data.Sources {
		set, err := data.OpenShards(ctx, src.Shards, src.Split)
		if err != nil {
			return nil, nil, err
		}
		maps.Copy(words, set.Manifest.ClassWords(column))
		var labels []string
		for e, failed := range set.WithoutImages(ctx) {
			if failed != nil {
				err = failed
				break
			}
			labels = append(labels, e.Labels[column])
		}
		if err = errors.Join(err, set.Close()); err != nil {
			return nil, nil, err
		}
		all = append(all, labels)
	}
	return all, words, nil
}

// classesOfRows numbers the labels. Every row needs one.
func classesOfRows(classes []zeroshot.Class, labels [][]string, column string) ([][]int32, error) {
	index := map[string]int32{}
	for i, c := range classes {
		index[c.Name] = int32(i)
	}
	numbers := make([][]int32, len(labels))
	for source, list := range labels {
		for row, label := range list {
			class, ok := index[label]
			if !ok {
				return nil, fault.Userf("loss.name head: row %d of data.sources[%d] has %q in column %s, which is none of the classes %q", row, source, label, column, slices.Sorted(maps.Keys(index)))
			}
			numbers[source] = append(numbers[source], class)
		}
	}
	return numbers, nil
}

// classesOf are the classes of a batch's rows.
func (h *classHead) classesOf(ids []data.RowID) []int32 {
	classes := make([]int32, len(ids))
	for i, id := range ids {
		classes[i] = h.rows[id.Source][id.Row]
	}
	return classes
}

// with is the classifier that a head's rows make.
func (h *classHead) with(rows [][]float32) *zeroshot.Classifier {
	return &zeroshot.Classifier{Classes: h.zeroShot.Classes, Rows: rows, Scale: h.zeroShot.Scale}
}

// at is the classifier between the zero-shot rows and tuned ones; nil without a head.
func (h *classHead) at(tuned [][]float32, alpha float64) *zeroshot.Classifier {
	if h == nil {
		return nil
	}
	rows := make([][]float32, len(tuned))
	for c := range tuned {
		rows[c] = make([]float32, len(tuned[c]))
		for d, x := range h.zeroShot.Rows[c] {
			rows[c][d] = float32((1-alpha)*float64(x) + alpha*float64(tuned[c][d]))
		}
	}
	return h.with(rows)
}

// evaluation are the options of one in which a head answers; without one, the text tower does.
func (s *session) evaluation(answers *zeroshot.Classifier) eval.Options {
	o := eval.Options{Open: s.tasks.Open}
	if s.head != nil {
		o.Head, o.HeadData = answers, s.head.data
	}
	return o
}

// currentHead are those of an evaluation by the head in training, or its moving average.
func (s *session) currentHead() (eval.Options, error) {
	if s.head == nil {
		return s.evaluation(nil), nil
	}
	stepper := s.trainer.Stepper
	rows, err := stepper.HeadRows(stepper.HasAverage())
	return s.evaluation(s.head.with(rows)), err
}

// finalHead are those of an evaluation by the head that was taken.
func (s *session) finalHead() eval.Options {
	if s.head == nil {
		return s.evaluation(nil)
	}
	return s.evaluation(s.head.taken)
}

// tunedHead reads the head of a checkpoint; nil without one.
func (s *session) tunedHead(dir string) ([][]float32, error) {
	if s.head == nil {
		return nil, nil
	}
	return train.ReadHead(dir)
}

// writeHead keeps a head as a linear probe on the model beside it.
func writeHead(path string, c *zeroshot.Classifier, notes map[string]string) error {
	p := &probe.Linear{Bias: make([]float32, len(c.Rows))}
	for i, row := range c.Rows {
		scaled := make([]float32, len(row))
		for d, x := range row {
			scaled[d] = float32(c.Scale * float64(x))
		}
		p.Classes, p.Weights = append(p.Classes, c.Classes[i].Name), append(p.Weights, scaled)
	}
	return probe.Save(path, p, "", notes)
}
