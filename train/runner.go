package train

import (
	"fmt"
	"strings"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/internal/sharding"
)

// How an input of a graph lies on several devices.
type layout = sharding.Layout

const (
	whole = sharding.Whole
	split = sharding.Rows
)

// runner is a compiled graph function on one device or several.
type runner struct {
	exec     *gml.Exec
	plan     *sharding.Plan
	compiled map[string]bool
	took     *time.Duration // adds up the time spent compiling
}

// graphFunc is what a runner runs; inputs and outputs by position.
type graphFunc = func(scope *gml.Scope, in []*Node) []*Node

// newRunner prepares a graph function. Outputs are whole on every device.
func (s *Stepper) newRunner(backend compute.Backend, name string, graph graphFunc, inputs ...layout) (*runner, error) {
	exec, err := gml.NewExec(backend, s.store, graph)
	if err != nil {
		return nil, err
	}
	exec.WithName(name).SetMaxCache(-1)
	plan, err := sharding.Spread(exec, s.Devices, inputs...)
	return &runner{exec: exec, plan: plan, compiled: map[string]bool{}, took: &s.compileTime}, err
}

// call runs the graph, compiling it first for new shapes. The caller frees the outputs.
func (r *runner) call(args ...*tensors.Tensor) ([]*tensors.Tensor, error) {
	shards, err := r.plan.Place(args...)
	if err != nil {
		return nil, err
	}
	if err := r.compile(shards); err != nil {
		return nil, err
	}
	anyArgs := make([]any, len(shards))
	for i, s := range shards {
		anyArgs[i] = s
	}
	outputs, err := r.exec.Call(anyArgs...)
	if err != nil {
		return nil, err
	}
	return r.plan.First(outputs), nil
}

func (r *runner) compile(args []*tensors.Tensor) error {
	var key strings.Builder
	inputShapes := make([]shapes.Shape, len(args))
	for i, a := range args {
		inputShapes[i] = a.Shape()
		key.WriteString(a.Shape().String())
	}
	if r.compiled[key.String()] {
		return nil
	}
	began := time.Now()
	if _, err := r.exec.Compile(inputShapes...); err != nil {
		return fmt.Errorf("compile the %s: %w", r.exec.Name(), err)
	}
	*r.took += time.Since(began)
	r.compiled[key.String()] = true
	return nil
}
