package loss

import (
	. "github.com/gomlx/gomlx/core/graph"
)

// Head is the name of the loss of a linear head over fixed classes: cross-entropy of scale·image·headᵀ against each
// image's class, with label smoothing. The head's rows start as the classes' zero-shot rows (WiSE-FT: Wortsman et al.,
// 2022; the baseline of FLYP: Goyal et al., 2023). It reads no texts.
const Head = "head"

// crossEntropyOfClasses is the head's loss. Legend: B images, C classes, E embedding. Keys are the classes' indices.
func (c Config) crossEntropyOfClasses(b Batch) *Node {
	logits := Mul(similarities(b.Images, b.Head), b.Scale) // [B, C]
	classes := b.Head.Shape().Dim(0)
	targets := OneHot(b.Keys, classes, logits.DType())
	if c.LabelSmoothing > 0 {
		targets = AddScalar(MulScalar(targets, 1-c.LabelSmoothing), c.LabelSmoothing/float64(classes))
	}
	return crossEntropy(logits, targets, nil)
}

// withNegatives is InfoNCE where every image sees the batch's hard negatives besides its texts: texts that belong to no
// image, such as captions with two words exchanged (NegCLIP: Yuksekgonul et al., 2023). Texts see the images as before.
// Legend: B images and texts, N negatives.
func (c Config) withNegatives(logits *Node, b Batch) *Node {
	targets, allowed := c.targets(logits, b.Keys)
	if allowed != nil {
		logits = Where(allowed, logits, AddScalar(ZerosLike(logits), minusInfinity))
	}
	byText := crossEntropy(TransposeAllAxes(logits, 1, 0), targets, allowed)

	wrong := c.negativeLogits(b) // [B, N]
	there := b.there(wrong)
	wrong = Where(there, wrong, AddScalar(ZerosLike(wrong), minusInfinity))
	if allowed == nil {
		allowed = OnesLike(ConvertDType(logits, there.DType()))
	}
	byImage := crossEntropy(Concatenate([]*Node{logits, wrong}, 1), Concatenate([]*Node{targets, ZerosLike(wrong)}, 1),
		Concatenate([]*Node{allowed, there}, 1))
	return MulScalar(Add(byImage, byText), 0.5)
}

// negativeLogits are the images' similarities to the hard negatives: [B, N].
func (c Config) negativeLogits(b Batch) *Node {
	logits := Mul(similarities(b.Images, b.Negatives), b.Scale)
	if b.Bias != nil {
		logits = Add(logits, b.Bias)
	}
	return logits
}

// there is [B, N]: which of the negatives exist.
func (b Batch) there(like *Node) *Node {
	shape := like.Shape()
	row := Reshape(GreaterThan(b.NegativeMask, ZerosLike(b.NegativeMask)), 1, shape.Dim(1))
	return BroadcastToDims(row, shape.Dimensions...)
}

// sigmoidOfNegatives is SigLIP's part of the hard negatives: Σ log(1 + exp(logit)) / B over all images and negatives.
func (c Config) sigmoidOfNegatives(b Batch) *Node {
	logits := c.negativeLogits(b)
	terms := Where(b.there(logits), softplus(logits), ZerosLike(logits))
	return DivScalar(ReduceAllSum(terms), float64(logits.Shape().Dim(0)))
}
