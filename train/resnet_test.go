package train

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/backend/backendtest"
	"tandem/checkpoints"
	"tandem/checkpoints/safetensors"
	"tandem/internal/duration"
	"tandem/internal/prng"
	"tandem/loss"
	"tandem/model"
	"tandem/optim"
	"tandem/train/tune"
)

// resnetModel is the smallest modified ResNet: batch norm in training and in evaluation, attention pooling.
func resnetModel() model.Config {
	return model.Config{
		EmbedDim: 8,
		Vision:   model.VisionConfig{Kind: model.ResNet, ImageSize: 32, Width: 4, Heads: 2, Stages: []int{1, 1, 1, 1}},
		Text:     model.TextConfig{Context: 6, Vocab: 32, Width: 16, Heads: 2, Layers: 1},
	}.WithDefaults()
}

// patterns is a source of pictures whose stripes tell which caption is theirs: eight of them in a batch, all different.
type patterns struct{ position int64 }

const patternBatch, patternSide = 8, 32

func (s *patterns) Next(context.Context) (Batch, error) {
	c := resnetModel()
	r := prng.New(5, uint64(s.position))
	in := Input{Images: make([]uint8, patternBatch*patternSide*patternSide*3), Tokens: make([]int32, patternBatch*c.Text.Context), Longest: 2}
	for i, kind := range r.Perm(patternBatch) {
		picture := in.Images[i*patternSide*patternSide*3:][:patternSide*patternSide*3]
		for p := range picture {
			x, y, channel := p/3%patternSide, p/3/patternSide, p%3
			along := []int{x, y, x + y, x}[kind%4]
			bright := along/(2+kind/2)%2 == 0 && channel != kind%3
			picture[p] = uint8(r.IntN(30))
			if bright {
				picture[p] += 200
			}
		}
		in.Tokens[i*c.Text.Context], in.Tokens[i*c.Text.Context+1] = int32(1+kind), int32(c.Text.Vocab-1)
	}
	s.position++
	cursor, err := json.Marshal(s.position)
	return Batch{Input: in, Cursor: cursor}, err
}

func (s *patterns) Recycle(Batch) {}

func newResNetTrainer(t *testing.T, dir string, stop int64, src *patterns) *Trainer {
	t.Helper()
	return newTunedResNet(t, dir, stop, src, tune.Config{})
}

func newTunedResNet(t *testing.T, dir string, stop int64, src *patterns, way tune.Config) *Trainer {
	t.Helper()
	c := resnetModel()
	store, err := c.NewStore(3)
	if err != nil {
		t.Fatal(err)
	}
	oc := optim.Config{LearningRate: 3e-3, ClipNorm: 1, Schedule: optim.Schedule{Warmup: duration.Steps(5)}}.WithDefaults()
	s := Stepper{Model: c, Loss: loss.Config{}.WithDefaults(), Optim: oc}
	if err := s.Tune(store, way.WithDefaults(), 3); err != nil {
		t.Fatal(err)
	}
	stepper, err := NewStepper(backendtest.Go(t), store, s)
	if err != nil {
		t.Fatal(err)
	}
	tr := &Trainer{
		Config: Config{Seed: 3}.WithDefaults(), Stepper: stepper, Curve: oc.Schedule.Over(50, patternBatch, 400), Batches: src, Batch: patternBatch,
		Total: 50, Stop: stop, SaveEvery: 50, Root: checkpoints.Root{Dir: filepath.Join(dir, "checkpoints"), Keep: 3},
		Export: func(string) error { return nil }, Identity: map[string]string{"model": "resnet"}, Versions: map[string]string{"go": "test"},
	}
	if tr.Log, err = OpenLogger(filepath.Join(dir, "metrics.jsonl"), 0, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Log.Close() })
	return tr
}

// TestResNetTrains: 50 steps of a modified ResNet lower the loss; the running statistics of batch norm are saved, and 50
// steps with an interruption give the same weights and statistics to the last bit.
func TestResNetTrains(t *testing.T) {
	straight, broken := t.TempDir(), t.TempDir()
	if err := newResNetTrainer(t, straight, 50, &patterns{}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	records := readLog(t, straight)
	if len(records) != 50 {
		t.Fatalf("the log holds %d steps, want 50", len(records))
	}
	if first, last := meanLoss(records[:5]), meanLoss(records[45:]); !(last < 0.6*first) {
		t.Errorf("the loss went from %.3f to %.3f, want it to fall", first, last)
	}
	checkStatistics(t, straight, 50)

	if err := newResNetTrainer(t, broken, 21, &patterns{}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkStatistics(t, broken, 21)
	src := &patterns{}
	tr := newResNetTrainer(t, broken, 50, src)
	_, dir, _, ok, err := tr.Root.Newest()
	if err != nil || !ok {
		t.Fatalf("no checkpoint to resume from: %v", err)
	}
	state, err := ReadState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Restore(dir, state); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(state.Cursor, &src.position); err != nil || src.position != 21 {
		t.Fatalf("the data goes on at %d (%v)", src.position, err)
	}
	if err := tr.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want, got := hashes(t, straight, 50), hashes(t, broken, 50)
	for name, sum := range want {
		if got[name] != sum {
			t.Errorf("%s differs after an interruption", name)
		}
	}
}

func meanLoss(records []Record) (mean float64) {
	for _, r := range records {
		mean += float64(r.Loss) / float64(len(records))
	}
	return mean
}

// checkStatistics: every batch norm of a checkpoint has counted the steps and moved its statistics.
func checkStatistics(t *testing.T, dir string, step int64) {
	t.Helper()
	path := filepath.Join(checkpoints.Root{Dir: filepath.Join(dir, "checkpoints")}.StepDir(step), checkpoints.WeightsName)
	file, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	norms := 0
	for _, info := range file.Tensors() {
		raw := make([]byte, info.Bytes())
		if err := file.Read(info, raw); err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasSuffix(info.Name, "/batches"):
			norms++
			if int64(raw[0]) != step {
				t.Errorf("%s is %d after %d steps", info.Name, raw[0], step)
			}
		case strings.Contains(info.Name, "/running_"):
			values := make([]float32, info.Elements())
			if err := safetensors.Float32s(info.DType, raw, values); err != nil {
				t.Fatal(err)
			}
			initial := float32(0)
			if strings.HasSuffix(info.Name, "_var") {
				initial = 1
			}
			for i, x := range values {
				if x == initial {
					t.Errorf("%s[%d] is still %g", info.Name, i, x)
				}
			}
		}
	}
	if want := 3 + 4*4; norms != want {
		t.Errorf("%d batch norms counted, want %d", norms, want)
	}
}

// TestTunedResNet: what is frozen of a ResNet stays the same to the last bit, the statistics of its batch norms too;
// adapters, which only the text tower can carry, are saved and read back; and the step's memory is estimated.
func TestTunedResNet(t *testing.T) {
	for name, test := range map[string]struct {
		way    tune.Config
		moving func(path string) bool
	}{
		"last groups open": {tune.Config{LockImage: &tune.Lock{Unlocked: 2}, LockText: &tune.Lock{}}, func(p string) bool {
			return strings.HasPrefix(p, "visual/stage_3/") || strings.HasPrefix(p, "visual/attnpool/") || p == "logit_scale"
		}},
		"adapters": {tune.Config{LoRA: &tune.LoRA{Rank: 2}}, model.Adaptable},
	} {
		t.Run(name, func(t *testing.T) {
			before, dir := newTunedResNet(t, t.TempDir(), 1, &patterns{}, tune.Config{}), t.TempDir()
			initial := filepath.Join(dir, "initial.safetensors")
			if err := checkpoints.WriteTensors(initial, variablesOf(mustSnapshot(t, before.Stepper))); err != nil {
				t.Fatal(err)
			}
			tr := newTunedResNet(t, dir, 3, &patterns{}, test.way)
			if m := tr.Stepper.Estimate(patternBatch, 6, false, false); m.Activations <= 0 {
				t.Errorf("the activations are estimated at %d bytes", m.Activations)
			}
			if err := tr.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			saved := tr.Root.StepDir(3)
			old, now := sums(t, initial), sums(t, filepath.Join(saved, checkpoints.WeightsName))
			for path, sum := range now {
				if changed := sum != old[path]; changed && !test.moving(path) {
					t.Errorf("%s is frozen and changed", path)
				} else if !changed && test.moving(path) && !strings.HasSuffix(path, "attnpool/k/bias") {
					t.Errorf("%s did not change", path)
				}
			}
			state, err := ReadState(saved)
			if err != nil {
				t.Fatal(err)
			}
			if err := newTunedResNet(t, dir, 4, &patterns{}, test.way).Restore(saved, state); err != nil {
				t.Error(err)
			}
		})
	}
}

func mustSnapshot(t *testing.T, s *Stepper) *gml.Store {
	t.Helper()
	store, err := s.Snapshot(false)
	if err != nil {
		t.Fatal(err)
	}
	return store
}
