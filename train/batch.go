package train

import (
	"errors"
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/gotype"
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

	device compute.Backend // nil: several devices
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

// inputs are some rows of a batch as the towers take them.
type inputs struct{ images, tokens, noise *tensors.Tensor }

// free gives their memory back. The graph that reads them must have run to its end: one of its outputs was read.
func (in inputs) free() { finalize([]*tensors.Tensor{in.images, in.tokens, in.noise}) }

// inputs copies rows from … to to the device. Noise is patch dropout's random numbers; without patch dropout it is a
// column that nobody reads.
func (b *batch) inputs(from, to int) (in inputs, err error) {
	var failed [3]error
	if pixels := b.side * b.side * 3; b.imageRows == nil {
		in.images, failed[0] = toDevice(b.device, b.images[from*pixels:to*pixels], to-from, b.side, b.side, 3)
	} else {
		in.images, failed[0] = rowsOf(b.device, b.imageRows, b.dim, from, to)
	}
	switch {
	case b.textRows != nil:
		in.tokens, failed[1] = rowsOf(b.device, b.textRows, b.dim, from, to)
	case b.index != nil:
		in.tokens, failed[1] = toDevice(b.device, b.tokens, len(b.tokens)/b.length, b.length)
	default:
		in.tokens, failed[1] = toDevice(b.device, b.tokens[from*b.length:to*b.length], to-from, b.length)
	}
	if b.patch == 0 {
		in.noise, failed[2] = toDevice(b.device, make([]float32, to-from), to-from, 1)
	} else {
		in.noise, failed[2] = rowsOf(b.device, b.noise, b.patch, from, to)
	}
	return in, errors.Join(failed[:]...)
}

// rowsOf are rows from … to of flat [B, dim] as a tensor on the device.
func rowsOf(device compute.Backend, flat []float32, dim, from, to int) (*tensors.Tensor, error) {
	return toDevice(device, flat[from*dim:to*dim], to-from, dim)
}

// toDevice copies a batch's numbers straight to the device: a copy in Go's memory on the way would be garbage that grows
// with the batch. Without a device, where several will share the tensor, that is where it lies.
func toDevice[T gotype.Supported](device compute.Backend, flat []T, dims ...int) (*tensors.Tensor, error) {
	return tensors.FromRaw(device, 0, shapes.Make(dtypes.FromGenericsType[T](), dims...), dtypes.UnsafeByteSlice(flat))
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
