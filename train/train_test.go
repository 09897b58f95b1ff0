package train

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"

	"tandem/backend/backendtest"
	"tandem/checkpoints"
	"tandem/internal/duration"
	"tandem/internal/fault"
	"tandem/internal/prng"
	"tandem/loss"
	"tandem/model"
	"tandem/optim"
)

// tinyModel has batch norm, patch-wise state and two text lengths, so that everything a checkpoint must hold is there.
func tinyModel() model.Config {
	return model.Config{
		EmbedDim: 8,
		Vision:   model.VisionConfig{ImageSize: 16, PatchSize: 8, Width: 16, Heads: 2, Layers: 1, PatchDropout: 0.5},
		Text:     model.TextConfig{Context: 8, Vocab: 32, Width: 16, Heads: 2, Layers: 1, Lengths: []int{4}},
	}.WithDefaults()
}

// slices is a source of batches that are pure functions of their position.
type source struct {
	position int64
	failAt   int64
	onNext   func(position int64)
}

const batchSize = 4

var errSource = errors.New("shard is gone")

func (s *source) Next(ctx context.Context) (Batch, error) {
	if s.onNext != nil {
		s.onNext(s.position)
	}
	if s.failAt > 0 && s.position == s.failAt {
		return Batch{}, errSource
	}
	c := tinyModel()
	r := prng.New(99, uint64(s.position))
	in := Input{Images: make([]uint8, batchSize*16*16*3), Tokens: make([]int32, batchSize*c.Text.Context)}
	for i := range batchSize {
		kind := r.IntN(6) // what image and caption have in common
		for p := range 16 * 16 * 3 {
			in.Images[i*16*16*3+p] = uint8(40*kind + r.IntN(16))
		}
		row := in.Tokens[i*c.Text.Context:]
		end := 2 + int(s.position)%4
		for j := range end {
			row[j] = int32(1 + kind)
		}
		row[end] = int32(c.Text.Vocab - 1)
		in.Longest = end + 1
	}
	s.position++
	cursor, _ := json.Marshal(s.position)
	return Batch{Input: in, Cursor: cursor, Epoch: float64(s.position) / 10}, nil
}

func (s *source) Recycle(Batch) {}

func newTrainer(t *testing.T, dir string, steps int64, src *source) *Trainer {
	t.Helper()
	c := tinyModel()
	store, err := c.NewStore(7)
	if err != nil {
		t.Fatal(err)
	}
	oc := optim.Config{LearningRate: 3e-3, ClipNorm: 1, EMA: 0.9, Schedule: optim.Schedule{Warmup: duration.Steps(2)}}.WithDefaults()
	stepper, err := NewStepper(backendtest.Go(t), store, Stepper{Model: c, Loss: loss.Config{}.WithDefaults(), Optim: oc})
	if err != nil {
		t.Fatal(err)
	}
	root := checkpoints.Root{Dir: filepath.Join(dir, "checkpoints"), Keep: 2}
	tr := &Trainer{
		Config: Config{Seed: 7}.WithDefaults(), Stepper: stepper, Curve: oc.Schedule.Over(12, batchSize, 40), Batches: src, Batch: batchSize,
		Total: 12, Stop: steps, SaveEvery: 4, Root: root, Export: func(string) error { return nil },
		Identity: map[string]string{"model.width": "16"}, Versions: map[string]string{"go": "test"},
	}
	if tr.Log, err = OpenLogger(filepath.Join(dir, "metrics.jsonl"), 0, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Log.Close() })
	return tr
}

// resume makes a trainer that goes on from the newest checkpoint of dir.
func resume(t *testing.T, dir string, steps int64) *Trainer {
	t.Helper()
	src := &source{}
	tr := newTrainer(t, dir, steps, src)
	_, stepDir, _, ok, err := tr.Root.Newest()
	if err != nil || !ok {
		t.Fatalf("no checkpoint to resume from: %v", err)
	}
	state, err := ReadState(stepDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Restore(stepDir, state); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(state.Cursor, &src.position); err != nil {
		t.Fatal(err)
	}
	return tr
}

// hashes are the sha256 sums of a step's weights and moments.
func hashes(t *testing.T, dir string, step int64) map[string]string {
	t.Helper()
	var m checkpoints.Manifest
	path := filepath.Join(checkpoints.Root{Dir: filepath.Join(dir, "checkpoints")}.StepDir(step), checkpoints.ManifestName)
	if err := checkpoints.ReadJSON(path, &m); err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	for _, f := range m.Files {
		if strings.HasSuffix(f.Name, ".safetensors") {
			sums[f.Name] = f.SHA256
		}
	}
	if sums[checkpoints.WeightsName] == "" || sums[optimizerName] == "" {
		t.Fatalf("checkpoint holds %v, want weights and moments at least", sums)
	}
	return sums
}

// TestResumeIsBitExact: 12 steps are the same as 5 steps, an interruption, and 7 more, to the last bit of every tensor.
func TestResumeIsBitExact(t *testing.T) {
	whole, parts := t.TempDir(), t.TempDir()
	if err := newTrainer(t, whole, 12, &source{}).Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := newTrainer(t, parts, 5, &source{}).Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := resume(t, parts, 12).Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	want, got := hashes(t, whole, 12), hashes(t, parts, 12)
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s differs after a resume", name)
		}
	}
}

func TestTrainingLearns(t *testing.T) {
	dir := t.TempDir()
	if err := newTrainer(t, dir, 12, &source{}).Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	records := readLog(t, dir)
	if len(records) != 12 {
		t.Fatalf("log holds %d steps, want 12", len(records))
	}
	first, last := records[0], records[11]
	if !(last.Loss < first.Loss) || first.Step != 1 || last.Step != 12 || last.Examples != 12*batchSize || !last.Finite {
		t.Errorf("first %+v, last %+v: the loss should have fallen", first, last)
	}
}

func readLog(t *testing.T, dir string) []Record {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var records []Record
	for line := range strings.Lines(string(data)) {
		var r Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if !strings.Contains(line, `"event"`) {
			records = append(records, r)
		}
	}
	return records
}

// TestInterruption: a cancelled context ends the run after the step under way, saved.
func TestInterruption(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	tr := newTrainer(t, dir, 12, &source{onNext: func(position int64) {
		if position == 6 {
			cancel()
		}
	}})
	if err := tr.Run(ctx); !errors.Is(err, ErrInterrupted) {
		t.Fatalf("error %v, want ErrInterrupted", err)
	}
	step, _, _, ok, _ := tr.Root.Newest()
	if !ok || step != 7 {
		t.Fatalf("newest checkpoint is of step %d, want 7: the step under way is finished", step)
	}
}

// TestFailuresLeaveCheckpoints: an error of the data source or of the disk ends the run and harms no checkpoint.
func TestFailuresLeaveCheckpoints(t *testing.T) {
	full := errors.New("no space left on device")
	for name, test := range map[string]struct {
		source *source
		export func(calls int) error
		want   error
	}{
		"source": {&source{failAt: 6}, func(int) error { return nil }, errSource},
		"disk": {&source{}, func(calls int) error {
			if calls > 1 {
				return full
			}
			return nil
		}, full},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrainer(t, t.TempDir(), 12, test.source)
			calls := 0
			tr.Export = func(string) error { calls++; return test.export(calls) }
			if err := tr.Run(context.Background()); !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			step, _, skipped, ok, _ := tr.Root.Newest()
			if !ok || step != 4 || len(skipped) != 0 {
				t.Fatalf("newest checkpoint is of step %d, skipped %v; want step 4 intact", step, skipped)
			}
		})
	}
}

// TestDivergence: a run whose steps stay non-finite stops, says so, and keeps its last good checkpoint.
func TestDivergence(t *testing.T) {
	dir := t.TempDir()
	tr := newTrainer(t, dir, 12, &source{})
	tr.Config.MaxBadSteps = 2
	tr.Stepper.Optim.LearningRate = math.MaxFloat32 // weights overflow at the first step, everything after is NaN
	err := tr.Run(context.Background())
	if !errors.Is(err, ErrDiverged) {
		t.Fatalf("error %v, want ErrDiverged", err)
	}
	records := readLog(t, dir)
	if len(records) == 0 || records[len(records)-1].Finite {
		t.Fatalf("log %+v should end with steps that were not finite", records)
	}
	if steps, _ := tr.Root.Steps(); len(steps) != 0 {
		t.Errorf("a checkpoint of a diverged state was saved: %v", steps)
	}
}

func TestRestoreRefusesAnotherConfiguration(t *testing.T) {
	dir := t.TempDir()
	if err := newTrainer(t, dir, 4, &source{}).Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	tr := newTrainer(t, dir, 12, &source{})
	tr.Identity = map[string]string{"model.width": "32", "optim.lr": "1"}
	stepDir := tr.Root.StepDir(4)
	state, err := ReadState(stepDir)
	if err != nil {
		t.Fatal(err)
	}
	err = tr.Restore(stepDir, state)
	if !fault.IsUser(err) || !strings.Contains(err.Error(), "model.width was 16, now 32; optim.lr was unset, now 1") {
		t.Fatalf("error %v, want the differing keys", err)
	}
}

// TestLogForgetsWhatWasNotSaved: on resume, the lines of steps that are trained again go, and broken lines too.
func TestLogForgetsWhatWasNotSaved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	content := `{"step":1,"loss":3}` + "\n" + `{"step":2,"loss":2}` + "\n" + `{"step":2,"event":"checkpoint"}` + "\n" + `{"step":3,"loss":1}` + "\n" + `{"step":4,"lo`
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	log, err := OpenLogger(path, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Step(Record{Step: 3, Metrics: Metrics{Loss: Float(math.NaN())}}, true); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(path)
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) != 4 || !strings.Contains(lines[3], `"step":3`) || !strings.Contains(lines[3], `"loss":null`) {
		t.Fatalf("log holds %q", lines)
	}
}

// TestHooksRunOnSchedule: every N steps and at the end, and they change nothing about the training.
func TestHooksRunOnSchedule(t *testing.T) {
	plain, hooked := t.TempDir(), t.TempDir()
	if err := newTrainer(t, plain, 10, &source{}).Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	tr := newTrainer(t, hooked, 10, &source{})
	var at []int64
	tr.Hooks = []Hook{{Name: "zero-shot", Every: 4, Run: func(_ context.Context, step int64) (map[string]float64, error) {
		at = append(at, step)
		return map[string]float64{"acc1": 0.5}, nil
	}}}
	if err := tr.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(at) != 3 || at[0] != 4 || at[1] != 8 || at[2] != 10 {
		t.Errorf("hook ran after steps %v, want 4, 8 and 10", at)
	}
	want, got := hashes(t, plain, 10), hashes(t, hooked, 10)
	for name := range want {
		if want[name] != got[name] {
			t.Errorf("%s differs when a hook runs", name)
		}
	}
}

// TestPrecisionOfTheDevice: what the recipe says wins; auto and nothing, as in a recipe whose defaults wait for the initial
// model, are bfloat16 where that is fast.
func TestPrecisionOfTheDevice(t *testing.T) {
	for _, test := range []struct {
		precision   string
		accelerator bool
		want        dtypes.DType
	}{
		{"", false, dtypes.Float32}, {"", true, dtypes.BFloat16}, {"auto", true, dtypes.BFloat16},
		{"float32", true, dtypes.Float32}, {"bfloat16", false, dtypes.BFloat16},
	} {
		if got := (Config{Precision: test.precision}).On(test.accelerator).WithDefaults().DType(); got != test.want {
			t.Errorf("%q, accelerator %t: %s, want %s", test.precision, test.accelerator, got, test.want)
		}
	}
}
