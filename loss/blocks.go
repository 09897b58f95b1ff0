package loss

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// This file computes the losses without ever holding the [B, B] matrix of similarities: block after block of R images sees
// [R, B] of it. The gradients are written by hand, because automatic ones would keep every block.
//
// The softmax loss needs two rounds. The first finds log Σ exp of each row, and of each column by a running maximum and
// sum (as Milakov and Gimelshein, 2018). The second has dL/dlogits in closed form: ½/B·(softmax over rows − its targets +
// softmax over columns − its targets). The sigmoid loss needs one.
//
// The rounds are unrolled: the XLA bindings cannot reduce inside a loop (go-xla 0.4.5).

// Gradients are the derivatives of a loss by what it sees.
type Gradients struct {
	Images, Texts *Node // [B, E]
	Scale, Bias   *Node // scalars; Bias is nil where the batch has none
}

// BlockRows is the number of images in a block for a batch.
func (c Config) BlockRows(batch int) int {
	if c.Block == 0 {
		return batch
	}
	return min(c.Block, batch)
}

// ComputeBlocked is Compute with its gradients, in blocks.
func (c Config) ComputeBlocked(b Batch) (*Node, Gradients) {
	w := blockwise{config: c, Batch: b, batch: b.Images.Shape().Dim(0)}
	w.rows = c.BlockRows(w.batch)
	if c.Duplicates != DuplicatesIgnore {
		w.countPartners()
	}
	if c.Name == InfoNCE {
		w.sumExponentials()
	}
	return w.gradients()
}

// withGradients attaches hand-written gradients to a value: what follows it differentiates to them.
func withGradients(value *Node, b Batch, g Gradients) *Node {
	linear := Add(ReduceAllSum(Mul(StopGradient(g.Images), b.Images)), ReduceAllSum(Mul(StopGradient(g.Texts), b.Texts)))
	linear = Add(linear, Mul(StopGradient(g.Scale), b.Scale))
	if b.Bias != nil {
		linear = Add(linear, Mul(StopGradient(g.Bias), b.Bias))
	}
	return Add(StopGradient(value), Sub(linear, StopGradient(linear)))
}

// blockwise goes over a batch in blocks. Legend: B batch, R rows of a block, E embedding.
type blockwise struct {
	Batch
	config      Config
	batch, rows int

	partners   *Node // [B]: how many rows share the key, the row itself included
	rowSums    *Node // [B]: log Σ exp of each row of the logits
	columnSums *Node // [B]
}

// block is what is seen of the matrix at a time, images first … first+R.
type block struct {
	first, rows          int
	images               *Node // [R, E]
	similarities, logits *Node // [R, B]; logits are −∞ where they do not count
	own                  *Node // [R, B]: whether image and text belong together by position
	same                 *Node // [R, B]: whether their keys are equal; nil where nobody asks
	allowed              *Node // [R, B], or nil where every logit counts
}

// cut is the block's rows of x [B] or [B, E].
func (b block) cut(x *Node) *Node { return SliceAxis(x, 0, AxisRange(b.first, b.first+b.rows)) }

// column is the block's rows of x [B] as [R, 1].
func (b block) column(x *Node) *Node { return Reshape(b.cut(x), b.rows, 1) }

// each calls body for every block. The last one may be shorter.
func (w *blockwise) each(body func(b block)) {
	for first := 0; first < w.batch; first += w.rows {
		body(block{first: first, rows: min(w.rows, w.batch-first)})
	}
}

// countPartners counts the rows that share each row's key.
func (w *blockwise) countPartners() {
	var counts []*Node
	w.each(func(b block) {
		counts = append(counts, ReduceSum(ConvertDType(w.sameKeys(b), w.Images.DType()), -1))
	})
	w.partners = Concatenate(counts, 0)
}

// sameKeys is [R, B]: whether a row of the block and any row carry the same key.
func (w *blockwise) sameKeys(b block) *Node {
	return Equal(BroadcastToDims(b.column(w.Keys), b.rows, w.batch), BroadcastToDims(w.acrossRows(w.Keys), b.rows, w.batch))
}

// acrossRows is x [B] as [1, B].
func (w *blockwise) acrossRows(x *Node) *Node { return Reshape(x, 1, w.batch) }

// see computes a block's logits.
func (w *blockwise) see(b block) block {
	b.images = b.cut(w.Images)
	b.similarities = Dot(b.images, w.Texts).General([]int{1}, nil, []int{1}, nil)
	b.logits = Mul(b.similarities, w.Scale)
	if w.Bias != nil {
		b.logits = Add(b.logits, w.Bias)
	}
	g, shape := w.Images.Graph(), shapes.Make(dtypes.Int32, b.rows, w.batch)
	b.own = Equal(AddScalar(Iota(g, shape, 0), b.first), Iota(g, shape, 1))
	if w.config.Duplicates != DuplicatesIgnore {
		b.same = w.sameKeys(b)
	}
	if w.config.Duplicates == DuplicatesMask {
		b.allowed = LogicalOr(b.own, LogicalNot(b.same))
		b.logits = Where(b.allowed, b.logits, AddScalar(ZerosLike(b.logits), math.Inf(-1)))
	}
	return b
}

// sumExponentials finds log Σ exp over each row and each column of the logits.
func (w *blockwise) sumExponentials() {
	sums := Zeros(w.Images.Graph(), shapes.Make(w.Images.DType(), w.batch))
	maxima := AddScalar(sums, -math.MaxFloat32/2) // finite: a column may not count in a whole block
	var rows []*Node
	w.each(func(b block) {
		logits := w.see(b).logits
		top := ReduceAndKeep(logits, ReduceMax, -1)
		rows = append(rows, Add(Log(ReduceSum(Exp(Sub(logits, top)), -1)), Reshape(top, b.rows)))
		before := maxima
		maxima = Max(before, ReduceMax(logits, 0))
		sums = Mul(sums, Exp(Sub(before, maxima)))
		sums = Add(sums, ReduceSum(Exp(Sub(logits, w.acrossRows(maxima))), 0))
	})
	w.rowSums, w.columnSums = Concatenate(rows, 0), Add(maxima, Log(sums))
}

// gradients adds up the loss and its gradients.
func (w *blockwise) gradients() (*Node, Gradients) {
	g := w.Images.Graph()
	loss, bias := ScalarZero(g, w.Images.DType()), ScalarZero(g, w.Images.DType())
	sums := Gradients{Texts: ZerosLike(w.Texts), Scale: ScalarZero(g, w.Images.DType())}
	var images []*Node
	w.each(func(b block) {
		b = w.see(b)
		share := w.softmaxBlock
		if w.config.Name == SigLIP {
			share = w.sigmoidBlock
		}
		value, d := share(b) // dL/dlogits [R, B]
		scaled := Mul(d, w.Scale)
		loss = Add(loss, value)
		images = append(images, Dot(scaled, w.Texts).General([]int{1}, nil, []int{0}, nil))
		sums.Texts = Add(sums.Texts, Dot(scaled, b.images).General([]int{0}, nil, []int{0}, nil))
		sums.Scale = Add(sums.Scale, ReduceAllSum(Mul(d, b.similarities)))
		bias = Add(bias, ReduceAllSum(d))
	})
	sums.Images = Concatenate(images, 0)
	if w.Bias != nil {
		sums.Bias = bias
	}
	return loss, sums
}

// softmaxBlock is a block's share of the symmetric cross-entropy and its derivative by the logits.
func (w *blockwise) softmaxBlock(b block) (loss, slope *Node) {
	byRow := Sub(b.logits, b.column(w.rowSums))
	byColumn := Sub(b.logits, w.acrossRows(w.columnSums))
	rowTargets, columnTargets := w.targets(b, b.column), w.targets(b, w.acrossRows)
	terms := Add(Mul(rowTargets, byRow), Mul(columnTargets, byColumn))
	slope = Add(Sub(Exp(byRow), rowTargets), Sub(Exp(byColumn), columnTargets))
	if b.allowed != nil {
		terms = Where(b.allowed, terms, ZerosLike(terms)) // 0·(−∞) must stay 0
		slope = Where(b.allowed, slope, ZerosLike(slope))
	}
	share := 0.5 / float64(w.batch)
	return MulScalar(ReduceAllSum(terms), -share), MulScalar(slope, share)
}

// targets is the target distribution [R, B]; whose picks a number for each image or for each text out of [B].
func (w *blockwise) targets(b block, whose func(*Node) *Node) *Node {
	dtype := b.logits.DType()
	targets := ConvertDType(b.own, dtype)
	counted := Scalar(b.logits.Graph(), dtype, w.batch)
	switch w.config.Duplicates {
	case DuplicatesPositive:
		targets = Div(ConvertDType(b.same, dtype), whose(w.partners))
	case DuplicatesMask:
		counted = Sub(AddScalar(counted, 1), whose(w.partners))
	}
	if smoothing := w.config.LabelSmoothing; smoothing > 0 {
		targets = Add(MulScalar(targets, 1-smoothing), MulScalar(Reciprocal(counted), smoothing))
	}
	return targets
}

// sigmoidBlock is a block's share of the sigmoid loss and its derivative by the logits.
func (w *blockwise) sigmoidBlock(b block) (loss, slope *Node) {
	positive := b.own
	if w.config.Duplicates == DuplicatesPositive {
		positive = b.same
	}
	sign := AddScalar(MulScalar(ConvertDType(positive, b.logits.DType()), 2), -1)
	against := Neg(Mul(sign, b.logits))
	terms, slope := softplus(against), Mul(Neg(sign), Logistic(against))
	if b.allowed != nil {
		terms = Where(b.allowed, terms, ZerosLike(terms))
		slope = Where(b.allowed, slope, ZerosLike(slope))
	}
	share := 1 / float64(w.batch)
	return MulScalar(ReduceAllSum(terms), share), MulScalar(slope, share)
}
