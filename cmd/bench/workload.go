package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/internal/prng"
	"tandem/loss"
	"tandem/model"
	"tandem/optim"
	"tandem/train"
)

// How many random batches take turns: as many as in the peers' scripts, but large ones would be most of the memory that
// is to be measured.
const (
	distinctBatches = 4
	distinctBytes   = 64 << 20
)

func newWorkload(o options, b compute.Backend) (workload, error) {
	store, err := o.model.NewStore(1)
	if err != nil {
		return workload{}, err
	}
	var inputs []train.Input
	for bytes := 0; len(inputs) == 0 || len(inputs) < distinctBatches && bytes < distinctBytes; bytes += len(inputs[0].Images) {
		inputs = append(inputs, randomBatch(o, uint64(len(inputs))))
	}
	if o.infer != "" {
		return encodingWorkload(o, b, store, inputs)
	}
	return trainingWorkload(o, b, store, inputs)
}

func dtype(o options) dtypes.DType {
	if o.dtype == "bfloat16" {
		return dtypes.BFloat16
	}
	return dtypes.Float32
}

func trainingWorkload(o options, b compute.Backend, store *gml.Store, inputs []train.Input) (workload, error) {
	oc := optim.Config{}.WithDefaults()
	stepper, err := train.NewStepper(b, store, train.Stepper{
		Model: o.model, Loss: loss.Config{Block: o.block}.WithDefaults(), Optim: oc, DType: dtype(o), Rematerialise: o.remat,
		Chunk: o.chunk, Devices: o.devices,
	})
	if err != nil {
		return workload{}, err
	}
	curve := oc.Schedule.Over(1000, int64(o.batch), 1000)
	image, text := o.model.FLOPs()
	var last train.Metrics
	return workload{
		what: "train", flops: 3 * (image + text) * float64(o.batch),
		step: func(i int) (err error) {
			last, err = stepper.Step(inputs[i%len(inputs)], curve, int64(i), int64(i+1))
			if err == nil && !last.Finite {
				err = fmt.Errorf("step %d: loss %v is not finite", i, last.Loss)
			}
			return err
		},
		first: func() (time.Duration, time.Duration) {
			build := stepper.BuildTime()
			return build, stepper.TakeCompileTime() - build
		},
		loss: func() float64 { return float64(last.Loss) },
	}, nil
}

// encodingWorkload encodes images or texts as package embed does: the tower and the projection to the unit sphere.
func encodingWorkload(o options, b compute.Backend, store *gml.Store, inputs []train.Input) (workload, error) {
	c, run := o.model, model.Run{DType: dtype(o)}
	image, text := c.FLOPs()
	w := workload{what: o.infer, flops: image * float64(o.batch)}
	var build, compile time.Duration
	encode := func(scope *gml.Scope, x *Node) *Node {
		began := time.Now()
		defer func() { build += time.Since(began) }()
		if o.infer == "images" {
			return model.L2Normalise(c.EncodeImages(scope, x, run))
		}
		return model.L2Normalise(c.EncodeTexts(scope, x, run))
	}
	exec, err := gml.NewExec(b, store, encode)
	if err != nil {
		return w, err
	}
	if o.infer == "texts" {
		w.flops = text * float64(o.batch)
	}
	compiled := map[int]bool{}
	w.step = func(i int) error {
		in := inputs[i%len(inputs)]
		x := imageTensor(o, in)
		if o.infer == "texts" {
			x = tokenTensor(o, in)
		}
		if size := x.Shape().Size(); !compiled[size] {
			began := time.Now()
			if _, err := exec.Compile(x.Shape()); err != nil {
				return err
			}
			compiled[size] = true
			compile += time.Since(began)
		}
		outputs, err := exec.Call(x)
		if err != nil {
			return err
		}
		defer outputs[0].FinalizeAll()
		return tensors.ConstFlatData(outputs[0], func([]float32) {})
	}
	w.first = func() (time.Duration, time.Duration) { return build, compile - build }
	return w, nil
}

func imageTensor(o options, in train.Input) *tensors.Tensor {
	side := o.model.Vision.ImageSize
	return tensors.FromFlatDataAndDimensions(in.Images, o.batch, side, side, 3)
}

func tokenTensor(o options, in train.Input) *tensors.Tensor {
	context, length := o.model.Text.Context, o.model.Text.CutLength(in.Longest)
	cut := make([]int32, 0, o.batch*length)
	for row := range o.batch {
		cut = append(cut, in.Tokens[row*context:row*context+length]...)
	}
	return tensors.FromFlatDataAndDimensions(cut, o.batch, length)
}

// randomBatch is random pixels and captions: a start token, random ids, an end token, zeros.
func randomBatch(o options, number uint64) train.Input {
	r := prng.New(17, number)
	t, side := o.model.Text, o.model.Vision.ImageSize
	in := train.Input{Images: make([]uint8, o.batch*side*side*3), Tokens: make([]int32, o.batch*t.Context)}
	for i := range in.Images {
		in.Images[i] = uint8(r.Uint32N(256))
	}
	for row := range o.batch {
		tokens := in.Tokens[row*t.Context : (row+1)*t.Context]
		end := captionLength(o, r) - 1
		tokens[0] = int32(t.Vocab - 2)
		for j := 1; j < end; j++ {
			tokens[j] = int32(1 + r.IntN(t.Vocab-3))
		}
		tokens[end] = int32(t.Vocab - 1) // the highest id, which pooling looks for
		in.Longest = max(in.Longest, end+1)
	}
	if o.captions == "full" {
		in.Longest = t.Context
	}
	return in
}

// captionLength draws a number of tokens, start and end included: anything from 6 up as in the peers' scripts, or as in
// collections of web captions, log-normal with median 12 (plus start and end) and 95 % under 32.
func captionLength(o options, r *rand.Rand) int {
	context := o.model.Text.Context
	shortest := min(6, context)
	if o.captions == "full" {
		return shortest + r.IntN(context-shortest+1)
	}
	n := 2 + int(math.Round(12*math.Exp(0.55*r.NormFloat64())))
	return max(shortest, min(context, n))
}

// realLengths are the text lengths that graphs are compiled for with captions of real length.
func realLengths(context int) []int {
	var lengths []int
	for _, n := range []int{16, 24, 32, 40, 48, 64} {
		if n < context {
			lengths = append(lengths, n)
		}
	}
	return slices.Clip(lengths)
}

func noise(n int) []float32 {
	r := prng.New(3, 0)
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(r.Float64()) - 0.5
	}
	return values
}
