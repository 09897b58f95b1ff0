package foreign

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"
	"golang.org/x/sync/errgroup"

	"tandem/checkpoints/safetensors"
	"tandem/model"
)

// chunk is how many bytes of a tensor are read or written at once.
const chunk = 4 << 20

// LoadStore reads the weights into a GoMLX store, as float32. It needs memory for the model and a few buffers of 4 MiB.
func (c *Checkpoint) LoadStore() (*gml.Store, error) {
	params := c.Config.Params()
	values := make([]*tensors.Tensor, len(params))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range params {
		group.Go(func() (err error) {
			values[i], err = c.loadParam(p)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	store := gml.NewStore()
	for i, p := range params {
		if err := model.AddVariable(store, p, values[i]); err != nil {
			return nil, err
		}
	}
	return store, nil
}

func (c *Checkpoint) loadParam(p model.Param) (*tensors.Tensor, error) {
	if p.Counter {
		raw, err := c.Raw(p, nil)
		if err != nil {
			return nil, err
		}
		return tensors.FromScalar(int64(binary.LittleEndian.Uint64(raw))), nil
	}
	value := tensors.FromShape(p.Shape())
	var err error
	accessErr := tensors.MutableFlatData(value, func(flat []float32) { err = c.Floats(p, flat) })
	if err == nil {
		err = accessErr
	}
	return value, err
}

// Floats fills dst, of length p.Size(), with a parameter's values.
func (c *Checkpoint) Floats(p model.Param, dst []float32) error {
	if values, ok := c.replaced[p.Path]; ok {
		copy(dst, values)
		return nil
	}
	var decoded []float32
	for _, pair := range c.pairs[p.Path] {
		err := c.eachChunk(pair, func(info safetensors.Info, raw []byte, row int) error {
			decoded = grow(decoded, len(raw)/info.DType.Size())
			if err := safetensors.Float32s(info.DType, raw, decoded); err != nil {
				return fmt.Errorf("%s: %s: %w", c.weights.Path(), info.Name, err)
			}
			toOurs(pair, p.Dims, dst, decoded, row)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Raw returns a parameter in our layout, in the type it is stored in. The data lies in buffer if that is large enough.
func (c *Checkpoint) Raw(p model.Param, buffer []byte) ([]byte, error) {
	dtype, err := c.Stored(p)
	if err != nil {
		return nil, err
	}
	if values, ok := c.replaced[p.Path]; ok {
		return safetensors.AppendFloat32s(buffer[:0], dtype, values)
	}
	buffer = grow(buffer, p.Size()*dtype.Size())
	for _, pair := range c.pairs[p.Path] {
		err := c.eachChunk(pair, func(_ safetensors.Info, raw []byte, row int) error {
			rawToOurs(dtype.Size(), pair, p.Dims, buffer, raw, row)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return buffer, nil
}

func grow[E any](buffer []E, n int) []E {
	if cap(buffer) < n {
		return make([]E, n)
	}
	return buffer[:n]
}

var chunks = sync.Pool{New: func() any { return new([]byte) }}

// eachChunk reads the rows of a pair's tensor piece by piece; row is the first row of a piece.
func (c *Checkpoint) eachChunk(p Pair, use func(info safetensors.Info, raw []byte, row int) error) error {
	info, ok := c.weights.Lookup(p.Theirs)
	if !ok {
		return fmt.Errorf("%s: tensor %s is missing", c.weights.Path(), p.Theirs)
	}
	buffer := chunks.Get().(*[]byte)
	defer chunks.Put(buffer)
	rowBytes := p.inner() * info.DType.Size()
	return p.eachRows(rowBytes, func(row, n int) error {
		*buffer = grow(*buffer, n*rowBytes)
		if err := c.weights.ReadPart(info, int64(row)*int64(rowBytes), *buffer); err != nil {
			return err
		}
		return use(info, *buffer, row)
	})
}

// eachRows visits p's rows in runs of about a chunk.
func (p Pair) eachRows(rowBytes int, visit func(row, n int) error) error {
	from, to := p.rows()
	step := max(1, chunk/max(1, rowBytes))
	for row := from; row < to; row += step {
		if err := visit(row, min(step, to-row)); err != nil {
			return err
		}
	}
	return nil
}

// elements sees raw bytes as elements of E, an array of bytes (so that any alignment will do).
func elements[E any](raw []byte) []E {
	var e E
	return unsafe.Slice((*E)(unsafe.Pointer(unsafe.SliceData(raw))), len(raw)/int(unsafe.Sizeof(e)))
}

// rawToOurs is toOurs for elements of size bytes.
func rawToOurs(size int, p Pair, dims []int, ours, theirs []byte, from int) {
	switch size {
	case 1:
		toOurs(p, dims, ours, theirs, from)
	case 2:
		toOurs(p, dims, elements[[2]byte](ours), elements[[2]byte](theirs), from)
	case 4:
		toOurs(p, dims, elements[[4]byte](ours), elements[[4]byte](theirs), from)
	default:
		toOurs(p, dims, elements[[8]byte](ours), elements[[8]byte](theirs), from)
	}
}

// rawToTheirs is toTheirs for elements of size bytes.
func rawToTheirs(size int, p Pair, dims []int, theirs, ours []byte, from int) {
	switch size {
	case 1:
		toTheirs(p, dims, theirs, ours, from)
	case 2:
		toTheirs(p, dims, elements[[2]byte](theirs), elements[[2]byte](ours), from)
	case 4:
		toTheirs(p, dims, elements[[4]byte](theirs), elements[[4]byte](ours), from)
	default:
		toTheirs(p, dims, elements[[8]byte](theirs), elements[[8]byte](ours), from)
	}
}
