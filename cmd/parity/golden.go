package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"tandem/internal/fault"
	"tandem/internal/npy"
)

// golden is what a directory holds beside the model.
type golden struct {
	inputs        map[string]npy.Array // images [B, 3, S, S], tokens [B, L]
	intermediates map[string]npy.Array
	outputs       map[string]npy.Array // float64 where the peer has that
	gradients     map[string]npy.Array
	gradientNorms map[string]float64 // in float64
	noDecay       map[string]bool
	noise         noise
}

// noise is how far the peer's float32 is from its own float64.
type noise struct {
	Relative map[string]float64 `json:"relative_f32_vs_f64"`
	After3   map[string]float64 `json:"after3_max_abs_diff_f32_vs_f64"`
}

const after3 = "after3/" // the weights after three steps

func readGolden(dir string) (golden, error) {
	var g golden
	var err error
	read := func(into *map[string]npy.Array, names ...string) {
		for _, name := range names {
			if err != nil || *into != nil {
				return
			}
			*into, err = npy.ReadZip(filepath.Join(dir, name))
			if errors.Is(err, fs.ErrNotExist) && name != names[len(names)-1] {
				*into, err = nil, nil
			}
		}
	}
	read(&g.inputs, "inputs.npz")
	read(&g.intermediates, "intermediates.npz")
	read(&g.outputs, "outputs_f64.npz", "outputs.npz")
	read(&g.gradients, "grads.npz")
	if err != nil {
		return g, fault.User(err)
	}
	var names []string
	if err := readJSON(filepath.Join(dir, "no_decay.json"), &names); err != nil {
		return g, err
	}
	g.noDecay = map[string]bool{}
	for _, name := range names {
		g.noDecay[name] = true
	}
	if err := readJSON(filepath.Join(dir, "f32_noise.json"), &g.noise); err != nil {
		return g, err
	}
	return g, readJSON(filepath.Join(dir, "grad_norms.json"), &g.gradientNorms)
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fault.User(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fault.Userf("%s: %w", path, err)
	}
	return nil
}

// images returns the pictures with channels last: [B, S, S, 3].
func (g golden) images() (values []float32, shape []int, err error) {
	a := g.inputs["images"]
	values, err = npy.As[float32](a)
	if err != nil || len(a.Shape) != 4 {
		return nil, nil, fault.Userf("inputs.npz: images must be four-dimensional float32, not %v of %T", a.Shape, a.Data)
	}
	return channelsLast(values, a.Shape), []int{a.Shape[0], a.Shape[2], a.Shape[3], a.Shape[1]}, nil
}

// channelsLast turns [B, C, H, W] into [B, H, W, C].
func channelsLast[T any](values []T, shape []int) []T {
	batch, channels, area := shape[0], shape[1], shape[2]*shape[3]
	out := make([]T, len(values))
	for b := range batch {
		for c := range channels {
			for i := range area {
				out[(b*area+i)*channels+c] = values[(b*channels+c)*area+i]
			}
		}
	}
	return out
}

func (g golden) tokens() (values []int32, shape []int, err error) {
	a := g.inputs["tokens"]
	wide, err := npy.As[int64](a)
	if err != nil || len(a.Shape) != 2 {
		return nil, nil, fault.Userf("inputs.npz: tokens must be two-dimensional int64, not %v of %T", a.Shape, a.Data)
	}
	values = make([]int32, len(wide))
	for i, id := range wide {
		values[i] = int32(id)
	}
	return values, a.Shape, nil
}

// scalar is a single reference value.
func (g golden) scalar(name string) (float64, error) {
	values := floats(g.outputs[name])
	if len(values) != 1 {
		return 0, fmt.Errorf("outputs: %s has %d values, want one", name, len(values))
	}
	return values[0], nil
}

// weights are the reference weights after three steps, by their names.
func (g golden) weights() map[string]npy.Array {
	found := map[string]npy.Array{}
	for name, a := range g.outputs {
		if path, ok := strings.CutPrefix(name, after3); ok {
			found[path] = a
		}
	}
	return found
}
