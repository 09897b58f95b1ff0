package main

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"tandem/eval/probe"
)

// curve is a kind of probe with its accuracy by examples a class.
type curve struct {
	Kind   string        `json:"kind"`
	Points []probe.Point `json:"points"`
}

// Colours of the curves, told apart by colour-blind people too, and of what is around them.
var (
	curveColours = []color.NRGBA{{0x1f, 0x5a, 0xa0, 0xff}, {0xc2, 0x5b, 0x2a, 0xff}, {0x1d, 0x7a, 0x46, 0xff}}
	gridColour   = color.NRGBA{0xe3, 0xe5, 0xe8, 0xff}
	inkColour    = color.NRGBA{0x4b, 0x52, 0x5c, 0xff}
)

// plotCurves draws accuracy by examples a class, mean and deviation over the draws, with the zero-shot accuracy beside it.
func plotCurves(w io.Writer, task string, curves []curve, zeroShot float64) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = task, "examples a class", "accuracy, %"
	style(p)
	var ticks []plot.Tick
	for i, c := range curves {
		if err := addCurve(p, c, curveColours[i%len(curveColours)]); err != nil {
			return err
		}
		for _, point := range c.Points {
			tick := plot.Tick{Value: math.Log2(float64(point.Shots)), Label: fmt.Sprint(point.Shots)}
			if !slices.Contains(ticks, tick) {
				ticks = append(ticks, tick)
			}
		}
	}
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	line := plotter.NewFunction(func(float64) float64 { return 100 * zeroShot })
	line.Color, line.Dashes = inkColour, []vg.Length{4, 3}
	p.Add(line)
	p.Legend.Add("zero-shot", line)
	p.Y.Tick.Marker = plot.TickerFunc(percents)
	p.Y.Min, p.Y.Max = math.Min(p.Y.Min, 100*zeroShot-2), math.Max(p.Y.Max, 100*zeroShot+2)
	c := vgsvg.New(480, 320)
	p.Draw(draw.New(c))
	_, err := c.WriteTo(w)
	return err
}

// percents are ticks at round numbers of per cent, eight at most.
func percents(low, high float64) (ticks []plot.Tick) {
	step := 1.0
	for _, s := range []float64{2, 5, 10, 20} {
		if (high-low)/step > 8 {
			step = s
		}
	}
	for v := math.Ceil(low/step) * step; v <= high; v += step {
		ticks = append(ticks, plot.Tick{Value: v, Label: fmt.Sprint(v)})
	}
	return ticks
}

// style gives a plot the look of the other ones.
func style(p *plot.Plot) {
	sans := font.Font{Typeface: "Liberation", Variant: "Sans"}
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font, a.Tick.Label.Font = sans, sans
		a.Label.TextStyle.Font.Size, a.Tick.Label.Font.Size = 11, 10
		a.Label.TextStyle.Color, a.Tick.Label.Color = inkColour, inkColour
		a.LineStyle.Color, a.Tick.LineStyle.Color = gridColour, gridColour
		a.Padding = 8
	}
	p.Title.TextStyle.Font, p.Legend.TextStyle.Font = sans, sans
	p.Title.TextStyle.Font.Size, p.Legend.TextStyle.Font.Size = 12, 10
	p.Legend.Left, p.Legend.Top = true, true
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = gridColour, color.Transparent
	p.Add(grid)
}

// points are a curve's means with their deviations, for the plotter.
type points []probe.Point

func (p points) Len() int { return len(p) }
func (p points) XY(i int) (x, y float64) {
	return math.Log2(float64(p[i].Shots)), 100 * p[i].Mean
}
func (p points) YError(i int) (low, high float64) { return 100 * p[i].Deviation, 100 * p[i].Deviation }

func addCurve(p *plot.Plot, c curve, ink color.NRGBA) error {
	line, marks, err := plotter.NewLinePoints(points(c.Points))
	if err != nil {
		return err
	}
	bars, err := plotter.NewYErrorBars(points(c.Points))
	if err != nil {
		return err
	}
	line.Color, line.Width = ink, 1.5
	marks.Color, marks.Shape, marks.Radius = ink, draw.CircleGlyph{}, 3
	bars.Color, bars.CapWidth = ink, 6
	p.Add(line, marks, bars)
	p.Legend.Add(strings.ReplaceAll(c.Kind, "-", " "), line, marks)
	return nil
}
