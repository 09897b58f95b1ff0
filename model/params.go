package model

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"

	"tandem/internal/prng"
)

// Param is one tensor of a model.
type Param struct {
	// Path addresses the tensor: in the GoMLX store (with a leading "/"), in checkpoints and in optimiser rules.
	Path string
	Dims []int
	Init Init
	// Buffer marks state that no gradient reaches: running statistics of batch norm.
	Buffer bool
	// Counter marks the one buffer that counts: batches seen by a batch norm, an int64.
	Counter bool
}

// Size is the number of elements.
func (p Param) Size() int {
	n := 1
	for _, d := range p.Dims {
		n *= d
	}
	return n
}

// Init is an initial distribution.
type Init struct {
	kind  initKind
	scale float64 // standard deviation, bound or constant
}

type initKind int

const (
	initConstant initKind = iota
	initNormal            // N(0, scale)
	initUniform           // U(-scale, scale)
)

func constant(x float64) Init       { return Init{initConstant, x} }
func normal(std float64) Init       { return Init{initNormal, std} }
func uniform(bound float64) Init    { return Init{initUniform, bound} }
func invSqrt(n int) float64         { return 1 / math.Sqrt(float64(n)) }
func xavier(fanIn, fanOut int) Init { return uniform(math.Sqrt(6 / float64(fanIn+fanOut))) }

// torchLinear is PyTorch's default for weights and biases of linear layers and convolutions: U(±1/√fanIn).
func torchLinear(fanIn int) Init { return uniform(invSqrt(fanIn)) }

// Fill writes the initial values of p for a seed into dst, whose length is p.Size(). The values depend on the seed
// and the path alone.
func (p Param) Fill(seed uint64, dst []float32) {
	if p.Init.kind == initConstant {
		for i := range dst {
			dst[i] = float32(p.Init.scale)
		}
		return
	}
	h := fnv.New64a()
	h.Write([]byte(p.Path))
	p.Init.draw(prng.New(seed, h.Sum64()), dst)
}

func (init Init) draw(r *rand.Rand, dst []float32) {
	for i := range dst {
		if init.kind == initNormal {
			dst[i] = float32(r.NormFloat64() * init.scale)
		} else {
			dst[i] = float32((2*r.Float64() - 1) * init.scale)
		}
	}
}

// Params lists the parameters of c in a fixed order: image tower, text tower, temperature. The initial distributions
// are open_clip's (open_clip/model.py, transformer.py, modified_resnet.py: init_parameters).
func (c Config) Params() []Param {
	c = c.WithDefaults()
	var list paramList
	if c.Vision.Kind == ResNet {
		list.resnet(c.Vision, c.EmbedDim)
	} else {
		list.vit(c.Vision, c.EmbedDim)
	}
	list.text(c.Text, c.EmbedDim)
	list.add("logit_scale", constant(c.LogitScaleInit))
	if c.LogitBiasInit != nil {
		list.add("logit_bias", constant(*c.LogitBiasInit))
	}
	return list
}

// NumParams is the number of trainable scalars.
func (c Config) NumParams() int {
	n := 0
	for _, p := range c.Params() {
		if !p.Buffer {
			n += p.Size()
		}
	}
	return n
}

type paramList []Param

func (l *paramList) add(path string, init Init, dims ...int) {
	*l = append(*l, Param{Path: path, Dims: dims, Init: init})
}

func (l *paramList) addBuffer(path string, value float64, dims ...int) {
	*l = append(*l, Param{Path: path, Dims: dims, Init: constant(value), Buffer: true})
}

func (l *paramList) norm(path string, width int) {
	l.add(path+"/gain", constant(1), width)
	l.add(path+"/bias", constant(0), width)
}

func (l *paramList) linear(path string, weight, bias Init, in, out int) {
	l.add(path+"/weight", weight, in, out)
	l.add(path+"/bias", bias, out)
}

func (l *paramList) vit(v VisionConfig, embedDim int) {
	patchInputs := 3 * v.PatchSize * v.PatchSize
	scale := invSqrt(v.Width)
	l.add("visual/patch_embed/weight", torchLinear(patchInputs), patchInputs, v.Width)
	if v.PatchBias {
		l.add("visual/patch_embed/bias", torchLinear(patchInputs), v.Width)
	}
	if v.HasClassToken() {
		l.add("visual/class_embed", normal(scale), v.Width)
	}
	l.add("visual/pos_embed", normal(scale), v.Rows(), v.Width)
	if !v.NoPreNorm {
		l.norm("visual/ln_pre", v.Width)
	}
	for i := range v.Layers {
		l.visionBlock(fmt.Sprintf("visual/block_%d", i), v)
	}
	l.norm("visual/ln_post", v.Width)
	if v.Pool == PoolMap {
		l.mapPool("visual/pool", v)
	}
	if !v.NoProjection {
		l.add("visual/proj", normal(scale), v.Width, embedDim)
	}
}

// visionBlock keeps PyTorch's defaults, as open_clip does for the image tower.
func (l *paramList) visionBlock(path string, v VisionConfig) {
	d := v.Width
	l.norm(path+"/ln_1", d)
	l.linear(path+"/attn/qkv", xavier(d, 3*d), constant(0), d, 3*d)
	l.linear(path+"/attn/out", torchLinear(d), constant(0), d, d)
	l.norm(path+"/ln_2", d)
	l.linear(path+"/mlp/fc", torchLinear(d), torchLinear(d), d, v.MLPWidth)
	l.linear(path+"/mlp/proj", torchLinear(v.MLPWidth), torchLinear(v.MLPWidth), v.MLPWidth, d)
}

// mapPool is SigLIP's attention-pooling head (Zhai et al., "Scaling vision transformers", 2021, section 3.2).
func (l *paramList) mapPool(path string, v VisionConfig) {
	d := v.Width
	l.add(path+"/probe", normal(invSqrt(d)), 1, d)
	l.linear(path+"/attn/q", xavier(d, d), constant(0), d, d)
	l.linear(path+"/attn/kv", xavier(d, 2*d), constant(0), d, 2*d)
	l.linear(path+"/attn/out", torchLinear(d), constant(0), d, d)
	l.norm(path+"/ln", d)
	l.linear(path+"/mlp/fc", torchLinear(d), torchLinear(d), d, v.MLPWidth)
	l.linear(path+"/mlp/proj", torchLinear(v.MLPWidth), torchLinear(v.MLPWidth), v.MLPWidth, d)
}

func (l *paramList) text(t TextConfig, embedDim int) {
	d := t.Width
	attnStd := invSqrt(d)
	projStd := attnStd * invSqrt(2*t.Layers)
	l.add("text/token_embed", normal(0.02), t.Vocab, d)
	l.add("text/pos_embed", normal(0.01), t.Context, d)
	for i := range t.Layers {
		path := fmt.Sprintf("text/block_%d", i)
		l.norm(path+"/ln_1", d)
		l.linear(path+"/attn/qkv", normal(attnStd), constant(0), d, 3*d)
		l.linear(path+"/attn/out", normal(projStd), constant(0), d, d)
		l.norm(path+"/ln_2", d)
		l.linear(path+"/mlp/fc", normal(invSqrt(2*d)), torchLinear(d), d, t.MLPWidth)
		l.linear(path+"/mlp/proj", normal(projStd), torchLinear(t.MLPWidth), t.MLPWidth, d)
	}
	l.norm("text/ln_final", d)
	l.add("text/proj", normal(attnStd), d, embedDim)
	if t.ProjectionBias {
		l.add("text/proj_bias", constant(0), embedDim)
	}
}

// resnet lists the modified ResNet: convolutions are [height, width, in, out].
func (l *paramList) resnet(v VisionConfig, embedDim int) {
	w := v.Width
	l.conv("visual/stem/conv1", 3, 3, w/2)
	l.batchNorm("visual/stem/bn1", w/2, 1)
	l.conv("visual/stem/conv2", 3, w/2, w/2)
	l.batchNorm("visual/stem/bn2", w/2, 1)
	l.conv("visual/stem/conv3", 3, w/2, w)
	l.batchNorm("visual/stem/bn3", w, 1)
	in := w
	for stage, blocks := range v.Stages {
		planes := w << stage
		for block := range blocks {
			l.bottleneck(resnetBlock(stage, block), in, planes, block == 0)
			in = 4 * planes
		}
	}
	l.attentionPool(v, embedDim)
}

func resnetBlock(stage, block int) string {
	return fmt.Sprintf("visual/stage_%d/block_%d", stage, block)
}

// bottleneck: the last norm's gain starts at 0, so that the block starts as the identity.
func (l *paramList) bottleneck(path string, in, planes int, downsample bool) {
	l.conv(path+"/conv1", 1, in, planes)
	l.batchNorm(path+"/bn1", planes, 1)
	l.conv(path+"/conv2", 3, planes, planes)
	l.batchNorm(path+"/bn2", planes, 1)
	l.conv(path+"/conv3", 1, planes, 4*planes)
	l.batchNorm(path+"/bn3", 4*planes, 0)
	if downsample {
		l.conv(path+"/downsample/conv", 1, in, 4*planes)
		l.batchNorm(path+"/downsample/bn", 4*planes, 1)
	}
}

func (l *paramList) conv(path string, size, in, out int) {
	l.add(path+"/weight", torchLinear(size*size*in), size, size, in, out)
}

func (l *paramList) batchNorm(path string, width int, gain float64) {
	l.add(path+"/gain", constant(gain), width)
	l.add(path+"/bias", constant(0), width)
	l.addBuffer(path+"/running_mean", 0, width)
	l.addBuffer(path+"/running_var", 1, width)
	*l = append(*l, Param{Path: path + "/batches", Init: constant(0), Buffer: true, Counter: true})
}

func (l *paramList) attentionPool(v VisionConfig, embedDim int) {
	d := 32 * v.Width
	grid := v.ImageSize / 32
	std := normal(invSqrt(d))
	l.add("visual/attnpool/pos_embed", normal(invSqrt(d)), grid*grid+1, d)
	l.linear("visual/attnpool/q", std, torchLinear(d), d, d)
	l.linear("visual/attnpool/k", std, torchLinear(d), d, d)
	l.linear("visual/attnpool/v", std, torchLinear(d), d, d)
	l.linear("visual/attnpool/out", std, torchLinear(d), d, embedDim)
}
