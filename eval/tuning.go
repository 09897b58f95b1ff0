package eval

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"strings"
)

// Tuning is what a fine-tuning did to the tasks it was meant for and to those it was meant to spare.
type Tuning struct {
	Init      string  `json:"init"`      // the model it started from
	Trained   int     `json:"trained"`   // scalars that training changed
	Seconds   float64 `json:"-"`         // of the training
	PeakBytes int64   `json:"-"`         // of memory
	BestStep  int64   `json:"best_step"` // the checkpoint that was taken
	Select    string  `json:"select,omitempty"`
	// Points are the models along the line from the initial (α = 0) to the fine-tuned weights (α = 1); without a sweep,
	// its two ends.
	Points []AlphaPoint `json:"points"`
	Chosen int          `json:"chosen"` // index of the point that was taken
}

// AlphaPoint is a model on the line.
type AlphaPoint struct {
	Alpha  float64  `json:"alpha"`
	Select *float64 `json:"select,omitempty"` // the metric that chooses
	// Targets and Guards are headline metrics, in the order of the tasks.
	Targets []TaskValue `json:"targets"`
	Guards  []TaskValue `json:"guards,omitempty"`
}

// TaskValue is one task's headline metric.
type TaskValue struct {
	Task   string  `json:"task"`
	Metric string  `json:"metric"`
	Value  float64 `json:"value"`
}

// Target is the mean over the target tasks.
func (p AlphaPoint) Target() float64 { return meanOf(p.Targets) }

// Guard is the mean over the guard tasks.
func (p AlphaPoint) Guard() float64 { return meanOf(p.Guards) }

func meanOf(values []TaskValue) float64 {
	var sum float64
	for _, v := range values {
		sum += v.Value
	}
	return sum / math.Max(1, float64(len(values)))
}

// Before is the initial model.
func (t *Tuning) Before() AlphaPoint { return t.Points[0] }

// After is the fine-tuned model, α = 1.
func (t *Tuning) After() AlphaPoint { return t.Points[len(t.Points)-1] }

// Taken is the model that was chosen.
func (t *Tuning) Taken() AlphaPoint { return t.Points[t.Chosen] }

// Swept reports whether more than the two ends were measured.
func (t *Tuning) Swept() bool { return len(t.Points) > 2 }

// Lines say in words what the fine-tuning did, one line each.
func (t *Tuning) Lines() []string {
	before, after, taken := t.Before(), t.After(), t.Taken()
	var lines, parts []string
	if len(after.Targets) > 0 {
		parts = append(parts, fmt.Sprintf("target %.1f → %.1f %% (%+.1f points)", 100*before.Target(), 100*after.Target(), 100*(after.Target()-before.Target())))
	}
	if len(after.Guards) > 0 {
		parts = append(parts, fmt.Sprintf("guard %.1f → %.1f %% (%+.1f)", 100*before.Guard(), 100*after.Guard(), 100*(after.Guard()-before.Guard())))
	}
	if len(parts) > 0 {
		lines = append(lines, strings.Join(parts, ", "))
	}
	if t.Swept() {
		lines = append(lines, t.describeTaken())
	}
	if taken.Alpha == 0 {
		lines = append(lines, "α = 0 is the initial model: by "+t.Select+" nothing on the way to the fine-tuned weights is better by more than the tolerance")
	}
	return lines
}

// describeTaken says what the chosen α gives up, and what it gives back.
func (t *Tuning) describeTaken() string {
	before, after, taken := t.Before(), t.After(), t.Taken()
	line := fmt.Sprintf("taken: α = %g", taken.Alpha)
	if len(after.Targets) > 0 {
		line += fmt.Sprintf(", target %.1f %% (%+.1f against α = 1)", 100*taken.Target(), 100*(taken.Target()-after.Target()))
	}
	if len(after.Guards) > 0 {
		line += fmt.Sprintf(", guard %.1f %%", 100*taken.Guard())
		if lost := before.Guard() - after.Guard(); lost > 0 {
			line += fmt.Sprintf(": %.0f %% of what was lost is back", 100*(taken.Guard()-after.Guard())/lost)
		}
	}
	return line
}

//go:embed tuning.html
var tuningHTML string

// HTML is the fine-tuning's part of a report's page.
func (t *Tuning) HTML() (template.HTML, error) {
	page, err := template.New("tuning").Funcs(template.FuncMap{
		"percent": func(x float64) string { return fmt.Sprintf("%.1f", 100*x) },
		"points":  func(x float64) string { return strings.Replace(fmt.Sprintf("%+.1f", 100*x), "-", "−", 1) },
		"sub":     func(a, b float64) float64 { return a - b },
	}).Parse(tuningHTML)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	err = page.Execute(&b, t)
	return template.HTML(b.String()), err
}

// TradeOff is the plot of target against guard along α.
type TradeOff struct {
	Width, Height  int
	Path           template.HTMLAttr
	Marks          []TradeOffMark
	XTicks, YTicks []TradeOffTick
}

// TradeOffMark is one α.
type TradeOffMark struct {
	X, Y           float64
	Label          string
	Chosen, End    bool
	LabelX, LabelY float64
}

// TradeOffTick is a grid line.
type TradeOffTick struct {
	At    float64
	Label string
}

// TradeOff draws the sweep; nil without target or guard tasks.
func (t *Tuning) TradeOff() *TradeOff {
	if len(t.After().Targets) == 0 || len(t.After().Guards) == 0 {
		return nil
	}
	plot := &TradeOff{Width: 560, Height: 320}
	var xs, ys []float64
	for _, p := range t.Points {
		xs, ys = append(xs, p.Guard()), append(ys, p.Target())
	}
	x, xTicks := axis(xs, 0, float64(plot.Width))
	y, yTicks := axis(ys, float64(plot.Height), 0)
	plot.XTicks, plot.YTicks = xTicks, yTicks
	var path strings.Builder
	for i, p := range t.Points {
		command := "L"
		if i == 0 {
			command = "M"
		}
		m := TradeOffMark{X: x(xs[i]), Y: y(ys[i]), Label: fmt.Sprintf("%g", p.Alpha), Chosen: i == t.Chosen, End: i == 0 || i == len(t.Points)-1}
		m.LabelX, m.LabelY = m.X+8, m.Y-8
		fmt.Fprintf(&path, "%s%.1f %.1f", command, m.X, m.Y)
		plot.Marks = append(plot.Marks, m)
	}
	plot.Path = template.HTMLAttr(`d="` + path.String() + `"`)
	return plot
}

// axis maps shares to [from, to] with some room at both ends, and puts ticks at round percentages.
func axis(values []float64, from, to float64) (at func(float64) float64, ticks []TradeOffTick) {
	low, high := values[0], values[0]
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	room := math.Max(0.01, 0.12*(high-low))
	low, high = low-room, high+room
	at = func(v float64) float64 { return from + (v-low)/(high-low)*(to-from) }
	step := 0.01
	for _, s := range []float64{0.02, 0.05, 0.1, 0.2} {
		if (high-low)/step > 8 {
			step = s
		}
	}
	for v := math.Ceil(low/step) * step; v <= high; v += step {
		ticks = append(ticks, TradeOffTick{at(v), fmt.Sprintf("%.0f %%", 100*v)})
	}
	return at, ticks
}

// Gain is one task before, after, and as taken.
type Gain struct {
	Task, Role           string
	Before, After, Taken float64
}

// Gains lists every task.
func (t *Tuning) Gains() []Gain {
	var list []Gain
	add := func(role string, values func(AlphaPoint) []TaskValue) {
		before, after, taken := values(t.Before()), values(t.After()), values(t.Taken())
		for i, v := range before {
			list = append(list, Gain{v.Task, role, v.Value, after[i].Value, taken[i].Value})
		}
	}
	add("target", func(p AlphaPoint) []TaskValue { return p.Targets })
	add("guard", func(p AlphaPoint) []TaskValue { return p.Guards })
	return list
}
