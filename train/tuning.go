package train

import (
	"fmt"
	"slices"

	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/checkpoints/peft"
	"tandem/internal/prng"
	"tandem/optim"
	"tandem/train/tune"
)

// Tune prepares a step for a way of fine-tuning, before NewStepper: the optimiser's rules become the whole table, and the
// adapters that it asks for are put into the store, which holds the model's parameters. seed is that of the adapters.
func (s *Stepper) Tune(store *gml.Store, c tune.Config, seed uint64) error {
	c = s.tuneHead(c)
	user := s.Optim.Rules
	rules, err := c.Rules(s.Model, user)
	if err != nil {
		return err
	}
	rules = slices.Insert(rules, len(user), s.headRule(c, user)...)
	s.Optim.Rules = rules
	var infos []optim.ParamInfo
	for _, p := range s.Model.Params() {
		if !p.Buffer {
			infos = append(infos, optim.ParamInfo{Path: p.Path, Rank: len(p.Dims)})
		}
	}
	decisions, err := optim.Decide(rules, *s.Optim.WeightDecay, append(slices.Clone(infos), s.headInfo()...))
	if err != nil {
		return err
	}
	var adapted []string
	others := ""
	for i, d := range decisions[:len(infos)] {
		switch {
		case d.LoRA:
			adapted = append(adapted, infos[i].Path)
		case !d.Frozen:
			others = infos[i].Path
		}
	}
	switch {
	case len(adapted) == 0:
		return nil
	case c.LoRA == nil:
		return fmt.Errorf("optim.rules ask for an adapter of %s, but tune.lora does not say how large: set tune.lora.rank", adapted[0])
	case others != "":
		return fmt.Errorf("optim.rules train %s besides the adapters, which a file of adapters alone would not hold: freeze it", others)
	}
	s.AdapterDropout = c.LoRA.Dropout
	if err := s.Model.AddAdapters(store, adapted, c.LoRA.Rank, c.LoRA.Alpha, prng.Mix(seed, adapterStream)); err != nil {
		return err
	}
	return peft.Writable(s.Model, s.Model.Adapters(store))
}

// adapterStream keeps the adapters' initial values apart from the model's.
const adapterStream = 0x4c6f5241
