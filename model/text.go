package model

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	gml "github.com/gomlx/gomlx/ml/model"
	. "github.com/gomlx/gomlx/support/exceptions"
)

// EncodeTexts runs the text tower: tokens [B, L] int32 with L ≤ Context → features [B, E], float32, not normalised.
// Towers without the causal mask see the padding and need L = Context (CutLength).
func (c Config) EncodeTexts(scope *gml.Scope, tokens *Node, run Run) *Node {
	t := c.Text
	batch, length := tokens.Shape().Dim(0), tokens.Shape().Dim(1)
	if length > t.Context || t.CutLength(length) == t.Context && length != t.Context && (t.NoCausalMask || t.Pool == PoolLast) {
		Panicf("model: a text of %d tokens does not fit the context %d of this tower", length, t.Context)
	}
	scope = scope.In("text")
	features := t.transformer(scope, tokens, &run) // [B, D]
	features = matMul(features, param(scope, features, "proj", t.Width, c.EmbedDim))
	if t.ProjectionBias {
		features = addBias(features, param(scope, features, "proj_bias", c.EmbedDim))
	}
	features.AssertDims(batch, c.EmbedDim)
	return wide(features)
}

// transformer returns the pooled row after the last norm: [B, D].
func (t TextConfig) transformer(scope *gml.Scope, tokens *Node, run *Run) *Node {
	x := t.embedTokens(scope, tokens, run) // [B, L, D]
	b := block{t.Heads, t.MLPWidth, t.Activation, t.NormEpsilon, run}
	last := t.pooledPosition(tokens) // [B]
	if run.Trace != nil {
		x = b.stack(scope, x, t.causalMask(x), t.Layers, run)
		x = layerNorm(scope.In("ln_final"), x, t.NormEpsilon)
		run.trace("/text/ln_final", x)
		return Squeeze(row(x, last), 1)
	}
	x = b.stack(scope, x, t.causalMask(x), t.Layers-1, run)
	pooled := b.applyToRow(scope.In("block_%d", t.Layers-1), x, row(x, last), t.causalRow(x, last))
	return Squeeze(layerNorm(scope.In("ln_final"), pooled, t.NormEpsilon), 1)
}

func (t TextConfig) embedTokens(scope *gml.Scope, tokens *Node, run *Run) *Node {
	length := tokens.Shape().Dim(1)
	table := variable(scope, "token_embed", t.Vocab, t.Width).NodeValue(tokens)
	positions := variable(scope, "pos_embed", t.Context, t.Width).NodeValue(tokens)
	x := Gather(table, InsertAxes(tokens, -1)) // [B, L, D]
	x = Add(x, InsertAxes(SliceAxis(positions, 0, AxisRange(0, length)), 0))
	return as(x, run.dtype())
}

// pooledPosition is the index of the row that stands for the text: [B] int32.
func (t TextConfig) pooledPosition(tokens *Node) *Node {
	g, batch, length := tokens.Graph(), tokens.Shape().Dim(0), tokens.Shape().Dim(1)
	switch t.Pool {
	case PoolLast, PoolFirst:
		position := 0
		if t.Pool == PoolLast {
			position = length - 1
		}
		return BroadcastToDims(Scalar(g, dtypes.Int32, position), batch)
	case PoolEOS:
		isEOS := Equal(tokens, ConstAs(tokens, t.EOSID))
		return ArgMax(ConvertDType(isEOS, dtypes.Int32), -1, dtypes.Int32) // the first one
	default:
		return ArgMax(tokens, -1, dtypes.Int32)
	}
}

// row picks row position[b] of x [B, L, D] for each b: [B, 1, D]. A product with a one-hot row is exact and, unlike a
// gather, cheap to differentiate.
func row(x, position *Node) *Node {
	choice := OneHot(position, x.Shape().Dim(1), x.DType()) // [B, L]
	return as(Dot(InsertAxes(choice, 1), x).General([]int{2}, []int{0}, []int{1}, []int{0}), x.DType())
}

// causalMask forbids looking ahead: [1, 1, L, L] of 0 and −∞, or nil.
func (t TextConfig) causalMask(x *Node) *Node {
	if t.NoCausalMask {
		return nil
	}
	length := x.Shape().Dim(1)
	return maskWhere(Reshape(LowerTriangular(x.Graph(), length), 1, 1, length, length))
}

// causalRow is the causal mask's row at position[b]: [B, 1, 1, L], or nil.
func (t TextConfig) causalRow(x, position *Node) *Node {
	if t.NoCausalMask {
		return nil
	}
	batch, length := x.Shape().Dim(0), x.Shape().Dim(1)
	key := Iota(x.Graph(), shapes.Make(dtypes.Int32, batch, 1, 1, length), 3)
	return maskWhere(LessOrEqual(key, BroadcastToDims(Reshape(position, batch, 1, 1, 1), batch, 1, 1, length)))
}

// maskWhere is 0 where allowed is true and −∞ elsewhere.
func maskWhere(allowed *Node) *Node {
	zeros := ZerosLike(ConvertDType(allowed, dtypes.Float32))
	return Where(allowed, zeros, AddScalar(zeros, math.Inf(-1)))
}
