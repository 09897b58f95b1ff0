package train

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/optim"
)

// batch is a step's input, checked, with what all of its graphs share as tensors.
type batch struct {
	images        []uint8   // [size, side, side, 3]
	tokens        []int32   // [size, length]
	imageRows     []float32 // [size, dim] in place of images, or nil
	textRows      []float32
	dim           int
	extra         []*tensors.Tensor // what lossBatch calls so
	noise         []float32
	size, side    int
	length, patch int     // of a row of tokens; of noise
	index         []int32 // [size]: the row of tokens of each pair where pairs share them, or nil

	keys, hyper, rng *tensors.Tensor
}

// newBatch checks the input, cuts its tokens to a compiled length, and draws the random numbers of the step.
func (s *Stepper) newBatch(in Input, curve optim.Curve, step, seed int64) (*batch, error) {
	b, err := s.checkedBatch(in)
	if err != nil {
		return nil, err
	}
	if err := s.checkSize(b.size); err != nil {
		return nil, err
	}
	b.length = s.CutLength(in.Longest)
	b.tokens = cutTokens(in.Tokens, s.Model.Text.Context, b.length)
	keys := in.Keys
	if keys == nil {
		keys = distinct(b.size)
	}
	if err := s.checkClasses(keys); err != nil {
		return nil, err
	}
	hyper := s.Optim.Hyper(curve, step)
	b.keys = tensors.FromFlatDataAndDimensions(keys, b.size)
	b.hyper = tensors.FromFlatDataAndDimensions(hyper[:], len(hyper))
	if b.rng, err = RNGStateFromSeed(seed); err != nil {
		return nil, err
	}
	b.extra = s.shareTexts(b)
	teacher, err := s.teacherArguments(in, b.size)
	if err != nil {
		return nil, err
	}
	b.extra = append(b.extra, teacher...)
	negatives, err := s.negativeArguments(in, b.size, b.length)
	if err != nil {
		return nil, err
	}
	b.extra = append(b.extra, negatives...)
	return b, s.drawNoise(b)
}

// inputs are rows from … to of images and tokens as tensors.
func (b *batch) inputs(from, to int) (images, tokens *tensors.Tensor) {
	images, tokens = rowsOf(b.imageRows, b.dim, from, to), rowsOf(b.textRows, b.dim, from, to)
	if pixels := b.side * b.side * 3; images == nil {
		images = tensors.FromFlatDataAndDimensions(b.images[from*pixels:to*pixels], to-from, b.side, b.side, 3)
	}
	switch {
	case b.index != nil:
		tokens = tensors.FromFlatDataAndDimensions(b.tokens, len(b.tokens)/b.length, b.length)
	case tokens == nil:
		tokens = tensors.FromFlatDataAndDimensions(b.tokens[from*b.length:to*b.length], to-from, b.length)
	}
	return images, tokens
}

// noiseOf are rows from … to of patch dropout's random numbers; without patch dropout a column that nobody reads.
func (b *batch) noiseOf(from, to int) *tensors.Tensor {
	if b.patch == 0 {
		return tensors.FromShape(shapes.Make(dtypes.Float32, to-from, 1))
	}
	return tensors.FromFlatDataAndDimensions(b.noise[from*b.patch:to*b.patch], to-from, b.patch)
}

// newNoise prepares drawing a number for each patch of each image of a batch. It runs on one device and for the whole
// batch, so that neither devices nor chunks change what is dropped.
func (s *Stepper) newNoise(backend compute.Backend) (*runner, error) {
	single := *s
	single.Devices = 1
	r, err := single.newRunner(backend, "patch dropout", func(_ *gml.Scope, in []*Node) []*Node {
		grid := s.Model.Vision.Grid()
		_, noise := RandomUniform(in[0], shapes.Make(dtypes.Float32, in[1].Shape().Dim(0), grid*grid))
		return []*Node{noise}
	})
	if err == nil {
		r.took = &s.compileTime
	}
	return r, err
}

func (s *Stepper) drawNoise(b *batch) error {
	if s.noise == nil {
		return nil
	}
	outputs, err := s.noise.call(b.rng, b.keys)
	if err != nil {
		return fmt.Errorf("draw patch dropout: %w", err)
	}
	defer outputs[0].FinalizeAll()
	b.noise, err = tensors.CopyFlatData[float32](outputs[0])
	b.patch = s.Model.Vision.Grid() * s.Model.Vision.Grid()
	return err
}

func distinct(n int) []int32 {
	keys := make([]int32, n)
	for i := range keys {
		keys[i] = int32(i)
	}
	return keys
}

// cutTokens keeps the first length columns of rows of context tokens.
func cutTokens(tokens []int32, context, length int) []int32 {
	if length == context {
		return tokens
	}
	cut := make([]int32, 0, len(tokens)/context*length)
	for row := 0; row < len(tokens); row += context {
		cut = append(cut, tokens[row:row+length]...)
	}
	return cut
}
