// Package peft keeps low-rank adapters apart from the model they belong to, in the files that Python's peft reads and
// writes for CLIPModel and SiglipModel of transformers: adapter_model.safetensors and adapter_config.json. Names of
// tensors come from the table of package foreign, so that what fits the table fits peft.
//
// Only plain LoRA is read: no DoRA, no trained biases, no whole modules beside the adapters.
package peft

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/checkpoints"
	"tandem/checkpoints/foreign"
	"tandem/checkpoints/safetensors"
	"tandem/internal/fault"
	"tandem/model"
)

// Files of an adapter's directory.
const (
	WeightsName = "adapter_model.safetensors"
	ConfigName  = "adapter_config.json"
)

// namePrefix begins the names that peft gives to tensors of the model it wraps.
const namePrefix = "base_model.model."

// Config is adapter_config.json, as far as it matters here.
type Config struct {
	Type      string         `json:"peft_type"`
	Task      *string        `json:"task_type"`
	Base      string         `json:"base_model_name_or_path"`
	Rank      int            `json:"r"`
	Alpha     float64        `json:"lora_alpha"`
	Dropout   float64        `json:"lora_dropout"`
	Targets   any            `json:"target_modules"`
	Bias      string         `json:"bias"`
	RSLoRA    bool           `json:"use_rslora"`
	DoRA      bool           `json:"use_dora"`
	FanInOut  bool           `json:"fan_in_fan_out"`
	Inference bool           `json:"inference_mode"`
	Ranks     map[string]any `json:"rank_pattern"`
	Alphas    map[string]any `json:"alpha_pattern"`
	SaveWhole []string       `json:"modules_to_save"`
}

// part is one of peft's adapters: columns [At, At+Out) of one of our weights [In, …].
type part struct {
	Weight   string
	Name     string // of their layer
	At       int
	In, Out  int
	A        []float32 // [Rank, In], as peft has it
	B        []float32 // [Out, Rank]
	Rank     int
	modelDim int // columns of our weight
}

// partsOf lists, for each adaptable weight, the layers of transformers that it stands for.
func partsOf(c model.Config) map[string][]part {
	dims := map[string][]int{}
	for _, p := range c.Params() {
		dims[p.Path] = p.Dims
	}
	parts := map[string][]part{}
	for _, pair := range foreign.HF(c) {
		if !model.Adaptable(pair.Ours) {
			continue
		}
		parts[pair.Ours] = append(parts[pair.Ours], part{
			Weight: pair.Ours, Name: strings.TrimSuffix(pair.Theirs, ".weight"), At: pair.OursAt, In: pair.Shape[1], Out: pair.Shape[0],
			modelDim: dims[pair.Ours][1],
		})
	}
	return parts
}

// Writable says what of a model's adapters Write could not write, if anything: better before a training than after it.
func Writable(c model.Config, adapters []model.Adapter) error {
	names := partsOf(c)
	for _, a := range adapters {
		if err := checkParts(a, names[a.Weight]); err != nil {
			return err
		}
	}
	return nil
}

func checkParts(a model.Adapter, parts []part) error {
	if len(parts) != a.Parts() {
		return fmt.Errorf("peft: %s stands for %d layers of transformers, its adapter has %d parts", a.Weight, len(parts), a.Parts())
	}
	return nil
}

// Write fills dir with the adapters of a model in memory. base names the model they belong to.
func Write(dir, base string, c model.Config, adapters []model.Adapter, dropout float64) error {
	if len(adapters) == 0 {
		return errors.New("peft: the model has no adapters")
	}
	names := partsOf(c)
	var entries []safetensors.Entry
	config := Config{Type: "LORA", Base: base, Rank: adapters[0].Rank(), Dropout: dropout, Bias: "none", Inference: true}
	config.Ranks, config.Alphas = map[string]any{}, map[string]any{}
	var targets []string
	for _, a := range adapters {
		scale, err := tensors.CopyFlatData[float32](a.Scale.MustValue())
		if err != nil {
			return err
		}
		config.Alpha = float64(scale[0]) * float64(a.Rank())
		parts, err := split(a, names[a.Weight])
		if err != nil {
			return err
		}
		for _, p := range parts {
			targets = append(targets, p.Name)
			entries = append(entries, entry(p.Name, "lora_A", p.A, p.Rank, p.In), entry(p.Name, "lora_B", p.B, p.Out, p.Rank))
		}
	}
	config.Targets = targets
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := safetensors.WriteFile(filepath.Join(dir, WeightsName), map[string]string{"format": "pt"}, entries); err != nil {
		return err
	}
	return checkpoints.WriteJSON(filepath.Join(dir, ConfigName), config)
}

// split cuts a fused adapter into peft's, transposed to its layout.
func split(a model.Adapter, parts []part) ([]part, error) {
	down, err := tensors.CopyFlatData[float32](a.A.MustValue())
	if err != nil {
		return nil, err
	}
	up, err := tensors.CopyFlatData[float32](a.B.MustValue())
	if err != nil {
		return nil, err
	}
	if err := checkParts(a, parts); err != nil {
		return nil, err
	}
	out := slices.Clone(parts)
	for i := range out {
		p := &out[i]
		p.Rank = a.Rank()
		index := p.At / p.Out
		p.A = transposed(down, len(parts)*p.Rank, index*p.Rank, p.In, p.Rank)
		p.B = transposed(up, p.modelDim, p.At, p.Rank, p.Out)
	}
	return out, nil
}

// transposed copies columns [at, at+columns) of a matrix with stride columns, transposed: [columns, rows].
func transposed(flat []float32, stride, at, rows, columns int) []float32 {
	t := make([]float32, rows*columns)
	for i := range rows {
		for j := range columns {
			t[j*rows+i] = flat[i*stride+at+j]
		}
	}
	return t
}

func entry(layer, which string, values []float32, dims ...int) safetensors.Entry {
	info := safetensors.Info{Name: tensorName(layer, which), DType: safetensors.F32, Shape: dims}
	return safetensors.Entry{Info: info, Write: func(w io.Writer) error {
		raw, err := safetensors.AppendFloat32s(nil, safetensors.F32, values)
		if err == nil {
			_, err = w.Write(raw)
		}
		return err
	}}
}

func tensorName(layer, which string) string { return namePrefix + layer + "." + which + ".weight" }

// Adapters are an adapter directory's content, fitted to a model.
type Adapters struct {
	Config Config
	parts  map[string][]part // by our weight
	scale  float64
}

// Read reads an adapter directory for a model. Everything in it must be understood: what is left over is an error.
func Read(dir string, c model.Config) (*Adapters, error) {
	a := &Adapters{parts: map[string][]part{}}
	var err error
	if a.Config, err = readConfig(filepath.Join(dir, ConfigName)); err != nil {
		return nil, err
	}
	a.scale = float64(float32(a.Config.Alpha / float64(a.Config.Rank))) // as the graph has it
	if a.Config.RSLoRA {
		a.scale = a.Config.Alpha / math.Sqrt(float64(a.Config.Rank))
	}
	path := filepath.Join(dir, WeightsName)
	file, err := safetensors.Open(path)
	if err != nil {
		return nil, fault.User(err)
	}
	defer file.Close()
	read := 0
	all := partsOf(c)
	for _, weight := range slices.Sorted(maps.Keys(all)) { // in order: the same file gives the same error
		for _, p := range all[weight] {
			found, err := p.read(file, a.Config.Rank)
			if err != nil {
				return nil, fault.Userf("%s: %w", path, err)
			}
			if found {
				a.parts[weight] = append(a.parts[weight], p)
				read += 2
			}
		}
	}
	if read != len(file.Tensors()) {
		return nil, fault.Userf("%s holds %d tensors, of which %d fit the model: %s", path, len(file.Tensors()), read, a.leftover(file))
	}
	if read == 0 {
		return nil, fault.Userf("%s holds no adapter", path)
	}
	return a, nil
}

// leftover names a few tensors that no layer of the model reads.
func (a *Adapters) leftover(file *safetensors.File) string {
	known := map[string]bool{}
	for _, parts := range a.parts {
		for _, p := range parts {
			known[tensorName(p.Name, "lora_A")], known[tensorName(p.Name, "lora_B")] = true, true
		}
	}
	var left []string
	for _, info := range file.Tensors() {
		if !known[info.Name] && len(left) < 3 {
			left = append(left, info.Name)
		}
	}
	return "nothing reads " + strings.Join(left, ", ")
}

// read fills p from a file; found is false where the layer has no adapter there.
func (p *part) read(file *safetensors.File, rank int) (found bool, err error) {
	a, okA := file.Lookup(tensorName(p.Name, "lora_A"))
	b, okB := file.Lookup(tensorName(p.Name, "lora_B"))
	switch {
	case !okA && !okB:
		return false, nil
	case okA != okB:
		return false, fmt.Errorf("%s has lora_A or lora_B, but not both", p.Name)
	case !slices.Equal(a.Shape, []int{rank, p.In}) || !slices.Equal(b.Shape, []int{p.Out, rank}):
		return false, fmt.Errorf("%s: lora_A is %v and lora_B %v, the model wants [%d %d] and [%d %d]", p.Name, a.Shape, b.Shape, rank, p.In, p.Out, rank)
	}
	p.Rank = rank
	if p.A, err = floats(file, a); err != nil {
		return false, err
	}
	p.B, err = floats(file, b)
	return true, err
}

func floats(file *safetensors.File, info safetensors.Info) ([]float32, error) {
	raw := make([]byte, info.Bytes())
	if err := file.Read(info, raw); err != nil {
		return nil, err
	}
	values := make([]float32, info.Elements())
	return values, safetensors.Float32s(info.DType, raw, values)
}

// readConfig reads adapter_config.json and refuses what would be merged wrongly.
func readConfig(path string) (Config, error) {
	var c Config
	content, err := os.ReadFile(path)
	if err != nil {
		return c, fault.User(err)
	}
	if err := json.Unmarshal(content, &c); err != nil {
		return c, fault.Userf("%s: %w", path, err)
	}
	var wrong string
	switch {
	case c.Type != "LORA":
		wrong = fmt.Sprintf("peft_type %q is not LORA", c.Type)
	case c.Rank < 1 || c.Alpha == 0:
		wrong = fmt.Sprintf("r is %d and lora_alpha %g", c.Rank, c.Alpha)
	case c.DoRA:
		wrong = "use_dora is set"
	case c.FanInOut:
		wrong = "fan_in_fan_out is set"
	case c.Bias != "" && c.Bias != "none":
		wrong = fmt.Sprintf("bias is %q", c.Bias)
	case len(c.Ranks) > 0 || len(c.Alphas) > 0:
		wrong = "ranks or alphas differ from layer to layer"
	case len(c.SaveWhole) > 0:
		wrong = fmt.Sprintf("modules_to_save holds %v", c.SaveWhole)
	default:
		return c, nil
	}
	return c, fault.Userf("%s: %s, which is not read: only plain LoRA is", path, wrong)
}

// Load puts the values into the adapters of a model in memory. Both must have the same adapters.
func (a *Adapters) Load(adapters []model.Adapter) error {
	if len(adapters) != len(a.parts) {
		return fmt.Errorf("the adapter directory has adapters for %d weights, the model for %d", len(a.parts), len(adapters))
	}
	for _, into := range adapters {
		parts := a.parts[into.Weight]
		if len(parts) != into.Parts() || parts[0].Rank != into.Rank() {
			return fmt.Errorf("the adapter of %s has %d parts, want %d of rank %d", into.Weight, len(parts), into.Parts(), into.Rank())
		}
		down, up := fuse(parts)
		for v, values := range map[*gml.Variable][]float32{into.A: down, into.B: up} {
			if err := v.SetValue(tensors.FromFlatDataAndDimensions(values, v.Shape().Dimensions...)); err != nil {
				return err
			}
		}
	}
	return nil
}

// fuse lays peft's adapters of one weight side by side: down [in, n·rank] and up [rank, out] for n parts, with zeros
// where a part has no adapter.
func fuse(parts []part) (down, up []float32) {
	first := parts[0]
	n := first.modelDim / first.Out
	down, up = make([]float32, first.In*n*first.Rank), make([]float32, first.Rank*first.modelDim)
	for _, p := range parts {
		index := p.At / p.Out
		for k := range p.Rank {
			for i := range p.In {
				down[(i*n+index)*p.Rank+k] = p.A[k*p.In+i]
			}
			for j := range p.Out {
				up[k*p.modelDim+p.At+j] = p.B[j*p.Rank+k]
			}
		}
	}
	return down, up
}

// Merge adds the adapters of a weight [in, out] to its values: W + s·A·B, summed in float64 and rounded once.
func (a *Adapters) Merge(weight string, values []float32) []float32 {
	parts := a.parts[weight]
	if len(parts) == 0 {
		return values
	}
	down, up := fuse(parts)
	first := parts[0]
	return model.MergeLowRank(values, down, up, first.In, first.Rank, first.modelDim/first.Out, a.scale)
}

// Merged gives a model's parameters with the adapters in them. Weights that have one become float32, whatever they were
// kept in: rounding them back would lose what the adapter learned.
type Merged struct {
	foreign.Parameters
	Adapters *Adapters
}

// Stored implements foreign.Parameters.
func (m Merged) Stored(p model.Param) (safetensors.DType, error) {
	if len(m.Adapters.parts[p.Path]) > 0 {
		return safetensors.F32, nil
	}
	return m.Parameters.Stored(p)
}

// Raw implements foreign.Parameters.
func (m Merged) Raw(p model.Param, buffer []byte) ([]byte, error) {
	raw, err := m.Parameters.Raw(p, buffer)
	if err != nil || len(m.Adapters.parts[p.Path]) == 0 {
		return raw, err
	}
	dtype, err := m.Parameters.Stored(p)
	if err != nil {
		return nil, err
	}
	values := make([]float32, p.Size())
	if err := safetensors.Float32s(dtype, raw, values); err != nil {
		return nil, err
	}
	return safetensors.AppendFloat32s(nil, safetensors.F32, m.Adapters.Merge(p.Path, values))
}
