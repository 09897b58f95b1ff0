package optim

import (
	"cmp"
	"fmt"

	"github.com/bmatcuk/doublestar/v4"
)

// Rule decides what happens to the parameters whose path matches. Of several rules the first that matches wins.
type Rule struct {
	// Match is a path pattern: "*" stands for anything within one element of the path, "**" for any number of
	// elements. Example: "visual/block_*/ln_1/**".
	Match string `yaml:"match" json:"match"`
	// Frozen parameters are not trained and cost no backward pass of their own.
	Frozen bool `yaml:"frozen,omitempty" json:"frozen,omitempty"`
	// LRMultiple scales the learning rate; 0 means 1.
	LRMultiple float64 `yaml:"lr_multiple,omitempty" json:"lr_multiple,omitempty"`
	// Decay replaces the weight decay; unset means the built-in rule's.
	Decay *float64 `yaml:"decay,omitempty" json:"decay,omitempty"`
	// LoRA freezes a linear layer's weight and trains a low-rank adapter beside it, at this rule's learning rate and decay.
	LoRA bool `yaml:"lora,omitempty" json:"lora,omitempty"`
}

// validate reports numbers that cannot be used, naming the field.
func (r Rule) validate() error {
	switch {
	case !(r.LRMultiple >= 0 && r.LRMultiple <= maxRate):
		return fmt.Errorf("lr_multiple must lie in (0, %d], not %g: to keep parameters as they are, write frozen: true", maxRate, r.LRMultiple)
	case r.Decay != nil && !validDecay(*r.Decay):
		return fmt.Errorf("decay must lie in [0, %d], not %g", maxRate, *r.Decay)
	}
	return nil
}

// Decision is what the rules say of one parameter.
type Decision struct {
	Frozen     bool
	LoRA       bool // frozen, with an adapter beside it
	LRMultiple float64
	Decay      float64
	Rule       int // the rule that decided, -1 for the built-in one
}

// noDecay is what is never decayed by default, besides every tensor of rank 0 or 1: the positional embeddings.
const noDecay = "**/pos_embed"

// Decide applies rules to every parameter. A rule that decides nothing is an error: it is misspelt, or an earlier one
// hides it.
func Decide(rules []Rule, weightDecay float64, params []ParamInfo) ([]Decision, error) {
	for i, r := range rules {
		if r.Match == "" || !doublestar.ValidatePattern(r.Match) {
			return nil, fmt.Errorf("optim.rules[%d].match %q is not a path pattern", i, r.Match)
		}
		if r.Frozen && (r.LoRA || r.LRMultiple != 0 || r.Decay != nil) {
			return nil, fmt.Errorf("optim.rules[%d] (%s) is frozen and says how to train: leave one of the two out", i, r.Match)
		}
	}
	used := make([]bool, len(rules))
	decisions := make([]Decision, len(params))
	for i, p := range params {
		d := Decision{LRMultiple: 1, Decay: defaultDecay(p, weightDecay), Rule: -1}
		if r := firstMatch(rules, cmp.Or(p.AdapterOf, p.Path)); r >= 0 {
			used[r] = true
			d = rules[r].apply(d)
			d.Rule = r
		}
		if p.AdapterOf != "" {
			d.Frozen, d.LoRA = !d.LoRA, false
		}
		decisions[i] = d
	}
	for i, r := range rules {
		if !used[i] {
			return nil, fmt.Errorf("optim.rules[%d].match %q decides no parameter: it matches none, or rules before it take all", i, r.Match)
		}
	}
	return decisions, nil
}

func (r Rule) apply(d Decision) Decision {
	d.Frozen, d.LoRA = r.Frozen || r.LoRA, r.LoRA
	if r.LRMultiple != 0 {
		d.LRMultiple = r.LRMultiple
	}
	if r.Decay != nil {
		d.Decay = *r.Decay
	}
	return d
}

func defaultDecay(p ParamInfo, weightDecay float64) float64 {
	if p.Rank <= 1 || doublestar.MatchUnvalidated(noDecay, p.Path) {
		return 0
	}
	return weightDecay
}

func firstMatch(rules []Rule, path string) int {
	for i, r := range rules {
		if doublestar.MatchUnvalidated(r.Match, path) {
			return i
		}
	}
	return -1
}
