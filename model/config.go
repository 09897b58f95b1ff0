// Package model builds the two towers of a CLIP as GoMLX graphs: an image encoder (vision transformer or modified
// ResNet), a text encoder (a GPT-2-like transformer) and the learned temperature. It knows nothing of training.
//
// A model is its Config. Params lists every parameter of a Config by path, shape and initial distribution; the graph
// functions read exactly these from a GoMLX scope; checkpoints and optimiser rules address them by the same paths.
package model

import (
	"fmt"
	"math"
	"slices"
)

// Activation is the non-linearity of a tower's MLPs.
type Activation string

// The activations in use. A mix-up between the first two costs points silently: OpenAI's weights need QuickGELU.
const (
	GELU      Activation = "gelu"       // x·Φ(x), exact (erf)
	QuickGELU Activation = "quick_gelu" // x·σ(1.702x)
	GELUTanh  Activation = "gelu_tanh"  // the tanh approximation of GELU
)

// Vision kinds.
const (
	ViT    = "vit"
	ResNet = "resnet"
)

// How a tower turns its rows into one.
const (
	PoolClass  = "class"  // the class token (vision)
	PoolAvg    = "avg"    // mean over the patches (vision)
	PoolMap    = "map"    // multi-head attention pooling with a learned query, as SigLIP (vision)
	PoolAttn   = "attn"   // attention pooling of the modified ResNet
	PoolArgmax = "argmax" // the row of the largest id: CLIP's end-of-text token has it (text)
	PoolEOS    = "eos"    // the row of the first id equal to EOSID (text)
	PoolLast   = "last"   // the last row (text)
	PoolFirst  = "first"  // the first row (text)
)

// Config describes a CLIP: everything that decides the graph, and nothing else.
type Config struct {
	// EmbedDim is the width of the shared space.
	EmbedDim int          `yaml:"embed_dim" json:"embed_dim"`
	Vision   VisionConfig `yaml:"vision" json:"vision"`
	Text     TextConfig   `yaml:"text" json:"text"`

	// LogitScaleInit is the initial logarithm of the temperature's inverse; 0 means ln(1/0.07), CLIP's.
	LogitScaleInit float64 `yaml:"logit_scale_init,omitempty" json:"logit_scale_init,omitempty"`
	// LogitBiasInit, if set, gives the model a learned bias on the logits (SigLIP: -10).
	LogitBiasInit *float64 `yaml:"logit_bias_init,omitempty" json:"logit_bias_init,omitempty"`
}

// VisionConfig describes the image tower. Images are [B, ImageSize, ImageSize, 3].
type VisionConfig struct {
	Kind      string `yaml:"kind" json:"kind"` // ViT (the default) or ResNet
	ImageSize int    `yaml:"image_size" json:"image_size"`

	// Mean and Std normalise pixels in [0, 1]; zero values mean CLIP's.
	Mean [3]float64 `yaml:"mean,omitempty" json:"mean"`
	Std  [3]float64 `yaml:"std,omitempty" json:"std"`

	Width int `yaml:"width" json:"width"`
	Heads int `yaml:"heads,omitempty" json:"heads"` // 0: Width/64 (ViT), Width·32/64 (ResNet)

	// Vision transformer.
	PatchSize    int        `yaml:"patch_size,omitempty" json:"patch_size,omitempty"`
	Layers       int        `yaml:"layers,omitempty" json:"layers,omitempty"`
	MLPWidth     int        `yaml:"mlp_width,omitempty" json:"mlp_width,omitempty"` // 0: 4·Width
	Activation   Activation `yaml:"activation,omitempty" json:"activation,omitempty"`
	NormEpsilon  float64    `yaml:"norm_epsilon,omitempty" json:"norm_epsilon,omitempty"` // 0: 1e-5
	Pool         string     `yaml:"pool,omitempty" json:"pool,omitempty"`                 // PoolClass by default
	NoClassToken bool       `yaml:"no_class_token,omitempty" json:"no_class_token,omitempty"`
	NoPreNorm    bool       `yaml:"no_pre_norm,omitempty" json:"no_pre_norm,omitempty"`
	PatchBias    bool       `yaml:"patch_bias,omitempty" json:"patch_bias,omitempty"`
	NoProjection bool       `yaml:"no_projection,omitempty" json:"no_projection,omitempty"` // needs Width = EmbedDim
	// NormAfterPool applies the last norm to the pooled row instead of to every row.
	NormAfterPool bool `yaml:"norm_after_pool,omitempty" json:"norm_after_pool,omitempty"`
	// PatchDropout is the share of patches dropped in training (Li et al., FLIP, 2022).
	PatchDropout float64 `yaml:"patch_dropout,omitempty" json:"patch_dropout,omitempty"`

	// Modified ResNet: blocks in each of the four stages.
	Stages []int `yaml:"stages,omitempty" json:"stages,omitempty"`
}

// TextConfig describes the text tower. Tokens are [B, L] with L ≤ Context.
type TextConfig struct {
	Context     int        `yaml:"context" json:"context"`
	Vocab       int        `yaml:"vocab" json:"vocab"`
	Width       int        `yaml:"width" json:"width"`
	Heads       int        `yaml:"heads,omitempty" json:"heads"` // 0: Width/64
	Layers      int        `yaml:"layers" json:"layers"`
	MLPWidth    int        `yaml:"mlp_width,omitempty" json:"mlp_width"` // 0: 4·Width
	Activation  Activation `yaml:"activation,omitempty" json:"activation"`
	NormEpsilon float64    `yaml:"norm_epsilon,omitempty" json:"norm_epsilon"` // 0: 1e-5
	Pool        string     `yaml:"pool,omitempty" json:"pool"`                 // PoolArgmax by default
	EOSID       int        `yaml:"eos_id,omitempty" json:"eos_id,omitempty"`   // for PoolEOS
	// NoCausalMask lets every token see every other, padding included (SigLIP).
	NoCausalMask   bool `yaml:"no_causal_mask,omitempty" json:"no_causal_mask,omitempty"`
	ProjectionBias bool `yaml:"projection_bias,omitempty" json:"projection_bias,omitempty"`

	// Lengths are the text lengths that graphs are compiled for, ascending; Context is always the last one. A batch is
	// cut to the first that holds its longest caption. With a causal mask this changes no result (CutLength).
	Lengths []int `yaml:"lengths,omitempty" json:"lengths,omitempty"`
}

// CLIP's pixel statistics.
var (
	CLIPMean = [3]float64{0.48145466, 0.4578275, 0.40821073}
	CLIPStd  = [3]float64{0.26862954, 0.26130258, 0.27577711}
)

// MaxLogitScale is the upper bound of the learned temperature's logarithm: ln 100.
var MaxLogitScale = math.Log(100)

// DefaultLogitScale is CLIP's initial value: ln(1/0.07).
var DefaultLogitScale = math.Log(1 / 0.07)

// WithDefaults returns c with every field that zero leaves open filled in.
func (c Config) WithDefaults() Config {
	if c.LogitScaleInit == 0 {
		c.LogitScaleInit = DefaultLogitScale
	}
	c.Vision = c.Vision.withDefaults()
	c.Text = c.Text.withDefaults()
	return c
}

func (v VisionConfig) withDefaults() VisionConfig {
	setDefault(&v.Kind, ViT)
	if v.Mean == [3]float64{} {
		v.Mean = CLIPMean
	}
	if v.Std == [3]float64{} {
		v.Std = CLIPStd
	}
	if v.Kind == ResNet {
		setDefault(&v.Heads, v.Width*32/64)
		setDefault(&v.Pool, PoolAttn)
		return v
	}
	setDefault(&v.Heads, v.Width/64)
	setDefault(&v.MLPWidth, 4*v.Width)
	setDefault(&v.Activation, GELU)
	setDefault(&v.NormEpsilon, 1e-5)
	setDefault(&v.Pool, PoolClass)
	return v
}

func (t TextConfig) withDefaults() TextConfig {
	setDefault(&t.Heads, t.Width/64)
	setDefault(&t.MLPWidth, 4*t.Width)
	setDefault(&t.Activation, GELU)
	setDefault(&t.NormEpsilon, 1e-5)
	setDefault(&t.Pool, PoolArgmax)
	return t
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports the first thing that makes c unusable, naming the field. It expects WithDefaults.
func (c Config) Validate() error {
	if err := within(bounds{"embed_dim", c.EmbedDim, 1, maxWidth}); err != nil {
		return fmt.Errorf("model.%w", err)
	}
	if err := c.Vision.validate(c.EmbedDim); err != nil {
		return fmt.Errorf("model.vision.%w", err)
	}
	if err := c.Text.validate(); err != nil {
		return fmt.Errorf("model.text.%w", err)
	}
	if s := c.LogitScaleInit; !(math.Abs(s) <= maxLogit) {
		return fmt.Errorf("model.logit_scale_init must lie in -%d … %d, not %g: it is a logarithm", maxLogit, maxLogit, s)
	}
	if b := c.LogitBiasInit; b != nil && !(math.Abs(*b) <= maxLogitBias) {
		return fmt.Errorf("model.logit_bias_init must lie in -%d … %d, not %g", maxLogitBias, maxLogitBias, *b)
	}
	return nil
}

// Bounds far beyond any model: within them no size overflows, and what is outside is a slip of the pen.
const (
	maxWidth     = 1 << 16
	maxMLPWidth  = 1 << 20
	maxLayers    = 1 << 10
	maxContext   = 1 << 16
	maxVocab     = 1 << 24
	maxImageSize = 1 << 13
	maxLogit     = 20
	maxLogitBias = 1000
	maxPixel     = 1000 // of mean and std, for pixels in [0, 1]
)

// bounds are those of a field, both inclusive.
type bounds struct {
	name             string
	value, low, high int
}

// within reports the first field that is out of its bounds.
func within(fields ...bounds) error {
	for _, f := range fields {
		if f.value < f.low || f.value > f.high {
			return fmt.Errorf("%s must lie in %d … %d, not %d", f.name, f.low, f.high, f.value)
		}
	}
	return nil
}

func (v VisionConfig) validate(embedDim int) error {
	if err := within(bounds{"image_size", v.ImageSize, 1, maxImageSize}, bounds{"width", v.Width, 1, maxWidth}); err != nil {
		return err
	}
	switch {
	case v.Heads == 0:
		return fmt.Errorf("heads is not set, and width %d is under 64: set it", v.Width)
	case v.Heads < 0:
		return fmt.Errorf("heads must be positive, not %d", v.Heads)
	case slices.ContainsFunc(v.Mean[:], func(x float64) bool { return !(math.Abs(x) <= maxPixel) }):
		return fmt.Errorf("mean must lie in -%d … %d: %v", maxPixel, maxPixel, v.Mean)
	case slices.ContainsFunc(v.Std[:], func(x float64) bool { return !(x >= 1./maxPixel && x <= maxPixel) }):
		return fmt.Errorf("std must lie in %g … %d: %v", 1./maxPixel, maxPixel, v.Std)
	}
	switch v.Kind {
	case ViT:
		return v.validateViT(embedDim)
	case ResNet:
		return v.validateResNet()
	default:
		return fmt.Errorf("kind %q is unknown: use %q or %q", v.Kind, ViT, ResNet)
	}
}

func (v VisionConfig) validateViT(embedDim int) error {
	if err := within(bounds{"layers", v.Layers, 1, maxLayers}, bounds{"mlp_width", v.MLPWidth, 1, maxMLPWidth}); err != nil {
		return err
	}
	switch {
	case v.PatchSize <= 0 || v.PatchSize > v.ImageSize:
		return fmt.Errorf("patch_size %d must lie in 1 … image_size %d", v.PatchSize, v.ImageSize)
	case v.Width%v.Heads != 0:
		return fmt.Errorf("heads %d does not divide width %d", v.Heads, v.Width)
	case !validEpsilon(v.NormEpsilon):
		return fmt.Errorf("norm_epsilon must lie in %g … 1, not %g", minEpsilon, v.NormEpsilon)
	case !(v.PatchDropout >= 0 && v.PatchDropout < 1):
		return fmt.Errorf("patch_dropout must lie in [0, 1), not %g", v.PatchDropout)
	case !slices.Contains([]string{PoolClass, PoolAvg, PoolMap}, v.Pool):
		return fmt.Errorf("pool %q is unknown: use class, avg or map", v.Pool)
	case v.Pool == PoolClass && v.NoClassToken:
		return fmt.Errorf("pool class needs the class token that no_class_token takes away")
	case v.NoProjection && v.Width != embedDim:
		return fmt.Errorf("no_projection needs width %d = embed_dim %d", v.Width, embedDim)
	}
	return validateActivation(v.Activation)
}

func (v VisionConfig) validateResNet() error {
	switch {
	case len(v.Stages) != 4:
		return fmt.Errorf("stages needs four numbers of blocks, not %d", len(v.Stages))
	case slices.Min(v.Stages) <= 0 || slices.Max(v.Stages) > maxLayers:
		return fmt.Errorf("stages must lie in 1 … %d: %v", maxLayers, v.Stages)
	case v.ImageSize%32 != 0:
		return fmt.Errorf("image_size %d is not a multiple of 32, a ResNet's stride", v.ImageSize)
	case v.Width%2 != 0:
		return fmt.Errorf("width %d is odd: the stem uses half of it", v.Width)
	case 32*v.Width%v.Heads != 0:
		return fmt.Errorf("heads %d does not divide 32·width = %d", v.Heads, 32*v.Width)
	case v.PatchDropout != 0:
		return fmt.Errorf("patch_dropout %g does not go with a ResNet, which has no patches: leave it out", v.PatchDropout)
	}
	return nil
}

func (t TextConfig) validate() error {
	if err := within(bounds{"context", t.Context, 2, maxContext}, bounds{"vocab", t.Vocab, 3, maxVocab}, bounds{"width", t.Width, 1, maxWidth},
		bounds{"layers", t.Layers, 1, maxLayers}, bounds{"mlp_width", t.MLPWidth, 1, maxMLPWidth}, bounds{"eos_id", t.EOSID, 0, t.Vocab - 1}); err != nil {
		return err
	}
	switch {
	case t.Heads <= 0 || t.Width%t.Heads != 0:
		return fmt.Errorf("heads %d does not divide width %d", t.Heads, t.Width)
	case !validEpsilon(t.NormEpsilon):
		return fmt.Errorf("norm_epsilon must lie in %g … 1, not %g", minEpsilon, t.NormEpsilon)
	case !slices.Contains([]string{PoolArgmax, PoolEOS, PoolLast, PoolFirst}, t.Pool):
		return fmt.Errorf("pool %q is unknown: use argmax, eos, last or first", t.Pool)
	case !slices.IsSorted(t.Lengths) || len(t.Lengths) > 0 && (t.Lengths[0] < 1 || t.Lengths[len(t.Lengths)-1] > t.Context):
		return fmt.Errorf("lengths %v must ascend within 1 and the context %d", t.Lengths, t.Context)
	}
	return validateActivation(t.Activation)
}

// minEpsilon keeps a norm over a constant row finite in float32.
const minEpsilon = 1e-30

func validEpsilon(e float64) bool { return e >= minEpsilon && e <= 1 }

func validateActivation(a Activation) error {
	if !slices.Contains([]Activation{GELU, QuickGELU, GELUTanh}, a) {
		return fmt.Errorf("activation %q is unknown: use gelu, quick_gelu or gelu_tanh", a)
	}
	return nil
}

// Grid is the number of whole patches along one side. Pixels beyond them, on the right and at the bottom, are not seen:
// SigLIP's 384 pixels in patches of 14 are 27 patches and six pixels.
func (v VisionConfig) Grid() int { return v.ImageSize / v.PatchSize }

// HasClassToken reports whether a learned row stands before the patches.
func (v VisionConfig) HasClassToken() bool { return !v.NoClassToken }

// Rows is the sequence length of the vision transformer: patches and class token.
func (v VisionConfig) Rows() int {
	n := v.Grid() * v.Grid()
	if v.HasClassToken() {
		n++
	}
	return n
}

// CutLength is the shortest compiled length that holds captions of longest tokens. Cutting is exact because under the
// causal mask nothing after the pooled row is seen by it; towers without the mask, or that pool the last row, always
// get the whole context.
func (t TextConfig) CutLength(longest int) int {
	if t.NoCausalMask || t.Pool == PoolLast {
		return t.Context
	}
	for _, n := range t.Lengths {
		if n >= longest {
			return n
		}
	}
	return t.Context
}
