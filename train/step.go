package train

import (
	"fmt"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/loss"
	"tandem/model"
	"tandem/optim"
)

// Stepper owns the one compiled graph of a training step: two towers → unit sphere → loss → gradients → AdamW → clamp
// of the temperature. Weights and optimiser state live in its store, on the device.
type Stepper struct {
	Model model.Config
	Loss  loss.Config
	Optim optim.Config
	// DType is the type of activations and matrix products.
	DType dtypes.DType
	// Rematerialise trades compute for memory (model.Run).
	Rematerialise bool
	// Norms adds the norms of parameters and updates to the metrics; it costs passes over memory.
	Norms bool
	// AdapterDropout is the share of the inputs of low-rank adapters that a step drops.
	AdapterDropout float64

	// Devices is the number of devices that share each batch; 0 means one. The result is that of one device.
	Devices int
	// Chunk, if not 0, keeps the activations of only this many pairs in memory at a time (chunked.go). The result is that
	// of the whole batch.
	Chunk int
	// TeacherScale is the teacher's exp(logit_scale), for loss.distill.
	TeacherScale float64
	// Negatives is the number of hard negatives that come with each pair.
	Negatives int
	// TextLength and DistinctTexts, where not 0, are what most batches' texts fit: so many tokens, so many different texts.
	// Such a batch is cut to the length, and encodes each text once (texts.go). Others are run as they are.
	TextLength, DistinctTexts int
	// Head holds the first rows [C, E] of the head, for loss.Head.
	Head [][]float32

	store   *gml.Store
	device  compute.Backend // nil with several devices
	adam    *optim.AdamW
	buffers []*gml.Variable // state that the forward pass changes: batch norm's

	once    *runner // the whole step; nil with Chunk
	chunked *chunked
	noise   *runner // draws patch dropout's random numbers; nil without
	settled bool    // the weights are on the device

	compileTime time.Duration
	buildTime   time.Duration // of compileTime, what went into building graphs
}

// Input is one batch in host memory. Its slices may be reused once Step has returned.
type Input struct {
	Images []uint8 // [B, S, S, 3]
	Tokens []int32 // [B, Context]
	Keys   []int32 // [B]: rows with equal keys are the same caption (or label), for a head the class; nil: all differ
	// Longest is the number of tokens of the longest caption; the graph may be run on shorter texts.
	Longest int
	// ImageRows and TextRows [B, E] stand for Images and Tokens where a frozen tower's rows were computed before.
	ImageRows, TextRows []float32
	// TeacherImages and TeacherTexts [B, D] are the rows of the teacher that loss.distill learns from.
	TeacherImages, TeacherTexts []float32
	// Negatives [B·K, Context] are the tokens of K texts for each pair that are true of no image of the batch, and
	// NegativeMask [B·K] is 0 where there is none. Longest counts them too.
	Negatives    []int32
	NegativeMask []int32
}

// Metrics are what a step reports.
type Metrics struct {
	Loss         Float `json:"loss"`
	Scale        Float `json:"scale"`    // exp(logit_scale)
	Accuracy     Float `json:"accuracy"` // share of images whose own caption scores highest in the batch
	GradientNorm Float `json:"grad_norm"`
	ParamNorm    Float `json:"param_norm,omitempty"` // with Stepper.Norms
	UpdateNorm   Float `json:"update_norm,omitempty"`
	Finite       bool  `json:"finite"` // false: loss or gradients were not finite and nothing was changed
}

// NewStepper binds a step to a store that holds the model's parameters, and adds the optimiser's state to it.
func NewStepper(backend compute.Backend, store *gml.Store, s Stepper) (*Stepper, error) {
	params := s.Model.Params()
	infos := make([]optim.ParamInfo, 0, len(params))
	for _, p := range params {
		if p.Buffer {
			s.buffers = append(s.buffers, store.GetVariable("/"+p.Path))
			continue
		}
		infos = append(infos, optim.ParamInfo{Path: p.Path, Rank: len(p.Dims)})
	}
	infos = append(infos, adapterInfos(s.Model, store)...)
	infos = append(infos, s.headInfo()...)
	err := s.addHead(store)
	if err != nil {
		return nil, err
	}
	if s.adam, err = optim.New(s.Optim, store, infos); err != nil {
		return nil, err
	}
	s.store = store
	if s.Devices <= 1 {
		s.device = backend
	}
	if err := s.prepare(backend); err != nil {
		return nil, err
	}
	return &s, nil
}

// prepare sets up the graphs.
func (s *Stepper) prepare(backend compute.Backend) (err error) {
	if err := s.checkMode(); err != nil {
		return err
	}
	if s.Model.Vision.PatchDropout > 0 {
		if s.noise, err = s.newNoise(backend); err != nil {
			return err
		}
	}
	if s.Chunk > 0 {
		s.chunked, err = s.newChunked(backend)
		return err
	}
	s.once, err = s.newRunner(backend, "training step", func(scope *gml.Scope, in []*Node) []*Node {
		return []*Node{s.graph(scope, in[0], in[1], in[2], in[3], in[4], in[5], in[6:])}
	}, append([]layout{split, split, whole, whole, whole, split}, s.extraLayouts()...)...)
	return err
}

// Store holds the weights and the optimiser's state.
func (s *Stepper) Store() *gml.Store { return s.store }

// NumTrainable is the number of scalars that training changes.
func (s *Stepper) NumTrainable() int { return s.adam.NumTrainable() }

// graph is the whole step. Legend: B batch, S image side, L text length, E embedding.
func (s *Stepper) graph(scope *gml.Scope, images, tokens, keys, hyper, rng, noise *Node, extra []*Node) *Node {
	defer s.building()()
	g := images.Graph()
	before := valuesOf(s.buffers, g)
	b := s.lossBatch(scope, images, tokens, keys, rng, noise, extra)
	value := s.Loss.Compute(b)

	gradients := Gradient(value, s.adam.Trainable(g)...)
	health := s.adam.Update(value, hyper, gradients, s.Norms)
	keepUnlessFinite(s.buffers, before, health.Finite)
	clampTemperature(scope, g)
	return s.report(value, b.Scale, s.accuracy(b), health)
}

// building returns a function that adds the time since to the time spent building graphs.
func (s *Stepper) building() func() {
	began := time.Now()
	return func() { s.buildTime += time.Since(began) }
}

// report packs what a step returns; readMetrics unpacks it.
func (s *Stepper) report(value, scale, accuracy *Node, health optim.Health) *Node {
	outputs := []*Node{value, scale, accuracy, health.GradientNorm, ConvertDType(health.Finite, dtypes.Float32)}
	if s.Norms {
		outputs = append(outputs, health.ParameterNorm, health.UpdateNorm)
	}
	return Stack(outputs, 0)
}

func valuesOf(variables []*gml.Variable, g *Graph) []*Node {
	values := make([]*Node, len(variables))
	for i, v := range variables {
		values[i] = v.NodeValue(g)
	}
	return values
}

// keepUnlessFinite undoes what a broken step did to variables.
func keepUnlessFinite(variables []*gml.Variable, before []*Node, finite *Node) {
	for i, v := range variables {
		v.SetNodeValue(Where(finite, v.NodeValue(finite), before[i]))
	}
}

// clampTemperature keeps logit_scale within [0, ln 100] after the update.
func clampTemperature(scope *gml.Scope, g *Graph) {
	v := scope.GetVariable("logit_scale")
	if !v.Trainable {
		return
	}
	v.SetNodeValue(ClipScalar(v.NodeValue(g), 0, model.MaxLogitScale))
}

// Accuracy is the share of images whose own text is the nearest of the batch, computed for block images at a time (0: all).
func Accuracy(images, texts *Node, block int) *Node {
	batch := images.Shape().Dim(0)
	if block == 0 {
		block = batch
	}
	var nearest []*Node
	for first := 0; first < batch; first += block {
		rows := SliceAxis(images, 0, AxisRange(first, min(first+block, batch)))
		if first > 0 { // changes no number, but makes XLA wait for the block before, or it would hold all of the matrix
			before := ReduceAllMax(ConvertDType(nearest[len(nearest)-1], rows.DType()))
			rows = Add(rows, MulScalar(before, 0))
		}
		similarity := Dot(rows, texts).General([]int{1}, nil, []int{1}, nil)
		nearest = append(nearest, ArgMax(similarity, -1, dtypes.Int32))
	}
	own := Iota(images.Graph(), shapes.Make(dtypes.Int32, batch), 0)
	return ReduceAllMean(ConvertDType(Equal(Concatenate(nearest, 0), own), dtypes.Float32))
}

// Step runs step number step (from 0) of a curve on a batch and waits for it. seed feeds patch dropout. An error leaves
// the weights in an unknown state: reload them from a checkpoint.
func (s *Stepper) Step(in Input, curve optim.Curve, step, seed int64) (Metrics, error) {
	b, err := s.newBatch(in, curve, step, seed)
	if err != nil {
		return Metrics{}, err
	}
	run := s.stepAtOnce
	if s.chunked != nil {
		run = s.chunked.step
	}
	m, err := run(b)
	if err != nil {
		return Metrics{}, fmt.Errorf("step %d: %w", step, err)
	}
	return m, nil
}

func (s *Stepper) stepAtOnce(b *batch) (m Metrics, err error) {
	in, err := b.inputs(0, b.size)
	if err != nil {
		return m, err
	}
	outputs, err := s.once.call(append([]*tensors.Tensor{in.images, in.tokens, b.keys, b.hyper, b.rng, in.noise}, b.extra...)...)
	if err != nil {
		return m, err
	}
	if m, err = s.readMetrics(outputs[0]); err == nil {
		in.free()
	}
	return m, err
}

// readMetrics reads what report packed, once the step is done, and frees it.
func (s *Stepper) readMetrics(report *tensors.Tensor) (m Metrics, err error) {
	defer report.FinalizeAll()
	err = tensors.ConstFlatData(report, func(v []float32) {
		m = Metrics{
			Loss: Float(v[0]), Scale: Float(v[1]), Accuracy: Float(v[2]), GradientNorm: Float(v[3]), Finite: v[4] == 1,
		}
		if s.Norms {
			m.ParamNorm, m.UpdateNorm = Float(v[5]), Float(v[6])
		}
	})
	return m, err
}

// TakeCompileTime returns the time spent compiling since it was last asked.
func (s *Stepper) TakeCompileTime() time.Duration {
	d := s.compileTime
	s.compileTime = 0
	return d
}

// BuildTime is the time spent building graphs so far; TakeCompileTime counts it too.
func (s *Stepper) BuildTime() time.Duration { return s.buildTime }
