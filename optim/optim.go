// Package optim turns gradients into new parameters: AdamW with rules by parameter path, clipping by the global norm,
// learning-rate schedules and an exponential moving average, as GoMLX graph functions over a store.
package optim

import (
	"fmt"
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"
)

// Config chooses the optimiser. The zero value of each field means CLIP's for vision transformers.
type Config struct {
	LearningRate float64  `yaml:"lr" json:"lr"`                     // 5e-4
	Beta1        *float64 `yaml:"beta1,omitempty" json:"beta1"`     // 0.9; 0 keeps no momentum
	Beta2        float64  `yaml:"beta2,omitempty" json:"beta2"`     // 0.98
	Epsilon      float64  `yaml:"epsilon,omitempty" json:"epsilon"` // 1e-6
	WeightDecay  *float64 `yaml:"weight_decay,omitempty" json:"weight_decay"`
	ClipNorm     float64  `yaml:"clip_norm,omitempty" json:"clip_norm"` // 0: no clipping
	Schedule     Schedule `yaml:"schedule" json:"schedule"`
	// Rules decide each parameter's share; the built-in rules come after them (Rules).
	Rules []Rule `yaml:"rules,omitempty" json:"rules,omitempty"`
	// EMA is the decay of an exponential moving average of the weights; 0 keeps none.
	EMA float64 `yaml:"ema,omitempty" json:"ema,omitempty"`
}

// WithDefaults fills the fields that zero leaves open.
func (c Config) WithDefaults() Config {
	setDefault(&c.LearningRate, 5e-4)
	if c.Beta1 == nil {
		c.Beta1 = new(0.9)
	}
	setDefault(&c.Beta2, 0.98)
	setDefault(&c.Epsilon, 1e-6)
	if c.WeightDecay == nil {
		decay := 0.2
		c.WeightDecay = &decay
	}
	c.Schedule = c.Schedule.withDefaults()
	return c
}

func setDefault(field *float64, value float64) {
	if *field == 0 {
		*field = value
	}
}

// Validate reports the first thing that is wrong, naming the field. It expects WithDefaults.
func (c Config) Validate() error {
	switch {
	case !(c.LearningRate > 0 && c.LearningRate <= maxRate):
		return fmt.Errorf("optim.lr must lie in (0, %d], not %g", maxRate, c.LearningRate)
	case !(*c.Beta1 >= 0 && *c.Beta1 < 1):
		return fmt.Errorf("optim.beta1 must lie in [0, 1), not %g", *c.Beta1)
	case !(c.Beta2 >= 0 && c.Beta2 < 1):
		return fmt.Errorf("optim.beta2 must lie in [0, 1), not %g", c.Beta2)
	case !(c.Epsilon >= minEpsilon && c.Epsilon <= 1):
		return fmt.Errorf("optim.epsilon must lie in [%g, 1], not %g", minEpsilon, c.Epsilon)
	case !validDecay(*c.WeightDecay):
		return fmt.Errorf("optim.weight_decay must lie in [0, %d], not %g", maxRate, *c.WeightDecay)
	case !(c.ClipNorm >= 0 && c.ClipNorm <= math.MaxFloat32):
		return fmt.Errorf("optim.clip_norm must not be negative or beyond float32: %g", c.ClipNorm)
	case !(c.EMA >= 0 && c.EMA < 1):
		return fmt.Errorf("optim.ema must lie in [0, 1), not %g", c.EMA)
	}
	if err := c.Schedule.Validate(); err != nil {
		return fmt.Errorf("optim.schedule.%w", err)
	}
	for i, r := range c.Rules {
		if err := r.validate(); err != nil {
			return fmt.Errorf("optim.rules[%d].%w", i, err)
		}
	}
	return nil
}

const (
	maxRate    = 1000  // of the learning rate, the decay and multiples: far beyond use
	minEpsilon = 1e-30 // far above what is 0 in float32
)

func validDecay(d float64) bool { return d >= 0 && d <= maxRate }

// Where the optimiser keeps its state in the store, by the path of the parameter it belongs to.
const (
	StateScope   = "optim/" // all of it
	FirstMoment  = StateScope + "m/"
	SecondMoment = StateScope + "v/"
	Average      = StateScope + "ema/"
)

// AdamW is the optimiser bound to the parameters of a store (Loshchilov and Hutter, 2019).
type AdamW struct {
	config  Config
	targets []target
}

// target is one trainable parameter with its share of the learning rate and the decay.
type target struct {
	path              string
	variable          *gml.Variable
	m, v, ema         *gml.Variable
	lrMultiple, decay float64
}

// ParamInfo is what the optimiser needs to know of a parameter.
type ParamInfo struct {
	Path string
	Rank int
	// AdapterOf is the path of the weight that the parameter is an adapter of; that path's rule decides.
	AdapterOf string
}

// New binds an optimiser to the named parameters of store and adds its state there: two moments for each trainable
// parameter and, if asked, its average. Frozen parameters get no state and are marked so in the store.
func New(c Config, store *gml.Store, params []ParamInfo) (*AdamW, error) {
	decisions, err := Decide(c.Rules, *c.WeightDecay, params)
	if err != nil {
		return nil, err
	}
	o := &AdamW{config: c}
	for i, p := range params {
		variable := store.GetVariable("/" + p.Path)
		if variable == nil {
			return nil, fmt.Errorf("optim: parameter %s is not in the store", p.Path)
		}
		d := decisions[i]
		variable.SetTrainable(!d.Frozen)
		if d.Frozen {
			continue
		}
		t := target{path: p.Path, variable: variable, lrMultiple: d.LRMultiple, decay: d.Decay}
		if err := t.addState(store, c.EMA > 0); err != nil {
			return nil, fmt.Errorf("optim: state of %s: %w", p.Path, err)
		}
		o.targets = append(o.targets, t)
	}
	if len(o.targets) == 0 {
		return nil, fmt.Errorf("optim.rules freeze every parameter: nothing would be trained")
	}
	return o, nil
}

func (t *target) addState(store *gml.Store, average bool) (err error) {
	shape := t.variable.Shape()
	if t.m, err = stateVariable(store, FirstMoment+t.path, tensors.FromShape(shape)); err != nil {
		return err
	}
	if t.v, err = stateVariable(store, SecondMoment+t.path, tensors.FromShape(shape)); err != nil || !average {
		return err
	}
	start, err := t.variable.MustValue().LocalClone()
	if err != nil {
		return err
	}
	t.ema, err = stateVariable(store, Average+t.path, start)
	return err
}

func stateVariable(store *gml.Store, path string, value *tensors.Tensor) (*gml.Variable, error) {
	v, err := store.CreateVariable("/"+path, value)
	if err != nil {
		return nil, err
	}
	return v.SetTrainable(false), nil
}

// NumTrainable is the number of scalars that training changes.
func (o *AdamW) NumTrainable() int {
	n := 0
	for _, t := range o.targets {
		n += t.variable.Shape().Size()
	}
	return n
}

// Paths are the paths of the parameters that get gradients, in the order of Trainable.
func (o *AdamW) Paths() []string {
	paths := make([]string, len(o.targets))
	for i, t := range o.targets {
		paths[i] = t.path
	}
	return paths
}

// Trainable are the graph values of the parameters that get gradients, in a fixed order.
func (o *AdamW) Trainable(g *Graph) []*Node {
	nodes := make([]*Node, len(o.targets))
	for i, t := range o.targets {
		nodes[i] = t.variable.NodeValue(g)
	}
	return nodes
}

// HyperShape is the shape of the per-step numbers that Hyper computes and Update reads.
var HyperShape = shapes.Make(dtypes.Float32, 4)

// Hyper are the numbers of step (from 0) that change from one step to the next: learning rate, the two bias
// corrections 1−βᵗ with t = step+1, and the average's decay. They are computed in float64 and fed to the graph, so that
// one compiled graph serves every schedule.
func (c Config) Hyper(curve Curve, step int64) [4]float32 {
	t := float64(step + 1)
	return [4]float32{
		float32(c.LearningRate * curve.Factor(step)),
		float32(1 - math.Pow(*c.WithDefaults().Beta1, t)),
		float32(1 - math.Pow(c.Beta2, t)),
		float32(math.Min(c.EMA, t/(t+9))), // a short memory at first, or the average would remember the start
	}
}

// Health are scalars that say how a step went.
type Health struct {
	GradientNorm  *Node // before clipping
	ParameterNorm *Node // nil unless asked for
	UpdateNorm    *Node // nil unless asked for
	Finite        *Node // bool: whether loss and gradient norm are finite; if not, nothing was changed
}

// Update writes the parameters' and the state's next values into the graph. grads belong to Trainable. Where the loss or
// the gradients are not finite every value stays what it was. norms asks for the norms of parameters and updates, which
// cost further passes over memory.
func (o *AdamW) Update(loss, hyper *Node, grads []*Node, norms bool) Health {
	h := Health{GradientNorm: Sqrt(sumOfSquares(grads))}
	h.Finite = LogicalAnd(IsFinite(loss), IsFinite(h.GradientNorm))
	clip := o.clipFactor(h.GradientNorm)
	at := func(i int) *Node { return Squeeze(SliceAxis(hyper, 0, AxisElem(i)), 0) }
	rate, correction1, correction2, emaDecay := at(0), at(1), at(2), at(3)

	values, updates := make([]*Node, len(o.targets)), make([]*Node, len(o.targets))
	for i, t := range o.targets {
		grad := grads[i]
		if clip != nil {
			grad = Mul(grad, clip)
		}
		values[i] = t.variable.NodeValue(loss)
		direction := o.step(t, grad, values[i], correction1, correction2, h.Finite)
		updates[i] = Mul(direction, MulScalar(rate, t.lrMultiple))
		t.advance(values[i], updates[i], emaDecay, h.Finite)
	}
	if norms {
		h.ParameterNorm, h.UpdateNorm = Sqrt(sumOfSquares(values)), Sqrt(sumOfSquares(updates))
	}
	return h
}

// advance sets the next value and its average, if the step is finite.
func (t target) advance(old, update, emaDecay, finite *Node) {
	next := Sub(old, update)
	if t.ema != nil {
		setIf(finite, t.ema, Add(next, Mul(emaDecay, Sub(t.ema.NodeValue(next), next))))
	}
	setIf(finite, t.variable, next)
}

func setIf(condition *Node, v *gml.Variable, next *Node) {
	v.SetNodeValue(Where(condition, next, v.NodeValue(next)))
}

// step sets the next moments of one parameter and returns the direction to subtract, decay included: the decoupled weight
// decay of AdamW is scaled by the learning rate, as in PyTorch.
//
// The direction is computed from the moments as written: XLA would otherwise compute them a second time from the old
// ones, which could then not be overwritten.
func (o *AdamW) step(t target, grad, old, correction1, correction2, finite *Node) *Node {
	c := o.config
	setIf(finite, t.m, Add(MulScalar(t.m.NodeValue(grad), *c.Beta1), MulScalar(grad, 1-*c.Beta1)))
	setIf(finite, t.v, Add(MulScalar(t.v.NodeValue(grad), c.Beta2), MulScalar(Square(grad), 1-c.Beta2)))
	m, v := t.m.NodeValue(grad), t.v.NodeValue(grad)
	direction := Div(Div(m, correction1), AddScalar(Sqrt(Div(v, correction2)), c.Epsilon))
	if t.decay > 0 {
		direction = Add(direction, MulScalar(old, t.decay))
	}
	return direction
}

// clipFactor is min(1, ClipNorm/norm) with torch.nn.utils.clip_grad_norm_'s 1e-6, or nil without clipping.
func (o *AdamW) clipFactor(norm *Node) *Node {
	if o.config.ClipNorm == 0 {
		return nil
	}
	limit := Scalar(norm.Graph(), norm.DType(), o.config.ClipNorm)
	return MinScalar(Div(limit, AddScalar(norm, 1e-6)), 1.0)
}

// sumOfSquares is the squared norm of all nodes together, each as the product of a vector with itself: XLA would otherwise
// write the squares to memory before it sums them.
func sumOfSquares(nodes []*Node) *Node {
	var total *Node
	for _, n := range nodes {
		flat := Reshape(n, -1)
		square := Dot(flat, flat).General([]int{0}, nil, []int{0}, nil)
		if total == nil {
			total = square
		} else {
			total = Add(total, square)
		}
	}
	return total
}
