// Package duration holds lengths of training in the unit that suits: steps, examples, epochs or a share of the whole.
package duration

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Duration is a length of training, written as a number and a unit: "700 steps", "90000 examples", "10 epochs", "5%".
// It is converted to steps once, when batch size, data set and total are known. The zero value means never.
type Duration struct {
	value float64
	unit  string
}

// Units of a Duration.
const (
	unitSteps    = "steps"
	unitExamples = "examples"
	unitEpochs   = "epochs"
	unitPercent  = "%"
)

// longest is far beyond any training in each unit, and leaves room to count steps, and examples, in 64 bits.
var longest = map[string]float64{unitSteps: 1e11, unitExamples: 1e15, unitEpochs: 1e6, unitPercent: 100}

// maxSteps is what any Duration comes to at most.
const maxSteps = 1e11

// Steps is a Duration of n optimiser steps.
func Steps(n int64) Duration { return Duration{float64(n), unitSteps} }

// Parse reads "700 steps", "1 epoch", "5%" or a bare number of steps.
func Parse(s string) (Duration, error) {
	text := strings.TrimSpace(s)
	if text == "" {
		return Duration{}, nil
	}
	number, unit := text, unitSteps
	if rest, ok := strings.CutSuffix(text, "%"); ok {
		number, unit = strings.TrimSpace(rest), unitPercent
	} else if first, second, ok := strings.Cut(text, " "); ok {
		number, unit = first, strings.TrimSpace(second)
		if !strings.HasSuffix(unit, "s") {
			unit += "s"
		}
	}
	value, err := strconv.ParseFloat(number, 64)
	known := unit == unitSteps || unit == unitExamples || unit == unitEpochs || unit == unitPercent
	if err != nil && !errors.Is(err, strconv.ErrRange) || !known || !(value >= 0) {
		return Duration{}, fmt.Errorf("%q is not a duration: write \"700 steps\", \"90000 examples\", \"10 epochs\" or \"5%%\"", s)
	}
	if most := longest[unit]; value > most {
		return Duration{}, fmt.Errorf("%q is too long: at most %.0f%s", s, most, " "+unit)
	}
	return Duration{value, unit}, nil
}

// String is the inverse of Parse.
func (d Duration) String() string {
	number := strconv.FormatFloat(d.value, 'g', -1, 64)
	switch d.unit {
	case "":
		return ""
	case unitPercent:
		return number + unitPercent
	default:
		return number + " " + d.unit
	}
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) (err error) {
	*d, err = Parse(string(text))
	return err
}

// IsPercent reports whether d is a share of the whole.
func (d Duration) IsPercent() bool { return d.unit == unitPercent }

// IsZero reports whether d means never.
func (d Duration) IsZero() bool { return d.value == 0 }

// ToSteps converts d, rounding up, so that a positive duration is at least one step. total is only needed for
// percentages, rows (the data set's) only for epochs. What rounding of binary fractions alone brings over a whole number
// is no step: 7% of 100 steps are 7.
func (d Duration) ToSteps(batch, rows, total int64) int64 {
	var steps float64
	switch d.unit {
	case unitSteps:
		steps = d.value
	case unitExamples:
		steps = d.value / float64(batch)
	case unitEpochs:
		steps = d.value * float64(rows) / float64(batch)
	case unitPercent:
		steps = d.value / 100 * float64(total)
	}
	if whole := math.Round(steps); whole > 0 && math.Abs(steps-whole) <= 1e-9*whole {
		steps = whole
	}
	return int64(min(math.Ceil(steps), maxSteps))
}
