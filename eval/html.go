package eval

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"image"
	"image/png"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"

	"tandem/imaging"
)

//go:embed report.html
var reportHTML string

//go:embed page.css
var pageCSS string

// PageStyle is the style sheet of all pages, light and dark.
var PageStyle = template.CSS(pageCSS)

// anchor matches what the target of a link must not hold.
var anchor = regexp.MustCompile(`[^a-zA-Z0-9]+`)

// thumbnailSide bounds the pictures inside a report.
const thumbnailSide = 96

// maxTableClasses is how many classes a confusion table is drawn for; beyond, only the worst classes are listed.
const maxTableClasses = 24

// WriteHTML writes the report for people: one page that needs nothing else, no network either.
func (r *Report) WriteHTML(w io.Writer) error {
	page, err := template.New("report").Funcs(template.FuncMap{
		"percent":     func(x float64) string { return fmt.Sprintf("%.1f", 100*x) },
		"wanted":      func(alpha float64) string { return fmt.Sprintf("%.4g", 100*(1-alpha)) },
		"thumb":       newThumbnailer().dataURI,
		"shade":       shade,
		"cardOf":      cardOf,
		"style":       func() template.CSS { return PageStyle },
		"reliability": reliability,
		"risk":        risk,
		"gapRange":    gapRange,
		"gapVerdict":  gapVerdict,
		"anchor":      func(r Result) string { return "task-" + anchor.ReplaceAllString(r.Task.Name, "-") },
	}).Parse(reportHTML)
	if err != nil {
		return err
	}
	return page.Execute(w, r)
}

// card is a sample with its classes' names.
type card struct {
	ID, TruthName string
	Image         []byte
	Guesses       []namedGuess
}

type namedGuess struct {
	Name        string
	Probability float64
	Hit         bool
}

func cardOf(c *ClassificationResult, s Sample) card {
	out := card{ID: s.ID, TruthName: c.Classes[s.Truth], Image: s.Image}
	for _, g := range s.Ranking[:min(3, len(s.Ranking))] {
		out.Guesses = append(out.Guesses, namedGuess{c.Classes[g.Class], g.Probability, g.Class == s.Truth})
	}
	return out
}

// shade is the background of a confusion cell: darker for a larger share of its row.
func shade(share float64) template.CSS {
	return template.CSS(fmt.Sprintf("background:rgba(31,90,160,%.3f)", 0.85*math.Sqrt(share)))
}

// thumbnailer makes small pictures for a page.
type thumbnailer struct {
	decoder *imaging.Decoder
	resizer imaging.Resizer
}

func newThumbnailer() *thumbnailer {
	return &thumbnailer{decoder: imaging.NewDecoder(imaging.DefaultLimits())}
}

// dataURI is an image file as a small inline PNG; a file that cannot be decoded becomes an empty picture.
func (t *thumbnailer) dataURI(file []byte) template.URL {
	picture, err := t.decoder.Decode(file)
	if err != nil {
		return "data:,"
	}
	small := t.resizer.Fit(picture, thumbnailSide, true, imaging.Bicubic)
	rgb := make([]byte, 3*small.Width*small.Height)
	small.Over(rgb, imaging.White)
	img := image.NewNRGBA(image.Rect(0, 0, small.Width, small.Height))
	for i := range small.Width * small.Height {
		copy(img.Pix[4*i:], rgb[3*i:3*i+3])
		img.Pix[4*i+3] = 0xff
	}
	var b bytes.Buffer
	if png.Encode(&b, img) != nil {
		return "data:,"
	}
	return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(b.Bytes()))
}

// ConfusionRow is one line of a confusion table.
type ConfusionRow struct {
	Name  string
	N     int
	Cells []ConfusionCell
}

// ConfusionCell counts examples of the row's class taken for the column's.
type ConfusionCell struct {
	Count int
	Share float64 // of the row
	Own   bool    // on the diagonal
}

// ConfusionTable is the confusion by name, or nil where there are too many classes for a page.
func (c *ClassificationResult) ConfusionTable() []ConfusionRow {
	if len(c.Classes) > maxTableClasses || c.Confusion == nil {
		return nil
	}
	rows := make([]ConfusionRow, len(c.Classes))
	for i, name := range c.Classes {
		rows[i] = ConfusionRow{Name: name, N: c.PerClass[i].N}
		for j, count := range c.Confusion[i] {
			rows[i].Cells = append(rows[i].Cells, ConfusionCell{count, float64(count) / float64(max(1, rows[i].N)), i == j})
		}
	}
	return rows
}

// ClassBar is one class's recall.
type ClassBar struct {
	ClassResult
	Recall float64
}

// WorstAndBest lists the classes with the lowest and the highest recall, those with more examples first among equals.
func (c *ClassificationResult) WorstAndBest() (worst, best []ClassBar) {
	var bars []ClassBar
	for _, class := range c.PerClass {
		if class.N > 0 {
			bars = append(bars, ClassBar{class, float64(class.Correct) / float64(class.N)})
		}
	}
	slices.SortStableFunc(bars, func(a, b ClassBar) int {
		switch {
		case a.Recall != b.Recall && a.Recall < b.Recall:
			return -1
		case a.Recall != b.Recall:
			return 1
		default:
			return b.N - a.N
		}
	})
	n := min(12, len(bars)/2)
	worst = bars[:n]
	best = slices.Clone(bars[len(bars)-n:])
	slices.Reverse(best)
	return worst, best
}

// Bars are WorstAndBest for the page.
func (c *ClassificationResult) Bars() [][]ClassBar {
	worst, best := c.WorstAndBest()
	return [][]ClassBar{worst, best}
}

// Right lists samples with a right answer.
func (c *ClassificationResult) Right() []Sample { return c.samplesThat(true) }

// Wrong lists samples with a wrong answer, those the model was surest of first.
func (c *ClassificationResult) Wrong() []Sample { return c.samplesThat(false) }

func (c *ClassificationResult) samplesThat(correct bool) []Sample {
	var list []Sample
	for _, s := range c.Samples {
		if s.Correct == correct {
			list = append(list, s)
		}
	}
	return list
}

// Columns are the classes for the page, in two columns, the lowest average precision first.
func (m *MultiLabelResult) Columns() [][]APResult {
	list := slices.Clone(m.PerClass)
	slices.SortStableFunc(list, func(a, b APResult) int { return cmp.Compare(a.AP, b.AP) })
	half := (len(list) + 1) / 2
	return [][]APResult{list[:half], list[half:]}
}

// Plot is a curve as an SVG path inside a box.
type Plot struct {
	Width, Height int
	Path          template.HTMLAttr
	Ticks         []Tick
	Dots          []Dot // the points, where they are few
	XMax          int64
	Mean          int // how many steps a point stands for, 0 for one
}

// Dot is a point of a plot.
type Dot struct{ X, Y float64 }

// BoxWidth is the plot's width with its labels.
func (p *Plot) BoxWidth() int { return p.Width + 60 }

// BoxHeight is the plot's height with its labels.
func (p *Plot) BoxHeight() int { return p.Height + 52 }

// Tick is a horizontal grid line.
type Tick struct {
	Y     float64
	Label string
}

// LossPlot draws the training's loss, smoothed where there are more steps than pixels; nil without a curve.
func (r *Report) LossPlot() *Plot {
	if len(r.Curve) < 2 {
		return nil
	}
	const width, height = 860, 220
	points, mean := smooth(r.Curve, width/2)
	low, high := points[0].Loss, points[0].Loss
	for _, p := range points {
		low, high = min(low, p.Loss), max(high, p.Loss)
	}
	if high == low {
		high = low + 1
	}
	last := r.Curve[len(r.Curve)-1].Step
	y := func(loss float64) float64 { return height - (loss-low)/(high-low)*height }
	plot := &Plot{Width: width, Height: height, XMax: last}
	if mean > 1 {
		plot.Mean = mean
	}
	var path strings.Builder
	for i, p := range points {
		command, at := "L", Dot{math.Round(10*float64(p.Step)/float64(last)*width) / 10, math.Round(10*y(p.Loss)) / 10}
		if i == 0 {
			command = "M"
		}
		fmt.Fprintf(&path, "%s%.1f %.1f", command, at.X, at.Y)
		if len(points) <= maxDots {
			plot.Dots = append(plot.Dots, at)
		}
	}
	plot.Path = template.HTMLAttr(`d="` + path.String() + `"`)
	for i := range 5 {
		loss := low + (high-low)*float64(i)/4
		plot.Ticks = append(plot.Ticks, Tick{y(loss), fmt.Sprintf("%.2f", loss)})
	}
	return plot
}

// maxDots is how many points are drawn as such, and not as a line alone.
const maxDots = 60

// smooth averages neighbours, size at a time, so that at most n points remain.
func smooth(curve []CurvePoint, n int) (points []CurvePoint, size int) {
	size = (len(curve) + n - 1) / n
	for chunk := range slices.Chunk(curve, size) {
		var p CurvePoint
		for _, c := range chunk {
			p.Loss += c.Loss / float64(len(chunk))
		}
		p.Step = chunk[len(chunk)-1].Step
		points = append(points, p)
	}
	return points, size
}
