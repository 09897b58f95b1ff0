package train

import (
	"errors"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/internal/fault"
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
	images, texts                 []float32       // [B, E]: the batch's rows, then the gradients by them; reused by every step
}

// sumScope is where the sums are in the store. They live for a step and belong to no checkpoint.
const sumScope = "gradients/"

// checkMode refuses combinations of settings that would not be exact.
func (s *Stepper) checkMode() error {
	switch {
	case s.Chunk < 0 || s.Devices < 0:
		return fault.Userf("the chunk and the number of devices must not be negative")
	case s.Chunk > 0 && len(s.buffers) > 0:
		return fault.Userf("train.chunk does not go with batch norm, whose statistics are those of the whole batch: use a vision transformer, or train.chunk=0")
	case s.Chunk > 0 && (s.Loss.Distill != nil || s.Loss.ScalePull > 0):
		return fault.Userf("train.chunk does not go with loss.distill and loss.scale_pull: set train.chunk=0, or leave those out (loss.scale_pull=0)")
	case s.Chunk > 0 && (s.HasHead() || s.Negatives > 0):
		return fault.Userf("train.chunk does not go with loss.name head and data.negatives: set train.chunk=0")
	case s.Negatives > 0 && (s.HasHead() || s.Loss.Block > 0):
		return fault.Userf("data.negatives does not go with loss.name head and loss.block")
	case s.Chunk > 0 && s.AdapterDropout > 0:
		return fault.Userf("train.chunk does not go with the dropout of adapters: set tune.lora.dropout=0 or train.chunk=0")
	}
	return nil
}

// checkSize refuses a batch that does not divide evenly.
func (s *Stepper) checkSize(batch int) error {
	devices := max(1, s.Devices)
	switch {
	case s.Chunk > 0 && batch%s.Chunk != 0:
		return fault.Userf("train.chunk %d does not divide the batch of %d", s.Chunk, batch)
	case s.Chunk > 0 && s.Chunk%devices != 0:
		return fault.Userf("%d devices do not divide train.chunk %d", devices, s.Chunk)
	case batch%devices != 0:
		return fault.Userf("%d devices do not divide the batch of %d", devices, batch)
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
func (c *chunked) step(b *batch) (m Metrics, err error) {
	if err := c.embedAll(b); err != nil {
		return m, err
	}
	metrics, err := c.lossOf(b)
	if err != nil {
		return m, err
	}
	defer metrics.FinalizeAll()
	for from := 0; from < b.size; from += c.Chunk {
		if err := c.backwardChunk(b, from); err != nil {
			return m, err
		}
	}
	outputs, err := c.update.call(metrics, b.hyper)
	if err != nil {
		return m, err
	}
	return c.readMetrics(outputs[0])
}

// embedAll computes the rows of the whole batch.
func (c *chunked) embedAll(b *batch) error {
	dim := c.Model.EmbedDim
	c.images, c.texts = sized(c.images, b.size*dim), sized(c.texts, b.size*dim)
	for from := 0; from < b.size; from += c.Chunk {
		in, err := b.inputs(from, from+c.Chunk)
		if err != nil {
			return err
		}
		outputs, err := c.embed.call(in.images, in.tokens, b.rng, in.noise)
		if err != nil {
			return err
		}
		first, end := from*dim, (from+c.Chunk)*dim
		err = errors.Join(readValues(c.images[first:end], outputs[0]), readValues(c.texts[first:end], outputs[1]))
		if err != nil {
			return err
		}
		finalize(outputs)
		in.free()
	}
	return nil
}

func sized(s []float32, n int) []float32 { return slices.Grow(s[:0], n)[:n] }

// lossOf runs the loss on the batch's rows and puts the gradients by them in their place.
func (c *chunked) lossOf(b *batch) (metrics *tensors.Tensor, err error) {
	imagesBE, err := rowsOf(b.device, c.images, c.Model.EmbedDim, 0, b.size)
	if err != nil {
		return nil, err
	}
	textsBE, err := rowsOf(b.device, c.texts, c.Model.EmbedDim, 0, b.size)
	if err != nil {
		return nil, err
	}
	outputs, err := c.loss.call(imagesBE, textsBE, b.keys)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(readValues(c.images, outputs[1]), readValues(c.texts, outputs[2])); err != nil {
		return nil, err
	}
	finalize([]*tensors.Tensor{imagesBE, textsBE, outputs[1], outputs[2]})
	return outputs[0], nil
}

// backwardChunk adds a chunk's gradients to the sums.
func (c *chunked) backwardChunk(b *batch, from int) error {
	to, dim := from+c.Chunk, c.Model.EmbedDim
	images, err := rowsOf(b.device, c.images, dim, from, to)
	if err != nil {
		return err
	}
	texts, err := rowsOf(b.device, c.texts, dim, from, to)
	if err != nil {
		return err
	}
	in, err := b.inputs(from, to)
	if err != nil {
		return err
	}
	outputs, err := c.backward.call(in.images, in.tokens, b.rng, in.noise, images, texts)
	if err != nil {
		return err
	}
	if err := readValues(make([]float32, 1), outputs[0]); err != nil { // waits for the end of the run
		return err
	}
	finalize(append(outputs, images, texts))
	in.free()
	return nil
}

// readValues copies a tensor's numbers to where they are wanted, once they are there.
func readValues(to []float32, t *tensors.Tensor) error {
	return tensors.ConstFlatData(t, func(flat []float32) { copy(to, flat) })
}

func finalize(list []*tensors.Tensor) {
	for _, t := range list {
		t.FinalizeAll()
	}
}
