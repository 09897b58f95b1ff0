package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"
)

// Low-rank adapters (Hu et al., LoRA, 2021): beside a linear layer's frozen weight W [in, out] stand A [in, r] and
// B [r, out], and the layer computes x·W + s·(x·A)·B with s = α/r. The fused projection to queries, keys and values
// carries three of them side by side, as it would if it were three layers: A is [in, 3r], its i-th r columns meet the
// i-th third of B's columns. A store has an adapter for a layer or it has none; the graph functions look.

// Names of an adapter's tensors, beside the layer's "weight".
const (
	loraA     = "lora_a"
	loraB     = "lora_b"
	loraScale = "lora_scale"
)

// adaptable are the weights that an adapter can stand beside.
const adaptable = "{visual,text}/block_*/{attn/{qkv,out},mlp/{fc,proj}}/weight"

// Adaptable reports whether a parameter can carry a low-rank adapter: the linear layers of the transformer blocks.
func Adaptable(path string) bool { return doublestar.MatchUnvalidated(adaptable, path) }

// Adapter is a low-rank adapter in a store.
type Adapter struct {
	Weight string // path of the weight it stands beside
	A, B   *gml.Variable
	Scale  *gml.Variable // scalar: α/r, never trained
}

// Parts is how many adapters of one layer lie side by side: three in the projection to queries, keys and values.
func (a Adapter) Parts() int { return a.A.Shape().Dim(1) / a.B.Shape().Dim(0) }

// Rank is r.
func (a Adapter) Rank() int { return a.B.Shape().Dim(0) }

// AddAdapters puts adapters beside the weights of those paths into a store: A with PyTorch's initial values for linear
// layers, as peft has it, B zero, so that the model stays what it is until training moves them.
func (c Config) AddAdapters(store *gml.Store, weights []string, rank int, alpha float64, seed uint64) error {
	for _, p := range c.Params() {
		if !slices.Contains(weights, p.Path) {
			continue
		}
		if !Adaptable(p.Path) {
			return fmt.Errorf("%s cannot carry a low-rank adapter: only the linear layers of transformer blocks can (%s)", p.Path, adaptable)
		}
		if err := addAdapter(store, p, rank, alpha, seed); err != nil {
			return err
		}
	}
	return nil
}

func addAdapter(store *gml.Store, p Param, rank int, alpha float64, seed uint64) error {
	layer, in, out, parts := strings.TrimSuffix(p.Path, "/weight"), p.Dims[0], p.Dims[1], partsOf(p.Path)
	if rank < 1 || rank > min(in, out/parts) {
		return fmt.Errorf("rank %d does not fit the %d×%d weight %s", rank, in, out/parts, p.Path)
	}
	a := Param{Path: layer + "/" + loraA, Dims: []int{in, parts * rank}, Init: torchLinear(in)}
	b := Param{Path: layer + "/" + loraB, Dims: []int{rank, out}}
	for _, q := range []Param{a, b} {
		flat := make([]float32, q.Size())
		q.Fill(seed, flat)
		if err := AddVariable(store, q, tensors.FromFlatDataAndDimensions(flat, q.Dims...)); err != nil {
			return err
		}
	}
	return AddVariable(store, Param{Path: layer + "/" + loraScale, Buffer: true}, tensors.FromScalar(float32(alpha/float64(rank))))
}

func partsOf(path string) int {
	if strings.HasSuffix(path, "/qkv/weight") {
		return 3
	}
	return 1
}

// Adapters lists the adapters of c in a store, in the order of their weights.
func (c Config) Adapters(store *gml.Store) []Adapter {
	var list []Adapter
	for _, p := range c.Params() {
		layer, ok := strings.CutSuffix(p.Path, "/weight")
		if a := store.GetVariable("/" + layer + "/" + loraA); ok && a != nil {
			list = append(list, Adapter{p.Path, a, store.GetVariable("/" + layer + "/" + loraB), store.GetVariable("/" + layer + "/" + loraScale)})
		}
	}
	return list
}

// adapt adds to y what the adapter of the layer in scope makes of the layer's input x, if there is one. y are the
// layer's outputs from column on.
func (r *Run) adapt(scope *gml.Scope, x, y *Node, column int) *Node {
	a := scope.GetVariable(loraA)
	if a == nil {
		return y
	}
	b := scope.GetVariable(loraB)
	rank, out := b.Shape().Dim(0), b.Shape().Dim(1)
	value := func(name string, of *gml.Variable) *Node { return param(scope, x, name, of.Shape().Dimensions...) }
	width := out / (a.Shape().Dim(1) / rank) // columns of one part
	from, to := column/width, (column+y.Shape().Dim(-1))/width
	down := columns(value(loraA, a), from*rank, to*rank)
	low := matMul(r.dropAdapterInput(x), down) // [..., parts·r]
	deltas := make([]*Node, 0, to-from)
	for part := range to - from {
		up := columns(value(loraB, b), (from+part)*width, (from+part+1)*width)
		deltas = append(deltas, matMul(columns(low, part*rank, (part+1)*rank), up))
	}
	delta := deltas[0]
	if len(deltas) > 1 {
		delta = Concatenate(deltas, -1)
	}
	return Add(y, Mul(delta, param(scope, x, loraScale)))
}

// dropAdapterInput zeroes a random share of x in training and scales the rest up.
func (r *Run) dropAdapterInput(x *Node) *Node {
	if !r.Training || r.AdapterDropout == 0 {
		return x
	}
	var noise *Node
	r.Rng, noise = RandomUniform(r.Rng, shapes.Make(dtypes.Float32, x.Shape().Dimensions...))
	kept := GreaterOrEqual(noise, Scalar(x.Graph(), dtypes.Float32, r.AdapterDropout))
	return Where(kept, MulScalar(x, 1/(1-r.AdapterDropout)), ZerosLike(x))
}

// Merge returns the adapted layer's weight with the adapter in it, W + s·A·B, computed in float64 and rounded once.
// weight is W's values, row by row.
func (a Adapter) Merge(weight []float32) ([]float32, error) {
	down, err := tensors.CopyFlatData[float32](a.A.MustValue())
	if err != nil {
		return nil, err
	}
	up, err := tensors.CopyFlatData[float32](a.B.MustValue())
	if err != nil {
		return nil, err
	}
	scale, err := tensors.CopyFlatData[float32](a.Scale.MustValue())
	if err != nil {
		return nil, err
	}
	return MergeLowRank(weight, down, up, a.A.Shape().Dim(0), a.Rank(), a.Parts(), float64(scale[0])), nil
}

// MergeLowRank is W + s·A·B for parts side by side: weight [in, out], down [in, parts·rank], up [rank, out].
func MergeLowRank(weight, down, up []float32, in, rank, parts int, scale float64) []float32 {
	out := len(weight) / in
	merged := make([]float32, len(weight))
	parallel(in, func(i int) {
		sums := make([]float64, out)
		for part := range parts {
			from, to := part*out/parts, (part+1)*out/parts
			for k := range rank {
				x := float64(down[(i*parts+part)*rank+k])
				for j := from; j < to; j++ {
					sums[j] += x * float64(up[k*out+j])
				}
			}
		}
		for j, sum := range sums {
			merged[i*out+j] = float32(float64(weight[i*out+j]) + scale*sum)
		}
	})
	return merged
}
