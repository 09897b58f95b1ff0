package loss

import (
	"fmt"
	"math"

	. "github.com/gomlx/gomlx/core/graph"
	. "github.com/gomlx/gomlx/support/exceptions"
)

// Kinds of distillation.
const (
	// DistillLogits: cross-entropy of the student's similarities against the teacher's, over rows and over columns, each
	// at its own temperature (open_clip/loss.py, DistillClipLoss; TinyCLIP, Wu et al., 2023: affinity mimicking).
	DistillLogits = "logits"
	// DistillFeatures: 1 − cosine between the student's rows and the teacher's, which must be of the same width.
	DistillFeatures = "features"
)

// Distill learns from a teacher.
type Distill struct {
	Kind   string  `yaml:"kind,omitempty" json:"kind"`     // logits (the default) or features
	Weight float64 `yaml:"weight,omitempty" json:"weight"` // relative to the contrastive loss; default 1
}

func (d *Distill) withDefaults() *Distill {
	if d == nil {
		return nil
	}
	filled := *d
	if filled.Kind == "" {
		filled.Kind = DistillLogits
	}
	if filled.Weight == 0 {
		filled.Weight = 1
	}
	return &filled
}

func (d *Distill) validate() error {
	switch {
	case d == nil:
		return nil
	case d.Kind != DistillLogits && d.Kind != DistillFeatures:
		return fmt.Errorf("loss.distill.kind %q is unknown: use logits or features", d.Kind)
	case !(d.Weight >= 0 && d.Weight <= maxWeight):
		return fmt.Errorf("loss.distill.weight must lie in [0, %g], not %g", maxWeight, d.Weight)
	}
	return nil
}

// compute is the distillation's own loss, a scalar.
func (d *Distill) compute(b Batch) *Node {
	if d.Kind == DistillFeatures {
		if s, t := b.Images.Shape().Dim(1), b.TeacherImages.Shape().Dim(1); s != t {
			Panicf("loss.distill: the teacher's rows have %d numbers, the student's %d: features need equal widths, logits do not", t, s)
		}
		apart := func(a, b *Node) *Node { return OneMinus(ReduceAllMean(ReduceSum(Mul(a, b), -1))) }
		return MulScalar(Add(apart(b.Images, b.TeacherImages), apart(b.Texts, b.TeacherTexts)), 0.5)
	}
	student := Mul(similarities(b.Images, b.Texts), b.Scale)
	teacher := StopGradient(MulScalar(similarities(b.TeacherImages, b.TeacherTexts), b.TeacherScale))
	byImage := crossEntropy(student, softmaxRows(teacher), nil)
	byText := crossEntropy(TransposeAllAxes(student, 1, 0), softmaxRows(TransposeAllAxes(teacher, 1, 0)), nil)
	return MulScalar(Add(byImage, byText), 0.5)
}

// similarities is images·textsᵀ: [B images, B texts].
func similarities(images, texts *Node) *Node {
	return Dot(images, texts).General([]int{1}, nil, []int{1}, nil)
}

func softmaxRows(x *Node) *Node {
	e := Exp(Sub(x, ReduceAndKeep(x, ReduceMax, -1)))
	return Div(e, ReduceAndKeep(e, ReduceSum, -1))
}

// pull is the price of a temperature away from its target.
func (c Config) pull(scale *Node) *Node {
	return MulScalar(Square(AddScalar(Log(scale), -math.Log(c.ScaleTarget))), c.ScalePull)
}
