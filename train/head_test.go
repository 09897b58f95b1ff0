package train

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tandem/backend/backendtest"
	"tandem/checkpoints"
	"tandem/loss"
	"tandem/optim"
	"tandem/train/tune"
)

// headTrainer trains a head of three classes on the tiny model, with a moving average.
func headTrainer(t *testing.T, dir string, steps int64, c tune.Config) *Trainer {
	t.Helper()
	m := tinyModel()
	store, err := m.NewStore(7)
	if err != nil {
		t.Fatal(err)
	}
	rows := make([][]float32, 3)
	for i := range rows {
		rows[i] = make([]float32, m.EmbedDim)
		rows[i][i] = 1
	}
	oc := optim.Config{LearningRate: 3e-3, ClipNorm: 1, EMA: 0.9}.WithDefaults()
	s := Stepper{Model: m, Loss: loss.Config{Name: loss.Head, LabelSmoothing: 0.1}.WithDefaults(), Optim: oc, Head: rows}
	if err := s.Tune(store, c.WithDefaults(), 7); err != nil {
		t.Fatal(err)
	}
	stepper, err := NewStepper(backendtest.Go(t), store, s)
	if err != nil {
		t.Fatal(err)
	}
	tr := &Trainer{
		Config: Config{Seed: 7}.WithDefaults(), Stepper: stepper, Curve: oc.Schedule.Over(24, batchSize, 40), Batches: &classes{}, Batch: batchSize,
		Total: 24, Stop: steps, SaveEvery: 8, Root: checkpoints.Root{Dir: filepath.Join(dir, "checkpoints"), Keep: 2},
		Export: func(string) error { return nil }, Identity: map[string]string{}, Versions: map[string]string{},
	}
	if tr.Log, err = OpenLogger(filepath.Join(dir, "metrics.jsonl"), 0, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Log.Close() })
	return tr
}

// classes is a source whose keys are the classes of its pictures.
type classes struct{ source }

func (s *classes) Next(ctx context.Context) (Batch, error) {
	b, err := s.source.Next(ctx)
	for i := range batchSize {
		b.Keys = append(b.Keys, int32(b.Images[i*16*16*3])/80)
	}
	return b, err
}

// TestHead: the loss falls; text tower and temperature stay the same to the last bit, image tower and head do not; a resumed
// run is the same as one that was not interrupted, head and its average included.
func TestHead(t *testing.T) {
	before := initial(t)
	for name, c := range map[string]tune.Config{"all": {}, "norms": {Only: tune.OnlyNorms}, "adapters": {LoRA: &tune.LoRA{Rank: 2}}} {
		t.Run(name, func(t *testing.T) {
			whole := headTrainer(t, t.TempDir(), 24, c)
			if err := whole.Run(context.Background()); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := headTrainer(t, dir, 8, c).Run(context.Background()); err != nil {
				t.Fatal(err)
			}
			again := headTrainer(t, dir, 24, c)
			state, err := ReadState(again.Root.StepDir(8))
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Restore(again.Root.StepDir(8), state); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(state.Cursor, &again.Batches.(*classes).position); err != nil {
				t.Fatal(err)
			}
			if err := again.Run(context.Background()); err != nil {
				t.Fatal(err)
			}
			want, got := sums(t, filepath.Join(whole.Root.StepDir(24), HeadName)), sums(t, filepath.Join(again.Root.StepDir(24), HeadName))
			if len(want) != 1 || want[HeadWeight] != got[HeadWeight] {
				t.Error("the head differs after a resume")
			}
			checkServedHead(t, again)
			moved := 0
			for path, sum := range sums(t, filepath.Join(again.Root.StepDir(24), checkpoints.WeightsName)) {
				if path == HeadWeight {
					t.Error("the model's weights hold the head")
				}
				changed := sum != before[path]
				if changed && !strings.HasPrefix(path, imageTower[1:]) {
					t.Errorf("%s has changed", path)
				}
				if changed {
					moved++
				}
			}
			if moved == 0 {
				t.Error("the image tower has not changed")
			}
		})
	}
}

// checkServedHead: what a checkpoint serves is the average, which is neither the start nor the last value.
func checkServedHead(t *testing.T, tr *Trainer) {
	t.Helper()
	served, err := ReadHead(tr.Root.StepDir(24))
	if err != nil {
		t.Fatal(err)
	}
	average, err := tr.Stepper.HeadRows(true)
	if err != nil {
		t.Fatal(err)
	}
	last, err := tr.Stepper.HeadRows(false)
	if err != nil {
		t.Fatal(err)
	}
	for c := range served {
		if !slices.Equal(served[c], average[c]) || slices.Equal(served[c], last[c]) || slices.Equal(served[c], tr.Stepper.Head[c]) {
			t.Errorf("class %d: served %v, average %v, last %v", c, served[c], average[c], last[c])
		}
	}
}

// TestHeadRefuses what would be silently wrong.
func TestHeadRefuses(t *testing.T) {
	tr := headTrainer(t, t.TempDir(), 1, tune.Config{})
	in := mustNext(t)
	in.Keys = []int32{0, 1, 2, 3}
	if _, err := tr.Stepper.Step(in, tr.Curve, 0, 1); err == nil || !strings.Contains(err.Error(), "class 3") {
		t.Errorf("a class that the head does not have: error %v", err)
	}
	for want, s := range map[string]Stepper{
		"row of 8 numbers": {Loss: loss.Config{Name: loss.Head}},
		"train.chunk":      {Loss: loss.Config{Name: loss.Head}, Head: tr.Stepper.Head, Chunk: 2},
		"data.negatives":   {Loss: loss.Config{Block: 2}, Negatives: 1},
	} {
		store, err := tinyModel().NewStore(7)
		if err != nil {
			t.Fatal(err)
		}
		s.Model, s.Optim, s.Loss = tinyModel(), optim.Config{}.WithDefaults(), s.Loss.WithDefaults()
		if _, err := NewStepper(backendtest.Go(t), store, s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %s", err, want)
		}
	}
}

// TestNegativesInTheStep: hard negatives that are marked as missing change nothing; those that are there do; and the
// temperature's clamp and the text tower see them through one pass.
func TestNegativesInTheStep(t *testing.T) {
	run := func(count int, mask int32) Metrics {
		store, err := tinyModel().NewStore(7)
		if err != nil {
			t.Fatal(err)
		}
		oc := optim.Config{}.WithDefaults()
		s, err := NewStepper(backendtest.Go(t), store, Stepper{Model: tinyModel(), Loss: loss.Config{}.WithDefaults(), Optim: oc, Negatives: count})
		if err != nil {
			t.Fatal(err)
		}
		in := mustNext(t)
		for i := range batchSize * count {
			in.Negatives = append(in.Negatives, in.Tokens[i%batchSize*8:i%batchSize*8+8]...)
			in.NegativeMask = append(in.NegativeMask, mask)
		}
		m, err := s.Step(in, optim.Curve{}, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	plain, missing, there := run(0, 0), run(2, 0), run(2, 1)
	if d := plain.Loss - missing.Loss; d > 1e-6 || d < -1e-6 {
		t.Errorf("loss %g with missing negatives, %g without", missing.Loss, plain.Loss)
	}
	if there.Loss < plain.Loss+0.1 {
		t.Errorf("loss %g with negatives, %g without: it must be larger", there.Loss, plain.Loss)
	}
}
