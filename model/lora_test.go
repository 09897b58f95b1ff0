package model

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/backend/backendtest"
)

// adaptableOf lists every weight of c that can carry an adapter.
func adaptableOf(c Config) []string {
	var paths []string
	for _, p := range c.Params() {
		if Adaptable(p.Path) {
			paths = append(paths, p.Path)
		}
	}
	return paths
}

// features are both towers' rows on the unit sphere.
func features(t *testing.T, b compute.Backend, c Config, store *gml.Store, run Run) []*tensors.Tensor {
	t.Helper()
	images, tokens, _ := batch(c, 4)
	return call(t, b, store, func(scope *gml.Scope, in []*Node) []*Node {
		return []*Node{L2Normalise(c.EncodeImages(scope, in[0], run)), L2Normalise(c.EncodeTexts(scope, in[1], run))}
	}, images, tokens)
}

// randomise gives an adapter values as large as training would.
func randomise(t *testing.T, a Adapter, r *rand.Rand) {
	t.Helper()
	for _, v := range []*gml.Variable{a.A, a.B} {
		tensors.MustMutableFlatData(v.MustValue(), func(flat []float32) {
			for i := range flat {
				flat[i] = float32(0.1 * r.NormFloat64())
			}
		})
	}
}

// TestAdapters: a fresh adapter changes no bit; a trained one computes what its merged weights compute, within 1e-6 on
// the unit sphere, and something else than before.
func TestAdapters(t *testing.T) {
	backend := backendtest.Go(t)
	for name, c := range tiny() {
		t.Run(name, func(t *testing.T) {
			store, merged := newStore(t, c), newStore(t, c)
			plain := features(t, backend, c, store, Run{})
			if err := c.AddAdapters(store, adaptableOf(c), 3, 6, 5); err != nil {
				t.Fatal(err)
			}
			for i, fresh := range features(t, backend, c, store, Run{}) {
				if !slices.Equal(tensors.MustCopyFlatData[float32](fresh), tensors.MustCopyFlatData[float32](plain[i])) {
					t.Errorf("output %d differs with fresh adapters", i)
				}
			}
			r := rand.New(rand.NewPCG(3, 4))
			adapters := c.Adapters(store)
			if len(adapters) != len(adaptableOf(c)) {
				t.Fatalf("%d adapters, want %d", len(adapters), len(adaptableOf(c)))
			}
			for _, a := range adapters {
				randomise(t, a, r)
				weight := merged.GetVariable("/" + a.Weight)
				flat, err := a.Merge(tensors.MustCopyFlatData[float32](weight.MustValue()))
				if err != nil {
					t.Fatal(err)
				}
				if err := weight.SetValue(tensors.FromFlatDataAndDimensions(flat, weight.Shape().Dimensions...)); err != nil {
					t.Fatal(err)
				}
			}
			want := features(t, backend, c, merged, Run{})
			for i, got := range features(t, backend, c, store, Run{}) {
				if d := difference(got, want[i]); d > 1e-6 {
					t.Errorf("output %d: adapters and merged weights differ by %g", i, d)
				}
			}
			if d := difference(plain[1], want[1]); d < 1e-3 {
				t.Errorf("adapters changed the texts by %g only: the test shows nothing", d)
			}
		})
	}
}

// TestAdapterDropout: it acts in training only, and keeps the mean.
func TestAdapterDropout(t *testing.T) {
	c := tiny()["clip"]
	backend := backendtest.Go(t)
	store := newStore(t, c)
	if err := c.AddAdapters(store, adaptableOf(c), 2, 2, 5); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	for _, a := range c.Adapters(store) {
		randomise(t, a, r)
	}
	images, _, _ := batch(c, 4)
	state, err := RNGStateFromSeed(9)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(training bool) *tensors.Tensor {
		return call(t, backend, store, func(scope *gml.Scope, in []*Node) []*Node {
			return []*Node{c.EncodeImages(scope, in[0], Run{Training: training, Rng: in[1], AdapterDropout: 0.5})}
		}, images, state)[0]
	}
	plain := features(t, backend, c, store, Run{})[0]
	evaluated := call(t, backend, store, func(_ *gml.Scope, in []*Node) []*Node { return []*Node{L2Normalise(in[0])} }, encode(false))[0]
	if d := difference(plain, evaluated); d != 0 {
		t.Errorf("dropout changed an evaluation by %g", d)
	}
	if d := difference(encode(false), encode(true)); d < 1e-3 {
		t.Errorf("dropout changed a training step by %g only", d)
	}
}

func TestAdapterRefusals(t *testing.T) {
	c := tiny()["clip"]
	for name, test := range map[string]struct {
		path string
		rank int
	}{"not linear": {"visual/ln_post/gain", 2}, "projection": {"visual/proj", 2}, "rank too large": {"visual/block_0/attn/out/weight", 17}, "rank 0": {"visual/block_0/attn/out/weight", 0}} {
		if err := c.AddAdapters(newStore(t, c), []string{test.path}, test.rank, 1, 1); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
