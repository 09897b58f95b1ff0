package model

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	gml "github.com/gomlx/gomlx/ml/model"
	. "github.com/gomlx/gomlx/support/exceptions"
)

// Legend of the shape suffixes and comments in this package's graph functions:
// B batch, L rows of a sequence, D width, N heads, H head width, F width of an MLP, E embedding, V vocabulary.

// Run says how a graph is built. Its zero value evaluates in float32.
type Run struct {
	// Training turns on patch dropout and batch norm on batch statistics (with an update of the running ones).
	Training bool
	// DType is the type of activations and matrix products; parameters, norms, softmax and loss stay in float32. Float64
	// is for comparisons, and wants the parameters in float64 too.
	DType dtypes.DType
	// Rng is the state that patch dropout draws from, as graph.RNGStateFromSeed makes it.
	Rng *Node
	// Rematerialise recomputes each block's inside during the backward pass instead of keeping it.
	Rematerialise bool
	// Trace, if set, is called with the output of each named module. Every row is then computed, also those of the
	// last block that pooling drops.
	Trace func(name string, x *Node)
}

func (r *Run) dtype() dtypes.DType {
	if r.DType == dtypes.InvalidDType {
		return dtypes.Float32
	}
	return r.DType
}

func (r *Run) trace(name string, x *Node) {
	if r.Trace != nil {
		r.Trace(name, x)
	}
}

// variable returns the variable of that name in scope and checks its dimensions.
func variable(scope *gml.Scope, name string, dims ...int) *gml.Variable {
	v := scope.GetVariable(name)
	if v == nil {
		Panicf("model: parameter %s/%s is not in the store", scope.Scope(), name)
	}
	if err := v.Shape().CheckDims(dims...); err != nil {
		Panicf("model: parameter %s: %v", v.Path(), err)
	}
	return v
}

// param returns a parameter's value in the type of x, the activation it meets.
func param(scope *gml.Scope, x *Node, name string, dims ...int) *Node {
	return as(variable(scope, name, dims...).NodeValue(x), x.DType())
}

// as converts only where the types differ.
func as(x *Node, dtype dtypes.DType) *Node {
	if x.DType() == dtype {
		return x
	}
	return ConvertDType(x, dtype)
}

// wide converts to the type of norms, softmax and features: float32, or float64 where a graph runs in that.
func wide(x *Node) *Node {
	if x.DType() == dtypes.Float64 {
		return x
	}
	return as(x, dtypes.Float32)
}

// matMul multiplies x [..., in] by w [in, out].
func matMul(x, w *Node) *Node {
	return as(Dot(x, w).General([]int{x.Rank() - 1}, nil, []int{0}, nil), x.DType()) // [..., out]
}

// linear is x·weight + bias over the last axis: [..., in] → [..., out].
func linear(scope *gml.Scope, x *Node, out int) *Node {
	in := x.Shape().Dim(-1)
	return addBias(matMul(x, param(scope, x, "weight", in, out)), param(scope, x, "bias", out))
}

// addBias adds a vector [D] to every row of x [..., D].
func addBias(x, bias *Node) *Node {
	return Add(x, ExpandLeftToRank(bias, x.Rank()))
}

// layerNorm normalises the last axis (Ba et al., 2016), in float32 whatever the type of x.
func layerNorm(scope *gml.Scope, x *Node, epsilon float64) *Node {
	width := x.Shape().Dim(-1)
	gain := variable(scope, "gain", width).NodeValue(x)
	bias := variable(scope, "bias", width).NodeValue(x)
	return as(normalise(wide(x), gain, bias, epsilon), x.DType())
}

func normalise(x, gain, bias *Node, epsilon float64) *Node {
	centred := Sub(x, ReduceAndKeep(x, ReduceMean, -1))
	variance := ReduceAndKeep(Square(centred), ReduceMean, -1)
	y := Div(centred, Sqrt(AddScalar(variance, epsilon)))
	return addBias(Mul(y, ExpandLeftToRank(gain, x.Rank())), bias)
}

// activate applies a tower's non-linearity.
func activate(a Activation, x *Node) *Node {
	switch a {
	case QuickGELU:
		return Mul(x, Logistic(MulScalar(x, 1.702)))
	case GELUTanh:
		inner := MulScalar(Add(x, MulScalar(Mul(x, Square(x)), 0.044715)), math.Sqrt(2/math.Pi))
		return Mul(MulScalar(x, 0.5), OnePlus(Tanh(inner)))
	case GELU:
		return Mul(MulScalar(x, 0.5), OnePlus(Erf(MulScalar(x, 1/math.Sqrt2))))
	default:
		Panicf("model: activation %q is unknown", a)
		return nil
	}
}

// mlp is fc → activation → proj: [..., D] → [..., D].
func mlp(scope *gml.Scope, x *Node, width int, a Activation) *Node {
	out := x.Shape().Dim(-1)
	hidden := activate(a, linear(scope.In("fc"), x, width)) // [..., F]
	return linear(scope.In("proj"), hidden, out)
}

// block describes one pre-norm transformer block.
type block struct {
	heads      int
	mlpWidth   int
	activation Activation
	epsilon    float64
}

// apply runs the block over every row: x [B, L, D] → [B, L, D]. mask, if not nil, is added to the scores [1|B, 1, L, L].
func (b block) apply(scope *gml.Scope, x, mask *Node) *Node {
	x.AssertRank(3)
	width := x.Shape().Dim(-1)
	normed := layerNorm(scope.In("ln_1"), x, b.epsilon)
	attn := scope.In("attn")
	qkv := linear(attn.In("qkv"), normed, 3*width) // [B, L, 3D]
	q, k, v := split3(qkv)
	x = Add(x, linear(attn.In("out"), attention(q, k, v, mask, b.heads), width))
	return b.feedForward(scope, x)
}

// applyToRow runs the block where only one row of its output is wanted: x [B, L, D] gives keys and values, row
// [B, 1, D] is the wanted row of x; mask [B, 1, 1, L] is that row of the mask. Returns [B, 1, D]. The last block of a
// tower whose pooling takes one row needs no more than this, which saves the other rows' share of it.
func (b block) applyToRow(scope *gml.Scope, x, row, mask *Node) *Node {
	width := x.Shape().Dim(-1)
	norm, attn := scope.In("ln_1"), scope.In("attn")
	weight, bias := qkvParams(attn.In("qkv"), x, width)
	kv := addBias(matMul(layerNorm(norm, x, b.epsilon), columns(weight, width, 3*width)), columns(bias, width, 3*width))
	q := addBias(matMul(layerNorm(norm, row, b.epsilon), columns(weight, 0, width)), columns(bias, 0, width))
	k, v := columns(kv, 0, width), columns(kv, width, 2*width)
	row = Add(row, linear(attn.In("out"), attention(q, k, v, mask, b.heads), width))
	return b.feedForward(scope, row)
}

func (b block) feedForward(scope *gml.Scope, x *Node) *Node {
	normed := layerNorm(scope.In("ln_2"), x, b.epsilon)
	return Add(x, mlp(scope.In("mlp"), normed, b.mlpWidth, b.activation))
}

func qkvParams(scope *gml.Scope, x *Node, width int) (weight, bias *Node) {
	return param(scope, x, "weight", width, 3*width), param(scope, x, "bias", 3*width)
}

// columns is x[..., from:to].
func columns(x *Node, from, to int) *Node {
	return SliceAxis(x, -1, AxisRange(from, to))
}

func split3(qkv *Node) (q, k, v *Node) {
	width := qkv.Shape().Dim(-1) / 3
	return columns(qkv, 0, width), columns(qkv, width, 2*width), columns(qkv, 2*width, 3*width)
}

// attention is scaled dot-product attention over heads: q [B, Lq, D], k and v [B, L, D] → [B, Lq, D].
func attention(q, k, v, mask *Node, heads int) *Node {
	dims := q.Shape().Dimensions
	headWidth := dims[2] / heads
	q, k, v = splitHeads(q, heads), splitHeads(k, heads), splitHeads(v, heads) // [B, N, L, H]
	q = MulScalar(q, 1/math.Sqrt(float64(headWidth)))
	scores := Dot(q, k).General([]int{3}, []int{0, 1}, []int{3}, []int{0, 1}) // [B, N, Lq, L]
	scores = wide(scores)
	if mask != nil {
		scores = Add(scores, BroadcastToShape(as(mask, scores.DType()), scores.Shape()))
	}
	weights := as(softmax(scores), v.DType())
	mixed := Dot(weights, v).General([]int{3}, []int{0, 1}, []int{2}, []int{0, 1}) // [B, N, Lq, H]
	mixed = as(mixed, q.DType())
	return Reshape(TransposeAllAxes(mixed, 0, 2, 1, 3), dims...) // [B, Lq, D]
}

func splitHeads(x *Node, heads int) *Node {
	dims := x.Shape().Dimensions
	return TransposeAllAxes(Reshape(x, dims[0], dims[1], heads, dims[2]/heads), 0, 2, 1, 3)
}

// softmax over the last axis; the maximum is a constant for the gradient.
func softmax(x *Node) *Node {
	e := Exp(Sub(x, StopGradient(ReduceAndKeep(x, ReduceMax, -1))))
	return Div(e, ReduceAndKeep(e, ReduceSum, -1))
}

// L2Normalise scales rows to length 1, as torch.nn.functional.normalize does: x / max(‖x‖, 1e-12), in float32.
func L2Normalise(x *Node) *Node {
	x = wide(x)
	squares := ReduceAndKeep(Square(x), ReduceSum, -1)
	return Div(x, Sqrt(MaxScalar(squares, 1e-24)))
}
