package configs

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"tandem/checkpoints"
	"tandem/data"
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
	if e.Loss.Name == loss.SigLIP && e.Model.LogitBiasInit == nil {
		e.Model.LogitBiasInit = asked.LogitBiasInit // a bias to learn; it ranks nothing otherwise
	}
	e.Preprocess = m.Preprocess
	e.Tokenizer = TokenizerConfig{Kind: TokenizerInit}
	e.Data = adoptPixels(e.Data, m)
	e = e.withDefaults()
	return e, e.Validate()
}

// adoptPixels makes training see pictures as the model's evaluation does, where the recipe leaves that open. A recipe cannot
// leave Orient open: true is true, false is the model's. Pictures that the recipe fits to less than the model takes are fitted
// to what its smallest crop wants.
func adoptPixels(d data.Config, m checkpoints.Model) data.Config {
	p := m.Preprocess.WithDefaults()
	d.Image.Size = m.Config.Vision.ImageSize
	d.Image.Interpolation = cmp.Or(d.Image.Interpolation, p.Interpolation)
	d.Image.Alpha = cmp.Or(d.Image.Alpha, p.Alpha)
	d.Image.Orient = d.Image.Orient || p.Orient
	if fit := &d.Cache.Fit; *fit > 0 && *fit < d.Image.Size {
		*fit = int(math.Ceil(float64(d.Image.Size) / math.Sqrt(d.Image.WithDefaults().Scale[0])))
	}
	return d
}

// Disregarded says which settings of the recipe differ from those of the model of Init, m: the weights were trained with
// the latter. Settings that the recipe leaves open cannot differ.
func (e Experiment) Disregarded(m checkpoints.Model) []string {
	v, t, p, has := e.Model.Vision, e.Model.Text, e.Preprocess, m.Config.WithDefaults()
	preprocess := m.Preprocess.WithDefaults()
	const counts = "the initial model's counts"
	const unlike = "training would see other pictures than the initial model was trained on, and than evaluation"
	return slices.Concat(
		e.disregardedBias(m),
		differs("model.vision.activation", v.Activation, has.Vision.Activation, counts),
		differs("model.text.activation", t.Activation, has.Text.Activation, counts),
		differs("model.vision.mean", v.Mean, has.Vision.Mean, counts),
		differs("model.vision.std", v.Std, has.Vision.Std, counts),
		differs("preprocess.resize", p.Resize, preprocess.Resize, counts),
		differs("preprocess.interpolation", p.Interpolation, preprocess.Interpolation, counts),
		differs("preprocess.alpha", p.Alpha, preprocess.Alpha, counts),
		differs("data.image.interpolation", e.Data.Image.Interpolation, preprocess.Interpolation, unlike),
		differs("data.image.alpha", e.Data.Image.Alpha, preprocess.Alpha, unlike),
		differs("data.image.orient", e.Data.Image.Orient, preprocess.Orient, unlike),
	)
}

// disregardedBias is a line about a logit bias that is asked for and comes to nothing.
func (e Experiment) disregardedBias(m checkpoints.Model) []string {
	asked, has := e.Model.LogitBiasInit, m.Config.LogitBiasInit
	switch {
	case asked == nil || has == nil && e.Loss.Name == loss.SigLIP || has != nil && *has == *asked:
		return nil
	case has == nil:
		return []string{fmt.Sprintf("model.logit_bias_init is %g, the initial model has none: it stays without, as loss.name siglip alone learns one", *asked)}
	}
	return []string{fmt.Sprintf("model.logit_bias_init is %g, the initial model began with %g and has learned its own: that counts", *asked, *has)}
}

// differs is a line about a setting that is asked for and is not what the model has.
func differs[T comparable](key string, asked, has T, then string) []string {
	var open T
	if asked == open || asked == has {
		return nil
	}
	return []string{fmt.Sprintf("%s is %v, the initial model was made with %v: %s", key, asked, has, then)}
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
	if w.Tolerance == nil {
		w.Tolerance = new(0.01)
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
	case e.Teacher != "" && e.Loss.Distill == nil:
		return fmt.Errorf("teacher is set and loss.distill is not, so nothing would be learned from it: set loss.distill={}, or leave teacher out")
	case e.Loss.Name == loss.Head && (s == nil || e.Init == ""):
		return fmt.Errorf("loss.name head needs init and eval.select: it starts from the zero-shot answers to that task's classes")
	case w != nil && s == nil:
		return fmt.Errorf("eval.wise needs eval.select: its task chooses α")
	case w != nil && e.Init == "":
		return fmt.Errorf("eval.wise needs init: it interpolates from the model that training starts from")
	case w != nil && w.Tolerance != nil && !(*w.Tolerance >= 0 && *w.Tolerance <= 1):
		return fmt.Errorf("eval.wise.tolerance must lie in [0, 1], not %g", *w.Tolerance)
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
