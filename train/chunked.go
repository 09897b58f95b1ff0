package train

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/loss"
)

// chunked is a step that keeps the activations of one chunk of the batch in memory at a time (gradient caching: Gao et
// al., 2021). It embeds chunk after chunk and keeps only the rows; computes the loss over all rows and its gradient by
// each row; then runs each chunk again and back-propagates the gradients of its rows. The sums are the gradients of the
// whole batch, temperature included; the price is a second forward pass.
type chunked struct {
	*Stepper
	embed, loss, backward, update *runner
	sums                          []*gml.Variable // of the gradients, one for each trainable parameter
}

// sumScope is where the sums are in the store. They live for a step and belong to no checkpoint.
const sumScope = "gradients/"

// checkMode refuses combinations of settings that would not be exact.
func (s *Stepper) checkMode() error {
	switch {
	case s.Chunk < 0 || s.Devices < 0:
		return errors.New("the chunk and the number of devices must not be negative")
	case s.Chunk > 0 && len(s.buffers) > 0:
		return errors.New("train.chunk does not go with batch norm, whose statistics are those of the whole batch: use a vision transformer, or train.chunk=0")
	case s.Chunk > 0 && (s.Loss.Distill != nil || s.Loss.ScalePull > 0):
		return errors.New("train.chunk does not go with loss.distill and loss.scale_pull: set train.chunk=0")
	case s.Chunk > 0 && (s.HasHead() || s.Negatives > 0):
		return errors.New("train.chunk does not go with loss.name head and data.negatives: set train.chunk=0")
	case s.Negatives > 0 && (s.HasHead() || s.Loss.Block > 0):
		return errors.New("data.negatives does not go with loss.name head and loss.block")
	case s.Chunk > 0 && s.AdapterDropout > 0:
		return errors.New("train.chunk does not go with the dropout of adapters: set tune.lora.dropout=0 or train.chunk=0")
	}
	return nil
}

// checkSize refuses a batch that does not divide evenly.
func (s *Stepper) checkSize(batch int) error {
	devices := max(1, s.Devices)
	switch {
	case s.Chunk > 0 && batch%s.Chunk != 0:
		return fmt.Errorf("train.chunk %d does not divide the batch of %d", s.Chunk, batch)
	case s.Chunk > 0 && s.Chunk%devices != 0:
		return fmt.Errorf("%d devices do not divide train.chunk %d", devices, s.Chunk)
	case batch%devices != 0:
		return fmt.Errorf("%d devices do not divide the batch of %d", devices, batch)
	}
	return nil
}

func (s *Stepper) newChunked(backend compute.Backend) (*chunked, error) {
	c := &chunked{Stepper: s}
	for _, p := range s.adam.Paths() {
		shape := s.store.GetVariable("/" + p).Shape()
		v, err := s.store.CreateVariable("/"+sumScope+p, tensors.FromShape(shape))
		if err != nil {
			return nil, err
		}
		c.sums = append(c.sums, v.SetTrainable(false))
	}
	var failed error
	prepare := func(name string, graph graphFunc, inputs ...layout) *runner {
		r, err := s.newRunner(backend, name, graph, inputs...)
		failed = errors.Join(failed, err)
		return r
	}
	c.embed = prepare("embedding of a chunk", c.embedGraph, split, split, whole, split)
	c.loss = prepare("loss", c.lossGraph, whole, whole, whole)
	c.backward = prepare("gradients of a chunk", c.backwardGraph, split, split, whole, split, split, split)
	c.update = prepare("update", c.updateGraph, whole, whole)
	return c, failed
}

// embedGraph returns the rows of a chunk. Legend: C chunk, B batch, E embedding.
func (c *chunked) embedGraph(scope *gml.Scope, in []*Node) []*Node {
	defer c.building()()
	imagesCE, textsCE := c.encode(scope, in[0], in[1], in[2], in[3])
	return []*Node{imagesCE, textsCE}
}

// lossGraph starts the sums: it sets those of the temperature and clears the others. It returns the first three metrics
// and the gradients by the rows.
func (c *chunked) lossGraph(scope *gml.Scope, in []*Node) []*Node {
	defer c.building()()
	imagesBE, textsBE, keys := in[0], in[1], in[2]
	g := imagesBE.Graph()
	scale, bias := c.Model.Temperature(scope, g)
	value := c.Loss.Compute(loss.Batch{Images: imagesBE, Texts: textsBE, Scale: scale, Bias: bias, Keys: keys})
	by := []*Node{imagesBE, textsBE}
	var own []*gml.Variable
	for i, node := range c.adam.Trainable(g) {
		if inTower(c.sums[i]) {
			c.sums[i].SetNodeValue(ZerosLike(node))
			continue
		}
		by, own = append(by, node), append(own, c.sums[i])
	}
	gradients := Gradient(value, by...)
	for i, sum := range own {
		sum.SetNodeValue(gradients[2+i])
	}
	accuracy := Accuracy(imagesBE, textsBE, c.Loss.Block)
	return []*Node{Stack([]*Node{value, scale, accuracy}, 0), gradients[0], gradients[1]}
}

// inTower tells the parameters of the towers from the temperature's.
func inTower(sum *gml.Variable) bool {
	path := strings.TrimPrefix(sum.Path(), "/"+sumScope)
	return strings.Contains(path, "/")
}

// backwardGraph adds a chunk's gradients to the sums. It returns a scalar, since a graph must return something.
func (c *chunked) backwardGraph(scope *gml.Scope, in []*Node) []*Node {
	defer c.building()()
	imagesCE, textsCE := c.encode(scope, in[0], in[1], in[2], in[3])
	linear := Add(ReduceAllSum(Mul(imagesCE, in[4])), ReduceAllSum(Mul(textsCE, in[5])))
	var by []*Node
	var own []*gml.Variable
	for i, node := range c.adam.Trainable(linear.Graph()) {
		if inTower(c.sums[i]) {
			by, own = append(by, node), append(own, c.sums[i])
		}
	}
	if len(by) > 0 {
		for i, gradient := range Gradient(linear, by...) {
			own[i].SetNodeValue(Add(own[i].NodeValue(linear), gradient))
		}
	}
	return []*Node{linear}
}

// updateGraph is the optimiser's part of the step.
func (c *chunked) updateGraph(scope *gml.Scope, in []*Node) []*Node {
	defer c.building()()
	metrics, hyper := in[0], in[1]
	at := func(i int) *Node { return Squeeze(SliceAxis(metrics, 0, AxisElem(i)), 0) }
	sums := valuesOf(c.sums, metrics.Graph())
	health := c.adam.Update(at(0), hyper, sums, c.Norms)
	clampTemperature(scope, metrics.Graph())
	return []*Node{c.report(at(0), at(1), at(2), health)}
}

// step is one optimiser step.
func (c *chunked) step(b *batch) (*tensors.Tensor, error) {
	images, texts, err := c.embedAll(b)
	if err != nil {
		return nil, err
	}
	dim := c.Model.EmbedDim
	losses, err := c.loss.call(tensors.FromFlatDataAndDimensions(images, b.size, dim), tensors.FromFlatDataAndDimensions(texts, b.size, dim), b.keys)
	if err != nil {
		return nil, err
	}
	defer finalize(losses)
	if err := c.backwardAll(b, losses[1], losses[2]); err != nil {
		return nil, err
	}
	outputs, err := c.update.call(losses[0], b.hyper)
	if err != nil {
		return nil, err
	}
	return outputs[0], nil
}

// embedAll returns the rows of the whole batch: [B, E] each.
func (c *chunked) embedAll(b *batch) (images, texts []float32, err error) {
	size := b.size * c.Model.EmbedDim
	images, texts = make([]float32, 0, size), make([]float32, 0, size)
	for from := 0; from < b.size; from += c.Chunk {
		pixels, tokens := b.inputs(from, from+c.Chunk)
		outputs, err := c.embed.call(pixels, tokens, b.rng, b.noiseOf(from, from+c.Chunk))
		if err != nil {
			return nil, nil, err
		}
		err = errors.Join(appendValues(&images, outputs[0]), appendValues(&texts, outputs[1]))
		finalize(outputs)
		if err != nil {
			return nil, nil, err
		}
		finalize([]*tensors.Tensor{pixels, tokens})
	}
	return images, texts, nil
}

// backwardAll adds the gradients of every chunk to the sums.
func (c *chunked) backwardAll(b *batch, byImages, byTexts *tensors.Tensor) error {
	images, err := tensors.CopyFlatData[float32](byImages)
	if err != nil {
		return err
	}
	texts, err := tensors.CopyFlatData[float32](byTexts)
	if err != nil {
		return err
	}
	dim := c.Model.EmbedDim
	rows := func(flat []float32, from int) *tensors.Tensor {
		return tensors.FromFlatDataAndDimensions(flat[from*dim:(from+c.Chunk)*dim], c.Chunk, dim)
	}
	for from := 0; from < b.size; from += c.Chunk {
		pixels, tokens := b.inputs(from, from+c.Chunk)
		args := []*tensors.Tensor{pixels, tokens, b.rng, b.noiseOf(from, from+c.Chunk), rows(images, from), rows(texts, from)}
		outputs, err := c.backward.call(args...)
		if err != nil {
			return err
		}
		finalize(outputs)
		finalize(slices.Delete(args, 2, 3)) // the random state serves every chunk
	}
	return nil
}

func appendValues(to *[]float32, t *tensors.Tensor) error {
	return tensors.ConstFlatData(t, func(flat []float32) { *to = append(*to, flat...) })
}

func finalize(list []*tensors.Tensor) {
	for _, t := range list {
		t.FinalizeAll()
	}
}
