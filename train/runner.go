package train

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/distributed"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/core/tensors/dtensor"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/backend"
)

// How an input or output of a graph lies on several devices.
type layout int

const (
	whole layout = iota // a copy on each device
	split               // by rows, its first axis
)

const batchAxis = "batch" // the devices' only axis

// runner is a compiled graph function on one device or several: XLA's partitioner (Shardy) splits the work by the layout
// of its inputs and does the communication.
type runner struct {
	exec     *gml.Exec
	inputs   []*distributed.ShardingSpec // nil on one device
	devices  int
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
	r := &runner{exec: exec, devices: max(1, s.Devices), compiled: map[string]bool{}, took: &s.compileTime, settle: func() error { return s.settle(device) }}
	if r.devices == 1 {
		return r, nil
	}
	mesh, err := s.deviceMesh()
	if err != nil {
		return nil, err
	}
	replicated := distributed.NewReplicatedShardingSpec(mesh)
	for _, l := range inputs {
		spec := replicated
		if l == split {
			if spec, err = distributed.BuildSpec(mesh).S(batchAxis).Done(); err != nil {
				return nil, err
			}
		}
		r.inputs = append(r.inputs, spec)
	}
	exec.AutoSharding(mesh).WithInputShardingSpecs(r.inputs...).WithOutputShardingSpecs(replicated) // the last one is for all that follow
	return r, exec.SetDefaultShardingSpec(replicated)
}

// deviceMesh is the devices in a row, the same value for all graphs of the store.
func (s *Stepper) deviceMesh() (*distributed.DeviceMesh, error) {
	var err error
	if s.mesh == nil {
		s.mesh, err = distributed.NewDeviceMesh([]int{s.Devices}, []string{batchAxis})
	}
	return s.mesh, err
}

// call runs the graph, compiling it first for new shapes. The caller frees the outputs.
func (r *runner) call(args ...*tensors.Tensor) ([]*tensors.Tensor, error) {
	shards, err := r.place(args)
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
	own := len(outputs) / r.devices
	for _, copied := range outputs[own:] {
		copied.FinalizeAll()
	}
	return outputs[:own], nil
}

// place lays the arguments out over the devices: all of the first device's, then all of the second's.
func (r *runner) place(args []*tensors.Tensor) ([]*tensors.Tensor, error) {
	if r.devices == 1 {
		return args, nil
	}
	placed := make([]*tensors.Tensor, r.devices*len(args))
	for i, arg := range args {
		d, err := dtensor.ShardTensor(r.inputs[i], arg)
		if err != nil {
			return nil, fmt.Errorf("split input %d of %s over %d devices: %w", i, arg.Shape(), r.devices, err)
		}
		for device, shard := range d.Shards() {
			placed[device*len(args)+i] = shard
		}
	}
	return placed, nil
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
