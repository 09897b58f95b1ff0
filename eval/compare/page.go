package compare

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"

	"tandem/eval"
)

//go:embed page.html
var pageHTML string

// WriteHTML writes the comparison for people: one page that needs nothing else.
func (c *Comparison) WriteHTML(w io.Writer) error {
	page, err := template.New("compare").Parse(pageHTML)
	if err != nil {
		return err
	}
	return page.Execute(w, struct {
		Style template.CSS
		*Comparison
		Bars []bars
	}{eval.PageStyle, c, c.bars()})
}

// bars is one metric of one task, drawn.
type bars struct {
	Task, Title string
	First       bool // of its task
	Cells       []bar
}

type bar struct {
	Model, Text      string
	Left, Right, Low float64 // percent of the axis
	Value            float64
	Missing          bool
	Colour           int
}

func (c *Comparison) bars() []bars {
	var out []bars
	last := ""
	for _, row := range c.Rows {
		b := bars{Task: row.Task, Title: row.Title, First: row.Task != last}
		last = row.Task
		low, high := 0.0, 1.0
		for _, m := range row.Cells {
			if m != nil && row.shown.Plain {
				low, high = min(low, m.Low), max(high, m.High)
			}
		}
		at := func(x float64) float64 { return 100 * (x - low) / (high - low) }
		for i, m := range row.Cells {
			cell := bar{Model: c.Models[i], Text: row.cell(i), Missing: m == nil, Colour: i % 4}
			if m != nil {
				cell.Value, cell.Low, cell.Right = at(m.Value), at(m.Low), 100-at(m.High)
			}
			b.Cells = append(b.Cells, cell)
		}
		out = append(out, b)
	}
	return out
}

// Signed shows a difference in points.
func (p Pair) Signed() string {
	return fmt.Sprintf("%+.1f (%+.1f – %+.1f)", 100*p.Difference.Value, 100*p.Difference.Low, 100*p.Difference.High)
}

// Mark is the pair's difference on an axis from −50 to +50 points, in percent of its width.
func (p Pair) Mark() map[string]float64 {
	at := func(x float64) float64 { return min(100, max(0, 50+100*x)) }
	return map[string]float64{"value": at(p.Difference.Value), "low": at(p.Difference.Low), "right": 100 - at(p.Difference.High)}
}
