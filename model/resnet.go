package model

import (
	. "github.com/gomlx/gomlx/core/graph"
	gml "github.com/gomlx/gomlx/ml/model"
)

// Batch norm's constants (PyTorch's defaults).
const (
	batchNormEpsilon  = 1e-5
	batchNormMomentum = 0.1
)

// resnet is CLIP's modified ResNet (Radford et al., 2021, section 2.4): a stem of three convolutions, average pools
// instead of strides, attention pooling instead of the mean. images [B, S, S, 3] → [B, E].
func (v VisionConfig) resnet(scope *gml.Scope, images *Node, embedDim int, run *Run) *Node {
	x := v.stem(scope.In("stem"), images, run)
	for stage, blocks := range v.Stages {
		scope := scope.In("stage_%d", stage)
		planes := v.Width << stage
		for block := range blocks {
			stride := 1
			if block == 0 && stage > 0 {
				stride = 2
			}
			x = bottleneck(scope.In("block_%d", block), x, planes, stride, block == 0, run)
		}
		run.trace(scope.Scope(), x)
	}
	pooled := v.attentionPool(scope.In("attnpool"), x, embedDim)
	run.trace("/visual/attnpool", pooled)
	return pooled
}

func (v VisionConfig) stem(scope *gml.Scope, x *Node, run *Run) *Node {
	half := v.Width / 2
	x = convolve(scope.In("conv1"), x, 3, 2, half)
	run.trace("/visual/stem/conv1", x)
	x = relu(batchNorm(scope.In("bn1"), x, run))
	x = relu(batchNorm(scope.In("bn2"), convolve(scope.In("conv2"), x, 3, 1, half), run))
	x = relu(batchNorm(scope.In("bn3"), convolve(scope.In("conv3"), x, 3, 1, v.Width), run))
	x = averagePool(x, 2)
	run.trace("/visual/stem", x)
	return x
}

// bottleneck: a stride is an average pool after conv2, and one before the 1×1 convolution of the shortcut.
func bottleneck(scope *gml.Scope, x *Node, planes, stride int, downsample bool, run *Run) *Node {
	y := relu(batchNorm(scope.In("bn1"), convolve(scope.In("conv1"), x, 1, 1, planes), run))
	y = relu(batchNorm(scope.In("bn2"), convolve(scope.In("conv2"), y, 3, 1, planes), run))
	y = convolve(scope.In("conv3"), averagePool(y, stride), 1, 1, 4*planes)
	y = batchNorm(scope.In("bn3"), y, run)
	if downsample {
		scope := scope.In("downsample")
		x = batchNorm(scope.In("bn"), convolve(scope.In("conv"), averagePool(x, stride), 1, 1, 4*planes), run)
	}
	return relu(Add(y, x))
}

func relu(x *Node) *Node { return MaxScalar(x, 0) }

// averagePool is the mean over windows of size×size without overlap: [B, H, W, C] → [B, H/size, W/size, C].
func averagePool(x *Node, size int) *Node {
	if size == 1 {
		return x
	}
	d := x.Shape().Dimensions
	return ReduceMean(Reshape(x, d[0], d[1]/size, size, d[2]/size, size, d[3]), 2, 4)
}

// convolve pads so that stride 1 keeps the size: [B, H, W, C] → [B, H/stride, W/stride, out].
func convolve(scope *gml.Scope, x *Node, size, stride, out int) *Node {
	in := x.Shape().Dim(-1)
	weight := param(scope, x, "weight", size, size, in, out)
	if size == 1 && stride == 1 {
		return matMul(x, Reshape(weight, in, out))
	}
	pad := [2]int{size / 2, size / 2}
	return Convolve(x, weight).Strides(stride).PaddingPerDim([][2]int{pad, pad}).Done()
}

// batchNorm normalises the last axis by the batch's statistics in training and by the running ones in evaluation
// (Ioffe and Szegedy, 2015). Training updates the running ones, the variance with Bessel's correction, as PyTorch does.
// A norm whose gain is frozen runs as in evaluation: its statistics belong to what is frozen.
func batchNorm(scope *gml.Scope, x *Node, run *Run) *Node {
	width := x.Shape().Dim(-1)
	y := wide(x)
	meanVar, varVar := variable(scope, "running_mean", width), variable(scope, "running_var", width)
	mean, variance := meanVar.NodeValue(x), varVar.NodeValue(x)
	if run.Training && variable(scope, "gain", width).Trainable {
		mean = channelMean(y)
		variance = channelMean(Square(Sub(y, ExpandLeftToRank(mean, 4))))
		count := float64(x.Shape().Size() / width)
		blend(meanVar, mean)
		blend(varVar, MulScalar(variance, count/(count-1)))
		batches := variable(scope, "batches")
		batches.SetNodeValue(OnePlus(batches.NodeValue(x)))
	}
	gain := variable(scope, "gain", width).NodeValue(x)
	bias := variable(scope, "bias", width).NodeValue(x)
	y = Div(Sub(y, ExpandLeftToRank(mean, 4)), ExpandLeftToRank(Sqrt(AddScalar(variance, batchNormEpsilon)), 4))
	return as(addBias(Mul(y, ExpandLeftToRank(gain, 4)), bias), x.DType())
}

// channelMean is the mean of each channel: [B, H, W, C] → [C], one axis after the other. In float32 a single sum over all
// pixels would lose digits.
func channelMean(x *Node) *Node { return ReduceMean(ReduceMean(ReduceMean(x, 2), 1), 0) }

// blend moves a running statistic towards the batch's.
func blend(running *gml.Variable, batch *Node) {
	old := running.NodeValue(batch)
	running.SetNodeValue(Add(MulScalar(old, 1-batchNormMomentum), MulScalar(StopGradient(batch), batchNormMomentum)))
}

// attentionPool lets the mean of the last map attend to all its positions: [B, H, W, C] → [B, E].
func (v VisionConfig) attentionPool(scope *gml.Scope, x *Node, embedDim int) *Node {
	dims := x.Shape().Dimensions
	batch, positions, width := dims[0], dims[1]*dims[2], dims[3]
	x = Reshape(x, batch, positions, width)
	x = Concatenate([]*Node{InsertAxes(ReduceMean(x, 1), 1), x}, 1)
	x = Add(x, InsertAxes(param(scope, x, "pos_embed", positions+1, width), 0)) // [B, 1+HW, C]
	q := linear(scope.In("q"), SliceAxis(x, 1, AxisRange(0, 1)), width)
	k, value := linear(scope.In("k"), x, width), linear(scope.In("v"), x, width)
	mixed := attention(q, k, value, nil, v.Heads)
	return Squeeze(linear(scope.In("out"), mixed, embedDim), 1)
}
