package main

import (
	"fmt"
	"io"
	"math"

	"tandem/internal/npy"
)

// check is one comparison: the largest difference of any element, and how large it may be.
type check struct {
	name      string
	absolute  float64 // largest |ours − theirs|
	scale     float64 // largest |theirs|
	tolerance float64 // for absolute
	missing   string  // why nothing could be compared
}

// passes: a value that is no number, on either side, does not.
func (c check) passes() bool {
	return c.missing == "" && c.absolute <= c.tolerance && !math.IsInf(c.absolute, 0)
}

func (c check) relative() float64 {
	if c.absolute == 0 {
		return 0
	}
	return c.absolute / c.scale
}

func (c check) print(w io.Writer) {
	verdict := "ok  "
	if !c.passes() {
		verdict = "FAIL"
	}
	if c.missing != "" {
		fmt.Fprintf(w, "  %s %-62s %s\n", verdict, c.name, c.missing)
		return
	}
	fmt.Fprintf(w, "  %s %-62s abs %.2e  rel %.2e  tolerance %.2e\n", verdict, c.name, c.absolute, c.relative(), c.tolerance)
}

// limits of a kind of check: a share of the tensor's largest value, or four times the peer's own noise, whichever is larger.
const (
	outputLimit   = 1e-5
	gradientLimit = 1e-4
	noiseFactor   = 4
)

// compareValues makes a check. noise is the peer's own, absolute.
func compareValues(name string, ours, theirs []float64, limit, noise float64) check {
	c := check{name: name}
	if len(ours) != len(theirs) {
		c.missing = fmt.Sprintf("%d values, the reference has %d", len(ours), len(theirs))
		return c
	}
	for i, want := range theirs {
		difference := math.Abs(ours[i] - want)
		if math.IsNaN(difference) {
			difference = math.Inf(1)
		}
		c.absolute = math.Max(c.absolute, difference)
		c.scale = math.Max(c.scale, math.Abs(want))
	}
	c.tolerance = math.Max(limit*c.scale, noiseFactor*noise)
	return c
}

// report is everything that was compared in one directory.
type report struct {
	dir    string
	title  string
	groups []group
}

// group is one kind of check: features, gradients, weights.
type group struct {
	name   string
	checks []check
	note   string // printed below them
}

func (r *report) add(name string, checks ...check) {
	r.groups = append(r.groups, group{name: name, checks: checks})
}

// note says something about the group that was added last.
func (r *report) note(format string, args ...any) {
	r.groups[len(r.groups)-1].note = fmt.Sprintf(format, args...)
}

func (r *report) failures() int {
	n := 0
	for _, g := range r.groups {
		for _, c := range g.checks {
			if !c.passes() {
				n++
			}
		}
	}
	return n
}

// print shows, for each kind, all checks, or the failures and the one that came nearest to its tolerance.
func (r *report) print(w io.Writer, all bool) {
	fmt.Fprintf(w, "\n%s: %s\n", r.dir, r.title)
	total := 0
	for _, g := range r.groups {
		total += len(g.checks)
		fmt.Fprintf(w, " %s: %d checks\n", g.name, len(g.checks))
		worst := g.worst()
		for i, c := range g.checks {
			if all || !c.passes() || i == worst {
				c.print(w)
			}
		}
		if g.note != "" {
			fmt.Fprintf(w, "  (%s)\n", g.note)
		}
	}
	fmt.Fprintf(w, " %d of %d checks within tolerance\n", total-r.failures(), total)
}

// worst is the index of the passing check that uses most of its tolerance.
func (g group) worst() int {
	worst, share := -1, -1.0
	for i, c := range g.checks {
		if used := c.absolute / math.Max(c.tolerance, math.SmallestNonzeroFloat64); c.passes() && used > share {
			worst, share = i, used
		}
	}
	return worst
}

// floats returns an array's elements as float64.
func floats(a npy.Array) []float64 {
	switch data := a.Data.(type) {
	case []float64:
		return data
	case []float32:
		return widen(data)
	case []int64:
		return widen(data)
	case []int32:
		return widen(data)
	case []uint8:
		return widen(data)
	}
	return nil
}

func widen[T float32 | int64 | int32 | uint8](data []T) []float64 {
	out := make([]float64, len(data))
	for i, x := range data {
		out[i] = float64(x)
	}
	return out
}
