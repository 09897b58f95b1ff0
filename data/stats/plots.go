package stats

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"tandem/data/shard"
)

// Colours of drawings: one hue for data, grey for everything else.
var (
	plotFill = color.NRGBA{0x2f, 0x6f, 0x9f, 0xff}
	plotMark = color.NRGBA{0xc2, 0x5b, 0x2a, 0xff}
	plotGrid = color.NRGBA{0xe3, 0xe5, 0xe8, 0xff}
	plotInk  = color.NRGBA{0x4b, 0x52, 0x5c, 0xff}
)

// Size of a drawing in points. Those with names on the side grow with the number of names.
const (
	plotWidth  vg.Length = 480
	plotHeight vg.Length = 240
	barHeight  vg.Length = 15
)

// drawing is a plot with the words around it.
type drawing struct {
	file, title, text string
	plot              *plot.Plot
	height            vg.Length
}

func newPlot(x, y string) *plot.Plot {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = x, y
	sans := font.Font{Typeface: "Liberation", Variant: "Sans"}
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font, a.Tick.Label.Font = sans, sans
		a.Label.TextStyle.Font.Size, a.Tick.Label.Font.Size = 11, 10
		a.Label.TextStyle.Color, a.Tick.Label.Color = plotInk, plotInk
		a.LineStyle.Color, a.Tick.LineStyle.Color = plotGrid, plotGrid
		a.Padding = 4
	}
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = plotGrid, color.Transparent
	p.Add(grid)
	return p
}

// plotHistogram draws the bins of h; what is rarer than one in a thousand at the far end is left to the text.
func plotHistogram(h *Histogram, x, y string, ticks plot.Ticker) *plot.Plot {
	p := newPlot(x, y)
	last := h.Quantile(0.999)
	var bins []plotter.HistogramBin
	for _, i := range slices.Sorted(maps.Keys(h.Bins)) {
		from, to := h.edges(i)
		if from > last {
			break
		}
		switch {
		case h.Steps > 0:
			from, to = math.Log10(from), math.Log10(to)
		case h.Width == 1: // whole numbers: the bar stands over its number
			from, to = from-0.5, to-0.5
		}
		bins = append(bins, plotter.HistogramBin{Min: from, Max: to, Weight: float64(h.Bins[i])})
	}
	hist := &plotter.Histogram{Bins: bins, FillColor: plotFill}
	hist.LineStyle.Color, hist.LineStyle.Width = color.White, 0.5
	p.Add(hist)
	p.X.Tick.Marker, p.Y.Tick.Marker = ticks, counts{}
	p.Y.Min = 0
	p.Y.Max *= 1.06
	return p
}

// markAt draws a vertical line with a word beside it.
func markAt(p *plot.Plot, x float64, word string) {
	line, err := plotter.NewLine(plotter.XYs{{X: x, Y: 0}, {X: x, Y: p.Y.Max}})
	if err != nil {
		return // only for coordinates that are no numbers
	}
	line.Color, line.Width = plotMark, 1.5
	p.Add(line)
	label, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: x, Y: p.Y.Max * 0.94}}, Labels: []string{"\u00a0" + word}})
	if err != nil {
		return
	}
	label.TextStyle[0].Color, label.TextStyle[0].Font = plotMark, p.X.Label.TextStyle.Font
	p.Add(label)
}

// plotCounts draws horizontal bars with names, the most frequent on top.
func plotCounts(list []Count) (*plot.Plot, vg.Length) {
	p := newPlot("rows", "")
	n := len(list)
	names := make([]string, n)
	for i, c := range list {
		y := float64(n - 1 - i)
		names[n-1-i] = shortName(c.Name)
		bar, err := plotter.NewPolygon(plotter.XYs{{X: 0, Y: y - 0.38}, {X: float64(c.N), Y: y - 0.38}, {X: float64(c.N), Y: y + 0.38}, {X: 0, Y: y + 0.38}})
		if err != nil {
			continue
		}
		bar.Color, bar.LineStyle.Width = plotFill, 0
		p.Add(bar)
	}
	p.NominalY(names...)
	p.Y.Tick.Label.Color, p.Y.LineStyle.Width, p.Y.Tick.LineStyle.Width = plotInk, 0, 0
	p.X.Tick.Marker, p.X.Min = counts{}, 0
	return p, max(plotHeight/2, vg.Length(n)*barHeight+50)
}

func shortName(name string) string {
	if r := []rune(name); len(r) > 28 {
		return string(r[:27]) + "…"
	}
	return name
}

// counts puts ticks at round numbers, written as 12k and 3M.
type counts struct{}

func (counts) Ticks(least, most float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(least, most)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = shortNumber(ticks[i].Value)
		}
	}
	return ticks
}

func shortNumber(x float64) string {
	switch {
	case math.Abs(x) >= 1e6:
		return fmt.Sprintf("%.3gM", x/1e6)
	case math.Abs(x) >= 1e3:
		return fmt.Sprintf("%.3gk", x/1e3)
	default:
		return fmt.Sprintf("%.3g", x)
	}
}

// logTicks are for axes of decimal logarithms: 1, 2, 5 and their tens, few enough to be read.
type logTicks struct{ unit func(float64) string }

func (t logTicks) Ticks(least, most float64) []plot.Tick {
	var ticks []plot.Tick
	steps := []float64{1, 2, 5}
	if most-least > 3 {
		steps = []float64{1}
	}
	for k := math.Floor(least); k <= math.Ceil(most); k++ {
		for _, s := range steps {
			if v := k + math.Log10(s); v >= least-1e-9 && v <= most+1e-9 {
				ticks = append(ticks, plot.Tick{Value: v, Label: t.unit(s * math.Pow(10, k))})
			}
		}
	}
	if len(ticks) > 2 {
		return ticks
	}
	ticks = nil // a narrow range: round numbers of the values themselves
	for _, tick := range (plot.DefaultTicks{}).Ticks(math.Pow(10, least), math.Pow(10, most)) {
		if tick.Label != "" {
			ticks = append(ticks, plot.Tick{Value: math.Log10(tick.Value), Label: t.unit(tick.Value)})
		}
	}
	return ticks
}

// whole puts ticks at whole numbers, few enough to be read.
type whole struct{}

func (whole) Ticks(least, most float64) []plot.Tick {
	step := 1.0
	for i := 0; (most-least)/step > 10; i++ {
		step *= []float64{2, 2.5, 2}[i%3] // 1, 2, 5, 10, …
	}
	var ticks []plot.Tick
	for v := math.Ceil(least/step) * step; v <= most; v += step {
		ticks = append(ticks, plot.Tick{Value: v, Label: shortNumber(v)})
	}
	return ticks
}

// numbers is a histogram and how it is drawn.
type numbers struct {
	file, title, x, y string
	of                *Histogram
	ticks             plot.Ticker
	unit              func(float64) string
}

func (s *Stats) numbers() []numbers {
	size := func(x float64) string { return strings.ReplaceAll(shortNumber(x), "k", " k") + "B" }
	const pictures, captions = "pictures", "captions"
	return []numbers{
		{"side", "Size of pictures", "shortest side, pixels", pictures, &s.Side, logTicks{shortNumber}, shortNumber},
		{"aspect", "Aspect of pictures", "width by height", pictures, &s.Aspect, logTicks{shortNumber}, shortNumber},
		{"bytes", "Size of image files", "bytes", pictures, &s.Bytes, logTicks{size}, size},
		{"words", "Length of captions", "words", captions, &s.Words, whole{}, shortNumber},
		{"tokens", "Length of captions in tokens", "tokens, start and end included", captions, &s.Tokens, whole{}, shortNumber},
		{"per-image", "Captions of a picture", "captions", pictures, &s.PerRow, whole{}, shortNumber},
	}
}

// draw makes all drawings that the statistics have numbers for.
func (s *Stats) draw() []drawing {
	var all []drawing
	add := func(file, title, text string, p *plot.Plot, height vg.Length) {
		all = append(all, drawing{file, title, text, p, height})
	}
	for _, n := range s.numbers() {
		h := n.of
		if h.N == 0 || h.Min == h.Max { // notes says it in words
			continue
		}
		p := plotHistogram(h, n.x, n.y, n.ticks)
		text := fmt.Sprintf("half below %s, 95 %% below %s; from %s to %s", n.unit(h.Quantile(0.5)), n.unit(h.Quantile(0.95)), n.unit(h.Min), n.unit(h.Max))
		if h == &s.Tokens && s.Context > 0 {
			text += s.markContext(p)
		}
		add(n.file, n.title, text, p, plotHeight)
	}
	s.drawCounts(add)
	return all
}

// markContext shows where a model's context ends, if that is near, and says what does not fit.
func (s *Stats) markContext(p *plot.Plot) string {
	if float64(s.Context) < 1.5*p.X.Max {
		p.X.Max = max(p.X.Max, float64(s.Context)+1)
		markAt(p, float64(s.Context), "context")
	}
	return fmt.Sprintf("; %s of %s do not fit into a context of %d", shortNumber(float64(s.Cut)), shortNumber(float64(s.Captions)), s.Context)
}

func (s *Stats) drawCounts(add func(file, title, text string, p *plot.Plot, height vg.Length)) {
	if len(s.Top) > 0 {
		p, height := plotCounts(s.Top)
		p.X.Label.Text = "times"
		add("top-words", "Most frequent words", fmt.Sprintf("of %s different ones", shortNumber(float64(s.Vocab))), p, height)
	}
	if len(s.Scripts) > 1 {
		p, height := plotCounts(top(s.Scripts, 12))
		p.X.Label.Text = "captions"
		add("scripts", "Writing systems", "of most letters of a caption; a hint at languages", p, height)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		label := s.Labels[name]
		if label.Values < 2 {
			continue
		}
		p, height := plotCounts(label.Top)
		text := fmt.Sprintf("%d values, the rarest in %d rows, the most frequent in %d; %d rows without", label.Values, label.Least, label.Most, label.Missing)
		add("label-"+name, "Label "+name, text, p, height)
	}
}

// svg renders a drawing for a page.
func (d drawing) svg() (template.HTML, error) {
	c := vgsvg.New(plotWidth, d.height)
	d.plot.Draw(draw.New(c))
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return "", err
	}
	text := b.String()
	if i := strings.Index(text, "<svg"); i > 0 {
		text = text[i:] // without the XML declaration
	}
	return template.HTML(text), nil
}

// png renders a drawing at twice its size.
func (d drawing) png(w io.Writer) error {
	c := vgimg.NewWith(vgimg.UseWH(plotWidth, d.height), vgimg.UseDPI(144))
	d.plot.Draw(draw.New(c))
	_, err := vgimg.PngCanvas{Canvas: c}.WriteTo(w)
	return err
}

// WritePage writes a self-contained HTML page with all distributions and some samples.
func (s *Stats) WritePage(w io.Writer, set *shard.Set, samples []Sample) error {
	p := page{Title: "Statistics of " + set.Location(), Manifest: set.Manifest, Cards: cards(samples), Notes: s.notes()}
	for _, d := range s.draw() {
		svg, err := d.svg()
		if err != nil {
			return err
		}
		p.Plots = append(p.Plots, plotted{d.title, d.text, svg})
	}
	return pages.Execute(w, p)
}

// Pictures calls f for every drawing with a name for its file and a function that writes it as PNG.
func (s *Stats) Pictures(f func(name string, png func(w io.Writer) error) error) error {
	for _, d := range s.draw() {
		if err := f(d.file+".png", d.png); err != nil {
			return err
		}
	}
	return nil
}

// notes says in words what has no drawing.
func (s *Stats) notes() []string {
	notes := []string{fmt.Sprintf("%d rows with %d captions were read. %d captions equal an earlier one.", s.Rows, s.Captions, s.RepeatedCaptions)}
	for _, always := range []struct {
		what string
		of   *Histogram
	}{{"The shortest side of a picture", &s.Side}, {"Width by height", &s.Aspect}, {"The number of captions of a picture", &s.PerRow}, {"The number of words of a caption", &s.Words}} {
		if h := always.of; h.N > 0 && h.Min == h.Max {
			notes = append(notes, fmt.Sprintf("%s is always %.4g.", always.what, h.Min))
		}
	}
	for name := range s.Scripts {
		if len(s.Scripts) == 1 {
			notes = append(notes, fmt.Sprintf("All captions are mostly written in the script %s.", name))
		}
	}
	if len(s.Formats) > 0 {
		var formats []string
		for _, c := range top(s.Formats, 10) {
			formats = append(formats, fmt.Sprintf("%s %d", c.Name, c.N))
		}
		notes = append(notes, fmt.Sprintf("Image formats: %s. %d images have the bytes of an earlier one, %d do not decode.", strings.Join(formats, ", "), s.RepeatedImages, s.Damaged))
	}
	return notes
}
