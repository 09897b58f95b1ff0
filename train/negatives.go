package train

import (
	"fmt"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/loss"
)

// lossBatch runs the towers and gathers what the loss sees. extra are the step's last inputs: the index of shared texts,
// the teacher's rows, then the hard negatives' tokens and which of them exist. Legend: B pairs, N negatives, E embedding.
func (s *Stepper) lossBatch(scope *gml.Scope, images, tokens, keys, rng, noise *Node, extra []*Node) loss.Batch {
	scale, bias := s.Model.Temperature(scope, images.Graph())
	b := loss.Batch{Scale: scale, Bias: bias, Keys: keys}
	if s.HasHead() {
		b.Images = s.encodeImages(scope, images, rng, noise)
		b.Head = s.store.GetVariable("/" + HeadWeight).NodeValue(keys)
		return b
	}
	if s.sharesTexts() {
		b.Images, b.Texts = s.encode(scope, images, tokens, rng, noise)
		b.Texts = Gather(b.Texts, InsertAxes(extra[0], -1))
		return s.withTeacher(b, extra[1:])
	}
	if s.Negatives > 0 {
		pairs, wrong := tokens.Shape().Dim(0), extra[len(extra)-2:]
		var all *Node
		b.Images, all = s.encode(scope, images, Concatenate([]*Node{tokens, wrong[0]}, 0), rng, noise)
		b.Texts, b.Negatives, b.NegativeMask = SliceAxis(all, 0, AxisRange(0, pairs)), SliceAxis(all, 0, AxisRange(pairs)), wrong[1]
	} else {
		b.Images, b.Texts = s.encode(scope, images, tokens, rng, noise)
	}
	return s.withTeacher(b, extra)
}

// accuracy is the share of images that find their own text, or their class.
func (s *Stepper) accuracy(b loss.Batch) *Node {
	if s.HasHead() {
		return headAccuracy(b.Images, b.Head, b.Keys)
	}
	return Accuracy(b.Images, b.Texts, s.Loss.Block)
}

// extraLayouts are the layouts of the inputs that lossBatch calls extra.
func (s *Stepper) extraLayouts() []layout {
	var layouts []layout
	if s.sharesTexts() {
		layouts = append(layouts, whole)
	}
	layouts = append(layouts, s.teacherLayouts()...)
	if s.Negatives > 0 {
		layouts = append(layouts, split, whole)
	}
	return layouts
}

// negativeArguments are the hard negatives' tokens, cut to length, and their mask; nil without.
func (s *Stepper) negativeArguments(in Input, batch, length int) ([]*tensors.Tensor, error) {
	if s.Negatives == 0 {
		return nil, nil
	}
	n, context := batch*s.Negatives, s.Model.Text.Context
	if len(in.Negatives) != n*context || len(in.NegativeMask) != n || in.TextRows != nil {
		return nil, fmt.Errorf("%d tokens and a mask of %d do not fit %d hard negatives of context %d for each of %d pairs",
			len(in.Negatives), len(in.NegativeMask), s.Negatives, context, batch)
	}
	return []*tensors.Tensor{
		tensors.FromFlatDataAndDimensions(cutTokens(in.Negatives, context, length), n, length),
		tensors.FromFlatDataAndDimensions(in.NegativeMask, n),
	}, nil
}
