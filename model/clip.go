package model

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"
)

// Logits are the scaled similarities of image and text features, each [B, E] and already on the unit sphere:
// exp(logit_scale)·I·Tᵀ (+ logit_bias) → [B images, B texts].
func (c Config) Logits(scope *gml.Scope, images, texts *Node) *Node {
	scale, bias := c.Temperature(scope, images)
	logits := Mul(Dot(images, texts).General([]int{1}, nil, []int{1}, nil), scale)
	if bias != nil {
		logits = Add(logits, bias)
	}
	return logits
}

// Temperature returns exp(logit_scale) and the logit bias (nil where the model has none), both float32 scalars.
func (c Config) Temperature(scope *gml.Scope, g GraphProvider) (scale, bias *Node) {
	scale = Exp(variable(scope, "logit_scale").NodeValue(g))
	if c.LogitBiasInit != nil {
		bias = variable(scope, "logit_bias").NodeValue(g)
	}
	return scale, bias
}

// NewStore returns a GoMLX store that holds c's parameters with their initial values for a seed.
func (c Config) NewStore(seed uint64) (*gml.Store, error) {
	params := c.Params()
	values := make([]*tensors.Tensor, len(params))
	parallel(len(params), func(i int) {
		p := params[i]
		if p.Counter {
			values[i] = tensors.FromScalar(int64(0))
			return
		}
		flat := make([]float32, p.Size())
		p.Fill(seed, flat)
		values[i] = tensors.FromFlatDataAndDimensions(flat, p.Dims...)
	})
	store := gml.NewStore()
	for i, p := range params {
		if err := AddVariable(store, p, values[i]); err != nil {
			return nil, err
		}
	}
	return store, nil
}

// AddVariable puts a parameter with its value into a store.
func AddVariable(store *gml.Store, p Param, value *tensors.Tensor) error {
	want := p.Shape()
	if !value.Shape().Equal(want) {
		return fmt.Errorf("parameter %s is %s, want %s", p.Path, value.Shape(), want)
	}
	v, err := store.CreateVariable("/"+p.Path, value)
	if err != nil {
		return fmt.Errorf("parameter %s: %w", p.Path, err)
	}
	v.SetTrainable(!p.Buffer)
	return nil
}

// Shape is the GoMLX shape of p: float32, but for counters.
func (p Param) Shape() shapes.Shape {
	if p.Counter {
		return shapes.Make(dtypes.Int64)
	}
	return shapes.Make(dtypes.Float32, p.Dims...)
}

// parallel runs work(0) … work(n−1) on all cores.
func parallel(n int, work func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := range next {
				work(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}
