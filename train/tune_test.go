package train

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/backend/backendtest"
	"tandem/checkpoints"
	"tandem/checkpoints/peft"
	"tandem/checkpoints/safetensors"
	"tandem/loss"
	"tandem/model"
	"tandem/optim"
	"tandem/train/tune"
)

// newTuned is a trainer of the tiny model with a way of fine-tuning.
func newTuned(t *testing.T, dir string, steps int64, c tune.Config) *Trainer {
	t.Helper()
	m := tinyModel()
	store, err := m.NewStore(7)
	if err != nil {
		t.Fatal(err)
	}
	oc := optim.Config{LearningRate: 3e-3, ClipNorm: 1}.WithDefaults()
	s := Stepper{Model: m, Loss: loss.Config{}.WithDefaults(), Optim: oc}
	if err := s.Tune(store, c.WithDefaults(), 7); err != nil {
		t.Fatal(err)
	}
	stepper, err := NewStepper(backendtest.Go(t), store, s)
	if err != nil {
		t.Fatal(err)
	}
	tr := &Trainer{
		Config: Config{Seed: 7}.WithDefaults(), Stepper: stepper, Curve: oc.Schedule.Over(12, batchSize, 40), Batches: &source{}, Batch: batchSize,
		Total: 12, Stop: steps, SaveEvery: 4, Root: checkpoints.Root{Dir: filepath.Join(dir, "checkpoints"), Keep: 2},
		Export: func(string) error { return nil }, Identity: map[string]string{}, Versions: map[string]string{},
	}
	if tr.Log, err = OpenLogger(filepath.Join(dir, "metrics.jsonl"), 0, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Log.Close() })
	return tr
}

// runInParts trains 5 steps, resumes in a new trainer, and trains up to 12. It returns the newest step's directory.
func runInParts(t *testing.T, c tune.Config) (*Trainer, string) {
	t.Helper()
	dir := t.TempDir()
	if err := newTuned(t, dir, 5, c).Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	tr := newTuned(t, dir, 12, c)
	from := tr.Root.StepDir(5)
	state, err := ReadState(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Restore(from, state); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(state.Cursor, &tr.Batches.(*source).position); err != nil {
		t.Fatal(err)
	}
	if err := tr.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	return tr, tr.Root.StepDir(12)
}

// sums are the sha256 of each tensor of a file.
func sums(t *testing.T, path string) map[string][32]byte {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string][32]byte{}
	for _, info := range f.Tensors() {
		raw := make([]byte, info.Bytes())
		if err := f.Read(info, raw); err != nil {
			t.Fatal(err)
		}
		all[info.Name] = sha256.Sum256(raw)
	}
	return all
}

// initial are the sums of the tiny model's weights before training.
func initial(t *testing.T) map[string][32]byte {
	t.Helper()
	store, err := tinyModel().NewStore(7)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "initial.safetensors")
	if err := checkpoints.WriteTensors(path, variablesOf(store)); err != nil {
		t.Fatal(err)
	}
	return sums(t, path)
}

// TestFrozenStaysFrozen: what is frozen is the same to the last bit after training, a resume, and more training; all
// else has changed.
func TestFrozenStaysFrozen(t *testing.T) {
	before := initial(t)
	for name, test := range map[string]struct {
		c      tune.Config
		moving func(path string) bool
	}{
		"locked image tower": {tune.Config{LockImage: &tune.Lock{}}, func(p string) bool { return !strings.HasPrefix(p, "visual/") }},
		"last group open":    {tune.Config{LockImage: &tune.Lock{Unlocked: 1}, LockText: &tune.Lock{}}, func(p string) bool { return p == "visual/proj" || p == "logit_scale" }},
		"norms":              {tune.Config{Only: tune.OnlyNorms}, func(p string) bool { return strings.HasSuffix(p, "/gain") || strings.HasSuffix(p, "/bias") }},
		"adapters":           {tune.Config{LoRA: &tune.LoRA{Rank: 2, Dropout: 0.1}}, model.Adaptable},
	} {
		t.Run(name, func(t *testing.T) {
			_, dir := runInParts(t, test.c)
			after := sums(t, filepath.Join(dir, checkpoints.WeightsName))
			if len(after) != len(before) {
				t.Fatalf("%d tensors, want %d", len(after), len(before))
			}
			for path, sum := range after {
				if changed := sum != before[path]; changed != test.moving(path) {
					t.Errorf("%s: changed is %v, want %v", path, changed, test.moving(path))
				}
			}
		})
	}
}

// TestAdaptersResumeAndMerge: with dropout, a resumed run is the same to the last bit; and the adapters alone, merged into
// the model that training started from, give the weights beside them to the last bit.
func TestAdaptersResumeAndMerge(t *testing.T) {
	c := tune.Config{LoRA: &tune.LoRA{Rank: 2, Alpha: 3, Dropout: 0.2}}
	whole := newTuned(t, t.TempDir(), 12, c)
	if err := whole.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	_, dir := runInParts(t, c)
	for _, name := range []string{checkpoints.WeightsName, optimizerName, filepath.Join(AdapterName, peft.WeightsName)} {
		want, got := sums(t, filepath.Join(whole.Root.StepDir(12), name)), sums(t, filepath.Join(dir, name))
		for path := range want {
			if got[path] != want[path] {
				t.Errorf("%s: %s differs after a resume", name, path)
			}
		}
	}
	m := tinyModel()
	adapters, err := peft.Read(filepath.Join(dir, AdapterName), m)
	if err != nil {
		t.Fatal(err)
	}
	base, err := m.NewStore(7)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Params() {
		v := base.GetVariable("/" + p.Path)
		merged := adapters.Merge(p.Path, tensors.MustCopyFlatData[float32](v.MustValue()))
		if err := v.SetValue(tensors.FromFlatDataAndDimensions(merged, p.Dims...)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "merged.safetensors")
	if err := checkpoints.WriteTensors(path, variablesOf(base)); err != nil {
		t.Fatal(err)
	}
	want, got := sums(t, filepath.Join(dir, checkpoints.WeightsName)), sums(t, path)
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: merged from the adapters alone it differs", name)
		}
	}
}

// TestFrozenTowerHasNoBackwardPass counts matrix products in the graph that computes the gradients.
func TestFrozenTowerHasNoBackwardPass(t *testing.T) {
	products := func(c tune.Config) (n int) {
		s := newTuned(t, t.TempDir(), 1, c).Stepper
		b, err := s.newBatch(mustNext(t), optim.Curve{}, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := b.inputs(0, b.size)
		if err != nil {
			t.Fatal(err)
		}
		exec, err := gml.NewExec(backendtest.Go(t), s.store, func(scope *gml.Scope, in []*Node) *Node {
			images, texts := s.encode(scope, in[0], in[1], in[3], in[4])
			scale, bias := s.Model.Temperature(scope, in[0].Graph())
			value := s.Loss.Compute(loss.Batch{Images: images, Texts: texts, Scale: scale, Bias: bias, Keys: in[2]})
			gradients := Gradient(value, s.adam.Trainable(in[0].Graph())...)
			n = countProducts(append(gradients, value))
			return value
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := exec.Call(rows.images, rows.tokens, b.keys, b.rng, rows.noise); err != nil {
			t.Fatal(err)
		}
		return n
	}
	all, locked := products(tune.Config{}), products(tune.Config{LockImage: &tune.Lock{}})
	half := products(tune.Config{LockImage: &tune.Lock{}, LockText: &tune.Lock{}})
	if forward := half; locked >= all || all-locked < forward/2 {
		t.Errorf("%d products to train everything, %d with a locked image tower, %d with both: a frozen tower is differentiated", all, locked, forward)
	}
}

func mustNext(t *testing.T) Input {
	t.Helper()
	b, err := (&source{}).Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return b.Input
}

// countProducts counts the matrix products that nodes depend on.
func countProducts(nodes []*Node) (n int) {
	seen := map[NodeId]bool{}
	for len(nodes) > 0 {
		node := nodes[len(nodes)-1]
		nodes = nodes[:len(nodes)-1]
		if seen[node.Id()] {
			continue
		}
		seen[node.Id()] = true
		if node.Type() == NodeTypeDotGeneral {
			n++
		}
		nodes = append(nodes, node.Inputs()...)
	}
	return n
}
