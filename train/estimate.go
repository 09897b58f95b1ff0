package train

import (
	"tandem/model"
)

// Memory estimates what a training step holds at its peak, in bytes. It counts what must be there; compilers add
// scratch space and reuse what they can. Parameters and optimiser state are updated in place.
type Memory struct {
	Weights     int64 // parameters, buffers and adapters
	Gradients   int64 // one number for each trainable parameter
	Optimiser   int64 // two moments, and the moving average if one is kept
	Activations int64 // what the forward pass keeps for the backward pass, and the largest block's gradients
}

// Total is the sum.
func (m Memory) Total() int64 {
	return m.Weights + m.Gradients + m.Optimiser + m.Activations
}

const floatBytes = 4

// Estimate is the memory of a step with a batch of pairs whose texts are length tokens long. cachedImages and
// cachedTexts say that a tower's rows come from a cache, so that it does not run at all.
func (s *Stepper) Estimate(batch, length int, cachedImages, cachedTexts bool) Memory {
	var m Memory
	for v := range s.store.IterVariables() {
		if !isOptimiserState(v.Path()) {
			m.Weights += int64(v.Shape().Size()) * floatBytes
		}
	}
	trained := int64(s.NumTrainable()) * floatBytes
	m.Gradients, m.Optimiser = trained, 2*trained
	if s.HasAverage() {
		m.Optimiser += trained
	}
	if !cachedImages {
		m.Activations += s.towerActivations(imageTower, s.imageRows(), batch)
	}
	if !cachedTexts {
		texts := batch
		if s.sharesTexts() {
			texts = min(texts, s.DistinctTexts)
		}
		m.Activations += s.towerActivations(textTower, length, texts)
	}
	logits := int64(batch) * int64(batch) * floatBytes
	m.Activations += 4 * logits
	return m
}

func (s *Stepper) imageRows() int {
	v := s.Model.Vision
	if v.Kind == model.ResNet {
		side := v.ImageSize / 32
		return side * side
	}
	rows := v.Rows()
	if v.PatchDropout > 0 && !TowerFrozen(s.store, imageTower) {
		rows = int(float64(rows) * (1 - v.PatchDropout))
	}
	return rows
}

// towerActivations is what a tower's blocks keep for a batch of sequences of rows. A frozen tower keeps nothing: only the
// block at work needs room. A tower whose last blocks alone are trained keeps theirs.
func (s *Stepper) towerActivations(tower string, rows, batch int) int64 {
	width, mlp, heads, layers := s.Model.Text.Width, s.Model.Text.MLPWidth, s.Model.Text.Heads, s.Model.Text.Layers
	if tower == imageTower {
		v := s.Model.Vision
		if v.Kind == model.ResNet {
			return s.resnetActivations(batch)
		}
		width, mlp, heads, layers = v.Width, v.MLPWidth, v.Heads, v.Layers
	}
	elements := int64(batch) * int64(rows)
	size := int64(activationBytes(s))
	block := elements * (int64(keptWidths*width+3*mlp)*size + int64(heads*rows)*floatBytes)
	working := elements * int64(4*width+2*mlp) * size // gradients inside the block at work
	kept := int64(s.keptBlocks(tower, layers))
	if s.Rematerialise && kept > 0 {
		return kept*elements*int64(width)*size + block + working
	}
	return kept*block + working
}

// keptWidths is how many arrays of a row's width a block keeps for its gradients, beside the attention weights and three
// of the MLP's width (before the non-linearity, its inner function, after it): its input and the sum in its middle, both
// standardised and after gain and bias, queries, keys and values, and what attention mixed.
const keptWidths = 10

// keptBlocks is how many of a tower's blocks have a trainable parameter in them or before them.
func (s *Stepper) keptBlocks(tower string, layers int) int {
	first := layers
	for _, p := range s.Model.Params() {
		index, ok := blockIndex(p.Path, tower[1:], layers)
		if ok && index < first && s.trains(p.Path) {
			first = index
		}
	}
	return layers - first
}

func activationBytes(s *Stepper) int {
	if s.DType == 0 {
		return floatBytes
	}
	return s.DType.Size()
}

// resnetActivations: a convolution keeps its input and its normalised output. Twice the sum of all feature maps.
func (s *Stepper) resnetActivations(batch int) int64 {
	v := s.Model.Vision
	side := v.ImageSize / 4
	var maps int64
	for stage, blocks := range v.Stages {
		planes := v.Width << stage
		maps += int64(blocks) * int64(side*side) * int64(2*planes+4*planes)
		side /= 2
	}
	if s.keptBlocks(imageTower, 1) == 0 {
		return maps / 8 * floatBytes * int64(batch)
	}
	return 2 * maps * floatBytes * int64(batch)
}
