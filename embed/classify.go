package embed

import (
	"cmp"
	"context"
	"slices"

	"tandem/internal/zeroshot"
)

// Prediction is one answer to a classification.
type Prediction struct {
	Label       string  `json:"label"`
	Probability float64 `json:"probability"` // over the given labels, at the model's temperature
	Similarity  float64 `json:"similarity"`  // cosine of image and text
	// Known is false where the best similarity of all labels is under the wanted minimum, or the rule says so: none of
	// the labels fits.
	Known bool `json:"-"`
	// Possible says that the label is in the rule's prediction set, which holds the truth with the rule's coverage.
	// Without such a rule it is false.
	Possible bool `json:"possible,omitempty"`
}

// ClassifyOption changes how labels are asked for and when an answer counts.
type ClassifyOption func(*classifyOptions)

type classifyOptions struct {
	templates     []string
	minSimilarity float64
	rule          *zeroshot.Rule
	ruleFile      string
}

// WithTemplates asks with these prompts, each with a {} where the label goes; several are averaged. The default is
// "a photo of a {}.".
func WithTemplates(templates ...string) ClassifyOption {
	return func(o *classifyOptions) { o.templates = templates }
}

// WithMinSimilarity marks answers as not Known when the best cosine similarity is under min.
func WithMinSimilarity(min float64) ClassifyOption {
	return func(o *classifyOptions) { o.minSimilarity = min }
}

// WithRule reads the file of a rule that an evaluation saved and obeys it: it decides what is Known, probabilities are at
// the temperature that was fitted with it, and where it has prediction sets, Possible is set. Its templates are used
// unless WithTemplates gives others.
//
// A rule holds for the model that it was fitted to. Where the file names one, another model's Classify and NewClassifier
// refuse it; a file without "model", written by hand, is obeyed by any.
func WithRule(path string) (ClassifyOption, error) {
	rule, err := zeroshot.ReadRule(path)
	if err != nil {
		return nil, err
	}
	return func(o *classifyOptions) { o.rule, o.ruleFile = rule, path }, nil
}

// Classifier holds the rows of a set of labels, to classify many images with.
type Classifier struct {
	model         *Model
	rows          *zeroshot.Classifier
	minSimilarity float64
	rule          *zeroshot.Rule // may be nil
}

// NewClassifier encodes the labels once. With a rule, nil labels are the rule's classes.
func (m *Model) NewClassifier(ctx context.Context, labels []string, opts ...ClassifyOption) (*Classifier, error) {
	o := classifyOptions{minSimilarity: -1}
	for _, opt := range opts {
		opt(&o)
	}
	if labels == nil && o.rule != nil {
		for _, class := range o.rule.Classes {
			labels = append(labels, class.Name)
		}
	}
	if err := checkLabels(labels); err != nil {
		return nil, err
	}
	classes := make([]zeroshot.Class, len(labels))
	for i, l := range labels {
		classes[i].Name = l
	}
	if o.rule != nil {
		if err := m.checkRule(o.ruleFile, o.rule); err != nil {
			return nil, err
		}
		if len(o.templates) == 0 {
			o.templates = o.rule.Templates
		}
		for i, c := range classes { // the words that stand for a class come with the rule
			for _, known := range o.rule.Classes {
				if known.Name == c.Name {
					classes[i] = known
				}
			}
		}
	}
	rows, err := zeroshot.NewClassifier(ctx, m, classes, o.templates)
	if err != nil {
		return nil, err
	}
	return &Classifier{m, rows, o.minSimilarity, o.rule}, nil
}

// Classify scores an encoded image file (JPEG, PNG, …) against the labels, best first.
func (c *Classifier) Classify(ctx context.Context, image []byte) ([]Prediction, error) {
	rows, err := c.model.EncodeImages(ctx, image)
	if err != nil {
		return nil, err
	}
	similarities := make([]float32, len(c.rows.Classes))
	c.rows.Similarities(similarities, rows[0])
	scale, known := c.rows.Scale, float64(slices.Max(similarities)) >= c.minSimilarity
	if c.rule != nil {
		scale, known = c.rule.Scale, known && c.rule.Known(similarities)
	}
	probabilities := zeroshot.Softmax(similarities, scale)
	predictions := make([]Prediction, len(similarities))
	for i, s := range similarities {
		predictions[i] = Prediction{Label: c.rows.Classes[i].Name, Probability: probabilities[i], Similarity: float64(s), Known: known}
	}
	if c.rule != nil && c.rule.Conformal != nil {
		for _, i := range c.rule.Conformal.Set(probabilities) {
			predictions[i].Possible = true
		}
	}
	slices.SortStableFunc(predictions, func(a, b Prediction) int { return cmp.Compare(b.Similarity, a.Similarity) })
	return predictions, nil
}

// Classify scores one encoded image file against labels, best first. Probabilities are a softmax over the labels alone:
// with labels of which none fits they still add up to 1, so give a minimum similarity if "none of these" is an answer.
// With WithRule, nil labels are the classes that the rule was fitted to.
func (m *Model) Classify(ctx context.Context, image []byte, labels []string, opts ...ClassifyOption) ([]Prediction, error) {
	classifier, err := m.NewClassifier(ctx, labels, opts...)
	if err != nil {
		return nil, err
	}
	return classifier.Classify(ctx, image)
}
