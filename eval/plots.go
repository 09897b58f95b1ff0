package eval

import (
	"fmt"
	"html/template"
	"math"
	"strings"

	"tandem/eval/doubt"
)

// plotSide is the side of a square plot in its own units.
const plotSide = 260

// frame begins a square plot of two shares, with grid and labels; yMax is the top of the vertical axis.
func frame(b *strings.Builder, name, x, y string, yMax float64) {
	fmt.Fprintf(b, `<svg viewBox="-40 -14 %d %d" width="100%%" role="img" aria-label="%s">`, plotSide+54, plotSide+50, name)
	for i := range 6 {
		at := float64(i) / 5
		fmt.Fprintf(b, `<line class="grid" x1="0" x2="%d" y1="%.1f" y2="%.1f"/><text x="-6" y="%.1f" dy="4" text-anchor="end">%.3g</text>`,
			plotSide, plotSide*(1-at), plotSide*(1-at), plotSide*(1-at), at*yMax*100)
		fmt.Fprintf(b, `<text x="%.1f" y="%d" dy="15" text-anchor="middle">%.0f</text>`, plotSide*at, plotSide, at*100)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">%s</text><text x="4" y="-3">%s</text>`, plotSide/2, plotSide+31, x, y)
}

// reliability draws accuracy by confidence.
func reliability(bins []doubt.Bin, stroke, fill string) template.HTML {
	var b strings.Builder
	frame(&b, "reliability diagram", "confidence, %", "accuracy, %", 1)
	fmt.Fprintf(&b, `<path class="dash" d="M0 %d L%d 0"/>`, plotSide, plotSide)
	total, path := 0, ""
	for _, bin := range bins {
		total += bin.N
	}
	for _, bin := range bins {
		if bin.N == 0 {
			continue
		}
		command := "L"
		if path == "" {
			command = "M"
		}
		x, y := bin.Confidence*plotSide, (1-bin.Accuracy)*plotSide
		path += fmt.Sprintf("%s%.1f %.1f", command, x, y)
		radius := 2 + 10*math.Sqrt(float64(bin.N)/float64(total))
		fmt.Fprintf(&b, `<circle class="%s" cx="%.1f" cy="%.1f" r="%.1f" opacity=".75"><title>%d examples: confidence %.1f %%, accuracy %.1f %%</title></circle>`,
			fill, x, y, radius, bin.N, 100*bin.Confidence, 100*bin.Accuracy)
	}
	fmt.Fprintf(&b, `<path class="line %s" d="%s"/></svg>`, stroke, path)
	return template.HTML(b.String()) // numbers and constants only
}

// risk draws the risk–coverage curves of the rules.
func risk(rules []doubt.RuleResult) template.HTML {
	var b strings.Builder
	top := 0.05
	for _, r := range rules {
		for _, p := range r.Curve {
			if p.Coverage > 0.05 { // the first few examples say little
				top = max(top, p.Risk)
			}
		}
	}
	top = math.Ceil(top*20) / 20
	frame(&b, "risk by coverage", "answered, %", "wrong among these, %", top)
	for i, r := range rules {
		path := ""
		for _, p := range r.Curve {
			command := "L"
			if path == "" {
				command = "M"
			}
			path += fmt.Sprintf("%s%.1f %.1f", command, p.Coverage*plotSide, (1-min(1, p.Risk/top))*plotSide)
		}
		fmt.Fprintf(&b, `<path class="line s%d" d="%s"/>`, i, path)
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}
