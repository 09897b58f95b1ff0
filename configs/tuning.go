package configs

import (
	"fmt"
	"slices"
	"strings"

	"tandem/checkpoints"
	"tandem/loss"
)

// TokenizerInit is the kind of tokenizer that comes with the model of Init.
const TokenizerInit = "init"

// Adopt fills in the model that Init stands for, and validates the whole. resize says what Init's model is to be resized
// to when it is read.
func (e Experiment) Adopt(m checkpoints.Model) (Experiment, error) {
	asked := e.Model
	e.Model = ModelConfig{Config: m.Config}
	e.Model.Vision.PatchDropout = asked.Vision.PatchDropout
	e.Model.Text.Lengths = asked.Text.Lengths
	e.Preprocess = m.Preprocess
	e.Tokenizer = TokenizerConfig{Kind: TokenizerInit}
	e.Data.Image.Size = m.Config.Vision.ImageSize
	e = e.withDefaults()
	return e, e.Validate()
}

func (c EvalConfig) withDefaults() EvalConfig {
	if c.Wise == nil {
		return c
	}
	w := *c.Wise
	if len(w.Alphas) == 0 {
		for i := range 11 {
			w.Alphas = append(w.Alphas, float64(i)/10)
		}
	}
	if w.Tolerance == 0 {
		w.Tolerance = 0.01
	}
	c.Wise = &w
	return c
}

// validateTuning checks what says how to fine-tune.
func (e Experiment) validateTuning() error {
	if err := e.Tune.WithDefaults().Validate(); err != nil {
		return err
	}
	s, w := e.Eval.Select, e.Eval.Wise
	switch {
	case s != nil && s.Task == "":
		return fmt.Errorf("eval.select.task is missing: name the task to choose the checkpoint by")
	case s != nil && s.Patience < 0:
		return fmt.Errorf("eval.select.patience must not be negative: %d", s.Patience)
	case s != nil && slices.Contains(e.Eval.Final, s.Task):
		return fmt.Errorf("eval.select.task %s is in eval.final too: what chooses the model cannot judge it; select on a validation split", s.Task)
	case s != nil && e.Train.EvalEvery.IsZero():
		return fmt.Errorf("eval.select needs train.eval_every: it says when the metric is measured")
	case e.Loss.Name == loss.Head && (s == nil || e.Init == ""):
		return fmt.Errorf("loss.name head needs init and eval.select: it starts from the zero-shot answers to that task's classes")
	case w != nil && s == nil:
		return fmt.Errorf("eval.wise needs eval.select: its task chooses α")
	case w != nil && e.Init == "":
		return fmt.Errorf("eval.wise needs init: it interpolates from the model that training starts from")
	case w != nil && (w.Tolerance < 0 || w.Tolerance > 1):
		return fmt.Errorf("eval.wise.tolerance must lie in [0, 1], not %g", w.Tolerance)
	case len(e.Eval.Guard) > 0 && e.Init == "":
		return fmt.Errorf("eval.guard needs init: it measures what the initial model loses")
	case e.Init == "" && e.Tune.LoRA != nil:
		return fmt.Errorf("tune.lora needs init: adapters adapt a trained model")
	case e.Init == "" && e.Tune.CacheFeatures:
		return fmt.Errorf("tune.cache_features needs init: a frozen tower of random weights teaches nothing")
	}
	if w != nil {
		return validateAlphas(w.Alphas)
	}
	return nil
}

// validateAlphas wants both ends of the sweep in it, ascending.
func validateAlphas(alphas []float64) error {
	n := len(alphas)
	if n > 0 && (alphas[0] != 0 || alphas[n-1] != 1 || !slices.IsSorted(alphas)) {
		return fmt.Errorf("eval.wise.alphas must ascend from 0 to 1, are %s", strings.Trim(fmt.Sprint(alphas), "[]"))
	}
	return nil
}
