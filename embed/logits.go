package embed

import (
	"math"

	"github.com/gomlx/gomlx/core/tensors"

	"tandem/internal/zeroshot"
)

// Scale is the temperature: similarities times Scale are logits.
func (m *Model) Scale() float64 {
	scale, _ := m.temperature()
	return scale
}

// temperature reads exp(logit_scale) and the logit bias, which is 0 where the model has none.
func (m *Model) temperature() (scale, bias float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return math.Exp(m.scalar("/logit_scale")), m.scalar("/logit_bias")
}

// scalar is the value of a parameter that is one number, 0 if the model has none of that path.
func (m *Model) scalar(path string) (x float64) {
	if v := m.store.GetVariable(path); v != nil {
		tensors.MustConstFlatData(v.MustValue(), func(flat []float32) { x = float64(flat[0]) })
	}
	return x
}

// Logits are the scaled similarities of rows that EncodeImages and EncodeTexts gave: exp(logit_scale)·I·Tᵀ, plus the logit
// bias of models that have one (SigLIP): [len(images)][len(texts)].
func (m *Model) Logits(images, texts [][]float32) [][]float64 {
	scale, bias := m.temperature()
	logits := make([][]float64, len(images))
	for i, image := range images {
		logits[i] = make([]float64, len(texts))
		for j, text := range texts {
			logits[i][j] = scale*float64(zeroshot.Dot(image, text)) + bias
		}
	}
	return logits
}

// Softmax turns one image's logits into probabilities that add up to 1.
func Softmax(logits []float64) []float64 { return zeroshot.Softmax(logits, 1) }
