package foreign

import (
	"encoding/binary"
	"fmt"

	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/checkpoints/safetensors"
	"tandem/model"
)

// LoadStore reads the weights of a file through a table into a GoMLX store, as float32.
func (t Table) LoadStore(c model.Config, file *safetensors.File) (*gml.Store, error) {
	names := make([]string, 0, len(file.Tensors()))
	for _, info := range file.Tensors() {
		names = append(names, info.Name)
	}
	if err := t.Check(c, names, nil); err != nil {
		return nil, fmt.Errorf("%s: %w", file.Path(), err)
	}
	byOurs := map[string][]Pair{}
	for _, p := range t {
		byOurs[p.Ours] = append(byOurs[p.Ours], p)
	}
	store := gml.NewStore()
	for _, param := range c.Params() {
		value, err := readParam(file, param, byOurs[param.Path])
		if err != nil {
			return nil, err
		}
		if err := model.AddVariable(store, param, value); err != nil {
			return nil, err
		}
	}
	return store, nil
}

// readParam assembles one of our tensors from theirs.
func readParam(file *safetensors.File, param model.Param, pairs []Pair) (*tensors.Tensor, error) {
	var dtype safetensors.DType
	var ours []byte
	for _, p := range pairs {
		info, ok := file.Lookup(p.Theirs)
		if !ok {
			return nil, fmt.Errorf("%s: tensor %s is missing", file.Path(), p.Theirs)
		}
		theirs := make([]byte, info.Bytes())
		if err := file.Read(info, theirs); err != nil {
			return nil, err
		}
		if ours == nil {
			dtype = info.DType
			ours = make([]byte, param.Size()*dtype.Size())
		}
		size := dtype.Size()
		if p.Rows != [2]int{} {
			row := len(theirs) / p.Shape[0]
			theirs = theirs[p.Rows[0]*row : p.Rows[1]*row]
		}
		p.toOurs(ours, param.Dims, theirs, size)
	}
	if param.Counter {
		return tensors.FromScalar(int64(binary.LittleEndian.Uint64(ours))), nil
	}
	flat := make([]float32, param.Size())
	if err := safetensors.Float32s(dtype, ours, flat); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", file.Path(), param.Path, err)
	}
	return tensors.FromFlatDataAndDimensions(flat, param.Dims...), nil
}
