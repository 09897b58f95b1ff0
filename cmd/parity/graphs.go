package main

import (
	"slices"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/checkpoints/foreign"
	"tandem/internal/fault"
	"tandem/loss"
	"tandem/model"
	"tandem/optim"
)

// traced is a module's output.
type traced struct {
	values []float64
	shape  []int
}

// feed returns the inputs as tensors.
func (r *runner) feed() (images, tokens *tensors.Tensor, err error) {
	pixels, shape, err := r.golden.images()
	if err != nil {
		return nil, nil, err
	}
	if size := r.checkpoint.Config.Vision.ImageSize; shape[1] != size || shape[2] != size || shape[3] != 3 {
		return nil, nil, fault.Userf("inputs.npz: images are %v with channels last, the model wants %d×%d×3", shape, size, size)
	}
	ids, tokenShape, err := r.golden.tokens()
	if err != nil {
		return nil, nil, err
	}
	return tensors.FromFlatDataAndDimensions(pixels, shape...), tensors.FromFlatDataAndDimensions(ids, tokenShape...), nil
}

// execute builds a graph over both inputs and a fresh store, and runs it once.
func (r *runner) execute(graph func(scope *gml.Scope, images, tokens *Node) []*Node) ([]*tensors.Tensor, error) {
	store, err := r.checkpoint.LoadStore()
	if err != nil {
		return nil, err
	}
	images, tokens, err := r.feed()
	if err != nil {
		return nil, err
	}
	exec, err := gml.NewExec(r.backend, store, graph)
	if err != nil {
		return nil, err
	}
	return exec.Call(images, tokens)
}

// trace runs both towers and keeps what each module gives.
func (r *runner) trace() (map[string]traced, error) {
	config := r.checkpoint.Config
	var names []string
	outputs, err := r.execute(func(scope *gml.Scope, images, tokens *Node) (nodes []*Node) {
		names = nil
		keep := func(name string, x *Node) { names, nodes = append(names, name), append(nodes, x) }
		run := model.Run{Trace: keep}
		keep(imageFeatures, config.EncodeImages(scope, images, run))
		keep(textFeatures, config.EncodeTexts(scope, tokens, run))
		return nodes
	})
	if err != nil {
		return nil, err
	}
	all := map[string]traced{}
	for i, name := range names {
		all[name] = traced{flat(outputs[i]), outputs[i].Shape().Dimensions}
	}
	return all, nil
}

func flat(t *tensors.Tensor) []float64 {
	switch t.DType() {
	case dtypes.Int64:
		return widen(tensors.MustCopyFlatData[int64](t))
	case dtypes.Float64:
		return tensors.MustCopyFlatData[float64](t)
	default:
		return widen(tensors.MustCopyFlatData[float32](t))
	}
}

// evaluate runs the model as inference does and returns the outputs under the golden files' names.
func (r *runner) evaluate() (map[string][]float64, error) {
	config := r.checkpoint.Config
	names := []string{
		"image_features", "text_features", "image_features_norm", "text_features_norm", "logits_per_image", "logits_per_text",
		"logit_scale_exp", "clip_loss", "siglip_loss", "loss",
	}
	outputs, err := r.execute(func(scope *gml.Scope, images, tokens *Node) []*Node {
		image, text := config.EncodeImages(scope, images, model.Run{}), config.EncodeTexts(scope, tokens, model.Run{})
		imageNorm, textNorm := model.L2Normalise(image), model.L2Normalise(text)
		logits := config.Logits(scope, imageNorm, textNorm)
		scale, bias := config.Temperature(scope, images)
		batch := loss.Batch{Images: imageNorm, Texts: textNorm, Scale: scale, Bias: bias}
		with := func(name string) *Node { return loss.Config{Name: name}.WithDefaults().Compute(batch) }
		return []*Node{
			image, text, imageNorm, textNorm, logits, TransposeAllAxes(logits, 1, 0),
			scale, with(loss.InfoNCE), with(loss.SigLIP), r.loss.Compute(batch),
		}
	})
	if err != nil {
		return nil, err
	}
	all := map[string][]float64{}
	for i, name := range names {
		all[name] = flat(outputs[i])
	}
	if _, both := r.golden.outputs["siglip_loss"]; !both {
		all["clip_loss"] = all["loss"] // transformers' models have one loss, which the golden files call so
	}
	return all, nil
}

// trained is what three steps of AdamW give, under the peer's names.
type trained struct {
	gradients map[string][]float64 // of the first step
	losses    []float64            // before each step, and after the last
	weights   map[string][]float64 // after the third step
}

// goldenOptimiser is the one the golden files were made with.
func goldenOptimiser() optim.Config {
	decay := 0.2
	return optim.Config{
		LearningRate: 5e-4, Beta1: new(0.9), Beta2: 0.98, Epsilon: 1e-6, WeightDecay: &decay, Schedule: optim.Schedule{Name: optim.Constant},
	}.WithDefaults()
}

// decayRules says for each parameter whether it decays, as no_decay.json has it.
func (r *runner) decayRules(base float64) ([]optim.Rule, error) {
	decays := map[string]float64{}
	for _, pair := range r.checkpoint.Table() {
		decay := base
		if r.golden.noDecay[pair.Theirs] {
			decay = 0
		}
		if other, seen := decays[pair.Ours]; seen && other != decay {
			return nil, fault.Userf("no_decay.json decays some parts of %s and not others", pair.Ours)
		}
		decays[pair.Ours] = decay
	}
	var rules []optim.Rule
	for _, p := range r.trainable() {
		decay := decays[p.Path]
		rules = append(rules, optim.Rule{Match: p.Path, Decay: &decay})
	}
	return rules, nil
}

func (r *runner) trainable() (params []model.Param) {
	for _, p := range r.checkpoint.Config.Params() {
		if !p.Buffer {
			params = append(params, p)
		}
	}
	return params
}

// train takes three steps in float32 or float64, and looks at the loss a fourth time.
func (r *runner) train(dtype dtypes.DType) (trained, error) {
	var t trained
	store, err := r.storeOf(dtype)
	if err != nil {
		return t, err
	}
	step, err := r.stepper(store, dtype)
	if err != nil {
		return t, err
	}
	for i := range 4 {
		if i == 3 {
			if t.weights, err = r.weightsOf(store); err != nil {
				return t, err
			}
		}
		value, gradients, err := step(int64(i))
		if err != nil {
			return t, err
		}
		t.losses = append(t.losses, value)
		if i == 0 {
			if t.gradients, err = r.theirs(gradients, false); err != nil {
				return t, err
			}
		}
	}
	return t, nil
}

// storeOf loads the weights in a type.
func (r *runner) storeOf(dtype dtypes.DType) (*gml.Store, error) {
	narrow, err := r.checkpoint.LoadStore()
	if err != nil || dtype == dtypes.Float32 {
		return narrow, err
	}
	wide := gml.NewStore()
	for _, p := range r.checkpoint.Config.Params() {
		value, err := narrow.GetVariable("/" + p.Path).Value()
		if err != nil {
			return nil, err
		}
		if !p.Counter {
			value = tensors.FromFlatDataAndDimensions(flat(value), p.Dims...)
		}
		v, err := wide.CreateVariable("/"+p.Path, value)
		if err != nil {
			return nil, err
		}
		v.SetTrainable(!p.Buffer)
	}
	return wide, nil
}

// stepper compiles the training step: loss, gradients, AdamW, and the temperature kept within bounds.
func (r *runner) stepper(store *gml.Store, dtype dtypes.DType) (step func(i int64) (float64, map[string][]float64, error), err error) {
	o, params := goldenOptimiser(), r.trainable()
	if o.Rules, err = r.decayRules(*o.WeightDecay); err != nil {
		return nil, err
	}
	infos := make([]optim.ParamInfo, len(params))
	for i, p := range params {
		infos[i] = optim.ParamInfo{Path: p.Path, Rank: len(p.Dims)}
	}
	adam, err := optim.New(o, store, infos)
	if err != nil {
		return nil, err
	}
	b := r.backend
	if dtype == dtypes.Float64 {
		b = r.exact
	}
	exec, err := gml.NewExec(b, store, func(scope *gml.Scope, images, tokens, hyper *Node) []*Node {
		value := r.trainingLoss(scope, ConvertDType(images, dtype), tokens, dtype)
		gradients := Gradient(value, adam.Trainable(images.Graph())...)
		adam.Update(value, ConvertDType(hyper, dtype), gradients, false)
		scale := scope.GetVariable("logit_scale")
		scale.SetNodeValue(ClipScalar(scale.NodeValue(images), 0, model.MaxLogitScale))
		return append([]*Node{value}, gradients...)
	})
	if err != nil {
		return nil, err
	}
	images, tokens, err := r.feed()
	if err != nil {
		return nil, err
	}
	curve := o.Schedule.Over(4, 1, 1)
	return func(i int64) (float64, map[string][]float64, error) {
		hyper := o.Hyper(curve, i)
		outputs, err := exec.Call(images, tokens, hyper[:])
		if err != nil {
			return 0, nil, err
		}
		gradients := map[string][]float64{}
		for k, p := range params {
			gradients[p.Path] = flat(outputs[k+1])
		}
		return flat(outputs[0])[0], gradients, nil
	}, nil
}

func (r *runner) trainingLoss(scope *gml.Scope, images, tokens *Node, dtype dtypes.DType) *Node {
	config, run := r.checkpoint.Config, model.Run{Training: true, DType: dtype}
	batch := loss.Batch{
		Images: model.L2Normalise(config.EncodeImages(scope, images, run)), Texts: model.L2Normalise(config.EncodeTexts(scope, tokens, run)),
	}
	batch.Scale, batch.Bias = config.Temperature(scope, images)
	return r.loss.Compute(batch)
}

// weightsOf reads the store under the peer's names, batch norm's statistics included.
func (r *runner) weightsOf(store *gml.Store) (map[string][]float64, error) {
	values := map[string][]float64{}
	for _, p := range r.checkpoint.Config.Params() {
		value, err := store.GetVariable("/" + p.Path).Value()
		if err != nil {
			return nil, err
		}
		values[p.Path] = flat(value)
	}
	return r.theirs(values, true)
}

// theirs translates values of our parameters. Without buffers, tensors made of them are left out.
func (r *runner) theirs(values map[string][]float64, buffers bool) (map[string][]float64, error) {
	table, params := r.checkpoint.Table(), r.checkpoint.Config.Params()
	isBuffer := map[string]bool{}
	for _, p := range params {
		isBuffer[p.Path] = p.Buffer
	}
	table = slices.DeleteFunc(table, func(p foreign.Pair) bool { return isBuffer[p.Ours] && !buffers })
	return foreign.Theirs(table, params, values)
}
