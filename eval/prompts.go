package eval

import (
	"context"
	"fmt"
	"strings"
)

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
			return fmt.Errorf("template %q has no hole: write {} where the class name goes", t)
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
func NewClassifier(ctx context.Context, enc Encoder, classes []Class, templates []string) (*Classifier, error) {
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
		if err := checkRows(len(rows), len(prompts), "prompts"); err != nil {
			return err
		}
		for i, row := range rows {
			c.add(owners[i], row)
		}
		prompts, owners = prompts[:0], owners[:0]
		return nil
	}
	for i, class := range classes {
		for _, word := range class.words() {
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
		normalise(row)
	}
	return c, nil
}

func (c Class) words() []string {
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
		dst[i] = dot(row, image)
	}
}
