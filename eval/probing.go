package eval

import (
	"cmp"
	"context"
	"hash/fnv"
	"math"
	"slices"

	"tandem/eval/probe"
	"tandem/internal/fault"
	"tandem/internal/prng"
	"tandem/internal/zeroshot"
)

// ProbeData are the labelled rows that a probe is trained and measured on. No example is in both sets.
type ProbeData struct {
	Train, Test probe.Set
	// Classifier is the zero-shot classifier of the same classes.
	Classifier *zeroshot.Classifier
	// HeldOut counts the examples that both choices have and that are measured on alone; 0 where they share none.
	HeldOut int
	// Untrained counts the examples of Test whose class no training example has: no probe gets them right.
	Untrained int
	// What was left out of both sets, by reason.
	SkippedTrain, SkippedTest map[string]int
	// LeftOut says what the data lost when they were read; "" where nothing.
	LeftOut string
}

// Labelled encodes a classification task's own examples and a training subset (of the task's data unless it says
// otherwise) as labelled rows, and the task's classes, or those of either set, as a zero-shot classifier. Of examples that
// are in both sets a share of each class is measured on and the rest trained on, chosen by a hash of their clusters or
// identifiers: it is the same part every time.
func (s *Session) Labelled(ctx context.Context, task Task, set Dataset, training Subset, share float64) (ProbeData, error) {
	own, err := s.embed(ctx, filter(set, task.subset()))
	if err != nil {
		return ProbeData{}, err
	}
	training.Data = cmp.Or(training.Data, task.Data)
	if !training.filters() {
		training.Where, training.Only, training.Except = task.Where, task.Only, task.Except
	}
	training = task.within(training)
	from, err := s.open(ctx, task, set, training)
	if err != nil {
		return ProbeData{}, err
	}
	other, err := s.embed(ctx, filter(from, training))
	if err != nil {
		return ProbeData{}, err
	}
	both := &Embedded{Examples: slices.Concat(other.Examples, own.Examples)}
	if err := checkLabel(task, both.Examples); err != nil {
		return ProbeData{}, err
	}
	classes, err := classesOf(task, both, classWords(set, task.Label))
	if err != nil {
		return ProbeData{}, err
	}
	c, err := s.classifier(ctx, classes, task.Templates)
	if err != nil {
		return ProbeData{}, err
	}
	d := ProbeData{Classifier: c, SkippedTrain: map[string]int{}, SkippedTest: map[string]int{}}
	if lost := leftOut(set); len(lost) > 0 {
		d.LeftOut = IngestWords(lost, task.Data)
	}
	var measured map[string]bool // of the examples that both have
	if training.Data == task.Data && training.Split == task.Split || sameSet(set, from) {
		measured = held(task, own, other, share)
	}
	d.Train = probeSetOf(task, classes, other, d.SkippedTrain, func(e Example) bool { return !measured[e.ID] })
	d.Test = probeSetOf(task, classes, own, d.SkippedTest, func(e Example) bool {
		yes, both := measured[e.ID]
		d.HeldOut += count(yes)
		return yes || !both
	})
	return d, d.check(task, training)
}

// check refuses an empty side and counts what cannot be learnt.
func (d *ProbeData) check(task Task, training Subset) error {
	switch {
	case d.Train.Len() == 0:
		return fault.Userf("no example of split %q to train on has a class in column %q%s", training.Split, task.Label, inBrackets(SkippedWords(d.SkippedTrain)))
	case d.Test.Len() == 0 && d.HeldOut == 0 && len(d.SkippedTest) == 0:
		return fault.Userf("no example of split %q is left to measure on: name another split to train on, or hold more out", task.Split)
	case d.Test.Len() == 0:
		return fault.Userf("no example of split %q to measure on has a class in column %q%s", task.Split, task.Label, inBrackets(SkippedWords(d.SkippedTest)))
	}
	trained := make([]bool, len(d.Train.Classes))
	for _, label := range d.Train.Labels {
		trained[label] = true
	}
	for _, label := range d.Test.Labels {
		d.Untrained += count(!trained[label])
	}
	return nil
}

// sameSet reports whether two names led to the same examples.
func sameSet(a, b Dataset) bool {
	mark := fingerprint(a)
	return mark != "" && mark == fingerprint(b)
}

// held says of the examples that two choices of one set share whether they are measured on: in each class the share with
// the lowest hashes of their keys, at least one where there are two. A cluster's examples have one key.
func held(task Task, a, b *Embedded, share float64) map[string]bool {
	first := map[string]bool{}
	for _, e := range a.Examples {
		first[e.ID] = true
	}
	classOf, byClass := map[string]string{}, map[string][]string{}
	for _, e := range b.Examples {
		key := keyOf(task, e)
		if _, known := classOf[key]; first[e.ID] && !known {
			class := e.Labels[task.Label]
			classOf[key], byClass[class] = class, append(byClass[class], key)
		}
	}
	measured := map[string]bool{}
	for _, keys := range byClass {
		slices.SortFunc(keys, func(x, y string) int { return cmp.Or(cmp.Compare(hashKey(x), hashKey(y)), cmp.Compare(x, y)) })
		n := int(math.Round(share * float64(len(keys))))
		for k, key := range keys {
			measured[key] = k < max(n, min(1, len(keys)-1))
		}
	}
	out := map[string]bool{}
	for _, e := range b.Examples {
		if first[e.ID] {
			out[e.ID] = measured[keyOf(task, e)]
		}
	}
	return out
}

func keyOf(task Task, e Example) string { return cmp.Or(e.Labels[task.Cluster], e.ID) }

func hashKey(key string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(key))
	return prng.Mix(h.Sum64())
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// probeSetOf are the wanted examples that have a class, as rows; the others are counted by reason.
func probeSetOf(task Task, classes []Class, e *Embedded, skipped map[string]int, wanted func(Example) bool) probe.Set {
	index := map[string]int{}
	out := probe.Set{}
	for i, class := range classes {
		index[class.Name] = i
		out.Classes = append(out.Classes, class.Name)
	}
	for i, example := range e.Examples {
		if !wanted(example) {
			continue
		}
		label := example.Labels[task.Label]
		class, ok := index[label]
		switch {
		case label == "":
			skipped["no label"]++
		case !ok:
			skipped[notClass]++
		case e.Rows[i] == nil:
			skipped["image: "+e.Reasons[i]]++
		default:
			out.Rows, out.Labels = append(out.Rows, e.Rows[i]), append(out.Labels, class)
		}
	}
	return out
}

func inBrackets(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}
