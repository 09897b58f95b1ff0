package model

import (
	"math"
	"slices"

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
	// PatchNoise is [B, patches] uniform random numbers for patch dropout; nil: drawn from Rng.
	PatchNoise *Node
	// AdapterDropout is the share of the inputs of low-rank adapters that training drops (AddAdapters).
	AdapterDropout float64
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

// matMul multiplies x [..., in] by w [in, out]. The product runs on matrices: XLA would otherwise transpose the
// activations for the gradient by w.
func matMul(x, w *Node) *Node {
	dims := slices.Clone(x.Shape().Dimensions)
	in, out := dims[len(dims)-1], w.Shape().Dim(1)
	dims[len(dims)-1] = out
	y := Dot(Reshape(x, -1, in), w).General([]int{1}, nil, []int{0}, nil) // [rows, out]
	return Reshape(as(y, x.DType()), dims...)
}

// linear is x·weight + bias over the last axis: [..., in] → [..., out].
func linear(scope *gml.Scope, x *Node, out int) *Node {
	in := x.Shape().Dim(-1)
	return addBias(matMul(x, param(scope, x, "weight", in, out)), param(scope, x, "bias", out))
}

// adapted is linear with what an adapter adds, if the store has one for it.
func (r *Run) adapted(scope *gml.Scope, x *Node, out int) *Node {
	return r.adapt(scope, x, linear(scope, x, out), 0)
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
	y := Mul(standardise(wide(x), epsilon), ExpandLeftToRank(gain, x.Rank()))
	return as(addBias(y, bias), x.DType())
}

// standardise is (x − mean)/√(variance + ε) over the last axis.
func standardise(x *Node, epsilon float64) *Node {
	statistics := func(x *Node) (y, scale *Node) {
		centred := Sub(x, rowMean(x))
		scale = Reciprocal(Sqrt(AddScalar(rowMean(Square(centred)), epsilon)))
		return Mul(centred, scale), scale
	}
	forward := func(x *Node) *Node {
		y, _ := statistics(x)
		return y
	}
	return withGradient(x, forward, func(x, dy *Node) *Node {
		y, scale := statistics(x)
		return Mul(scale, Sub(Sub(dy, rowMean(dy)), Mul(y, rowMean(Mul(dy, y)))))
	})
}

// activate applies a tower's non-linearity, in float32 whatever the type of x.
func activate(a Activation, x *Node) *Node {
	y := withGradient(wide(x),
		func(x *Node) *Node { y, _ := nonlinearity(a, x); return y },
		func(x, dy *Node) *Node { _, slope := nonlinearity(a, x); return Mul(dy, slope) })
	return as(y, x.DType())
}

// nonlinearity is an activation and its derivative.
func nonlinearity(a Activation, x *Node) (y, slope *Node) {
	switch a {
	case QuickGELU: // x·s with s = σ(1.702x); s·(1 + 1.702x·(1−s))
		s := Logistic(MulScalar(x, 1.702))
		return Mul(x, s), Mul(s, OnePlus(Mul(MulScalar(x, 1.702), OneMinus(s))))
	case GELUTanh: // ½x(1+t) with t = tanh(√(2/π)(x + 0.044715x³))
		inner := MulScalar(Mul(x, OnePlus(MulScalar(Square(x), 0.044715))), math.Sqrt(2/math.Pi))
		t := Tanh(inner)
		dInner := MulScalar(OnePlus(MulScalar(Square(x), 3*0.044715)), math.Sqrt(2/math.Pi))
		half := MulScalar(OnePlus(t), 0.5)
		return Mul(x, half), Add(half, Mul(MulScalar(Mul(x, OneMinus(Square(t))), 0.5), dInner))
	case GELU: // x·Φ(x); Φ(x) + x·φ(x)
		cdf := MulScalar(OnePlus(Erf(MulScalar(x, 1/math.Sqrt2))), 0.5)
		pdf := MulScalar(Exp(MulScalar(Square(x), -0.5)), 1/math.Sqrt(2*math.Pi))
		return Mul(x, cdf), Add(cdf, Mul(x, pdf))
	default:
		Panicf("model: activation %q is unknown", a)
		return nil, nil
	}
}

// mlp is fc → activation → proj: [..., D] → [..., D].
func mlp(scope *gml.Scope, x *Node, width int, a Activation, run *Run) *Node {
	out := x.Shape().Dim(-1)
	hidden := activate(a, run.adapted(scope.In("fc"), x, width)) // [..., F]
	return run.adapted(scope.In("proj"), hidden, out)
}

// block describes one pre-norm transformer block.
type block struct {
	heads      int
	mlpWidth   int
	activation Activation
	epsilon    float64
	run        *Run
}

// apply runs the block over every row: x [B, L, D] → [B, L, D]. mask, if not nil, is added to the scores [1|B, 1, L, L].
func (b block) apply(scope *gml.Scope, x, mask *Node) *Node {
	x.AssertRank(3)
	width := x.Shape().Dim(-1)
	normed := layerNorm(scope.In("ln_1"), x, b.epsilon)
	attn := scope.In("attn")
	qkv := b.run.adapted(attn.In("qkv"), normed, 3*width) // [B, L, 3D]
	x = Add(x, b.run.adapted(attn.In("out"), selfAttention(qkv, mask, b.heads), width))
	return b.feedForward(scope, x)
}

// applyToRow runs the block where only one row of its output is wanted: x [B, L, D] gives keys and values, row
// [B, 1, D] is the wanted row of x; mask [B, 1, 1, L] is that row of the mask. Returns [B, 1, D]. The last block of a
// tower whose pooling takes one row needs no more than this, which saves the other rows' share of it.
func (b block) applyToRow(scope *gml.Scope, x, row, mask *Node) *Node {
	width := x.Shape().Dim(-1)
	norm, attn := scope.In("ln_1"), scope.In("attn")
	qkv := attn.In("qkv")
	weight, bias := qkvParams(qkv, x, width)
	project := func(x *Node, from, to int) *Node {
		x = layerNorm(norm, x, b.epsilon)
		return b.run.adapt(qkv, x, addBias(matMul(x, columns(weight, from, to)), columns(bias, from, to)), from)
	}
	kv, q := project(x, width, 3*width), project(row, 0, width)
	k, v := columns(kv, 0, width), columns(kv, width, 2*width)
	row = Add(row, b.run.adapted(attn.In("out"), attention(q, k, v, mask, b.heads), width))
	return b.feedForward(scope, row)
}

func (b block) feedForward(scope *gml.Scope, x *Node) *Node {
	normed := layerNorm(scope.In("ln_2"), x, b.epsilon)
	return Add(x, mlp(scope.In("mlp"), normed, b.mlpWidth, b.activation, b.run))
}

func qkvParams(scope *gml.Scope, x *Node, width int) (weight, bias *Node) {
	return param(scope, x, "weight", width, 3*width), param(scope, x, "bias", 3*width)
}

// columns is x[..., from:to].
func columns(x *Node, from, to int) *Node {
	return SliceAxis(x, -1, AxisRange(from, to))
}

// selfAttention is scaled dot-product attention within each sequence: qkv [B, L, 3D] → [B, L, D]. mask, if not nil, is
// added to the scores.
func selfAttention(qkv, mask *Node, heads int) *Node {
	width := qkv.Shape().Dim(2) / 3
	scale := 1 / math.Sqrt(float64(width/heads))
	attend := func(qkv *Node) (q, k, v, weights, mixed *Node) {
		q, k, v = headsOf(qkv, 0, heads), headsOf(qkv, 1, heads), headsOf(qkv, 2, heads) // [B, N, L, H]
		weights = attentionWeights(q, k, mask, scale)                                    // [B, N, L, L]
		return q, k, v, weights, mix(weights, v)
	}
	forward := func(qkv *Node) *Node {
		_, _, _, _, mixed := attend(qkv)
		return mergeHeads(mixed)
	}
	return withGradient(qkv, forward, func(qkv, dy *Node) *Node {
		q, k, v, weights, mixed := attend(qkv)
		dMixed := splitHeads(dy, heads)
		dWeights := wide(headProduct(dMixed, 3, v, 3))
		towards := rowSum(wide(Mul(dMixed, mixed))) // Σⱼ weights·dWeights, by way of the shorter axis
		dScores := as(MulScalar(Mul(weights, Sub(dWeights, towards)), scale), q.DType())
		dq := as(headProduct(dScores, 3, k, 2), q.DType())
		dk := as(headProduct(dScores, 2, q, 2), q.DType())
		dv := as(headProduct(as(weights, v.DType()), 2, dMixed, 2), q.DType())
		return Concatenate([]*Node{mergeHeads(dq), mergeHeads(dk), mergeHeads(dv)}, -1)
	})
}

// attention is scaled dot-product attention over heads: q [B, Lq, D], k and v [B, L, D] → [B, Lq, D].
func attention(q, k, v, mask *Node, heads int) *Node {
	scale := 1 / math.Sqrt(float64(q.Shape().Dim(2)/heads))
	weights := attentionWeights(splitHeads(q, heads), splitHeads(k, heads), mask, scale)
	return mergeHeads(mix(weights, splitHeads(v, heads)))
}

// attentionWeights is softmax(scale·q·kᵀ + mask) in float32: [B, N, Lq, H] and [B, N, L, H] → [B, N, Lq, L].
func attentionWeights(q, k, mask *Node, scale float64) *Node {
	scores := MulScalar(wide(headProduct(q, 3, k, 3)), scale)
	if mask != nil {
		scores = Add(scores, BroadcastToShape(as(mask, scores.DType()), scores.Shape()))
	}
	return softmax(scores)
}

// mix is weights·v: [B, N, Lq, L] and [B, N, L, H] → [B, N, Lq, H].
func mix(weights, v *Node) *Node {
	return as(headProduct(as(weights, v.DType()), 3, v, 2), v.DType())
}

// headProduct multiplies matrices of each head, contracting axis i of a with axis j of b.
func headProduct(a *Node, i int, b *Node, j int) *Node {
	return Dot(a, b).General([]int{i}, []int{0, 1}, []int{j}, []int{0, 1})
}

// headsOf cuts part (0 queries, 1 keys, 2 values) out of qkv [B, L, 3D]: [B, N, L, H].
func headsOf(qkv *Node, part, heads int) *Node {
	dims := qkv.Shape().Dimensions
	width := dims[2] / 3
	return splitHeads(columns(qkv, part*width, (part+1)*width), heads)
}

// splitHeads is [B, L, D] → [B, N, L, H].
func splitHeads(x *Node, heads int) *Node {
	dims := x.Shape().Dimensions
	return TransposeAllAxes(Reshape(x, dims[0], dims[1], heads, dims[2]/heads), 0, 2, 1, 3)
}

// mergeHeads is [B, N, L, H] → [B, L, D].
func mergeHeads(x *Node) *Node {
	dims := x.Shape().Dimensions
	return Reshape(TransposeAllAxes(x, 0, 2, 1, 3), dims[0], dims[2], dims[1]*dims[3])
}

// softmax over the last axis; the maximum is a constant for the gradient.
func softmax(x *Node) *Node {
	e := Exp(Sub(x, StopGradient(ReduceAndKeep(x, ReduceMax, -1))))
	return Div(e, rowSum(e))
}

// L2Normalise scales rows to length 1, as torch.nn.functional.normalize does: x / max(‖x‖, 1e-12), in float32.
func L2Normalise(x *Node) *Node {
	x = wide(x)
	squares := ReduceAndKeep(Square(x), ReduceSum, -1)
	return Div(x, Sqrt(MaxScalar(squares, 1e-24)))
}
