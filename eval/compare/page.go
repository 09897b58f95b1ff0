package compare

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"

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

// Signed shows a difference: of shares in points.
func (p Pair) Signed() string {
	if p.Paired == nil {
		return "–"
	}
	text := fmt.Sprintf("%s (%s – %s)", p.show(p.Difference.Value), p.show(p.Difference.Low), p.show(p.Difference.High))
	return strings.ReplaceAll(text, "-", "−")
}

// PValues shows the p of the tests that were made.
func (p Pair) PValues() string {
	if p.Paired == nil {
		return "–"
	}
	show := func(p float64) string {
		if p < 0.0001 {
			return "<0.0001"
		}
		return fmt.Sprintf("%.4f", p)
	}
	if p.Counts == nil {
		return show(p.P)
	}
	return show(p.P) + ", " + show(p.McNemar)
}

// OnlyRight shows how many examples only one of the two got right.
func (p Pair) OnlyRight() string {
	if p.Counts == nil {
		return "–"
	}
	return fmt.Sprintf("%d / %d", p.OnlyA, p.OnlyB)
}

// Drawn says that the difference has a place on the axis of points.
func (p Pair) Drawn() bool { return p.Paired != nil && !p.plain }

// Reach is how far the axis of differences goes on both sides, in points: a round number that holds all intervals.
func (c *Comparison) Reach() int {
	widest := 0.0
	for _, p := range c.Pairs {
		if !p.Drawn() {
			continue
		}
		widest = max(widest, -100*p.Difference.Low, 100*p.Difference.High)
	}
	for _, reach := range []int{5, 10, 20, 50} {
		if widest <= float64(reach) {
			return reach
		}
	}
	return 100
}

// Mark is the pair's difference on an axis that reaches so many points to both sides, in percent of its width.
func (p Pair) Mark(reach int) map[string]float64 {
	at := func(x float64) float64 { return min(100, max(0, 50+50*100*x/float64(reach))) }
	return map[string]float64{"value": at(p.Difference.Value), "low": at(p.Difference.Low), "right": 100 - at(p.Difference.High)}
}
