package eval

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tandem/data/shard"
	"tandem/internal/fault"
	"tandem/internal/zeroshot"
)

// Options say how a session evaluates.
type Options struct {
	// Cache is a directory for embeddings; "" keeps none. Model must then change with the weights, the preprocessing and
	// the tokenizer.
	Cache string
	Model string
	// Open finds other data that a task names: validation and out-of-set images. Without it only the task's own set can
	// be used.
	Open func(ctx context.Context, data, split string) (Dataset, error)
	// Doubt measures calibration, unknown rules and prediction sets of every classification.
	Doubt bool
	// Head, where it is set, answers the classifications on HeadData whose classes it has, in place of the text tower.
	Head     *zeroshot.Classifier
	HeadData string
	// Pictures fills the examples that the report shows with their images.
	Pictures bool
	// Seed of bootstrap draws, random splits and permutations.
	Seed uint64
}

// Session evaluates one model on several tasks: sets that tasks share are encoded once, and so are classes.
type Session struct {
	enc  Encoder
	o    Options
	sets []keptSet
	rows map[string]*zeroshot.Classifier
}

// keptSet is a set encoded for an earlier task.
type keptSet struct {
	key string
	set *Embedded
}

// keptSets bounds how many encoded sets stay in memory.
const keptSets = 3

// NewSession begins an evaluation. The encoder's weights must not change during it.
func NewSession(enc Encoder, o Options) *Session {
	return &Session{enc: textCache{enc, o.Cache, o.Model}, o: o, rows: map[string]*zeroshot.Classifier{}}
}

// Run evaluates one task by itself, with pictures and without doubt.
func Run(ctx context.Context, enc Encoder, task Task, set Dataset) (Result, error) {
	return NewSession(enc, Options{Pictures: true}).Run(ctx, task, set)
}

// Run evaluates a task on the data set that its data and split name.
func (s *Session) Run(ctx context.Context, task Task, set Dataset) (Result, error) {
	result := Result{Task: task, Inputs: inputsOf(task)}
	err := task.Validate()
	if err != nil {
		return Result{}, fault.User(err)
	}
	if task.Probe == "" { // what is generated has no set
		result.Inputs.LeftOut = leftOut(set)
	}
	switch task.Kind {
	case Retrieval:
		result.Retrieval, err = s.retrieve(ctx, task, set, &result.Inputs)
	case MultiLabel:
		result.MultiLabel, err = s.multiLabel(ctx, task, set, &result.Inputs)
	case Selection:
		result.Selection, err = s.selection(ctx, task, set, &result.Inputs)
	case Association:
		result.Association, err = s.association(ctx, task, set, &result.Inputs)
	default:
		result.Classification, err = s.classification(ctx, task, set, &result.Inputs)
	}
	if err != nil {
		return Result{}, fmt.Errorf("task %s: %w", task.Name, err)
	}
	if _, ok := result.Metrics()[task.Metric]; task.Metric != "" && !ok { // of all metrics only top-5 is not always there
		return Result{}, fault.Userf("task %s: metric %s is for more than %d classes, and there are %d", task.Name, task.Metric, topAnswers, len(result.classNames()))
	}
	result.Warnings = result.warnings()
	return result, nil
}

// embed encodes a set, or finds it encoded.
func (s *Session) embed(ctx context.Context, set Dataset) (*Embedded, error) {
	key := fingerprint(set)
	for _, kept := range s.sets {
		if key != "" && kept.key == key {
			return kept.set, nil
		}
	}
	e, err := embedCached(ctx, s.enc, set, s.o.Cache, s.o.Model)
	if err != nil {
		return nil, err
	}
	if key != "" {
		s.sets = append(s.sets, keptSet{key, e})
		if len(s.sets) > keptSets {
			s.sets = slices.Delete(s.sets, 0, 1)
		}
	}
	return e, nil
}

// checkCluster refuses a column that no example has: nobody wants clusters of one.
func checkCluster(task Task, examples []Example) error {
	columns, missing := without(examples, func(e Example) bool { return task.Cluster == "" || e.Labels[task.Cluster] != "" })
	if !missing {
		return nil
	}
	return fault.Userf("cluster: no example has a value in column %q: the columns are %s", task.Cluster, columns)
}

// checkLabel refuses a label column that no example has.
func checkLabel(task Task, examples []Example) error {
	columns, missing := without(examples, func(e Example) bool { _, ok := e.Labels[task.Label]; return ok })
	if !missing {
		return nil
	}
	return fault.Userf("label: no column %q in split %q of %s; it has %s", task.Label, task.Split, task.Data, columns)
}

// without reports whether there are examples but none that has something, and lists the columns they have.
func without(examples []Example, has func(Example) bool) (columns string, missing bool) {
	seen := map[string]bool{}
	for _, e := range examples {
		if has(e) {
			return "", false
		}
		for column := range e.Labels {
			seen[column] = true
		}
	}
	return cmp.Or(strings.Join(sortedKeys(seen), ", "), "none"), len(examples) > 0
}

// labelled encodes a task's examples and its classes, and notes both in what the result was measured on.
func (s *Session) labelled(ctx context.Context, task Task, set Dataset, in *Inputs) (*Embedded, *zeroshot.Classifier, error) {
	e, err := s.embed(ctx, filter(set, task.subset()))
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(checkLabel(task, e.Examples), checkCluster(task, e.Examples)); err != nil {
		return nil, nil, err
	}
	if err := checkMeasured(task, e.Examples, len(e.Examples), nil); err != nil {
		return nil, nil, err
	}
	classes, err := classesOf(task, e, classWords(set, task.Label))
	if err != nil {
		return nil, nil, err
	}
	in.saw(e)
	in.Classes = hashOf(classes)
	c, err := s.answers(ctx, task, classes)
	return e, c, err
}

// other opens and encodes a subset that a task names beside its own examples, and notes it as the named part.
func (s *Session) other(ctx context.Context, task Task, own Dataset, subset Subset, part string, in *Inputs) (*Embedded, error) {
	subset = task.within(subset)
	set, err := s.open(ctx, task, own, subset)
	if err != nil {
		return nil, err
	}
	e, err := s.embed(ctx, filter(set, subset))
	if err != nil {
		return nil, err
	}
	in.Others[part] = e.Data
	if lost := leftOut(set); len(lost) > 0 && subset.Data != task.Data {
		if in.OthersLeftOut == nil {
			in.OthersLeftOut = map[string]map[string]int64{}
		}
		in.OthersLeftOut[part] = lost
	}
	return e, nil
}

// open finds the set that a subset is of: the task's own, or another.
func (s *Session) open(ctx context.Context, task Task, own Dataset, subset Subset) (Dataset, error) {
	if subset.Data == task.Data && subset.Split == task.Split {
		return own, nil
	}
	if s.o.Open == nil {
		return nil, fmt.Errorf("split %q of %s cannot be opened here", subset.Split, subset.Data)
	}
	return s.o.Open(ctx, subset.Data, subset.Split)
}

// classifier encodes a task's classes, once for all tasks with the same classes and templates.
func (s *Session) classifier(ctx context.Context, classes []Class, templates []string) (*zeroshot.Classifier, error) {
	key := hashOf(classes, templates)
	if c, ok := s.rows[key]; ok {
		return c, nil
	}
	c, err := zeroshot.NewClassifier(ctx, s.enc, classes, templates)
	if err == nil {
		s.rows[key] = c
	}
	return c, err
}

// answers is the head's rows of a classification's classes where the head is for it, else the text tower's.
func (s *Session) answers(ctx context.Context, task Task, classes []Class) (*zeroshot.Classifier, error) {
	if head := s.o.Head; head != nil && task.Data == s.o.HeadData && task.Kind != MultiLabel {
		c := &zeroshot.Classifier{Classes: classes, Scale: head.Scale}
		for _, class := range classes {
			if i := slices.IndexFunc(head.Classes, func(h Class) bool { return h.Name == class.Name }); i >= 0 {
				c.Rows = append(c.Rows, head.Rows[i])
			}
		}
		if len(c.Rows) == len(classes) {
			return c, nil
		}
	}
	return s.classifier(ctx, classes, task.Templates)
}

// classOf writes an identifier such as "smileys-emotion" or "polar_bear" as words; a name with spaces is words already.
func classOf(name string) Class {
	class := Class{Name: name}
	if words := strings.NewReplacer("-", " ", "_", " ").Replace(name); words != name && !strings.Contains(name, " ") {
		class.Words = []string{words}
	}
	return class
}

// ClassesOf are the distinct labels in order, as classes. words, which may be nil, are the names of labels that say more
// than a name, as shards tell classes of one name apart (shard.Manifest.ClassWords).
func ClassesOf(labels []string, words map[string]string) (classes []Class) {
	labels = slices.Clone(labels)
	slices.Sort(labels)
	for _, name := range slices.Compact(labels) {
		class := classOf(name)
		if word, ok := words[name]; ok {
			class.Words = classOf(word).Prompted()
		}
		classes = append(classes, class)
	}
	return classes
}

// NamedClasses are the classes of a list of names. Classes with the same name are told apart as in shards (see
// shard.DistinctNames); prompts have the name alone.
func NamedClasses(names []string) []Class {
	classes := make([]Class, len(names))
	for i, name := range shard.DistinctNames(names) {
		if classes[i].Name = name; name != names[i] {
			classes[i].Words = []string{names[i]}
		}
	}
	return classes
}

// classWords are the names of a set's labels that say more than a name.
func classWords(set Dataset, column string) map[string]string {
	if w, ok := set.(worded); ok {
		return w.ClassWords(column)
	}
	return nil
}

// classesOf are the task's classes, or the distinct values of its label column in order.
func classesOf(task Task, e *Embedded, words map[string]string) ([]Class, error) {
	classes := task.Classes
	if len(classes) == 0 {
		names := map[string]bool{}
		for _, example := range e.Examples {
			for _, name := range labelsOf(task, example) {
				names[name] = true
			}
		}
		classes = ClassesOf(slices.Collect(maps.Keys(names)), words)
	}
	if len(classes) < 2 {
		return nil, fault.Userf("column %q has %d classes in split %q of %s: a classification needs two", task.Label, len(classes), task.Split, task.Data)
	}
	return classes, fault.User(task.validateClasses())
}

func hashOf(parts ...any) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%q\n", fmt.Sprintf("%+q", p))
	}
	return hex.EncodeToString(h.Sum(nil))
}
