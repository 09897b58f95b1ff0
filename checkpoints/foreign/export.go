package foreign

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/checkpoints/safetensors"
	"tandem/internal/atomicfile"
	"tandem/internal/fault"
	"tandem/model"
)

// Weights gives a model's parameters in our layout, each in the element type that it is kept in.
type Weights interface {
	// Stored is the element type of a parameter.
	Stored(p model.Param) (safetensors.DType, error)
	// Raw returns a parameter's little-endian elements, in buffer if that is large enough.
	Raw(p model.Param, buffer []byte) ([]byte, error)
}

// Model is what can be exported: a checkpoint (Checkpoint.Model) or a model in memory (StoreWeights).
type Model struct {
	Config     model.Config
	Preprocess Preprocess
	Weights    Weights
	// Origin lets an export to the format that a model came from give back the same bytes. It may be nil.
	Origin *Origin
	// TokenizerName and Cleaning go to open_clip's text_cfg.
	TokenizerName, Cleaning string
	// TokenizerFingerprint goes to model.json; TokenizerFiles writes the tokenizer beside the model. Both may be empty.
	TokenizerFingerprint string
	TokenizerFiles       func(dir string) error
	// Notes go to model.json.
	Notes []string

	buffers map[string]safetensors.Entry // tensors of the origin that are no weights
}

// Model returns what Export needs of a checkpoint.
func (c *Checkpoint) Model() Model {
	m := Model{
		Config: c.Config, Preprocess: c.Preprocess, Weights: c, Origin: c.Origin, TokenizerName: c.TokenizerName, Cleaning: c.Cleaning,
		Notes: c.Notes, buffers: map[string]safetensors.Entry{},
	}
	from := c.weights
	if c.Format == FormatTandem {
		from = c.extra
	}
	if from == nil {
		return m
	}
	for _, info := range from.Tensors() {
		if isBuffer(info.Name) {
			m.buffers[info.Name] = safetensors.Entry{Info: info, Write: func(w io.Writer) error {
				raw := make([]byte, info.Bytes())
				if err := from.Read(info, raw); err != nil {
					return err
				}
				_, err := w.Write(raw)
				return err
			}}
		}
	}
	return m
}

// Export writes a model into the new directory dst, all of it or nothing. What the format cannot express is the user's
// mistake and says so.
func Export(dst string, to Format, m Model) error {
	m.Config = m.Config.WithDefaults()
	if entries, err := os.ReadDir(dst); err == nil && len(entries) > 0 {
		return fault.Userf("%s exists and is not empty: give a new directory", dst)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.User(err)
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(dst)), 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dst)), ".tmp-"+filepath.Base(dst)+"-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := os.Chmod(temp, 0o755); err != nil {
		return err
	}
	if err := writeModel(temp, to, m); err != nil {
		return err
	}
	if err := atomicfile.SyncTree(temp); err != nil {
		return err
	}
	if err := os.Remove(dst); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.Rename(temp, dst)
}

func writeModel(dir string, to Format, m Model) error {
	if to == FormatTandem {
		return m.writeTandem(dir)
	}
	back := m.wayBack(to)
	files, table, err := m.foreignFiles(to, back)
	if err != nil {
		return fault.User(err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := atomicfile.WriteFile(filepath.Join(dir, name), files[name], 0o644); err != nil {
			return err
		}
	}
	entries, err := m.entries(table)
	if err != nil {
		return err
	}
	if err := m.writeForeignWeights(dir, to, back, entries); err != nil {
		return err
	}
	if m.TokenizerFiles == nil {
		return nil
	}
	return m.TokenizerFiles(dir)
}

// wayBack is the origin if the model goes back where it came from and the kept configuration still describes it.
func (m Model) wayBack(to Format) *Origin {
	if m.Origin == nil || m.Origin.Format != to {
		return nil
	}
	config, preprocess, err := m.Origin.config()
	if err != nil || preprocess != m.Preprocess {
		return nil
	}
	ours := m.Config
	ours.Text.Lengths = nil // a choice of training, which no peer has
	if !reflect.DeepEqual(config, ours) {
		return nil
	}
	return m.Origin
}

// foreignFiles are the configurations to write, and the table of the weights.
func (m Model) foreignFiles(to Format, back *Origin) (map[string][]byte, Table, error) {
	if back != nil {
		files := maps.Clone(back.Files)
		maps.DeleteFunc(files, func(name string, _ []byte) bool { return strings.HasSuffix(name, safetensors.IndexSuffix) })
		shapes, err := back.shapes()
		if err != nil {
			return nil, nil, err
		}
		return files, back.table(shapes)(m.Config), nil
	}
	switch to {
	case FormatOpenCLIP:
		config, err := writeOpenCLIPConfig(openCLIPConfig{Model: m.Config, Preprocess: m.Preprocess, Tokenizer: m.TokenizerName, Cleaning: m.Cleaning})
		prefix := ""
		if usesTextPrefix(m.Config) {
			prefix = "text."
		}
		return map[string][]byte{"open_clip_config.json": config}, OpenCLIP(m.Config, prefix), err
	case FormatHF:
		dtype, err := m.mainType()
		if err != nil {
			return nil, nil, err
		}
		config, preprocessor, err := writeHFConfig(m.Config, m.Preprocess, dtype)
		return map[string][]byte{"config.json": config, "preprocessor_config.json": preprocessor}, HF(m.Config), err
	default:
		return nil, nil, fmt.Errorf("format %q is not written: use %s, %s or %s", to, FormatOpenCLIP, FormatHF, FormatTandem)
	}
}

// mainType is PyTorch's name of the type that most elements have.
func (m Model) mainType() (string, error) {
	sizes := map[safetensors.DType]int{}
	for _, p := range m.Config.Params() {
		dtype, err := m.Weights.Stored(p)
		if err != nil {
			return "", err
		}
		sizes[dtype] += p.Size()
	}
	most := slices.MaxFunc(slices.Collect(maps.Keys(sizes)), func(a, b safetensors.DType) int { return cmp.Compare(sizes[a], sizes[b]) })
	return map[safetensors.DType]string{
		safetensors.F16: "float16", safetensors.BF16: "bfloat16", safetensors.F32: "float32", safetensors.F64: "float64",
	}[most], nil
}

// writeForeignWeights writes the tensors under the origin's headers, or under new ones where those no longer fit.
func (m Model) writeForeignWeights(dir string, to Format, back *Origin, entries map[string]safetensors.Entry) error {
	if back != nil {
		if shards := m.shards(back, entries); shards != nil {
			for i, w := range back.Weights {
				if err := safetensors.WriteFileWithHeader(filepath.Join(dir, w.Name), w.Header, shards[i]); err != nil {
					return err
				}
			}
			return writeIndexes(dir, back)
		}
	}
	name := hfNames[0]
	if to == FormatOpenCLIP {
		name = openCLIPNames[0]
	}
	// transformers refuses a file that does not say whose tensors these are.
	return safetensors.WriteFile(filepath.Join(dir, name), map[string]string{"format": "pt"}, slices.Collect(maps.Values(entries)))
}

func writeIndexes(dir string, back *Origin) error {
	for name, data := range back.Files {
		if strings.HasSuffix(name, safetensors.IndexSuffix) {
			if err := atomicfile.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// shards finds the entries for each of the origin's headers; nil if the headers no longer describe the model, because a
// type or a shape has changed.
func (m Model) shards(back *Origin, entries map[string]safetensors.Entry) [][]safetensors.Entry {
	var shards [][]safetensors.Entry
	used := 0
	for _, w := range back.Weights {
		infos, _, err := safetensors.ParseHeader(w.Header, w.DataBytes)
		if err != nil {
			return nil
		}
		var shard []safetensors.Entry
		for _, info := range infos {
			entry, isWeight := entries[info.Name]
			if isWeight {
				used++
			} else {
				entry = m.buffers[info.Name]
			}
			if entry.Write == nil || entry.DType != info.DType || entry.Elements() != info.Elements() {
				return nil
			}
			shard = append(shard, entry)
		}
		shards = append(shards, shard)
	}
	if used != len(entries) {
		return nil
	}
	return shards
}

// entries are the tensors of a table, by their names, made from ours as they are written.
func (m Model) entries(table Table) (map[string]safetensors.Entry, error) {
	if err := table.checkOurs(m.Config); err != nil {
		return nil, err
	}
	g := &gatherer{weights: m.Weights, params: map[string]model.Param{}, uses: map[string]int{}}
	for _, p := range m.Config.Params() {
		g.params[p.Path] = p
	}
	for _, pair := range table {
		g.uses[pair.Ours]++
	}
	entries := map[string]safetensors.Entry{}
	for name, pairs := range table.byTheirs() {
		slices.SortFunc(pairs, func(a, b Pair) int { return a.Rows[0] - b.Rows[0] })
		dtype, err := m.Weights.Stored(g.params[pairs[0].Ours])
		if err != nil {
			return nil, err
		}
		for _, pair := range pairs {
			if other, err := m.Weights.Stored(g.params[pair.Ours]); err != nil || other != dtype {
				return nil, errors.Join(err, fmt.Errorf("%s cannot be written: %s is %s, %s is %s", name, pairs[0].Ours, dtype, pair.Ours, other))
			}
		}
		entries[name] = safetensors.Entry{
			Info:  safetensors.Info{Name: name, DType: dtype, Shape: pairs[0].Shape},
			Write: func(w io.Writer) error { return g.write(w, pairs, dtype.Size()) },
		}
	}
	return entries, nil
}

// gatherer makes their tensors from ours. It keeps the last few of ours that several of theirs are parts of.
type gatherer struct {
	weights Weights
	params  map[string]model.Param
	uses    map[string]int // how many pairs read one of ours
	kept    []keptParam
	single  []byte // of the last parameter that has one use
	out     []byte
}

type keptParam struct {
	path string
	raw  []byte
}

// keepParams: theirs are written in the order of their names, in which weight and bias of one layer alternate.
const keepParams = 2

func (g *gatherer) raw(path string) (raw []byte, err error) {
	if g.uses[path] == 1 {
		g.single, err = g.weights.Raw(g.params[path], g.single)
		return g.single, err
	}
	for _, k := range g.kept {
		if k.path == path {
			return k.raw, nil
		}
	}
	var buffer []byte
	if len(g.kept) == keepParams {
		buffer, g.kept = g.kept[0].raw, g.kept[1:]
	}
	raw, err = g.weights.Raw(g.params[path], buffer)
	g.kept = append(g.kept, keptParam{path, raw})
	return raw, err
}

// write delivers one of their tensors, whose rows come from pairs.
func (g *gatherer) write(w io.Writer, pairs []Pair, size int) error {
	for _, p := range pairs {
		ours, err := g.raw(p.Ours)
		if err != nil {
			return err
		}
		rowBytes := p.inner() * size
		err = p.eachRows(rowBytes, func(row, n int) error {
			g.out = grow(g.out, n*rowBytes)
			rawToTheirs(size, p, g.params[p.Ours].Dims, g.out, ours, row)
			_, err := w.Write(g.out)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// StoreWeights are the parameters of a model in memory: float32, and int64 for counters.
func StoreWeights(store *gml.Store) Weights { return storeWeights{store} }

type storeWeights struct{ store *gml.Store }

func (s storeWeights) Stored(p model.Param) (safetensors.DType, error) {
	if p.Counter {
		return safetensors.I64, nil
	}
	return safetensors.F32, nil
}

func (s storeWeights) Raw(p model.Param, buffer []byte) ([]byte, error) {
	variable := s.store.GetVariable("/" + p.Path)
	if variable == nil {
		return nil, fmt.Errorf("parameter %s is not in the store", p.Path)
	}
	value, err := variable.Value()
	if err != nil {
		return nil, fmt.Errorf("parameter %s: %w", p.Path, err)
	}
	if !value.Shape().Equal(p.Shape()) {
		return nil, fmt.Errorf("parameter %s is %s, want %s", p.Path, value.Shape(), p.Shape())
	}
	if value.DType() == dtypes.Int64 {
		count, err := tensors.CopyFlatData[int64](value)
		if err != nil {
			return nil, err
		}
		return appendInt64s(buffer[:0], count), nil
	}
	var raw []byte
	accessErr := tensors.ConstFlatData(value, func(flat []float32) { raw, err = safetensors.AppendFloat32s(buffer[:0], safetensors.F32, flat) })
	return raw, errors.Join(err, accessErr)
}
