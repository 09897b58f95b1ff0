package model

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/backend/backendtest"
)

// tiny returns small models of every kind, by name.
func tiny() map[string]Config {
	text := TextConfig{Context: 12, Vocab: 40, Width: 16, Heads: 2, Layers: 2, Lengths: []int{6, 9}}
	vision := VisionConfig{ImageSize: 16, PatchSize: 8, Width: 16, Heads: 2, Layers: 2}
	clip := Config{EmbedDim: 8, Vision: vision, Text: text}
	quick := clip
	quick.Vision.Activation, quick.Text.Activation = QuickGELU, QuickGELU
	average := clip
	average.Vision.Pool, average.Vision.NoPreNorm, average.Vision.NormAfterPool = PoolAvg, true, true
	average.Text.Pool, average.Text.EOSID = PoolEOS, 7
	bias := -10.0
	siglip := clip
	siglip.EmbedDim = 16
	siglip.LogitBiasInit = &bias
	siglip.Vision.Pool, siglip.Vision.NoClassToken, siglip.Vision.NoPreNorm = PoolMap, true, true
	siglip.Vision.PatchBias, siglip.Vision.NoProjection, siglip.Vision.Activation = true, true, GELUTanh
	siglip.Text.Pool, siglip.Text.NoCausalMask, siglip.Text.ProjectionBias = PoolLast, true, true
	resnet := clip
	resnet.Vision = VisionConfig{Kind: ResNet, ImageSize: 64, Width: 4, Heads: 2, Stages: []int{1, 2, 1, 1}}
	models := map[string]Config{"clip": clip, "quick": quick, "average": average, "siglip": siglip, "resnet": resnet}
	for name, c := range models {
		models[name] = c.WithDefaults()
	}
	return models
}

// batch is a small random input for a model: images and texts of different lengths.
func batch(c Config, n int) (images, tokens *tensors.Tensor, longest int) {
	r := rand.New(rand.NewPCG(1, 2))
	side := c.Vision.ImageSize
	pixels := make([]uint8, n*side*side*3)
	for i := range pixels {
		pixels[i] = uint8(r.IntN(256))
	}
	ids := make([]int32, n*c.Text.Context)
	for i := range n {
		end := 2 + i%4
		longest = max(longest, end+1)
		row := ids[i*c.Text.Context:]
		for j := range end {
			row[j] = int32(8 + r.IntN(c.Text.Vocab-9))
		}
		row[end] = int32(c.Text.Vocab - 1)
		if c.Text.Pool == PoolEOS {
			row[end] = int32(c.Text.EOSID)
		}
	}
	return tensors.FromFlatDataAndDimensions(pixels, n, side, side, 3), tensors.FromFlatDataAndDimensions(ids, n, c.Text.Context), longest
}

func call(t *testing.T, b compute.Backend, store *gml.Store, fn func(scope *gml.Scope, in []*Node) []*Node, args ...any) []*tensors.Tensor {
	t.Helper()
	exec, err := gml.NewExec(b, store, fn)
	if err != nil {
		t.Fatal(err)
	}
	defer exec.Finalize()
	out, err := exec.Call(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func newStore(t *testing.T, c Config) *gml.Store {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	store, err := c.NewStore(1)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// difference is the largest difference of two tensors relative to the largest value.
func difference(a, b *tensors.Tensor) float64 {
	x, y := tensors.MustCopyFlatData[float32](a), tensors.MustCopyFlatData[float32](b)
	if len(x) != len(y) {
		return math.Inf(1)
	}
	var worst, largest float64
	for i := range x {
		worst = math.Max(worst, math.Abs(float64(x[i]-y[i])))
		largest = math.Max(largest, math.Abs(float64(x[i])))
	}
	return worst / math.Max(largest, 1e-12)
}

// TestShortcutsAreExact: leaving out rows that pooling drops, and cutting texts to a shorter compiled length, change no
// feature.
func TestShortcutsAreExact(t *testing.T) {
	for name, c := range tiny() {
		t.Run(name, func(t *testing.T) {
			images, tokens, longest := batch(c, 4)
			length := c.Text.CutLength(longest)
			if c.Text.NoCausalMask && length != c.Text.Context {
				t.Fatalf("a text tower without causal mask was cut to %d", length)
			}
			if !c.Text.NoCausalMask && length >= c.Text.Context {
				t.Fatalf("longest caption %d was not cut: %d", longest, length)
			}
			out := call(t, backendtest.Go(t), newStore(t, c), func(scope *gml.Scope, in []*Node) []*Node {
				traced := Run{Trace: func(string, *Node) {}}
				short := SliceAxis(in[1], 1, AxisRange(0, length))
				return []*Node{
					c.EncodeImages(scope.ResetVisited(), in[0], Run{}), c.EncodeImages(scope.ResetVisited(), in[0], traced),
					c.EncodeTexts(scope.ResetVisited(), in[1], Run{}), c.EncodeTexts(scope.ResetVisited(), in[1], traced),
					c.EncodeTexts(scope.ResetVisited(), short, Run{}),
				}
			}, images, tokens)
			for what, d := range map[string]float64{
				"image features by row": difference(out[0], out[1]), "text features by row": difference(out[2], out[3]),
				"text features cut": difference(out[2], out[4]),
			} {
				if d > 2e-6 {
					t.Errorf("%s differ by %.2g", what, d)
				}
			}
		})
	}
}

// TestRematerialisedGradients: recomputing blocks changes no gradient.
func TestRematerialisedGradients(t *testing.T) {
	for _, name := range []string{"clip", "siglip"} {
		c := tiny()[name]
		c.Vision.Layers, c.Text.Layers = 3, 3
		images, tokens, _ := batch(c, 4)
		gradients := func(remat bool) []*tensors.Tensor {
			store := newStore(t, c)
			return call(t, backendtest.Go(t), store, func(scope *gml.Scope, in []*Node) []*Node {
				run := Run{Training: true, Rematerialise: remat}
				sum := ReduceAllSum(Mul(c.EncodeImages(scope, in[0], run), c.EncodeTexts(scope, in[1], run)))
				return Gradient(sum, trainable(c, store, in[0])...)
			}, images, tokens)
		}
		plain, remat := gradients(false), gradients(true)
		for i := range plain {
			if d := difference(plain[i], remat[i]); d > 1e-5 {
				t.Errorf("%s: gradient %d differs by %.2g", name, i, d)
			}
		}
	}
}

func trainable(c Config, store *gml.Store, g *Node) []*Node {
	var nodes []*Node
	for _, p := range c.Params() {
		if !p.Buffer && p.Path != "logit_scale" && p.Path != "logit_bias" {
			nodes = append(nodes, store.GetVariable("/"+p.Path).NodeValue(g))
		}
	}
	return nodes
}

// TestHandWrittenGradients holds each function of withGradient to the automatic gradient of the same formula.
func TestHandWrittenGradients(t *testing.T) {
	mask := func(x *Node) *Node { return TextConfig{}.causalMask(x) }
	automatic := func(x *Node, heads int, mask *Node) *Node {
		width := x.Shape().Dim(2) / 3
		return attention(columns(x, 0, width), columns(x, width, 2*width), columns(x, 2*width, 3*width), mask, heads)
	}
	plainNorm := func(x *Node) *Node {
		centred := Sub(x, rowMean(x))
		return Div(centred, Sqrt(AddScalar(rowMean(Square(centred)), 1e-5)))
	}
	plain := func(a Activation) func(*Node) *Node {
		return func(x *Node) *Node { y, _ := nonlinearity(a, x); return y }
	}
	for name, pair := range map[string][2]func(*Node) *Node{
		"attention":        {func(x *Node) *Node { return selfAttention(x, nil, 2) }, func(x *Node) *Node { return automatic(x, 2, nil) }},
		"masked attention": {func(x *Node) *Node { return selfAttention(x, mask(x), 2) }, func(x *Node) *Node { return automatic(x, 2, mask(x)) }},
		"standardise":      {func(x *Node) *Node { return standardise(x, 1e-5) }, plainNorm},
		"gelu":             {func(x *Node) *Node { return activate(GELU, x) }, plain(GELU)},
		"quick gelu":       {func(x *Node) *Node { return activate(QuickGELU, x) }, plain(QuickGELU)},
		"tanh gelu":        {func(x *Node) *Node { return activate(GELUTanh, x) }, plain(GELUTanh)},
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(3, 4))
			x := make([]float32, 2*5*12)
			for i := range x {
				x[i] = float32(2 * r.NormFloat64())
			}
			out := call(t, backendtest.Go(t), gml.NewStore(), func(_ *gml.Scope, in []*Node) []*Node {
				var results []*Node
				for _, f := range pair {
					y := f(in[0])
					weight := Sin(IotaLike(y, 2)) // a gradient that is not the same along a row
					results = append(results, y, Gradient(ReduceAllSum(Mul(y, weight)), in[0])[0])
				}
				return results
			}, tensors.FromFlatDataAndDimensions(x, 2, 5, 12))
			if d := difference(out[0], out[2]); d > 1e-6 {
				t.Errorf("values differ by %.2g", d)
			}
			if d := difference(out[1], out[3]); d > 2e-6 {
				t.Errorf("gradients differ by %.2g", d)
			}
		})
	}
}

// TestFLOPsAgreeWithTheGraph counts the products of the built graph.
func TestFLOPsAgreeWithTheGraph(t *testing.T) {
	for name, c := range tiny() {
		t.Run(name, func(t *testing.T) {
			wantImage, wantText := c.FLOPs()
			images, tokens, _ := batch(c, 1)
			for tower, want := range map[string]float64{"image": wantImage, "text": wantText} {
				var got float64
				call(t, backendtest.Go(t), newStore(t, c), func(scope *gml.Scope, in []*Node) []*Node {
					run := Run{Trace: func(string, *Node) {}} // every row, as FLOPs counts
					var y *Node
					if tower == "image" {
						y = c.EncodeImages(scope, in[0], run)
					} else {
						y = c.EncodeTexts(scope, in[1], run)
					}
					got = graphFLOPs(y) - selectionFLOPs(c, tower) + unaskedFLOPs(c, tower)
					return []*Node{y}
				}, images, tokens)
				if got != want {
					t.Errorf("%s tower: graph has %.0f operations, Config says %.0f", tower, got, want)
				}
			}
		})
	}
}

// selectionFLOPs is the one-hot product that picks the pooled text row, which is no part of the mathematics.
func selectionFLOPs(c Config, tower string) float64 {
	if tower == "text" {
		return product(1, c.Text.Context, c.Text.Width)
	}
	return 0
}

// unaskedFLOPs is what the ResNet's attention pool saves by asking for the mean's row alone. FLOPs counts every row, as
// open_clip computes and profiles it: the query, scores, mixing and output of the H·W others.
func unaskedFLOPs(c Config, tower string) float64 {
	if tower != "image" || c.Vision.Kind != ResNet {
		return 0
	}
	side, width := c.Vision.ImageSize/32, 32*c.Vision.Width
	others := side * side
	return product(others, width, width) + 2*product(others, width, others+1) + product(others, width, c.EmbedDim)
}

// graphFLOPs sums 2·(elements of the result)·(contracted length) over products and convolutions that y depends on.
func graphFLOPs(y *Node) float64 {
	seen := map[NodeId]bool{}
	var total float64
	var visit func(n *Node)
	visit = func(n *Node) {
		if seen[n.Id()] {
			return
		}
		seen[n.Id()] = true
		in := n.Inputs()
		switch n.Type() {
		case NodeTypeDotGeneral: // contracted² = |a|·|b| / (|y|·batch), batch being what a and b share
			a, b, out := float64(in[0].Shape().Size()), float64(in[1].Shape().Size()), float64(n.Shape().Size())
			shared := 1.0
			if in[0].Rank() > 2 && in[1].Rank() > 2 {
				for axis := range in[0].Rank() - 2 {
					shared *= float64(n.Shape().Dim(axis))
				}
			}
			total += 2 * out * math.Sqrt(a*b/(out*shared))
		case NodeTypeConvGeneral:
			kernel := in[1].Shape()
			total += 2 * float64(n.Shape().Size()) * float64(kernel.Size()/kernel.Dim(-1))
		}
		for _, i := range in {
			visit(i)
		}
	}
	visit(y)
	return math.Round(total)
}

// TestParamsAreUsed: the graph reads every parameter of the list, and no gradient is lost on the way.
func TestParamsAreUsed(t *testing.T) {
	for name, c := range tiny() {
		t.Run(name, func(t *testing.T) {
			images, tokens, _ := batch(c, 4)
			store := newStore(t, c)
			for _, p := range c.Params() {
				if strings.HasSuffix(p.Path, "bn3/gain") { // 0 at first, which hides the block behind it
					fill(store, p.Path, 1)
				}
			}
			out := call(t, backendtest.Go(t), store, func(scope *gml.Scope, in []*Node) []*Node {
				run := Run{Training: true}
				i, x := L2Normalise(c.EncodeImages(scope, in[0], run)), L2Normalise(c.EncodeTexts(scope, in[1], run))
				weight := Sin(Iota(in[0].Graph(), c.Logits(scope, i, x).Shape(), 1))
				return Gradient(ReduceAllSum(Mul(c.Logits(scope, i, x), weight)), trainable(c, store, in[0])...)
			}, images, tokens)
			index := 0
			for _, p := range c.Params() {
				if p.Buffer || p.Path == "logit_scale" || p.Path == "logit_bias" {
					continue
				}
				g := tensors.MustCopyFlatData[float32](out[index])
				index++
				if !slices.ContainsFunc(g, func(x float32) bool { return x != 0 }) {
					t.Errorf("%s has no gradient", p.Path)
				}
			}
		})
	}
}

// fill sets every element of a parameter.
func fill(store *gml.Store, path string, x float32) {
	tensors.MustMutableFlatData(store.GetVariable("/"+path).MustValue(), func(flat []float32) {
		for i := range flat {
			flat[i] = x
		}
	})
}

// TestPatchDropout: training drops patches at random, the same for the same state, and evaluation drops none.
func TestPatchDropout(t *testing.T) {
	c := tiny()["clip"]
	c.Vision.PatchDropout = 0.5
	images, _, _ := batch(c, 4)
	encode := func(training bool, seed int64) *tensors.Tensor {
		return call(t, backendtest.Go(t), newStore(t, c), func(scope *gml.Scope, in []*Node) []*Node {
			rng := RNGStateFromSeedForGraph(in[0].Graph(), seed)
			return []*Node{c.EncodeImages(scope, in[0], Run{Training: training, Rng: rng})}
		}, images)[0]
	}
	if d := difference(encode(true, 5), encode(true, 5)); d != 0 {
		t.Errorf("the same seed gives features that differ by %.2g", d)
	}
	if difference(encode(true, 5), encode(true, 6)) < 1e-3 {
		t.Error("two seeds drop the same patches")
	}
	if difference(encode(true, 5), encode(false, 5)) < 1e-3 {
		t.Error("training drops nothing")
	}
	if d := difference(encode(false, 5), encode(false, 6)); d != 0 {
		t.Error("evaluation drops patches")
	}
}

// TestBatchNorm: training moves the running statistics as PyTorch does, evaluation does not.
func TestBatchNorm(t *testing.T) {
	c := tiny()["resnet"]
	images, _, _ := batch(c, 4)
	for _, training := range []bool{true, false} {
		store := newStore(t, c)
		call(t, backendtest.Go(t), store, func(scope *gml.Scope, in []*Node) []*Node {
			return []*Node{c.EncodeImages(scope, in[0], Run{Training: training})}
		}, images)
		batches := tensors.ToScalar[int64](store.GetVariable("/visual/stem/bn1/batches").MustValue())
		mean := tensors.MustCopyFlatData[float32](store.GetVariable("/visual/stem/bn1/running_mean").MustValue())
		moved := slices.ContainsFunc(mean, func(x float32) bool { return x != 0 })
		if (batches == 1) != training || moved != training {
			t.Errorf("training %v: %d batches seen, running mean %v", training, batches, mean)
		}
	}
}

// TestBfloat16 stays near float32.
func TestBfloat16(t *testing.T) {
	for name, c := range tiny() {
		images, tokens, _ := batch(c, 4)
		out := call(t, backendtest.Go(t), newStore(t, c), func(scope *gml.Scope, in []*Node) []*Node {
			half := Run{DType: dtypes.BFloat16}
			return []*Node{
				L2Normalise(c.EncodeImages(scope.ResetVisited(), in[0], Run{})), L2Normalise(c.EncodeImages(scope.ResetVisited(), in[0], half)),
				L2Normalise(c.EncodeTexts(scope.ResetVisited(), in[1], Run{})), L2Normalise(c.EncodeTexts(scope.ResetVisited(), in[1], half)),
			}
		}, images, tokens)
		if d := max(difference(out[0], out[1]), difference(out[2], out[3])); d > 0.05 || d == 0 {
			t.Errorf("%s: bfloat16 features differ by %.2g, want a little", name, d)
		}
	}
}

// TestInitialValues: the distributions have the moments that they should, and depend on seed and path alone.
func TestInitialValues(t *testing.T) {
	c, err := ByName("S-8")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{ // standard deviations by open_clip's rules
		"text/token_embed": 0.02, "text/pos_embed": 0.01, "text/block_0/attn/qkv/weight": 1 / 16.0,
		"text/block_1/mlp/fc/weight": 1 / math.Sqrt(512), "text/block_1/mlp/proj/weight": 1 / math.Sqrt(256*8),
		"visual/pos_embed": 1 / 16.0, "visual/block_0/mlp/fc/weight": 1 / math.Sqrt(3*256),
		"visual/block_0/attn/qkv/weight": math.Sqrt(6.0/(256+768)) / math.Sqrt(3), "visual/block_0/ln_1/bias": 0,
	}
	found := 0
	for _, p := range c.Params() {
		std, ok := want[p.Path]
		if !ok {
			continue
		}
		found++
		a, b := make([]float32, p.Size()), make([]float32, p.Size())
		p.Fill(1, a)
		p.Fill(1, b)
		if !slices.Equal(a, b) {
			t.Errorf("%s: two fills with one seed differ", p.Path)
		}
		var sum, squares float64
		for _, x := range a {
			sum += float64(x)
			squares += float64(x) * float64(x)
		}
		n := float64(len(a))
		if got := math.Sqrt(squares/n - sum/n*sum/n); math.Abs(got-std) > 0.03*std {
			t.Errorf("%s: standard deviation %.5f, want %.5f", p.Path, got, std)
		}
		p.Fill(2, b)
		if std != 0 && slices.Equal(a, b) {
			t.Errorf("%s does not depend on the seed", p.Path)
		}
	}
	if found != len(want) {
		t.Errorf("found %d of the %d parameters", found, len(want))
	}
}

func TestValidateNamesTheField(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"model.embed_dim": func(c *Config) { c.EmbedDim = 0 },
		"patch_size 17 must lie in 1 … image_size 16": func(c *Config) { c.Vision.PatchSize = 17 },
		"model.vision.patch_size":                     func(c *Config) { c.Vision.PatchSize = 0 },
		"model.vision.heads":                          func(c *Config) { c.Vision.Heads = 3 },
		"model.vision.kind":                           func(c *Config) { c.Vision.Kind = "mixer" },
		"model.vision.pool":                           func(c *Config) { c.Vision.Pool = "max" },
		"model.vision.no_projection":                  func(c *Config) { c.Vision.NoProjection = true },
		"model.vision.activation":                     func(c *Config) { c.Vision.Activation = "relu" },
		"model.vision.std":                            func(c *Config) { c.Vision.Std = [3]float64{1, 0, 1} },
		"model.text.context":                          func(c *Config) { c.Text.Context = 1 },
		"model.text.lengths":                          func(c *Config) { c.Text.Lengths = []int{9, 6} },
		"model.text.pool":                             func(c *Config) { c.Text.Pool = "mean" },
		"model.text.layers":                           func(c *Config) { c.Text.Layers = 0 },
		"pool class needs the class token":            func(c *Config) { c.Vision.NoClassToken = true },
		"model.vision.patch_dropout":                  func(c *Config) { c.Vision.PatchDropout = 1 },
	} {
		c := tiny()["clip"]
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %s", err, want)
		}
	}
	c := tiny()["resnet"]
	c.Vision.PatchDropout = 0.5
	if err := c.WithDefaults().Validate(); err == nil || !strings.Contains(err.Error(), "model.vision.patch_dropout 0.5 does not go with a ResNet") {
		t.Errorf("error %v, want one about a ResNet's patch_dropout", err)
	}
}

// TestPatchDropoutKeepsRows: what training computes with half of the patches is what the tower gives for one of the
// choices of half of them, positions and class token included (Li et al., 2022; open_clip/transformer.py: PatchDropout).
func TestPatchDropoutKeepsRows(t *testing.T) {
	for _, pool := range []string{PoolClass, PoolAvg} {
		c := tiny()["clip"]
		c.Vision.PatchDropout, c.Vision.Pool = 0.5, pool
		images, _, _ := batch(c, 4)
		choices := [][]int{{1, 2}, {1, 3}, {1, 4}, {2, 3}, {2, 4}, {3, 4}} // of the rows 1 … 4
		out := call(t, backendtest.Go(t), newStore(t, c), func(scope *gml.Scope, in []*Node) []*Node {
			rng := RNGStateFromSeedForGraph(in[0].Graph(), 5)
			results := []*Node{c.EncodeImages(scope.ResetVisited(), in[0], Run{Training: true, Rng: rng})}
			v, pixels := c.Vision, normalisePixels(in[0], c.Vision)
			for _, choice := range choices {
				visual := scope.ResetVisited().In("visual")
				rows := v.embedPatches(visual, pixels, &Run{})
				kept := []*Node{SliceAxis(rows, 1, AxisRange(0, 1))}
				for _, row := range choice {
					kept = append(kept, SliceAxis(rows, 1, AxisRange(row, row+1)))
				}
				b := block{v.Heads, v.MLPWidth, v.Activation, v.NormEpsilon, &Run{}}
				pooled := v.pool(visual, b.stack(visual, Concatenate(kept, 1), nil, v.Layers, &Run{}), &Run{})
				results = append(results, matMul(pooled, param(visual, pooled, "proj", v.Width, c.EmbedDim)))
			}
			return results
		}, images)
		trained := tensors.MustCopyFlatData[float32](out[0])
		seen := map[int]bool{}
		for image := range 4 {
			for i := range choices {
				whole := tensors.MustCopyFlatData[float32](out[1+i])
				row := func(x []float32) *tensors.Tensor {
					return tensors.FromFlatDataAndDimensions(x[image*c.EmbedDim:][:c.EmbedDim], c.EmbedDim)
				}
				if difference(row(trained), row(whole)) < 1e-5 {
					seen[image] = true
				}
			}
		}
		if len(seen) != 4 {
			t.Errorf("pooling %s: %d of 4 images have the features of a choice of patches", pool, len(seen))
		}
	}
}
