// Package zeroshot turns class names into rows of a shared space: prompts, their ensembles, similarities and
// probabilities. It is what evaluation and the library's Classify have in common.
package zeroshot

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"tandem/internal/fault"
)

// TextEncoder returns a row of length 1 for each text.
type TextEncoder interface {
	EncodeTexts(ctx context.Context, texts []string) ([][]float32, error)
	// Scale is the model's temperature, exp(logit_scale): similarities times Scale are logits.
	Scale() float64
}

// Class is one answer of a classification: its name for people and the words that stand for it in prompts.
type Class struct {
	Name string `yaml:"name" json:"name"`
	// Words replace the template's hole; several are averaged like templates. Empty means Name.
	Words []string `yaml:"words,omitempty" json:"words,omitempty"`
}

// DefaultTemplate is used where a task has none.
const DefaultTemplate = "a photo of a {}."

// Prompt fills a template's hole, written {} or {c}.
func Prompt(template, word string) string {
	return strings.NewReplacer("{}", word, "{c}", word).Replace(template)
}

// CheckTemplates refuses templates that would ask the same for every class.
func CheckTemplates(templates []string) error {
	for _, t := range templates {
		if !strings.Contains(t, "{}") && !strings.Contains(t, "{c}") {
			return fault.Userf("template %q has no hole: write {} where the class name goes", t)
		}
	}
	return nil
}

// Classifier scores images against classes: one row for each class, the mean of its prompts' rows, renormalised
// (Radford et al., 2021, section 3.1.4: ensembling in embedding space).
type Classifier struct {
	Classes []Class
	Rows    [][]float32
	Scale   float64
}

// promptBatch bounds how many prompts are encoded before their rows are folded into means: 1,000 classes with 80
// templates never need 80,000 rows at once.
const promptBatch = 4096

// NewClassifier encodes every class in every template once.
func NewClassifier(ctx context.Context, enc TextEncoder, classes []Class, templates []string) (*Classifier, error) {
	if len(templates) == 0 {
		templates = []string{DefaultTemplate}
	}
	if err := CheckTemplates(templates); err != nil {
		return nil, err
	}
	c := &Classifier{Classes: classes, Rows: make([][]float32, len(classes)), Scale: enc.Scale()}
	var prompts []string
	var owners []int
	flush := func() error {
		rows, err := enc.EncodeTexts(ctx, prompts)
		if err != nil {
			return err
		}
		if len(rows) != len(prompts) {
			return fmt.Errorf("the encoder returned %d rows for %d prompts", len(rows), len(prompts))
		}
		for i, row := range rows {
			c.add(owners[i], row)
		}
		prompts, owners = prompts[:0], owners[:0]
		return nil
	}
	for i, class := range classes {
		for _, word := range class.Prompted() {
			for _, template := range templates {
				prompts, owners = append(prompts, Prompt(template, word)), append(owners, i)
			}
		}
		if len(prompts) >= promptBatch || i == len(classes)-1 {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	for _, row := range c.Rows {
		Normalise(row)
	}
	return c, nil
}

// Prompted are the words that stand for the class in prompts.
func (c Class) Prompted() []string {
	if len(c.Words) == 0 {
		return []string{c.Name}
	}
	return c.Words
}

func (c *Classifier) add(class int, row []float32) {
	if c.Rows[class] == nil {
		c.Rows[class] = make([]float32, len(row))
	}
	for j, x := range row {
		c.Rows[class][j] += x
	}
}

// Similarities fills dst, one entry a class, with cosine similarities.
func (c *Classifier) Similarities(dst []float32, image []float32) {
	for i, row := range c.Rows {
		dst[i] = Dot(row, image)
	}
}

// Softmax turns similarities into probabilities at a temperature: exp(scale·s) over their sum.
func Softmax[T float32 | float64](similarities []T, scale float64) []float64 {
	if len(similarities) == 0 {
		return nil
	}
	top := float64(slices.Max(similarities))
	p := make([]float64, len(similarities))
	var total float64
	for i, s := range similarities {
		p[i] = math.Exp(scale * (float64(s) - top))
		total += p[i]
	}
	for i := range p {
		p[i] /= total
	}
	return p
}

// Dot is the inner product of two rows of equal length.
func Dot(a, b []float32) float32 {
	var s0, s1, s2, s3 float32
	b = b[:len(a)]
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for ; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return s0 + s1 + s2 + s3
}

// Normalise scales a row to length 1; a row of zeros stays.
func Normalise(row []float32) {
	var squares float64
	for _, x := range row {
		squares += float64(x) * float64(x)
	}
	if squares == 0 {
		return
	}
	scale := float32(1 / math.Sqrt(squares))
	for i := range row {
		row[i] *= scale
	}
}
