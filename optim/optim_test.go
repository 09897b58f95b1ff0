package optim

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/backend/backendtest"
	"tandem/internal/duration"
)

// reference is AdamW in float64, by the book (Loshchilov and Hutter, 2019, algorithm 2, as PyTorch has it).
type reference struct{ p, m, v, ema []float64 }

func (r *reference) step(c Config, hyper [4]float32, grad []float64, clip, decay float64) {
	for i, g := range grad {
		g *= clip
		r.m[i] = *c.Beta1*r.m[i] + (1-*c.Beta1)*g
		r.v[i] = c.Beta2*r.v[i] + (1-c.Beta2)*g*g
		mHat, vHat := r.m[i]/float64(hyper[1]), r.v[i]/float64(hyper[2])
		r.p[i] -= float64(hyper[0]) * (mHat/(math.Sqrt(vHat)+c.Epsilon) + decay*r.p[i])
		r.ema[i] = float64(hyper[3])*r.ema[i] + (1-float64(hyper[3]))*r.p[i]
	}
}

func randomTensor(r *rand.Rand, dims ...int) *tensors.Tensor {
	n := 1
	for _, d := range dims {
		n *= d
	}
	flat := make([]float32, n)
	for i := range flat {
		flat[i] = float32(r.NormFloat64())
	}
	return tensors.FromFlatDataAndDimensions(flat, dims...)
}

func wide(t *tensors.Tensor) []float64 {
	var out []float64
	for _, x := range tensors.MustCopyFlatData[float32](t) {
		out = append(out, float64(x))
	}
	return out
}

// trainer runs an optimiser on given gradients.
type trainer struct {
	store *gml.Store
	adam  *AdamW
	exec  *gml.Exec
	infos []ParamInfo
}

func newTrainer(t *testing.T, c Config) *trainer {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 1))
	tr := &trainer{store: gml.NewStore()}
	for path, dims := range map[string][]int{"a/weight": {3, 4}, "a/bias": {4}, "b/pos_embed": {2, 3}} {
		if _, err := tr.store.CreateVariable("/"+path, randomTensor(r, dims...)); err != nil {
			t.Fatal(err)
		}
		tr.infos = append(tr.infos, ParamInfo{Path: path, Rank: len(dims)})
	}
	var err error
	if tr.adam, err = New(c, tr.store, tr.infos); err != nil {
		t.Fatal(err)
	}
	tr.exec, err = gml.NewExec(backendtest.Go(t), tr.store, func(_ *gml.Scope, in []*Node) []*Node {
		h := tr.adam.Update(in[0], in[1], in[2:], true)
		return []*Node{h.GradientNorm, h.ParameterNorm, h.UpdateNorm}
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func (tr *trainer) step(t *testing.T, loss float32, hyper [4]float32, grads []*tensors.Tensor) []*tensors.Tensor {
	t.Helper()
	args := []any{loss, hyper[:]}
	for _, g := range grads {
		args = append(args, g)
	}
	out, err := tr.exec.Call(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAdamWAgainstFloat64(t *testing.T) {
	c := Config{ClipNorm: 0.7, EMA: 0.9, Schedule: Schedule{Warmup: duration.Steps(3)}}.WithDefaults()
	tr := newTrainer(t, c)
	refs := map[string]*reference{}
	for _, p := range tr.infos {
		values := wide(tr.store.GetVariable("/" + p.Path).MustValue())
		n := len(values)
		refs[p.Path] = &reference{values, make([]float64, n), make([]float64, n), append([]float64(nil), values...)}
	}
	r := rand.New(rand.NewPCG(2, 2))
	curve := c.Schedule.Over(10, 8, 80)
	for step := range int64(10) {
		var grads []*tensors.Tensor
		squares := 0.0
		for _, target := range tr.adam.targets {
			g := randomTensor(r, target.variable.Shape().Dimensions...)
			grads = append(grads, g)
			for _, x := range wide(g) {
				squares += x * x
			}
		}
		hyper := c.Hyper(curve, step)
		out := tr.step(t, 1, hyper, grads)
		norm := math.Sqrt(squares)
		if got := float64(tensors.ToScalar[float32](out[0])); math.Abs(got-norm) > 1e-5*norm {
			t.Fatalf("step %d: gradient norm %g, want %g", step, got, norm)
		}
		clip := math.Min(1, c.ClipNorm/(norm+1e-6))
		for i, target := range tr.adam.targets {
			decay := 0.0
			if target.path == "a/weight" { // rank 1 and positions are not decayed
				decay = 0.2
			}
			refs[target.path].step(c, hyper, wide(grads[i]), clip, decay)
		}
	}
	for path, ref := range refs {
		compare(t, path, wide(tr.store.GetVariable("/"+path).MustValue()), ref.p)
		compare(t, "average of "+path, wide(tr.store.GetVariable("/"+Average+path).MustValue()), ref.ema)
	}
}

func compare(t *testing.T, what string, got, want []float64) {
	t.Helper()
	for i := range want {
		if math.Abs(got[i]-want[i]) > 3e-6*(1+math.Abs(want[i])) {
			t.Errorf("%s[%d] is %.8g, want %.8g", what, i, got[i], want[i])
			return
		}
	}
}

// TestNonFiniteStepChangesNothing: a NaN in the loss or in any gradient leaves weights, moments and average alone.
func TestNonFiniteStepChangesNothing(t *testing.T) {
	nan := float32(math.NaN())
	for name, breakIt := range map[string]func(loss *float32, grads []*tensors.Tensor){
		"loss":     func(loss *float32, _ []*tensors.Tensor) { *loss = nan },
		"infinite": func(loss *float32, _ []*tensors.Tensor) { *loss = float32(math.Inf(1)) },
		"gradient": func(_ *float32, grads []*tensors.Tensor) {
			tensors.MustMutableFlatData(grads[1], func(flat []float32) { flat[0] = nan })
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := Config{EMA: 0.9}.WithDefaults()
			tr := newTrainer(t, c)
			before := map[string][]float64{}
			for v := range tr.store.IterVariables() {
				before[v.Path()] = wide(v.MustValue())
			}
			r := rand.New(rand.NewPCG(3, 3))
			var grads []*tensors.Tensor
			for _, target := range tr.adam.targets {
				grads = append(grads, randomTensor(r, target.variable.Shape().Dimensions...))
			}
			loss := float32(1)
			breakIt(&loss, grads)
			tr.step(t, loss, c.Hyper(c.Schedule.Over(10, 1, 1), 5), grads)
			for v := range tr.store.IterVariables() {
				after := wide(v.MustValue())
				for i := range after {
					if after[i] != before[v.Path()][i] {
						t.Fatalf("%s[%d] changed from %g to %g", v.Path(), i, before[v.Path()][i], after[i])
					}
				}
			}
		})
	}
}

func TestFrozenParametersGetNoState(t *testing.T) {
	c := Config{Rules: []Rule{{Match: "a/**", Frozen: true}}}.WithDefaults()
	tr := newTrainer(t, c)
	if len(tr.adam.targets) != 1 || tr.adam.NumTrainable() != 6 {
		t.Fatalf("%d parameters with %d scalars are trained, want b/pos_embed alone", len(tr.adam.targets), tr.adam.NumTrainable())
	}
	if tr.store.GetVariable("/a/weight").Trainable || tr.store.GetVariable("/"+FirstMoment+"a/weight") != nil {
		t.Error("a frozen parameter is trainable or has optimiser state")
	}
}

func TestDecide(t *testing.T) {
	zero := 0.0
	params := []ParamInfo{{Path: "visual/block_0/ln_1/gain", Rank: 1}, {Path: "visual/block_0/attn/qkv/weight", Rank: 2}, {Path: "visual/pos_embed", Rank: 2}, {Path: "text/proj", Rank: 2}, {Path: "logit_scale", Rank: 0}}
	decisions, err := Decide([]Rule{
		{Match: "visual/block_*/ln_*/**", LRMultiple: 2},
		{Match: "visual/**", Frozen: true},
		{Match: "text/*", Decay: &zero},
	}, 0.2, params)
	if err != nil {
		t.Fatal(err)
	}
	want := []Decision{{LRMultiple: 2}, {Frozen: true, LRMultiple: 1, Decay: 0.2, Rule: 1}, {Frozen: true, LRMultiple: 1, Rule: 1},
		{LRMultiple: 1, Rule: 2}, {LRMultiple: 1, Rule: -1}}
	for i, w := range want {
		if decisions[i] != w {
			t.Errorf("%s: %+v, want %+v", params[i].Path, decisions[i], w)
		}
	}
	for name, rules := range map[string][]Rule{
		"decides no parameter": {{Match: "visual/**"}, {Match: "visual/pos_embed"}},
		"matches none":         {{Match: "audio/**"}},
		"not a path pattern":   {{Match: "visual/[a"}},
		"\"\"":                 {{}},
		"says how to train":    {{Match: "visual/**", Frozen: true, LRMultiple: 2}},
	} {
		if _, err := Decide(rules, 0.2, params); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("rules %+v: error %v, want one with %q", rules, err, name)
		}
	}
	adapter := ParamInfo{Path: "visual/block_0/attn/qkv/lora_a", Rank: 2, AdapterOf: "visual/block_0/attn/qkv/weight"}
	decisions, err = Decide([]Rule{{Match: "visual/block_0/attn/*/weight", LoRA: true, LRMultiple: 3, Decay: &zero}}, 0.2, []ParamInfo{params[1], adapter})
	if w := (Decision{Frozen: true, LoRA: true, LRMultiple: 3}); err != nil || decisions[0] != w {
		t.Errorf("adapted weight: %+v, want %+v (%v)", decisions[0], w, err)
	}
	if w := (Decision{LRMultiple: 3}); decisions[1] != w {
		t.Errorf("adapter: %+v, want %+v", decisions[1], w)
	}
	if _, err := New(Config{Rules: []Rule{{Match: "**", Frozen: true}}}.WithDefaults(), newTrainer(t, Config{}.WithDefaults()).store,
		[]ParamInfo{{Path: "a/weight", Rank: 2}}); err == nil || !strings.Contains(err.Error(), "nothing would be trained") {
		t.Errorf("freezing everything: error %v", err)
	}
}

// TestSchedules against open_clip's scheduler.py.
func TestSchedules(t *testing.T) {
	warm := duration.Steps(10)
	tests := []struct {
		name     string
		schedule Schedule
		step     int64
		want     float64
	}{
		{"warmup, first step", Schedule{Warmup: warm}, 0, 0.1},
		{"warmup, last step", Schedule{Warmup: warm}, 9, 1},
		{"cosine, start", Schedule{Warmup: warm}, 10, 1},
		{"cosine, middle", Schedule{Warmup: warm}, 55, 0.5},
		{"cosine, last step", Schedule{Warmup: warm}, 99, 0.5 * (1 + math.Cos(math.Pi*89/90))},
		{"cosine, past the end", Schedule{Warmup: warm}, 200, 0},
		{"cosine to a floor", Schedule{Warmup: warm, End: 0.1}, 55, 0.55},
		{"constant", Schedule{Name: Constant, Warmup: warm}, 70, 1},
		{"cooldown, before", Schedule{Name: ConstantCooldown, Cooldown: duration.Steps(20)}, 79, 1},
		{"cooldown, start", Schedule{Name: ConstantCooldown, Cooldown: duration.Steps(20)}, 80, 1},
		{"cooldown, middle", Schedule{Name: ConstantCooldown, Cooldown: duration.Steps(20), End: 0.2}, 90, 0.6},
		{"cooldown, squared", Schedule{Name: ConstantCooldown, Cooldown: duration.Steps(20), CooldownPower: 2}, 90, 0.25},
	}
	for _, test := range tests {
		s := test.schedule.withDefaults()
		if got := s.Over(100, 8, 80).Factor(test.step); math.Abs(got-test.want) > 1e-12 {
			t.Errorf("%s: factor %g, want %g", test.name, got, test.want)
		}
	}
}

func TestValidateConfig(t *testing.T) {
	negative := -0.1
	for want, c := range map[string]Config{
		"optim.lr":            {LearningRate: -1},
		"optim.beta1":         {Beta1: new(1.0)},
		"optim.beta2":         {Beta2: -0.5},
		"optim.weight_decay":  {WeightDecay: &negative},
		"optim.clip_norm":     {ClipNorm: -1},
		"optim.ema":           {EMA: 1},
		"optim.schedule.name": {Schedule: Schedule{Name: "linear"}},
		"optim.schedule.end":  {Schedule: Schedule{End: 2}},
	} {
		if err := c.WithDefaults().Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one about %s", c, err, want)
		}
	}
	if err := (Config{}).WithDefaults().Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}
