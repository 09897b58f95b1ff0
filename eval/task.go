package eval

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"tandem/internal/fault"
	"tandem/internal/zeroshot"
)

// Kinds of task.
const (
	Classification = "classification"
	Retrieval      = "retrieval"
)

// Task is one evaluation as its YAML file describes it.
type Task struct {
	Name string `yaml:"name" json:"name"`
	Kind string `yaml:"kind" json:"kind"` // classification (the default) or retrieval
	// Data is where the examples are: a data set's name or the path of a shard directory, and the split.
	Data  string `yaml:"data" json:"data"`
	Split string `yaml:"split,omitempty" json:"split,omitempty"`

	// Where keeps the examples whose metadata columns have these values.
	Where map[string]string `yaml:"where,omitempty" json:"where,omitempty"`

	// Label is the metadata column with an example's class (classification).
	Label string `yaml:"label,omitempty" json:"label,omitempty"`
	// Classes are the answers; without them the distinct labels of the split, in order.
	Classes   []Class  `yaml:"classes,omitempty" json:"classes,omitempty"`
	Templates []string `yaml:"templates,omitempty" json:"templates,omitempty"`

	// Match is the metadata column that says which images and captions belong together (retrieval).
	Match string `yaml:"match,omitempty" json:"match,omitempty"`

	Licence  string `yaml:"licence,omitempty" json:"licence,omitempty"`
	Citation string `yaml:"citation,omitempty" json:"citation,omitempty"`
}

// Validate reports the first thing that is wrong, naming the field.
func (t Task) Validate() error {
	switch {
	case t.Name == "":
		return fmt.Errorf("name is missing")
	case t.Data == "":
		return fmt.Errorf("task %s: data is missing: name a data set or the path of a shard directory", t.Name)
	case t.Kind != "" && t.Kind != Classification && t.Kind != Retrieval:
		return fmt.Errorf("task %s: kind %q is unknown: use classification or retrieval", t.Name, t.Kind)
	case t.Kind != Retrieval && t.Label == "":
		return fmt.Errorf("task %s: label is missing: name the metadata column that holds the class", t.Name)
	}
	if err := zeroshot.CheckTemplates(t.Templates); err != nil {
		return fmt.Errorf("task %s: %w", t.Name, err)
	}
	return nil
}

// Result is what a task found; one of the two parts is set.
type Result struct {
	Task           Task                  `json:"task"`
	Classification *ClassificationResult `json:"classification,omitempty"`
	Retrieval      *RetrievalResult      `json:"retrieval,omitempty"`
}

// Metrics are the result's numbers by name.
func (r Result) Metrics() map[string]Metric {
	if r.Retrieval != nil {
		return r.Retrieval.Metrics
	}
	return r.Classification.Metrics
}

// Run evaluates one task.
func Run(ctx context.Context, enc Encoder, task Task, set Dataset) (Result, error) {
	result := Result{Task: task}
	if len(task.Where) > 0 {
		set = filtered{set, task.Where}
	}
	var err error
	if task.Kind == Retrieval {
		result.Retrieval, err = Retrieve(ctx, enc, set, task.Match)
	} else {
		result.Classification, err = runClassification(ctx, enc, task, set)
	}
	if err != nil {
		return Result{}, fmt.Errorf("task %s: %w", task.Name, err)
	}
	return result, nil
}

func runClassification(ctx context.Context, enc Encoder, task Task, set Dataset) (*ClassificationResult, error) {
	classes := task.Classes
	if len(classes) == 0 {
		var err error
		if classes, err = classesOf(ctx, set, task.Label); err != nil {
			return nil, err
		}
	}
	if len(classes) < 2 {
		return nil, fault.Userf("column %q has %d classes in split %q of %s: a classification needs two", task.Label, len(classes), task.Split, task.Data)
	}
	classifier, err := zeroshot.NewClassifier(ctx, enc, classes, task.Templates)
	if err != nil {
		return nil, err
	}
	return Classify(ctx, enc, classifier, set, task.Label)
}

// classesOf lists the distinct values of a column, in order.
func classesOf(ctx context.Context, set Dataset, label string) ([]Class, error) {
	names := map[string]bool{}
	for example, err := range set.Examples(ctx) {
		if err != nil {
			return nil, err
		}
		if name := example.Labels[label]; name != "" {
			names[name] = true
		}
	}
	classes := make([]Class, 0, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		classes = append(classes, classOf(name))
	}
	return classes, nil
}

// classOf writes an identifier such as "smileys-emotion" or "polar_bear" as words; a name with spaces is words already.
func classOf(name string) Class {
	class := Class{Name: name}
	if words := strings.NewReplacer("-", " ", "_", " ").Replace(name); words != name && !strings.Contains(name, " ") {
		class.Words = []string{words}
	}
	return class
}

// filtered is a data set without the examples that lack some label values.
type filtered struct {
	Dataset
	where map[string]string
}

func (f filtered) Examples(ctx context.Context) iter.Seq2[Example, error] {
	return func(yield func(Example, error) bool) {
		for example, err := range f.Dataset.Examples(ctx) {
			if err == nil && !f.wants(example) {
				continue
			}
			if !yield(example, err) {
				return
			}
		}
	}
}

func (f filtered) wants(example Example) bool {
	for column, value := range f.where {
		if example.Labels[column] != value {
			return false
		}
	}
	return true
}
