package optim

import (
	"fmt"
	"math"
	"slices"

	"tandem/internal/duration"
)

// Schedule is the learning rate's course as a factor of its peak.
type Schedule struct {
	Name   string            `yaml:"name,omitempty" json:"name"` // cosine (the default), constant, constant-cooldown
	Warmup duration.Duration `yaml:"warmup,omitempty" json:"warmup"`
	// Cooldown, CooldownPower and End describe constant-cooldown: the last Cooldown steps fall to End, a factor.
	Cooldown      duration.Duration `yaml:"cooldown,omitempty" json:"cooldown,omitempty"`
	CooldownPower float64           `yaml:"cooldown_power,omitempty" json:"cooldown_power,omitempty"` // 1
	End           float64           `yaml:"end,omitempty" json:"end,omitempty"`
}

// Names of the schedules.
const (
	Cosine           = "cosine"
	Constant         = "constant"
	ConstantCooldown = "constant-cooldown"
)

func (s Schedule) withDefaults() Schedule {
	if s.Name == "" {
		s.Name = Cosine
	}
	setDefault(&s.CooldownPower, 1)
	return s
}

// Validate reports the first thing that is wrong, naming the field.
func (s Schedule) Validate() error {
	switch {
	case !slices.Contains([]string{Cosine, Constant, ConstantCooldown}, s.Name):
		return fmt.Errorf("name %q is unknown: use cosine, constant or constant-cooldown", s.Name)
	case !(s.End >= 0 && s.End <= 1):
		return fmt.Errorf("end must lie in [0, 1], not %g", s.End)
	case !(s.CooldownPower > 0 && s.CooldownPower <= maxPower):
		return fmt.Errorf("cooldown_power must lie in (0, %d], not %g", maxPower, s.CooldownPower)
	}
	return nil
}

// maxPower is steep enough for any cooldown.
const maxPower = 100

// Curve is a schedule bound to a training: its durations are steps.
type Curve struct {
	schedule                Schedule
	warmup, cooldown, total int64
}

// Over binds s to a training of total steps of batch examples over a data set of rows.
func (s Schedule) Over(total, batch, rows int64) Curve {
	return Curve{s, s.Warmup.ToSteps(batch, rows, total), s.Cooldown.ToSteps(batch, rows, total), total}
}

// Factor is the share of the peak learning rate at step (from 0), as open_clip's scheduler.py has it: linear warmup
// (step+1)/W, then ½(1+cos(π(step−W)/(total−W))), or a constant with a polynomial cooldown.
func (c Curve) Factor(step int64) float64 {
	s := c.schedule
	if step < c.warmup {
		return float64(step+1) / float64(c.warmup)
	}
	switch s.Name {
	case Constant:
		return 1
	case ConstantCooldown:
		start := c.total - c.cooldown
		if step < start {
			return 1
		}
		left := 1 - float64(step-start)/float64(c.cooldown)
		return s.End + (1-s.End)*math.Pow(math.Max(left, 0), s.CooldownPower)
	default:
		if c.total <= c.warmup {
			return 1
		}
		done := math.Min(float64(step-c.warmup)/float64(c.total-c.warmup), 1)
		return s.End + (1-s.End)*0.5*(1+math.Cos(math.Pi*done))
	}
}
