package model

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	gml "github.com/gomlx/gomlx/ml/model"
)

// EncodeImages runs the image tower: images [B, S, S, 3], uint8 or float32 already normalised → features [B, E],
// float32, not normalised. scope is the root of the store.
func (c Config) EncodeImages(scope *gml.Scope, images *Node, run Run) *Node {
	v := c.Vision
	batch := images.Shape().Dim(0)
	images.AssertDims(batch, v.ImageSize, v.ImageSize, 3)
	x := as(normalisePixels(images, v), run.dtype())
	var features *Node
	if v.Kind == ResNet {
		features = v.resnet(scope.In("visual"), x, c.EmbedDim, &run)
	} else {
		features = v.transformer(scope.In("visual"), x, c.EmbedDim, &run)
	}
	features.AssertDims(batch, c.EmbedDim)
	return wide(features)
}

// normalisePixels turns uint8 pixels into (x/255 − mean)/std; float32 images pass.
func normalisePixels(images *Node, v VisionConfig) *Node {
	if images.DType() != dtypes.Uint8 {
		return images
	}
	var scale, shift [3]float32
	for i := range 3 {
		scale[i] = float32(1 / (255 * v.Std[i]))
		shift[i] = float32(-v.Mean[i] / v.Std[i])
	}
	x := ConvertDType(images, dtypes.Float32)
	x = Mul(x, ExpandLeftToRank(Const(images.Graph(), scale[:]), 4))
	return addBias(x, Const(images.Graph(), shift[:]))
}

// transformer is the vision transformer (Dosovitskiy et al., 2020) in CLIP's form.
func (v VisionConfig) transformer(scope *gml.Scope, images *Node, embedDim int, run *Run) *Node {
	x := v.embedPatches(scope, images, run) // [B, L, D]
	b := block{v.Heads, v.MLPWidth, v.Activation, v.NormEpsilon, run}
	layers := v.Layers
	rowOnly := v.Pool == PoolClass && run.Trace == nil
	if rowOnly {
		layers--
	}
	x = b.stack(scope, x, nil, layers, run)
	if rowOnly {
		x = b.applyToRow(scope.In("block_%d", layers), x, SliceAxis(x, 1, AxisRange(0, 1)), nil)
	}
	pooled := v.pool(scope, x, run) // [B, D]
	if v.NoProjection {
		return pooled
	}
	return matMul(pooled, param(scope, pooled, "proj", v.Width, embedDim))
}

// stack applies blocks 0 … layers−1.
func (b block) stack(scope *gml.Scope, x, mask *Node, layers int, run *Run) *Node {
	for i := range layers {
		if run.Rematerialise {
			x = x.Checkpoint()
		}
		x = b.apply(scope.In("block_%d", i), x, mask)
		run.trace(scope.At("block_%d", i).Scope(), x)
	}
	if run.Rematerialise && layers > 0 {
		x = x.StopCheckpoint()
	}
	return x
}

// embedPatches cuts [B, S, S, 3] into patches, embeds them, and adds class token and positions: [B, L, D].
func (v VisionConfig) embedPatches(scope *gml.Scope, images *Node, run *Run) *Node {
	batch, grid, patch := images.Shape().Dim(0), v.Grid(), v.PatchSize
	if seen := grid * patch; seen < v.ImageSize {
		images = Slice(images, AxisRange(), AxisRange(0, seen), AxisRange(0, seen))
	}
	x := Reshape(images, batch, grid, patch, grid, patch, 3)
	x = TransposeAllAxes(x, 0, 1, 3, 2, 4, 5)
	x = Reshape(x, batch, grid*grid, patch*patch*3) // a convolution whose stride is its size is one matrix product
	embed := scope.In("patch_embed")
	x = matMul(x, param(embed, x, "weight", patch*patch*3, v.Width))
	if v.PatchBias {
		x = addBias(x, param(embed, x, "bias", v.Width))
	}
	run.trace("/visual/patch_embed", x)
	if v.HasClassToken() {
		class := Reshape(param(scope, x, "class_embed", v.Width), 1, 1, v.Width)
		x = Concatenate([]*Node{BroadcastToDims(class, batch, 1, v.Width), x}, 1)
	}
	x = Add(x, InsertAxes(param(scope, x, "pos_embed", v.Rows(), v.Width), 0))
	x = v.dropPatches(x, run)
	if !v.NoPreNorm {
		x = layerNorm(scope.In("ln_pre"), x, v.NormEpsilon)
		run.trace("/visual/ln_pre", x)
	}
	return x
}

// dropPatches keeps a random subset of the patches of each image in training, the class token always: x [B, L, D].
func (v VisionConfig) dropPatches(x *Node, run *Run) *Node {
	if !run.Training || v.PatchDropout == 0 {
		return x
	}
	batch, patches := x.Shape().Dim(0), v.Grid()*v.Grid()
	keep := max(1, int(float64(patches)*(1-v.PatchDropout)))
	noise := run.PatchNoise
	if noise == nil {
		_, noise = RandomUniform(run.Rng, shapes.Make(dtypes.Float32, batch, patches))
	}
	_, chosen := BottomK(noise, keep, -1) // [B, keep]
	first := patches
	kept := x
	if v.HasClassToken() {
		kept = SliceAxis(x, 1, AxisRangeToEnd(1))
	}
	selection := OneHot(chosen, first, x.DType()) // [B, keep, patches]
	kept = as(Dot(selection, kept).General([]int{2}, []int{0}, []int{1}, []int{0}), x.DType())
	if v.HasClassToken() {
		kept = Concatenate([]*Node{SliceAxis(x, 1, AxisRange(0, 1)), kept}, 1)
	}
	return kept
}

// pool turns the rows [B, L, D] (or the class row alone) into one: [B, D].
func (v VisionConfig) pool(scope *gml.Scope, x *Node, run *Run) *Node {
	if !v.NormAfterPool {
		x = layerNorm(scope.In("ln_post"), x, v.NormEpsilon)
		run.trace("/visual/ln_post", x)
	}
	var pooled *Node
	switch v.Pool {
	case PoolMap:
		pooled = v.mapPool(scope.In("pool"), x, run)
		run.trace("/visual/pool", pooled)
	case PoolAvg:
		if v.HasClassToken() {
			x = SliceAxis(x, 1, AxisRangeToEnd(1))
		}
		pooled = as(ReduceMean(wide(x), 1), x.DType())
	default:
		pooled = Squeeze(SliceAxis(x, 1, AxisRange(0, 1)), 1)
	}
	if v.NormAfterPool {
		pooled = layerNorm(scope.In("ln_post"), pooled, v.NormEpsilon)
		run.trace("/visual/ln_post", pooled)
	}
	return pooled
}

// mapPool is SigLIP's head: a learned query attends to all rows, then a residual MLP. [B, L, D] → [B, D].
func (v VisionConfig) mapPool(scope *gml.Scope, x *Node, run *Run) *Node {
	batch, width := x.Shape().Dim(0), v.Width
	attn := scope.In("attn")
	probe := BroadcastToDims(InsertAxes(param(scope, x, "probe", 1, width), 0), batch, 1, width)
	q := linear(attn.In("q"), probe, width)
	kv := linear(attn.In("kv"), x, 2*width)
	row := attention(q, columns(kv, 0, width), columns(kv, width, 2*width), nil, v.Heads)
	row = linear(attn.In("out"), row, width)
	row = Add(row, mlp(scope.In("mlp"), layerNorm(scope.In("ln"), row, v.NormEpsilon), v.MLPWidth, v.Activation, run))
	return Squeeze(row, 1)
}
