package optim

import (
	"fmt"
	"math"
	"slices"
)

// Schedule is the learning rate's course as a factor of its peak.
type Schedule struct {
	Name   string `yaml:"name,omitempty" json:"name"` // cosine (the default), constant, constant-cooldown
	Warmup int64  `yaml:"warmup,omitempty" json:"warmup"`
	// Cooldown, CooldownPower and End describe constant-cooldown: the last Cooldown steps fall to End, a factor.
	Cooldown      int64   `yaml:"cooldown,omitempty" json:"cooldown,omitempty"`
	CooldownPower float64 `yaml:"cooldown_power,omitempty" json:"cooldown_power,omitempty"` // 1
	End           float64 `yaml:"end,omitempty" json:"end,omitempty"`
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
	case s.Warmup < 0:
		return fmt.Errorf("warmup must not be negative: %d", s.Warmup)
	case s.Cooldown < 0:
		return fmt.Errorf("cooldown must not be negative: %d", s.Cooldown)
	case s.End < 0 || s.End > 1:
		return fmt.Errorf("end must lie in [0, 1], not %g", s.End)
	}
	return nil
}

// Factor is the share of the peak learning rate at step (from 0) of total steps, as open_clip's scheduler.py has it:
// linear warmup (step+1)/W, then ½(1+cos(π(step−W)/(total−W))), or a constant with a polynomial cooldown.
func (s Schedule) Factor(step, total int64) float64 {
	if step < s.Warmup {
		return float64(step+1) / float64(s.Warmup)
	}
	switch s.Name {
	case Constant:
		return 1
	case ConstantCooldown:
		start := total - s.Cooldown
		if step < start {
			return 1
		}
		left := 1 - float64(step-start)/float64(s.Cooldown)
		return s.End + (1-s.End)*math.Pow(math.Max(left, 0), s.CooldownPower)
	default:
		if total <= s.Warmup {
			return 1
		}
		done := math.Min(float64(step-s.Warmup)/float64(total-s.Warmup), 1)
		return s.End + (1-s.End)*0.5*(1+math.Cos(math.Pi*done))
	}
}
