// Package tune turns the usual ways of adapting a trained model (locked towers, layer-wise learning rates, norms or
// projections alone, low-rank adapters) into the one table of rules by parameter path that the optimiser reads.
package tune

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"tandem/model"
	"tandem/optim"
)

// Config names ways of fine-tuning. They combine: a locked image tower and adapters in the text tower, for example.
// Rules that the user writes (optim.rules) come before those made from it.
type Config struct {
	// LockImage and LockText freeze a tower, but for its last groups (LiT: Zhai et al., 2022). A tower that is frozen
	// whole costs no backward pass, and runs as in evaluation: no patch dropout, batch norm by its running statistics.
	LockImage *Lock `yaml:"lock_image,omitempty" json:"lock_image,omitempty"`
	LockText  *Lock `yaml:"lock_text,omitempty" json:"lock_text,omitempty"`

	// LockTemperature freezes the temperature, and SigLIP's bias with it.
	LockTemperature bool `yaml:"lock_temperature,omitempty" json:"lock_temperature,omitempty"`

	// LayerDecay multiplies the learning rate by itself once more for each group further from the output: 0.75, for
	// example; 0 means 1. The temperature keeps the full rate.
	LayerDecay float64 `yaml:"layer_decay,omitempty" json:"layer_decay,omitempty"`

	// Only trains a part and freezes the rest: "norms" (gains and biases), or "projections" (the two linear maps into the
	// common space).
	Only string `yaml:"only,omitempty" json:"only,omitempty"`

	// LoRA trains low-rank adapters and freezes the rest.
	LoRA *LoRA `yaml:"lora,omitempty" json:"lora,omitempty"`

	// CacheFeatures computes a frozen tower's rows once, keeps them on disk, and feeds them to every step. A cached image
	// tower sees the pictures as evaluation does, so that augmentation must be off.
	CacheFeatures bool `yaml:"cache_features,omitempty" json:"cache_features,omitempty"`
}

// Lock freezes a tower.
type Lock struct {
	// Unlocked is how many of the tower's last groups stay trainable. The last one is the projection into the common
	// space (or the pooling head, where there is none), the one before it the last block with the norm after it.
	Unlocked int `yaml:"unlocked_groups" json:"unlocked_groups"`
}

// LoRA describes low-rank adapters (Hu et al., 2021).
type LoRA struct {
	Rank    int     `yaml:"rank" json:"rank"`
	Alpha   float64 `yaml:"alpha,omitempty" json:"alpha"` // the adapter's product is scaled by alpha/rank; default: rank
	Dropout float64 `yaml:"dropout,omitempty" json:"dropout,omitempty"`
	// Targets are path patterns of the weights that get adapters; default: the attention and MLP weights of every block
	// that is not locked.
	Targets []string `yaml:"targets,omitempty" json:"targets,omitempty"`
}

// What Only can be.
const (
	OnlyNorms       = "norms"
	OnlyProjections = "projections"
)

// WithDefaults fills the fields that zero leaves open.
func (c Config) WithDefaults() Config {
	if c.LoRA != nil {
		l := *c.LoRA
		if l.Alpha == 0 {
			l.Alpha = float64(l.Rank)
		}
		if len(l.Targets) == 0 {
			l.Targets = []string{"{visual,text}/block_*/{attn,mlp}/*/weight"}
		}
		c.LoRA = &l
	}
	return c
}

// Validate reports the first thing that is wrong, naming the field.
func (c Config) Validate() error {
	switch {
	case !(c.LayerDecay >= 0 && c.LayerDecay <= 1):
		return fmt.Errorf("tune.layer_decay must lie in (0, 1], not %g", c.LayerDecay)
	case c.Only != "" && c.Only != OnlyNorms && c.Only != OnlyProjections:
		return fmt.Errorf("tune.only %q is unknown: use norms or projections", c.Only)
	case c.Only != "" && c.LoRA != nil:
		return fmt.Errorf("tune.only and tune.lora exclude each other: each says what alone is trained")
	}
	for _, lock := range []struct {
		name string
		*Lock
	}{{"lock_image", c.LockImage}, {"lock_text", c.LockText}} {
		if lock.Lock != nil && lock.Unlocked < 0 {
			return fmt.Errorf("tune.%s.unlocked_groups must not be negative: %d", lock.name, lock.Unlocked)
		}
	}
	if l := c.LoRA; l != nil {
		switch {
		case l.Rank < 1 || l.Rank > maxRank:
			return fmt.Errorf("tune.lora.rank must lie in 1 … %d, not %d", maxRank, l.Rank)
		case !(l.Alpha > 0 && l.Alpha <= maxAlpha):
			return fmt.Errorf("tune.lora.alpha must lie in (0, %g], not %g", maxAlpha, l.Alpha)
		case !(l.Dropout >= 0 && l.Dropout < 1):
			return fmt.Errorf("tune.lora.dropout must lie in [0, 1), not %g", l.Dropout)
		}
		for _, pattern := range l.Targets {
			if !doublestar.ValidatePattern(pattern) {
				return fmt.Errorf("tune.lora.targets: %q is not a path pattern", pattern)
			}
		}
	}
	return nil
}

// Bounds of adapters, far beyond use.
const (
	maxRank  = 1 << 16
	maxAlpha = 1e6
)

// group is a part of a tower that is frozen or slowed down as one: path patterns, and how many groups lie between it
// and the tower's output.
type group struct {
	patterns []string
	depth    int
	locked   bool
}

// Rules is the whole table for a model: the user's rules, then those that c makes. A rule that c makes and that would
// decide nothing is left out; a rule of the user's that decides nothing is an error when the table is applied.
func (c Config) Rules(m model.Config, user []optim.Rule) ([]optim.Rule, error) {
	groups, err := c.groups(m)
	if err != nil {
		return nil, err
	}
	var made []optim.Rule
	if c.LockTemperature {
		made = append(made, optim.Rule{Match: "logit_{scale,bias}", Frozen: true})
	}
	made = append(made, c.groupRules(groups)...)
	if parts := c.parts(); parts != nil {
		made = append(made, parts...)
		made = append(made, optim.Rule{Match: "**", Frozen: true})
	}
	if err := c.checkTargets(m); err != nil {
		return nil, err
	}
	return append(slices.Clone(user), alive(user, made, m)...), nil
}

// parts are the rules of what alone is trained; nil if that is everything.
func (c Config) parts() []optim.Rule {
	switch {
	case c.LoRA != nil:
		var rules []optim.Rule
		for _, target := range c.LoRA.Targets {
			rules = append(rules, optim.Rule{Match: target, LoRA: true})
		}
		return rules
	case c.Only == OnlyNorms:
		return []optim.Rule{{Match: "**/{gain,bias,proj_bias}"}}
	case c.Only == OnlyProjections:
		return []optim.Rule{{Match: "{visual/{proj,pool/**,attnpool/out/*},text/{proj,proj_bias}}"}}
	default:
		return nil
	}
}

// groupRules makes the rules of each group: frozen, or what is trained of it at the group's rate.
func (c Config) groupRules(groups []group) []optim.Rule {
	var rules []optim.Rule
	parts := c.parts()
	for _, g := range groups {
		rate := rateOf(c.LayerDecay, g.depth)
		for _, pattern := range g.patterns {
			switch {
			case g.locked:
				rules = append(rules, optim.Rule{Match: pattern, Frozen: true})
			case rate != 0 && parts == nil:
				rules = append(rules, optim.Rule{Match: pattern, LRMultiple: rate})
			case rate != 0:
				for _, part := range parts {
					part.Match, part.LRMultiple = pattern+andMatches+part.Match, rate
					rules = append(rules, part)
				}
			}
		}
	}
	return rules
}

// rateOf is decay^depth as a rule writes it: 0 for 1.
func rateOf(decay float64, depth int) float64 {
	if decay == 0 || decay == 1 || depth == 0 {
		return 0
	}
	rate := 1.0
	for range depth {
		rate *= decay
	}
	return rate
}

// andMatches joins two patterns that must both match; alive turns them into paths.
const andMatches = " & "

// alive resolves joined patterns and drops rules that decide nothing after those before them.
func alive(user, made []optim.Rule, m model.Config) []optim.Rule {
	taken := map[string]bool{}
	take := func(pattern string) (took []string) {
		for _, p := range m.Params() {
			if !taken[p.Path] && !p.Buffer && doublestar.MatchUnvalidated(pattern, p.Path) {
				taken[p.Path] = true
				took = append(took, p.Path)
			}
		}
		return took
	}
	for _, r := range user {
		take(r.Match)
	}
	var rules []optim.Rule
	for _, r := range made {
		first, second, joined := strings.Cut(r.Match, andMatches)
		if !joined {
			if len(take(r.Match)) > 0 {
				rules = append(rules, r)
			}
			continue
		}
		for _, p := range m.Params() {
			if doublestar.MatchUnvalidated(first, p.Path) && doublestar.MatchUnvalidated(second, p.Path) && len(take(p.Path)) > 0 {
				r.Match = p.Path
				rules = append(rules, r)
			}
		}
	}
	return rules
}

// checkTargets refuses adapter patterns that meet no weight, or one that cannot carry an adapter.
func (c Config) checkTargets(m model.Config) error {
	if c.LoRA == nil {
		return nil
	}
	for _, target := range c.LoRA.Targets {
		met := false
		for _, p := range m.Params() {
			if !doublestar.MatchUnvalidated(target, p.Path) {
				continue
			}
			met = true
			if !model.Adaptable(p.Path) {
				return fmt.Errorf("tune.lora.targets: %q meets %s, which cannot carry an adapter: only the linear layers of transformer blocks can", target, p.Path)
			}
		}
		if !met {
			return fmt.Errorf("tune.lora.targets: %q meets no parameter of the model", target)
		}
	}
	return nil
}

// groups lists both towers' groups, with those that c locks marked.
func (c Config) groups(m model.Config) ([]group, error) {
	var all []group
	for _, tower := range []struct {
		name   string
		lock   *Lock
		groups [][]string
	}{{"lock_image", c.LockImage, imageGroups(m)}, {"lock_text", c.LockText, textGroups(m)}} {
		n := len(tower.groups)
		if tower.lock != nil && tower.lock.Unlocked >= n {
			return nil, fmt.Errorf("tune.%s.unlocked_groups is %d, but the tower has only %d groups: leave the lock out to train all of it", tower.name, tower.lock.Unlocked, n)
		}
		for i, patterns := range tower.groups {
			depth := n - 1 - i
			all = append(all, group{patterns, depth, tower.lock != nil && depth >= tower.lock.Unlocked})
		}
	}
	return all, nil
}

// imageGroups follow open_clip's lock_image_tower (open_clip/transformer.py, VisionTransformer.lock): embeddings, the
// blocks one by one, the last block with the last norm, the projection.
func imageGroups(m model.Config) [][]string {
	v := m.Vision
	if v.Kind == model.ResNet {
		groups := [][]string{{"visual/stem/**"}}
		for i := range v.Stages {
			groups = append(groups, []string{fmt.Sprintf("visual/stage_%d/**", i)})
		}
		return append(groups, []string{"visual/attnpool/**"})
	}
	groups := [][]string{{"visual/patch_embed/**", "visual/class_embed", "visual/pos_embed", "visual/ln_pre/**"}}
	for i := range v.Layers {
		groups = append(groups, []string{fmt.Sprintf("visual/block_%d/**", i)})
	}
	groups[v.Layers] = append(groups[v.Layers], "visual/ln_post/**")
	last := []string{"visual/pool/**"}
	if !v.NoProjection {
		last = append(last, "visual/proj")
	}
	if v.Pool != model.PoolMap {
		last = last[1:]
	}
	if len(last) == 0 {
		return groups
	}
	return append(groups, last)
}

func textGroups(m model.Config) [][]string {
	groups := [][]string{{"text/token_embed", "text/pos_embed"}}
	for i := range m.Text.Layers {
		groups = append(groups, []string{fmt.Sprintf("text/block_%d/**", i)})
	}
	groups[m.Text.Layers] = append(groups[m.Text.Layers], "text/ln_final/**")
	last := []string{"text/proj"}
	if m.Text.ProjectionBias {
		last = append(last, "text/proj_bias")
	}
	return append(groups, last)
}
