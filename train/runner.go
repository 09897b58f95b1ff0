package train

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/backend"
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
	settle   func() error   // runs after a program was compiled
}

// graphFunc is what a runner runs; inputs and outputs by position.
type graphFunc = func(scope *gml.Scope, in []*Node) []*Node

// newRunner prepares a graph function. Outputs are whole on every device.
func (s *Stepper) newRunner(device compute.Backend, name string, graph graphFunc, inputs ...layout) (*runner, error) {
	exec, err := gml.NewExec(device, s.store, func(scope *gml.Scope, in []*Node) []*Node {
		outputs := graph(scope, in)
		backend.UpdateInPlace(in[0].Graph(), s.store)
		return outputs
	})
	if err != nil {
		return nil, err
	}
	exec.WithName(name).SetMaxCache(-1)
	plan, err := sharding.Spread(exec, s.Devices, inputs...)
	settle := func() error { return s.settle(device) }
	return &runner{exec: exec, plan: plan, compiled: map[string]bool{}, took: &s.compileTime, settle: settle}, err
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
	return r.settle()
}

// settle moves the weights and the optimiser's state to the device before the first run, and gives the memory of the
// copies in Go back: they would lie beside the step's for as long as the garbage collector sees no need.
func (s *Stepper) settle(device compute.Backend) error {
	if s.settled || s.Devices > 1 { // GoMLX moves the copies for several devices itself
		return nil
	}
	s.settled = true
	defer freeMemory()
	moved := uintptr(0)
	for v := range s.store.IterVariables() {
		value, err := v.Value()
		if err != nil {
			return err
		}
		const shared = false // memory shared with Go cannot be donated: the first step would copy it
		if err := value.MaterializeOnDevice(device, shared, 0); err != nil {
			return fmt.Errorf("move %s to the device: %w", v.Path(), err)
		}
		value.FinalizeLocal()
		if moved += uintptr(value.Shape().ByteSize()); moved > 256<<20 {
			freeMemory()
			moved = 0
		}
	}
	return nil
}

// freeMemory gives unused memory back to the system. Tensors have finalizers, so that one collection is not enough.
func freeMemory() {
	runtime.GC()
	debug.FreeOSMemory()
}
