// Package sharding runs compiled graphs on one device or several: XLA's partitioner (Shardy) splits the work by the
// layout of the inputs and does the communication.
package sharding

import (
	"fmt"
	"sync"

	"github.com/gomlx/compute/distributed"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/core/tensors/dtensor"
	"github.com/gomlx/gomlx/ml/model"
)

// Layout is how an input of a graph lies on several devices.
type Layout int

// Layouts.
const (
	Whole Layout = iota // a copy on each device
	Rows                // split by rows, its first axis
)

const rowsAxis = "batch" // the devices' only axis

var (
	mu     sync.Mutex
	meshes = map[int]*distributed.DeviceMesh{} // by number of devices: all graphs of a store want the same value
)

// mesh is the devices in a row.
func mesh(devices int) (*distributed.DeviceMesh, error) {
	mu.Lock()
	defer mu.Unlock()
	if m := meshes[devices]; m != nil {
		return m, nil
	}
	m, err := distributed.NewDeviceMesh([]int{devices}, []string{rowsAxis})
	if err == nil {
		meshes[devices] = m
	}
	return m, err
}

// Plan says how a graph's inputs are laid out. On one device it does nothing.
type Plan struct {
	devices int
	inputs  []*distributed.ShardingSpec
}

// Spread makes an executor run on the first devices of its backend; it must not have compiled anything yet. inputs are
// the layouts of its inputs; variables and outputs are whole on every device.
func Spread(exec *model.Exec, devices int, inputs ...Layout) (*Plan, error) {
	p := &Plan{devices: max(1, devices)}
	if p.devices == 1 {
		return p, nil
	}
	m, err := mesh(devices)
	if err != nil {
		return nil, err
	}
	replicated := distributed.NewReplicatedShardingSpec(m)
	for _, l := range inputs {
		spec := replicated
		if l == Rows {
			if spec, err = distributed.BuildSpec(m).S(rowsAxis).Done(); err != nil {
				return nil, err
			}
		}
		p.inputs = append(p.inputs, spec)
	}
	exec.AutoSharding(m).WithInputShardingSpecs(p.inputs...).WithOutputShardingSpecs(replicated) // the last one is for all that follow
	return p, exec.SetDefaultShardingSpec(replicated)
}

// Place lays the arguments out over the devices: all of the first device's, then all of the second's. What is split must
// have a number of rows that the devices divide.
func (p *Plan) Place(args ...*tensors.Tensor) ([]*tensors.Tensor, error) {
	if p.devices == 1 {
		return args, nil
	}
	placed := make([]*tensors.Tensor, p.devices*len(args))
	for i, arg := range args {
		d, err := dtensor.ShardTensor(p.inputs[i], arg)
		if err != nil {
			return nil, fmt.Errorf("split input %d of %s over %d devices: %w", i, arg.Shape(), p.devices, err)
		}
		for device, shard := range d.Shards() {
			placed[device*len(args)+i] = shard
		}
	}
	return placed, nil
}

// First frees the copies of a graph's outputs on all devices but the first, and returns the first's.
func (p *Plan) First(outputs []*tensors.Tensor) []*tensors.Tensor {
	own := len(outputs) / p.devices
	for _, copied := range outputs[own:] {
		copied.FinalizeAll()
	}
	return outputs[:own]
}

// Devices is the number of devices.
func (p *Plan) Devices() int { return p.devices }

// RoundUp is the next number of rows that the devices divide.
func (p *Plan) RoundUp(rows int) int { return (rows + p.devices - 1) / p.devices * p.devices }
