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
}

// WithDefaults fills the fields that zero leaves open.
func (c Config) WithDefaults() Config {
	if c.Name == "" {
		c.Name = InfoNCE
	}
	if c.Duplicates == "" {
		c.Duplicates = DuplicatesIgnore
	}
	return c
}

// Validate reports the first thing that is wrong, naming the field.
func (c Config) Validate() error {
	switch {
	case !slices.Contains([]string{InfoNCE, SigLIP}, c.Name):
		return fmt.Errorf("loss.name %q is unknown: use infonce or siglip", c.Name)
	case !slices.Contains([]string{DuplicatesIgnore, DuplicatesMask, DuplicatesPositive}, c.Duplicates):
		return fmt.Errorf("loss.duplicates %q is unknown: use ignore, mask or positive", c.Duplicates)
	case c.LabelSmoothing < 0 || c.LabelSmoothing >= 1:
		return fmt.Errorf("loss.label_smoothing must lie in [0, 1), not %g", c.LabelSmoothing)
	case c.Block < 0:
		return fmt.Errorf("loss.block must not be negative: %d", c.Block)
	case c.Name == SigLIP && c.LabelSmoothing != 0:
		return fmt.Errorf("loss.label_smoothing does not go with siglip")
	}
	return nil
}

// Batch is what a loss sees. Legend: B rows, E embedding.
type Batch struct {
	Images, Texts *Node // [B, E] on the unit sphere, float32
	Scale         *Node // scalar: exp(logit_scale)
	Bias          *Node // scalar or nil: logit_bias
	Keys          *Node // [B] integers, equal for duplicates; only read when Config.Duplicates asks
}

// Compute is the loss of a batch, a scalar.
func (c Config) Compute(b Batch) *Node {
	if batch := b.Images.Shape().Dim(0); c.BlockRows(batch) < batch {
		value, gradients := c.ComputeBlocked(b)
		return withGradients(value, b, gradients)
	}
	logits := Mul(Dot(b.Images, b.Texts).General([]int{1}, nil, []int{1}, nil), b.Scale) // [B images, B texts]
	if b.Bias != nil {
		logits = Add(logits, b.Bias)
	}
	if c.Name == SigLIP {
		return c.sigmoid(logits, b.Keys)
	}
	return c.softmax(logits, b.Keys)
}

// softmax is ½·(cross-entropy over rows + over columns), each the mean over the batch.
func (c Config) softmax(logits, keys *Node) *Node {
	targets, allowed := c.targets(logits, keys)
	if allowed != nil {
		logits = Where(allowed, logits, AddScalar(ZerosLike(logits), math.Inf(-1)))
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
