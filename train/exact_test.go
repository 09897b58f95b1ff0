package train

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"

	"tandem/backend/backendtest"
	"tandem/internal/prng"
	"tandem/loss"
	"tandem/model"
	"tandem/optim"
)

// mode is a way to compute a step that must not change its result.
type mode struct {
	chunk, block, devices int
	remat                 bool
	texts, length         int // Stepper.DistinctTexts, TextLength
}

// steps trains for two steps and returns every tensor of weights and moments, and the metrics of each step.
func steps(t *testing.T, b compute.Backend, c model.Config, lc loss.Config, m mode, batch int) (map[string][]float32, []Metrics) {
	t.Helper()
	store, err := c.NewStore(7)
	if err != nil {
		t.Fatal(err)
	}
	// A large epsilon makes the update proportional to the gradient: with Adam's usual one, rounding decides the sign of
	// the update where a gradient is nothing but rounding.
	oc := optim.Config{LearningRate: 1e-2, Epsilon: 1e-2, ClipNorm: 1, EMA: 0.9}.WithDefaults()
	lc.Block = m.block
	s, err := NewStepper(b, store, Stepper{Model: c, Loss: lc, Optim: oc, Chunk: m.chunk, Devices: m.devices, Rematerialise: m.remat, DistinctTexts: m.texts, TextLength: m.length})
	if err != nil {
		t.Fatal(err)
	}
	curve := oc.Schedule.Over(10, int64(batch), 100)
	var metrics []Metrics
	for i := range 2 {
		got, err := s.Step(pairs(c, batch, uint64(i)), curve, int64(i), int64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		metrics = append(metrics, got)
	}
	values := map[string][]float32{}
	for v := range store.IterVariables() {
		if path := strings.TrimPrefix(v.Path(), "/"); !strings.HasPrefix(path, sumScope) {
			values[path] = tensors.MustCopyFlatData[float32](v.MustValue())
		}
	}
	return values, metrics
}

// pairs are images of a few kinds, each with one of two captions of different lengths: some are the same.
func pairs(c model.Config, batch int, number uint64) Input {
	r := prng.New(99, number)
	side := c.Vision.ImageSize
	in := Input{Images: make([]uint8, batch*side*side*3), Tokens: make([]int32, batch*c.Text.Context), Keys: make([]int32, batch)}
	for i := range batch {
		kind := r.IntN(6)
		in.Keys[i] = int32(kind)
		for p := range side * side * 3 {
			in.Images[i*side*side*3+p] = uint8(40*kind + r.IntN(16))
		}
		row := in.Tokens[i*c.Text.Context:]
		variant := r.IntN(2)
		end := 1 + (kind+3*variant)%(c.Text.Context-2)
		for j := range end {
			row[j] = int32(1 + kind + (j+variant)%3)
		}
		row[end] = int32(c.Text.Vocab - 1)
		in.Longest = max(in.Longest, end+1)
	}
	return in
}

// compareRuns wants every parameter equal within tolerance, and every moment within 30 times that of its largest value
// (or of 1e-3 where all are smaller): gradients are small, and what is compared is their rounding over two steps.
func compareRuns(t *testing.T, got, want map[string][]float32, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d tensors, want %d", len(got), len(want))
	}
	for path, w := range want {
		largest, worst := 1e-3, 0.0
		for i := range w {
			largest = max(largest, math.Abs(float64(w[i])))
			worst = max(worst, math.Abs(float64(got[path][i]-w[i])))
		}
		limit := tolerance
		if strings.HasPrefix(path, optim.FirstMoment) || strings.HasPrefix(path, optim.SecondMoment) {
			limit *= 30 * largest
		}
		if !(worst <= limit) {
			t.Errorf("%s differs by %.2g of %.2g", path, worst, largest)
		}
	}
}

func sigLIPModel() model.Config {
	c := tinyModel()
	bias := -10.0
	c.LogitBiasInit = &bias
	return c
}

// TestExactModes: chunks, blocks of the loss and rematerialisation change no parameter, no moment and no metric; patch
// dropout drops the same patches.
func TestExactModes(t *testing.T) {
	const batch = 12
	for name, test := range map[string]struct {
		model model.Config
		loss  loss.Config
	}{
		"infonce": {tinyModel(), loss.Config{Duplicates: loss.DuplicatesPositive, LabelSmoothing: 0.1}.WithDefaults()},
		"siglip":  {sigLIPModel(), loss.Config{Name: loss.SigLIP, Duplicates: loss.DuplicatesMask}.WithDefaults()},
	} {
		b := backendtest.Go(t)
		want, wantMetrics := steps(t, b, test.model, test.loss, mode{}, batch)
		for _, m := range []mode{{chunk: 4}, {block: 5}, {chunk: 3, block: 5, remat: true}} {
			t.Run(fmt.Sprintf("%s/%+v", name, m), func(t *testing.T) {
				got, metrics := steps(t, b, test.model, test.loss, m, batch)
				compareRuns(t, got, want, 1e-6)
				for i, w := range wantMetrics {
					if g := metrics[i]; math.Abs(float64(g.Loss-w.Loss)) > 2e-6*float64(w.Loss) || g.Accuracy != w.Accuracy || g.Finite != w.Finite {
						t.Errorf("step %d: %+v, want %+v", i, g, w)
					}
				}
			})
		}
	}
}

// TestChunksThatDoNotFit: what would not be exact is refused.
func TestChunksThatDoNotFit(t *testing.T) {
	c := tinyModel()
	b := backendtest.Go(t)
	store, err := c.NewStore(7)
	if err != nil {
		t.Fatal(err)
	}
	oc := optim.Config{}.WithDefaults()
	s, err := NewStepper(b, store, Stepper{Model: c, Loss: loss.Config{}.WithDefaults(), Optim: oc, Chunk: 5})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Step(pairs(c, 12, 0), oc.Schedule.Over(10, 12, 100), 0, 1); err == nil || !strings.Contains(err.Error(), "train.chunk 5 does not divide the batch of 12") {
		t.Errorf("error %v", err)
	}
	resnet := model.Config{EmbedDim: 8, Vision: model.VisionConfig{Kind: model.ResNet, ImageSize: 32, Width: 8, Heads: 2, Stages: []int{1, 1, 1, 1}}, Text: c.Text}.WithDefaults()
	if store, err = resnet.NewStore(7); err != nil {
		t.Fatal(err)
	}
	if _, err = NewStepper(b, store, Stepper{Model: resnet, Loss: loss.Config{}.WithDefaults(), Optim: oc, Chunk: 4}); err == nil || !strings.Contains(err.Error(), "batch norm") {
		t.Errorf("a ResNet in chunks gives %v", err)
	}
}

// TestDevices: two and four devices give what one gives, with chunks too, and what they leave in the store is whole: a
// step on one device goes on from it.
func TestDevices(t *testing.T) {
	const batch = 8
	c, lc := tinyModel(), loss.Config{Duplicates: loss.DuplicatesMask}.WithDefaults()
	want, wantMetrics := steps(t, backendtest.XLA(t), c, lc, mode{}, batch)
	for _, m := range []mode{{devices: 4}, {devices: 2, chunk: 4, block: 3}} {
		t.Run(fmt.Sprintf("%+v", m), func(t *testing.T) {
			got, metrics := steps(t, backendtest.Devices(t, m.devices), c, lc, m, batch)
			compareRuns(t, got, want, 1e-5)
			for i, w := range wantMetrics {
				if g := metrics[i]; math.Abs(float64(g.Loss-w.Loss)) > 1e-5 || g.Accuracy != w.Accuracy {
					t.Errorf("step %d: %+v, want %+v", i, g, w)
				}
			}
		})
	}
}
