// Package loss holds contrastive losses over two embedding matrices, as GoMLX graph functions. Features come
// normalised to the unit sphere; row i of the images belongs to row i of the texts.
package loss

import (
	"fmt"
	"math"
	"slices"

	. "github.com/gomlx/gomlx/core/graph"
)

// Names of the losses.
const (
	InfoNCE = "infonce" // symmetric cross-entropy over the batch (van den Oord et al., 2018; Radford et al., 2021)
	SigLIP  = "siglip"  // pairwise sigmoid (Zhai et al., 2023)
)

// What to do with rows of one batch that carry the same key (the same caption, or the same label): as negatives of
// each other they are false.
const (
	DuplicatesIgnore   = "ignore"   // keep them as negatives, as open_clip does
	DuplicatesMask     = "mask"     // take them out of each other's denominator
	DuplicatesPositive = "positive" // make them positives of each other (Khosla et al., 2020; UniCL, Yang et al., 2022)
)

// Config chooses the loss.
type Config struct {
	Name       string `yaml:"name" json:"name"`
	Duplicates string `yaml:"duplicates" json:"duplicates"`
	// LabelSmoothing spreads this share of each row's target over all columns.
	LabelSmoothing float64 `yaml:"label_smoothing,omitempty" json:"label_smoothing,omitempty"`
	// Block computes the loss for this many images at a time, so that the [B, B] matrix of similarities never exists: the
	// result is the same. 0 computes it at once.
	Block int `yaml:"block,omitempty" json:"block,omitempty"`

	// Distill adds what a teacher makes of the same pairs.
	Distill *Distill `yaml:"distill,omitempty" json:"distill,omitempty"`

	// ScalePull adds ScalePull·(ln scale − ln ScaleTarget)²: on few data the temperature runs to its bound otherwise.
	// ScaleTarget is an exp(logit_scale); 0 means the initial model's.
	ScalePull   float64 `yaml:"scale_pull,omitempty" json:"scale_pull,omitempty"`
	ScaleTarget float64 `yaml:"scale_target,omitempty" json:"scale_target,omitempty"`
}

// WithDefaults fills the fields that zero leaves open.
func (c Config) WithDefaults() Config {
	if c.Name == "" {
		c.Name = InfoNCE
	}
	if c.Duplicates == "" {
		c.Duplicates = DuplicatesIgnore
	}
	c.Distill = c.Distill.withDefaults()
	return c
}

// Validate reports the first thing that is wrong, naming the field.
func (c Config) Validate() error {
	switch {
	case !slices.Contains([]string{InfoNCE, SigLIP, Head}, c.Name):
		return fmt.Errorf("loss.name %q is unknown: use infonce, siglip or head", c.Name)
	case !slices.Contains([]string{DuplicatesIgnore, DuplicatesMask, DuplicatesPositive}, c.Duplicates):
		return fmt.Errorf("loss.duplicates %q is unknown: use ignore, mask or positive", c.Duplicates)
	case !(c.LabelSmoothing >= 0 && c.LabelSmoothing < 1):
		return fmt.Errorf("loss.label_smoothing must lie in [0, 1), not %g", c.LabelSmoothing)
	case c.Block < 0:
		return fmt.Errorf("loss.block must not be negative: %d", c.Block)
	case c.Name == SigLIP && c.LabelSmoothing != 0:
		return fmt.Errorf("loss.label_smoothing does not go with siglip")
	case c.Name == Head && (c.Block != 0 || c.Distill != nil || c.ScalePull != 0):
		return fmt.Errorf("loss.name head compares images with classes: loss.block, loss.distill and loss.scale_pull do not go with it")
	case !(c.ScalePull >= 0 && c.ScalePull <= maxWeight && c.ScaleTarget >= 0 && c.ScaleTarget <= maxWeight):
		return fmt.Errorf("loss.scale_pull and loss.scale_target must lie in [0, %g], not %g and %g", maxWeight, c.ScalePull, c.ScaleTarget)
	}
	return c.Distill.validate()
}

// maxWeight of a part of the loss is far beyond use.
const maxWeight = 1e6

// Batch is what a loss sees. Legend: B rows, E embedding.
type Batch struct {
	Images, Texts *Node // [B, E] on the unit sphere, float32
	Scale         *Node // scalar: exp(logit_scale)
	Bias          *Node // scalar or nil: logit_bias
	Keys          *Node // [B] integers, equal for duplicates; only read when Config.Duplicates asks

	// The teacher's rows for the same images and texts, [B, D] on the unit sphere, and its exp(logit_scale); only read
	// when Config.Distill asks.
	TeacherImages, TeacherTexts *Node
	TeacherScale                float64

	// Negatives [N, E] are rows of texts that belong to none of the images, on the unit sphere; nil for none. Where
	// NegativeMask [N] is 0 there is none.
	Negatives, NegativeMask *Node

	// Head [C, E] holds a row for each class, and Keys the class of each image, for the loss of that name.
	Head *Node
}

// Compute is the loss of a batch, a scalar.
func (c Config) Compute(b Batch) *Node {
	value := c.contrastive(b)
	if c.Distill != nil {
		value = Add(value, MulScalar(c.Distill.compute(b), c.Distill.Weight))
	}
	if c.ScalePull > 0 {
		value = Add(value, c.pull(b.Scale))
	}
	return value
}

// contrastive is the loss of the batch's own pairs and hard negatives, or of a head.
func (c Config) contrastive(b Batch) *Node {
	if c.Name == Head {
		return c.crossEntropyOfClasses(b)
	}
	if batch := b.Images.Shape().Dim(0); c.BlockRows(batch) < batch {
		value, gradients := c.ComputeBlocked(b)
		return withGradients(value, b, gradients)
	}
	logits := Mul(Dot(b.Images, b.Texts).General([]int{1}, nil, []int{1}, nil), b.Scale) // [B images, B texts]
	if b.Bias != nil {
		logits = Add(logits, b.Bias)
	}
	switch {
	case c.Name == SigLIP && b.Negatives != nil:
		return Add(c.sigmoid(logits, b.Keys), c.sigmoidOfNegatives(b))
	case c.Name == SigLIP:
		return c.sigmoid(logits, b.Keys)
	case b.Negatives != nil:
		return c.withNegatives(logits, b)
	default:
		return c.softmax(logits, b.Keys)
	}
}

var minusInfinity = math.Inf(-1)

// softmax is ½·(cross-entropy over rows + over columns), each the mean over the batch.
func (c Config) softmax(logits, keys *Node) *Node {
	targets, allowed := c.targets(logits, keys)
	if allowed != nil {
		logits = Where(allowed, logits, AddScalar(ZerosLike(logits), minusInfinity))
	}
	byImage := crossEntropy(logits, targets, allowed)
	byText := crossEntropy(TransposeAllAxes(logits, 1, 0), targets, allowed) // targets and allowed are symmetric
	return MulScalar(Add(byImage, byText), 0.5)
}

// crossEntropy is the mean over rows of −Σⱼ targets·log softmax(logits).
func crossEntropy(logits, targets, allowed *Node) *Node {
	shifted := Sub(logits, StopGradient(ReduceAndKeep(logits, ReduceMax, -1)))
	logSum := Log(ReduceAndKeep(Exp(shifted), ReduceSum, -1))
	logProbs := Sub(shifted, logSum)
	if allowed != nil {
		logProbs = Where(allowed, logProbs, ZerosLike(logProbs)) // 0·(−∞) must stay 0
	}
	return Neg(ReduceAllMean(ReduceSum(Mul(targets, logProbs), -1)))
}

// targets returns the target distribution of each row [B, B] and, for masked duplicates, which logits count.
func (c Config) targets(logits, keys *Node) (targets, allowed *Node) {
	batch := logits.Shape().Dim(0)
	diagonal := Diagonal(logits.Graph(), batch)
	targets = ConvertDType(diagonal, logits.DType())
	switch c.Duplicates {
	case DuplicatesPositive:
		same := ConvertDType(equalKeys(keys), logits.DType())
		targets = Div(same, ReduceAndKeep(same, ReduceSum, -1))
	case DuplicatesMask:
		allowed = LogicalOr(diagonal, LogicalNot(equalKeys(keys)))
	}
	if c.LabelSmoothing > 0 {
		uniform := Div(OnesLike(targets), countAllowed(targets, allowed))
		targets = Add(MulScalar(targets, 1-c.LabelSmoothing), MulScalar(uniform, c.LabelSmoothing))
	}
	return targets, allowed
}

func countAllowed(targets, allowed *Node) *Node {
	if allowed == nil {
		return ReduceAndKeep(OnesLike(targets), ReduceSum, -1)
	}
	return ReduceAndKeep(ConvertDType(allowed, targets.DType()), ReduceSum, -1)
}

// equalKeys is [B, B]: whether two rows carry the same key.
func equalKeys(keys *Node) *Node {
	batch := keys.Shape().Dim(0)
	rows := BroadcastToDims(Reshape(keys, batch, 1), batch, batch)
	return Equal(rows, TransposeAllAxes(rows, 1, 0))
}

// sigmoid is −Σ log σ(±logits) / B with + on pairs that belong together.
func (c Config) sigmoid(logits, keys *Node) *Node {
	batch := logits.Shape().Dim(0)
	positive := Diagonal(logits.Graph(), batch)
	var counted *Node
	switch c.Duplicates {
	case DuplicatesPositive:
		positive = equalKeys(keys)
	case DuplicatesMask:
		counted = LogicalOr(positive, LogicalNot(equalKeys(keys)))
	}
	terms := softplus(Where(positive, Neg(logits), logits)) // −log σ(x) = softplus(−x)
	if counted != nil {
		terms = Where(counted, terms, ZerosLike(terms))
	}
	return DivScalar(ReduceAllSum(terms), float64(batch))
}

// softplus is log(1 + eˣ) without overflow.
func softplus(x *Node) *Node {
	return Add(MaxScalar(x, 0), Log1p(Exp(Neg(Abs(x)))))
}
