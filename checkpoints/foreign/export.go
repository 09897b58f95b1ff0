package foreign

import (
	"cmp"
	"encoding/binary"
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

	"tandem/checkpoints"
	"tandem/checkpoints/safetensors"
	"tandem/imaging"
	"tandem/internal/atomicfile"
	"tandem/internal/fault"
	"tandem/model"
	"tandem/tokenizer"
)

// Parameters gives a model's parameters in our layout, each in the element type that it is kept in.
type Parameters interface {
	// Stored is the element type of a parameter.
	Stored(p model.Param) (safetensors.DType, error)
	// Raw returns a parameter's little-endian elements, in buffer if that is large enough.
	Raw(p model.Param, buffer []byte) ([]byte, error)
}

// Model is what can be exported: a checkpoint (Checkpoint.Model), or a model in memory (StoreParameters).
type Model struct {
	// Model describes it. The tokenizer may be nil.
	checkpoints.Model
	Params Parameters
	// Origin lets an export to the format that a model came from give back the same bytes. It may be nil.
	Origin *Origin

	buffers map[string]safetensors.Entry // tensors of the origin that are no weights
}

// Keys of checkpoints.Model.Source that this package writes and reads.
const (
	sourceFormat    = "format"
	sourceName      = "name"
	sourceTokenizer = "open_clip_tokenizer" // text_cfg.hf_tokenizer_name
	sourceCleaning  = "open_clip_cleaning"  // text_cfg.tokenizer_kwargs.clean
)

// Model returns what Export needs of a checkpoint. Its tokenizer is nil if tok is.
func (c *Checkpoint) Model(tok tokenizer.Tokenizer) (Model, error) {
	m := Model{
		Model:  checkpoints.Model{Config: c.Config, Preprocess: c.Preprocess, Tokenizer: tok, Source: maps.Clone(c.Source)},
		Params: c, Origin: c.Origin, buffers: map[string]safetensors.Entry{},
	}
	if c.Format != FormatTandem {
		if err := c.Origin.addTokenizer(c.dir); err != nil {
			return m, err
		}
	}
	from := c.weights
	if c.Format == FormatTandem {
		from = c.extra
	}
	if from == nil {
		return m, nil
	}
	for _, info := range from.Tensors() {
		if isBuffer(info.Name) {
			m.buffers[info.Name] = safetensors.Entry{Info: info, Write: func(w io.Writer) error { return copyTensor(w, from, info) }}
		}
	}
	return m, nil
}

func copyTensor(w io.Writer, from *safetensors.Set, info safetensors.Info) error {
	raw := make([]byte, info.Bytes())
	if err := from.Read(info, raw); err != nil {
		return err
	}
	_, err := w.Write(raw)
	return err
}

// Export writes a model into the new directory dst, all of it or nothing. What the format cannot express is the user's
// mistake and says so; notes say what it expresses in another way.
func Export(dst string, to Format, m Model) (notes []string, err error) {
	m.Config = m.Config.WithDefaults()
	if entries, err := os.ReadDir(dst); err == nil && len(entries) > 0 {
		return nil, fault.Userf("%s exists and is not empty: give a new directory", dst)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.User(err)
	}
	if to == FormatTandem {
		return nil, checkpoints.WriteDir(dst, m.writeTandem)
	}
	parent := filepath.Dir(filepath.Clean(dst))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp(parent, ".tmp-"+filepath.Base(dst)+"-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	if err := os.Chmod(temp, 0o755); err != nil {
		return nil, err
	}
	if notes, err = m.writeForeign(temp, to); err != nil {
		return nil, err
	}
	if err := atomicfile.SyncTree(temp); err != nil {
		return nil, err
	}
	if err := os.Remove(dst); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return notes, atomicfile.Rename(temp, dst)
}

func (m Model) writeForeign(dir string, to Format) (notes []string, err error) {
	back := m.wayBack(to)
	files, table, err := m.foreignFiles(to, back)
	if err != nil {
		return nil, fault.User(err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := atomicfile.WriteFile(filepath.Join(dir, name), files[name], 0o644); err != nil {
			return nil, err
		}
	}
	entries, err := m.entries(table)
	if err != nil {
		return nil, err
	}
	if err := m.writeForeignWeights(dir, to, back, entries); err != nil || back != nil {
		return nil, err
	}
	return m.foreignNotes(to), m.writeForeignTokenizer(dir, to)
}

// foreignNotes say where a new configuration means nearly, but not quite, the same.
func (m Model) foreignNotes(to Format) (notes []string) {
	if m.Preprocess.Alpha == imaging.AlphaWhite {
		notes = append(notes, "this model sees transparent pictures on white; open_clip and transformers drop transparency instead")
	}
	if m.Preprocess.Orient {
		notes = append(notes, "this model turns pictures as their EXIF orientation says; open_clip and transformers do not")
	}
	if to == FormatHF && m.Config.Text.Pool == model.PoolArgmax {
		notes = append(notes, "text_config.eos_token_id is 2, by which transformers pools at the largest id, as this model does; tokens added behind the end token would break that")
	}
	if m.Tokenizer == nil {
		notes = append(notes, "no tokenizer: none was found beside the source")
	}
	return notes
}

// writeForeignTokenizer writes tokenizer.json and what belongs to it; open_clip has CLIP's own built in.
func (m Model) writeForeignTokenizer(dir string, to Format) error {
	if m.Tokenizer == nil || to == FormatOpenCLIP && m.usesCLIPTokenizer() {
		return nil
	}
	if err := m.Tokenizer.Save(dir); err != nil {
		return err
	}
	err := os.Remove(filepath.Join(dir, "tandem_tokenizer.json")) // says what only tandem asks
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (m Model) usesCLIPTokenizer() bool {
	bpe, ok := m.Tokenizer.(*tokenizer.BPE)
	return ok && bpe.VocabSize() == tokenizer.CLIP().VocabSize() && bpe.WithPad(0).Fingerprint() == tokenizer.CLIP().Fingerprint()
}

// openCLIPTokenizer are text_cfg's words on the tokenizer: which one, and how captions are cleaned before it.
func (m Model) openCLIPTokenizer() (name, cleaning string) {
	name, cleaning = m.Source[sourceTokenizer], m.Source[sourceCleaning]
	if m.Tokenizer == nil || name != "" || m.usesCLIPTokenizer() {
		return name, cleaning
	}
	// Any name makes open_clip read tokenizer.json beside the weights.
	if _, isBPE := m.Tokenizer.(*tokenizer.BPE); isBPE {
		return "tokenizer.json", "lower"
	}
	if m.Config.Text.NoCausalMask {
		return "tokenizer.json", "canonicalize" // what open_clip says of SigLIP's
	}
	return "tokenizer.json", ""
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
		name, cleaning := m.openCLIPTokenizer()
		config, err := writeOpenCLIPConfig(openCLIPConfig{Model: m.Config, Preprocess: m.Preprocess, Tokenizer: name, Cleaning: cleaning})
		if err != nil {
			return nil, nil, err
		}
		prefix := ""
		if usesTextPrefix(m.Config) {
			prefix = "text."
		}
		return map[string][]byte{"open_clip_config.json": config}, OpenCLIP(m.Config, prefix), nil
	case FormatHF:
		dtype, err := m.mainType()
		if err != nil {
			return nil, nil, err
		}
		config, preprocessor, err := writeHFConfig(m.Config, m.Preprocess, dtype, m.Tokenizer)
		if err != nil {
			return nil, nil, err
		}
		return map[string][]byte{"config.json": config, "preprocessor_config.json": preprocessor}, HF(m.Config), nil
	default:
		return nil, nil, fmt.Errorf("format %q is not written: use %s, %s or %s", to, FormatOpenCLIP, FormatHF, FormatTandem)
	}
}

// mainType is PyTorch's name of the type that most elements have.
func (m Model) mainType() (string, error) {
	sizes := map[safetensors.DType]int{}
	for _, p := range m.Config.Params() {
		dtype, err := m.Params.Stored(p)
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
	g := &gatherer{weights: m.Params, params: map[string]model.Param{}, uses: map[string]int{}}
	for _, p := range m.Config.Params() {
		g.params[p.Path] = p
	}
	for _, pair := range table {
		g.uses[pair.Ours]++
	}
	entries := map[string]safetensors.Entry{}
	for name, pairs := range table.byTheirs() {
		slices.SortFunc(pairs, func(a, b Pair) int { return a.Rows[0] - b.Rows[0] })
		dtype, err := m.Params.Stored(g.params[pairs[0].Ours])
		if err != nil {
			return nil, err
		}
		for _, pair := range pairs {
			if other, err := m.Params.Stored(g.params[pair.Ours]); err != nil || other != dtype {
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
	weights Parameters
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

// StoreParameters are the parameters of a model in memory: float32, and int64 for counters.
func StoreParameters(store *gml.Store) Parameters { return storeParameters{store} }

type storeParameters struct{ store *gml.Store }

func (s storeParameters) Stored(p model.Param) (safetensors.DType, error) {
	if p.Counter {
		return safetensors.I64, nil
	}
	return safetensors.F32, nil
}

func (s storeParameters) Raw(p model.Param, buffer []byte) ([]byte, error) {
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
		return binary.LittleEndian.AppendUint64(buffer[:0], uint64(count[0])), nil
	}
	var raw []byte
	accessErr := tensors.ConstFlatData(value, func(flat []float32) { raw, err = safetensors.AppendFloat32s(buffer[:0], safetensors.F32, flat) })
	return raw, errors.Join(err, accessErr)
}
