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
	// Known is false where the best similarity of all labels is under the wanted minimum: none of them fits.
	Known bool `json:"-"`
}

// ClassifyOption changes how labels are asked for and when an answer counts.
type ClassifyOption func(*classifyOptions)

type classifyOptions struct {
	templates     []string
	minSimilarity float64
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

// Classifier holds the rows of a set of labels, to classify many images with.
type Classifier struct {
	model         *Model
	rows          *zeroshot.Classifier
	minSimilarity float64
}

// NewClassifier encodes the labels once.
func (m *Model) NewClassifier(ctx context.Context, labels []string, opts ...ClassifyOption) (*Classifier, error) {
	o := classifyOptions{minSimilarity: -1}
	for _, opt := range opts {
		opt(&o)
	}
	if err := checkLabels(labels); err != nil {
		return nil, err
	}
	classes := make([]zeroshot.Class, len(labels))
	for i, l := range labels {
		classes[i].Name = l
	}
	rows, err := zeroshot.NewClassifier(ctx, m, classes, o.templates)
	if err != nil {
		return nil, err
	}
	return &Classifier{m, rows, o.minSimilarity}, nil
}

// Classify scores an encoded image file (JPEG, PNG, …) against the labels, best first.
func (c *Classifier) Classify(ctx context.Context, image []byte) ([]Prediction, error) {
	rows, err := c.model.EncodeImages(ctx, image)
	if err != nil {
		return nil, err
	}
	similarities := make([]float32, len(c.rows.Classes))
	c.rows.Similarities(similarities, rows[0])
	probabilities := zeroshot.Softmax(similarities, c.rows.Scale)
	known := float64(slices.Max(similarities)) >= c.minSimilarity
	predictions := make([]Prediction, len(similarities))
	for i, s := range similarities {
		predictions[i] = Prediction{c.rows.Classes[i].Name, probabilities[i], float64(s), known}
	}
	slices.SortStableFunc(predictions, func(a, b Prediction) int { return cmp.Compare(b.Similarity, a.Similarity) })
	return predictions, nil
}

// Classify scores one encoded image file against labels, best first. Probabilities are a softmax over the labels alone:
// with labels of which none fits they still add up to 1, so give a minimum similarity if "none of these" is an answer.
func (m *Model) Classify(ctx context.Context, image []byte, labels []string, opts ...ClassifyOption) ([]Prediction, error) {
	classifier, err := m.NewClassifier(ctx, labels, opts...)
	if err != nil {
		return nil, err
	}
	return classifier.Classify(ctx, image)
}
