package checkpoints

import (
	"fmt"
	"io"
	"os"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/checkpoints/safetensors"
)

// WriteTensors writes variables to a safetensors file under their paths without the leading "/".
func WriteTensors(path string, variables []*gml.Variable) error {
	entries := make([]safetensors.Entry, len(variables))
	for i, v := range variables {
		dtype, err := dtypeName(v.Shape().DType)
		if err != nil {
			return fmt.Errorf("%s: %w", v.Path(), err)
		}
		info := safetensors.Info{Name: v.Path()[1:], DType: dtype, Shape: v.Shape().Dimensions}
		entries[i] = safetensors.Entry{Info: info, Write: func(w io.Writer) error { return writeVariable(w, v) }}
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := safetensors.Write(f, map[string]string{"format": "tandem"}, entries); err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", path, err)
	}
	return f.Close()
}

func writeVariable(w io.Writer, v *gml.Variable) error {
	value, err := v.Value()
	if err != nil {
		return err
	}
	var written error
	if err := value.ConstBytes(func(data []byte) { _, written = w.Write(data) }); err != nil {
		return err
	}
	return written
}

// ReadTensors replaces the values of variables by those of a file. Every variable must be there with its shape and
// type, and nothing else.
func ReadTensors(path string, variables []*gml.Variable) error {
	file, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if len(file.Tensors()) != len(variables) {
		return fmt.Errorf("%s holds %d tensors, want %d", path, len(file.Tensors()), len(variables))
	}
	for _, v := range variables {
		if err := readVariable(file, v); err != nil {
			return err
		}
	}
	return nil
}

func readVariable(file *safetensors.File, v *gml.Variable) error {
	name := v.Path()[1:]
	info, ok := file.Lookup(name)
	if !ok {
		return fmt.Errorf("%s: tensor %s is missing", file.Path(), name)
	}
	value, err := ReadTensor(file, info)
	if err != nil {
		return err
	}
	if !value.Shape().Equal(v.Shape()) {
		return fmt.Errorf("%s: tensor %s is %s, want %s", file.Path(), name, value.Shape(), v.Shape())
	}
	return v.SetValue(value)
}

// ReadTensor reads one tensor as it is.
func ReadTensor(file *safetensors.File, info safetensors.Info) (*tensors.Tensor, error) {
	dtype, err := dtypeOf(info.DType)
	if err != nil {
		return nil, fmt.Errorf("%s: tensor %s: %w", file.Path(), info.Name, err)
	}
	value := tensors.FromShape(shapes.Make(dtype, info.Shape...))
	var read error
	if err := value.MutableBytes(func(data []byte) { read = file.Read(info, data) }); err != nil {
		return nil, err
	}
	return value, read
}

// dtypePairs are the types that parameters and states come in.
var dtypePairs = []struct {
	ours dtypes.DType
	name safetensors.DType
}{
	{dtypes.Float32, safetensors.F32},
	{dtypes.Float64, safetensors.F64},
	{dtypes.Float16, safetensors.F16},
	{dtypes.BFloat16, safetensors.BF16},
	{dtypes.Int64, safetensors.I64},
	{dtypes.Int32, safetensors.I32},
}

func dtypeName(d dtypes.DType) (safetensors.DType, error) {
	for _, p := range dtypePairs {
		if p.ours == d {
			return p.name, nil
		}
	}
	return "", fmt.Errorf("type %s has no place in a checkpoint", d)
}

func dtypeOf(name safetensors.DType) (dtypes.DType, error) {
	for _, p := range dtypePairs {
		if p.name == name {
			return p.ours, nil
		}
	}
	return dtypes.InvalidDType, fmt.Errorf("type %s cannot be a parameter", name)
}

// ReadTensorAs reads a float tensor of any precision as dtype float32; other types must match.
func ReadTensorAs(file *safetensors.File, info safetensors.Info, dtype dtypes.DType) (*tensors.Tensor, error) {
	stored, err := dtypeOf(info.DType)
	if err != nil {
		return nil, fmt.Errorf("%s: tensor %s: %w", file.Path(), info.Name, err)
	}
	if stored == dtype {
		return ReadTensor(file, info)
	}
	if dtype != dtypes.Float32 || !stored.IsFloat() {
		return nil, fmt.Errorf("%s: tensor %s is %s, want %s", file.Path(), info.Name, stored, dtype)
	}
	raw := make([]byte, info.Bytes())
	if err := file.Read(info, raw); err != nil {
		return nil, err
	}
	value := tensors.FromShape(shapes.Make(dtype, info.Shape...))
	var converted error
	err = tensors.MutableFlatData(value, func(flat []float32) { converted = safetensors.Float32s(info.DType, raw, flat) })
	if err == nil {
		err = converted
	}
	return value, err
}
