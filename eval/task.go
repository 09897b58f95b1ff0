package eval

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tandem/data/shapes"
	"tandem/eval/doubt"
	"tandem/internal/zeroshot"
)

// Kinds of task.
const (
	Classification = "classification" // one label an image
	MultiLabel     = "multilabel"     // any number of labels an image
	Retrieval      = "retrieval"      // texts by image and images by text
	Selection      = "selection"      // the true caption among wrong ones
	Association    = "association"    // between two sets of images and two sets of words
)

// Kinds lists the kinds of task.
func Kinds() []string {
	return []string{Classification, MultiLabel, Retrieval, Selection, Association}
}

// Task is one evaluation as its YAML file describes it.
type Task struct {
	Name string `yaml:"name,omitempty" json:"name"`
	Kind string `yaml:"kind,omitempty" json:"kind"` // one of Kinds; classification is the default
	// Data is where the examples are: a data set's name or the path of a shard directory, and the split.
	Data  string `yaml:"data,omitempty" json:"data"`
	Split string `yaml:"split,omitempty" json:"split,omitempty"`

	// Where keeps the examples whose metadata columns have these values; Only and Except are for several values.
	Where  map[string]string   `yaml:"where,omitempty" json:"where,omitempty"`
	Only   map[string][]string `yaml:"only,omitempty" json:"only,omitempty"`
	Except map[string][]string `yaml:"except,omitempty" json:"except,omitempty"`

	// Label is the metadata column with an example's class (classification) or classes, separated by | (multilabel).
	Label string `yaml:"label,omitempty" json:"label,omitempty"`
	// Classes are the answers; without them the distinct labels of the split, in order.
	Classes   []Class  `yaml:"classes,omitempty" json:"classes,omitempty"`
	Templates []string `yaml:"templates,omitempty" json:"templates,omitempty"`
	// ClassesFile and TemplatesFile name files with one a line instead; whoever reads the task's file reads them.
	ClassesFile   string `yaml:"classes_file,omitempty" json:"-"`
	TemplatesFile string `yaml:"templates_file,omitempty" json:"-"`

	// Match is the metadata column that says which images and captions belong together (retrieval).
	Match string `yaml:"match,omitempty" json:"match,omitempty"`
	// Wrong are the metadata columns with captions that are not true of the image; Pairs instead is the column that two
	// examples share whose captions and images are to be told apart, as in Winoground (selection). Probe generates
	// pictures of shapes with true and wrong captions (data: shapes): one of data/shapes' kinds of probe, Count of them.
	Wrong []string `yaml:"wrong,omitempty" json:"wrong,omitempty"`
	Pairs string   `yaml:"pairs,omitempty" json:"pairs,omitempty"`
	Probe string   `yaml:"probe,omitempty" json:"probe,omitempty"`
	Count int      `yaml:"count,omitempty" json:"count,omitempty"`

	// Metric is the headline, which training may select checkpoints by; by default the first that the kind has.
	Metric string `yaml:"metric,omitempty" json:"metric,omitempty"`
	// Cluster is a metadata column whose equal values mark examples that are not independent, for the intervals.
	Cluster string `yaml:"cluster,omitempty" json:"cluster,omitempty"`
	// Groups are metadata columns to report gaps between groups for.
	Groups []string `yaml:"groups,omitempty" json:"groups,omitempty"`
	// Counterfactual pairs differ in one attribute alone: does the answer?
	Counterfactual *Counterfactual `yaml:"counterfactual,omitempty" json:"counterfactual,omitempty"`

	// Doubt is what the rule for "unknown" is chosen for. Validation holds examples to fit on (default: half of the
	// task's own, by a hash of their identifiers); Unknown holds images of none of the classes.
	Doubt      *doubt.Config `yaml:"doubt,omitempty" json:"doubt,omitempty"`
	Validation *Subset       `yaml:"validation,omitempty" json:"validation,omitempty"`
	Unknown    *Subset       `yaml:"unknown,omitempty" json:"unknown,omitempty"`

	// Association holds the sets of an association test.
	Association *AssociationConfig `yaml:"association,omitempty" json:"association,omitempty"`

	Licence  string `yaml:"licence,omitempty" json:"licence,omitempty"`
	Citation string `yaml:"citation,omitempty" json:"citation,omitempty"`
}

// Counterfactual says which examples differ in one attribute alone: those with the same value of Match and different
// values of Attribute.
type Counterfactual struct {
	Match     string `yaml:"match" json:"match"`
	Attribute string `yaml:"attribute" json:"attribute"`
}

// AssociationConfig holds two sets of images and two sets of words.
type AssociationConfig struct {
	X     Subset   `yaml:"x" json:"x"`
	Y     Subset   `yaml:"y" json:"y"`
	A     []string `yaml:"a" json:"a"`
	B     []string `yaml:"b" json:"b"`
	NameX string   `yaml:"name_x,omitempty" json:"name_x,omitempty"` // for people
	NameY string   `yaml:"name_y,omitempty" json:"name_y,omitempty"`
	NameA string   `yaml:"name_a,omitempty" json:"name_a,omitempty"`
	NameB string   `yaml:"name_b,omitempty" json:"name_b,omitempty"`
}

// subset is the task's own choice of examples.
func (t Task) subset() Subset {
	return Subset{Data: t.Data, Split: t.Split, Where: t.Where, Only: t.Only, Except: t.Except}
}

// within fills a subset's data and split from the task.
func (t Task) within(s Subset) Subset {
	if s.Split == "" && s.Data == "" {
		s.Split = t.Split
	}
	if s.Data == "" {
		s.Data = t.Data
	}
	return s
}

// Validate reports the first thing that is wrong, naming the field.
func (t Task) Validate() error {
	labelled := t.Kind == "" || t.Kind == Classification || t.Kind == MultiLabel
	switch {
	case t.Name == "":
		return fmt.Errorf("name is missing")
	case t.Data == "":
		return fmt.Errorf("task %s: data is missing: name a data set or the path of a shard directory", t.Name)
	case t.Kind != "" && !slices.Contains(Kinds(), t.Kind):
		return fmt.Errorf("task %s: kind %q is unknown: use %s", t.Name, t.Kind, strings.Join(Kinds(), ", "))
	case labelled && t.Label == "":
		return fmt.Errorf("task %s: label is missing: name the metadata column that holds the class", t.Name)
	}
	if names := t.MetricNames(); t.Metric != "" && !slices.Contains(names, t.Metric) {
		return fmt.Errorf("task %s: metric %q is none of its own: %s", t.Name, t.Metric, strings.Join(names, ", "))
	}
	if err := t.validateParts(); err != nil {
		return fmt.Errorf("task %s: %w", t.Name, err)
	}
	return nil
}

// validateClasses wants names that tell the classes apart.
func (t Task) validateClasses() error {
	place := map[string]int{}
	for i, class := range t.Classes {
		if class.Name == "" {
			return fmt.Errorf("classes: the class at position %d has no name", i+1)
		}
		if before, ok := place[class.Name]; ok {
			return fmt.Errorf("classes: %q is the name at positions %d and %d: name the classes differently, as the labels of their images do; their words may be the same", class.Name, before+1, i+1)
		}
		place[class.Name] = i
	}
	return nil
}

func (t Task) validateParts() error {
	if err := t.validateClasses(); err != nil {
		return err
	}
	if t.Doubt != nil {
		if err := t.Doubt.WithDefaults().Validate(); err != nil {
			return fmt.Errorf("doubt: %w", err)
		}
		if t.Doubt.FalseAccept > 0 && t.Unknown == nil {
			return fmt.Errorf("doubt: false_accept needs unknown: name the images of none of the classes")
		}
	}
	if c := t.Counterfactual; c != nil && (c.Match == "" || c.Attribute == "") {
		return fmt.Errorf("counterfactual: match and attribute are metadata columns, and both are needed")
	}
	if t.Kind == Association {
		if a := t.Association; a == nil || len(a.A) == 0 || len(a.B) == 0 || !a.X.filters() || !a.Y.filters() {
			return fmt.Errorf("association: two sets of images (x and y: where, only or except) and two of words (a and b) are needed")
		}
	}
	if err := t.validateSelection(); err != nil {
		return err
	}
	return zeroshot.CheckTemplates(t.Templates)
}

// validateSelection checks what makes a selection, and that nothing else has it.
func (t Task) validateSelection() error {
	ways := 0
	for _, set := range []bool{len(t.Wrong) > 0, t.Pairs != "", t.Probe != ""} {
		ways += count(set)
	}
	switch {
	case t.Probe != "" && t.Kind != Selection:
		return fmt.Errorf("probe: generated captions are for kind %s, this is a %s", Selection, cmp.Or(t.Kind, Classification))
	case t.Probe != "" && !slices.Contains(shapes.ProbeKinds(), t.Probe):
		return fmt.Errorf("probe %q is unknown: use %s", t.Probe, strings.Join(shapes.ProbeKinds(), ", "))
	case t.Count < 0 || t.Count > maxProbes:
		return fmt.Errorf("count: %d is no number of pictures: use 1 to %d", t.Count, maxProbes)
	case t.Count > 0 && t.Probe == "":
		return fmt.Errorf("count is the number of pictures that a probe generates, and there is no probe: choose examples with where, only and except")
	case t.Kind == Selection && ways != 1:
		return fmt.Errorf("a selection needs one of wrong (columns with false captions), pairs (a column that two examples share) and probe")
	}
	return nil
}

// maxProbes bounds the pictures that a probe generates.
const maxProbes = 1_000_000

// MetricNames are the metrics that the task's results have, the first one the headline unless Metric names another. Acc5 is
// among them where the number of classes is not known.
func (t Task) MetricNames() []string {
	switch t.Kind {
	case MultiLabel:
		return []string{MAP}
	case Retrieval:
		var names []string
		for _, direction := range []string{ImageToText, TextToImage} {
			for _, metric := range retrievalMetrics {
				names = append(names, direction+metric)
			}
		}
		return names
	case Selection:
		if t.Pairs != "" {
			return []string{TextScore, ImageScore, GroupScore}
		}
		return []string{Chosen}
	case Association:
		return []string{EffectSize}
	}
	if n := len(t.Classes); 0 < n && n <= topAnswers {
		return []string{Acc1, MeanPerClassRecall}
	}
	return []string{Acc1, Acc5, MeanPerClassRecall}
}

// Result is what a task found; one of the parts is set.
type Result struct {
	Task           Task                  `json:"task"`
	Inputs         Inputs                `json:"inputs"`
	Warnings       []string              `json:"warnings,omitempty"` // what the numbers do not bear out by themselves
	Classification *ClassificationResult `json:"classification,omitempty"`
	MultiLabel     *MultiLabelResult     `json:"multilabel,omitempty"`
	Retrieval      *RetrievalResult      `json:"retrieval,omitempty"`
	Selection      *SelectionResult      `json:"selection,omitempty"`
	Association    *AssociationResult    `json:"association,omitempty"`
}

// Metrics are the result's numbers by name.
func (r Result) Metrics() map[string]Metric {
	switch {
	case r.Classification != nil:
		return r.Classification.Metrics
	case r.MultiLabel != nil:
		return r.MultiLabel.Metrics
	case r.Retrieval != nil:
		return r.Retrieval.Metrics
	case r.Selection != nil:
		return r.Selection.Metrics
	case r.Association != nil:
		return r.Association.Metrics
	}
	return nil
}

// skipped counts what was left out, by reason.
func (r Result) skipped() map[string]int {
	switch {
	case r.Classification != nil:
		return r.Classification.Skipped
	case r.MultiLabel != nil:
		return r.MultiLabel.Skipped
	case r.Retrieval != nil:
		return r.Retrieval.Skipped
	case r.Selection != nil:
		return r.Selection.Skipped
	case r.Association != nil:
		return r.Association.Skipped
	}
	return nil
}

// Headline is the metric that stands for the result: the one the task names, or the first.
func (r Result) Headline() NamedMetric {
	list := r.Ordered()
	for _, m := range list {
		if m.Name == r.Task.Metric {
			return m
		}
	}
	if len(list) == 0 {
		return NamedMetric{}
	}
	return list[0]
}
