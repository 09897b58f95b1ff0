package foreign

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tandem/checkpoints"
	"tandem/checkpoints/safetensors"
	"tandem/internal/fault"
	"tandem/model"
	"tandem/tokenizer"
)

const goldenDir = "testdata/golden"

// goldenNames are the models in testdata; a missing one fails the tests.
var goldenNames = []string{
	"hf_clip", "hf_clip_gelu", "hf_siglip", "rn", "siglip2_timm", "siglip_gap", "siglip_native", "siglip_timm", "vit_fields", "vit_gelu", "vit_quickgelu",
}

func formatOf(name string) Format {
	if strings.HasPrefix(name, "hf_") {
		return FormatHF
	}
	return FormatOpenCLIP
}

// copyModel copies the configuration and the weights of a golden model, which a test may then change.
func copyModel(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(goldenDir, name))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.Contains(e.Name(), "config") && !strings.HasSuffix(e.Name(), ".safetensors") && e.Name() != "timm_overrides.json" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(goldenDir, name, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func mustOpen(t testing.TB, dir string, opts Options) *Checkpoint {
	t.Helper()
	c, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// convert writes the model of src in another format into a new directory, which it returns.
func convert(t testing.TB, src string, to Format, opts Options) string {
	t.Helper()
	dst := filepath.Join(t.TempDir(), "converted")
	m, err := mustOpen(t, src, opts).Model(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Export(dst, to, m); err != nil {
		t.Fatal(err)
	}
	return dst
}

// hashes are the sha256 of each file in a directory.
func hashes(t testing.TB, dir string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		sums[e.Name()] = fmt.Sprintf("%x", sha256.Sum256(data))
	}
	return sums
}

// rawParams are a model's parameters in our layout, with their types.
func rawParams(t testing.TB, c *Checkpoint) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, p := range c.Config.Params() {
		raw, err := c.Raw(p, nil)
		if err != nil {
			t.Fatal(err)
		}
		dtype, err := c.Stored(p)
		if err != nil {
			t.Fatal(err)
		}
		values[p.Path] = string(dtype) + string(raw)
	}
	return values
}

func sameParams(t *testing.T, got, want map[string]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d parameters, want %d", len(got), len(want))
	}
	for path, value := range want {
		if got[path] != value {
			t.Errorf("%s differs", path)
		}
	}
}

// TestThereAndBack converts every golden model to tandem and back: every file must be the same, byte for byte.
func TestThereAndBack(t *testing.T) {
	for _, name := range goldenNames {
		t.Run(name, func(t *testing.T) {
			src := copyModel(t, name)
			tandem := convert(t, src, FormatTandem, Options{})
			if err := checkpoints.Verify(tandem); err != nil {
				t.Error(err)
			}
			back := convert(t, tandem, formatOf(name), Options{})
			if got, want := hashes(t, back), hashes(t, src); !maps.Equal(got, want) {
				t.Errorf("files %v, want %v", got, want)
			}
			sameParams(t, rawParams(t, mustOpen(t, tandem, Options{})), rawParams(t, mustOpen(t, src, Options{})))
		})
	}
}

// rewrite replaces a weights file by the same tensors after change.
func rewrite(t testing.TB, path string, metadata map[string]string, change func(i int, info *safetensors.Info, raw []byte) []byte) {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var entries []safetensors.Entry
	for i, info := range f.Tensors() {
		raw := make([]byte, info.Bytes())
		if err := f.Read(info, raw); err != nil {
			t.Fatal(err)
		}
		if raw = change(i, &info, raw); raw == nil {
			continue
		}
		entries = append(entries, safetensors.Entry{Info: info, Write: func(w io.Writer) error { _, err := w.Write(raw); return err }})
	}
	f.Close()
	if err := safetensors.WriteFile(path, metadata, entries); err != nil {
		t.Fatal(err)
	}
}

func weightsPath(dir string, f Format) string {
	if f == FormatHF {
		return filepath.Join(dir, "model.safetensors")
	}
	return filepath.Join(dir, "open_clip_model.safetensors")
}

// narrowed re-encodes float32 data.
func narrowed(t testing.TB, dtype safetensors.DType, info *safetensors.Info, raw []byte) []byte {
	t.Helper()
	if info.DType != safetensors.F32 {
		return raw
	}
	values := make([]float32, info.Elements())
	if err := safetensors.Float32s(safetensors.F32, raw, values); err != nil {
		t.Fatal(err)
	}
	out, err := safetensors.AppendFloat32s(nil, dtype, values)
	if err != nil {
		t.Fatal(err)
	}
	info.DType = dtype
	return out
}

// TestThereAndBackNarrow does the same with files in half precision, and with files whose matrices are half precision and
// whose vectors are float32, as OpenAI's are. Metadata has to survive, too.
func TestThereAndBackNarrow(t *testing.T) {
	metadata := map[string]string{"format": "pt", "z": "1", "a \"quoted\" \u2028 key": "<&>"}
	for _, name := range []string{"rn", "siglip_timm", "vit_gelu", "hf_clip", "hf_siglip"} {
		for dtype, mixed := range map[safetensors.DType]bool{safetensors.F16: true, safetensors.BF16: false} {
			t.Run(fmt.Sprintf("%s %s mixed %t", name, dtype, mixed), func(t *testing.T) {
				src := copyModel(t, name)
				rewrite(t, weightsPath(src, formatOf(name)), metadata, func(_ int, info *safetensors.Info, raw []byte) []byte {
					if mixed && len(info.Shape) < 2 {
						return raw
					}
					return narrowed(t, dtype, info, raw)
				})
				back := convert(t, convert(t, src, FormatTandem, Options{}), formatOf(name), Options{})
				if got, want := hashes(t, back), hashes(t, src); !maps.Equal(got, want) {
					t.Errorf("files %v, want %v", got, want)
				}
			})
		}
	}
}

// TestHeaderOfAnotherWriter: a header in another order, with other spacing and without padding, comes back as it was.
func TestHeaderOfAnotherWriter(t *testing.T) {
	src := copyModel(t, "hf_clip")
	path := weightsPath(src, FormatHF)
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var data bytes.Buffer
	header := `{"__metadata__": {"b":"2", "a":"1"}`
	infos := slices.Clone(f.Tensors())
	slices.Reverse(infos)
	for _, info := range infos {
		raw := make([]byte, info.Bytes())
		if err := f.Read(info, raw); err != nil {
			t.Fatal(err)
		}
		shape, _ := json.Marshal(info.Shape)
		header += fmt.Sprintf(`, %q : {"shape":%s,"data_offsets":[%d,%d],"dtype":%q}`, info.Name, shape, data.Len(), data.Len()+len(raw), info.DType)
		data.Write(raw)
	}
	f.Close()
	header += "}"
	whole := append([]byte{byte(len(header)), byte(len(header) >> 8), byte(len(header) >> 16), 0, 0, 0, 0, 0}, header...)
	if err := os.WriteFile(path, append(whole, data.Bytes()...), 0o644); err != nil {
		t.Fatal(err)
	}
	back := convert(t, convert(t, src, FormatTandem, Options{}), FormatHF, Options{})
	if got, want := hashes(t, back), hashes(t, src); !maps.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
}

// shard splits a model.safetensors into n files and an index.
func shard(t testing.TB, dir string, n int) {
	t.Helper()
	path := weightsPath(dir, FormatHF)
	weightMap := map[string]string{}
	for k := range n {
		name := fmt.Sprintf("model-%05d-of-%05d.safetensors", k+1, n)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		part := filepath.Join(dir, name)
		if err := os.WriteFile(part, data, 0o644); err != nil {
			t.Fatal(err)
		}
		rewrite(t, part, map[string]string{"format": "pt"}, func(i int, info *safetensors.Info, raw []byte) []byte {
			if i%n != k {
				return nil
			}
			weightMap[info.Name] = name
			return raw
		})
	}
	index, err := json.MarshalIndent(map[string]any{"metadata": map[string]any{"total_size": 1}, "weight_map": weightMap}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+safetensors.IndexSuffix, index, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestShards(t *testing.T) {
	src := copyModel(t, "hf_siglip")
	want := rawParams(t, mustOpen(t, src, Options{}))
	shard(t, src, 3)
	tandem := convert(t, src, FormatTandem, Options{})
	sameParams(t, rawParams(t, mustOpen(t, tandem, Options{})), want)
	if got, want := hashes(t, convert(t, tandem, FormatHF, Options{})), hashes(t, src); !maps.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
	if err := os.Remove(filepath.Join(src, "model-00002-of-00003.safetensors")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(src, Options{}); err == nil || !strings.Contains(err.Error(), "00002") {
		t.Errorf("a missing shard: %v", err)
	}
}

// TestKnownBuffers: counters of positions in old files carry no weights, and come back.
func TestKnownBuffers(t *testing.T) {
	src := copyModel(t, "hf_clip")
	path := weightsPath(src, FormatHF)
	addTensors(t, path, map[string][]int{"text_model.embeddings.position_ids": {1, 10}, "vision_model.embeddings.position_ids": {1, 17}})
	tandem := convert(t, src, FormatTandem, Options{})
	if got, want := hashes(t, convert(t, tandem, FormatHF, Options{})), hashes(t, src); !maps.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
	// Elsewhere they have no place.
	open := mustOpen(t, convert(t, tandem, FormatOpenCLIP, Options{}), Options{})
	if _, ok := open.weights.Lookup("text_model.embeddings.position_ids"); ok {
		t.Error("transformers' buffer is in open_clip's file")
	}
	addTensors(t, path, map[string][]int{"text_model.embeddings.other": {1}})
	if _, err := Open(src, Options{}); err == nil || !strings.Contains(err.Error(), "tensors that nothing reads: text_model.embeddings.other") {
		t.Errorf("a tensor that nothing reads: %v", err)
	}
}

// addTensors adds int64 tensors that count 0, 1, …
func addTensors(t testing.TB, path string, shapes map[string][]int) {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var entries []safetensors.Entry
	for _, info := range f.Tensors() {
		raw := make([]byte, info.Bytes())
		if err := f.Read(info, raw); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, safetensors.Entry{Info: info, Write: func(w io.Writer) error { _, err := w.Write(raw); return err }})
	}
	for name, shape := range shapes {
		info := safetensors.Info{Name: name, DType: safetensors.I64, Shape: shape}
		raw := make([]byte, info.Bytes())
		for i := range info.Elements() {
			raw[8*i] = byte(i)
		}
		entries = append(entries, safetensors.Entry{Info: info, Write: func(w io.Writer) error { _, err := w.Write(raw); return err }})
	}
	metadata := f.Metadata()
	f.Close()
	if err := safetensors.WriteFile(path, metadata, entries); err != nil {
		t.Fatal(err)
	}
}

// TestAcross converts between the peers, where the model can be expressed, and back through freshly written
// configurations: the parameters, the graph and the preprocessing must stay.
func TestAcross(t *testing.T) {
	for name, to := range map[string]Format{
		"vit_gelu": FormatHF, "vit_quickgelu": FormatHF, "hf_clip": FormatOpenCLIP, "siglip_timm": FormatHF, "siglip2_timm": FormatHF,
	} {
		t.Run(name, func(t *testing.T) {
			src := mustOpen(t, filepath.Join(goldenDir, name), Options{})
			across := mustOpen(t, convert(t, filepath.Join(goldenDir, name), to, Options{}), Options{})
			if across.Format != to {
				t.Fatalf("format %s, want %s", across.Format, to)
			}
			got, want := across.Config, src.Config
			if to == FormatHF { // the initial temperature is rounded there, or not kept at all
				got.LogitScaleInit = want.LogitScaleInit
			}
			if fmt.Sprintf("%+v", withoutPointers(got)) != fmt.Sprintf("%+v", withoutPointers(want)) {
				t.Errorf("configuration\n%+v, want\n%+v", got, want)
			}
			if across.Preprocess != src.Preprocess {
				t.Errorf("preprocessing %+v, want %+v", across.Preprocess, src.Preprocess)
			}
			sameParams(t, rawParams(t, across), rawParams(t, src))
		})
	}
}

// TestSpecialTokens: what transformers takes for the ids of special tokens are those of the model's own vocabulary, which
// CLIP's, its defaults, lie outside of.
func TestSpecialTokens(t *testing.T) {
	own, _, err := tokenizer.Train(slices.Values([]string{"a red circle", "a red square"}), 530, tokenizer.TrainOptions{Context: 8})
	if err != nil {
		t.Fatal(err)
	}
	for name, tok := range map[string]tokenizer.Tokenizer{"own": own, "CLIP": tokenizer.CLIP(), "none": nil} {
		m, err := mustOpen(t, filepath.Join(goldenDir, "vit_gelu"), Options{}).Model(tok)
		if err != nil {
			t.Fatal(err)
		}
		dst := filepath.Join(t.TempDir(), "model")
		if _, err := Export(dst, FormatHF, m); err != nil {
			t.Fatal(err)
		}
		var config struct {
			Text map[string]any `json:"text_config"`
		}
		content, err := os.ReadFile(filepath.Join(dst, "config.json"))
		if err = errors.Join(err, json.Unmarshal(content, &config)); err != nil {
			t.Fatal(err)
		}
		got := [2]any{config.Text["bos_token_id"], config.Text["pad_token_id"]}
		want := [2]any{nil, nil}
		if tok != nil {
			want = [2]any{float64(tok.Start()), float64(tok.Pad())}
		}
		if got != want {
			t.Errorf("%s: bos_token_id and pad_token_id are %v, want %v", name, got, want)
		}
	}
}

func withoutPointers(c model.Config) model.Config {
	if c.LogitBiasInit != nil {
		c.LogitScaleInit += 1000 * *c.LogitBiasInit
	}
	c.LogitBiasInit = nil
	return c
}

// TestCannotExpress: what a format cannot hold is the user's mistake, says what is wrong, and leaves nothing behind.
func TestCannotExpress(t *testing.T) {
	for _, c := range []struct {
		name string
		to   Format
		want string
	}{
		{"rn", FormatHF, "CLIPModel wants a vision transformer"},
		{"siglip_native", FormatHF, "SiglipModel wants attention pooling"},
		{"siglip_gap", FormatHF, "CLIPModel wants the class token pooled"},
		{"vit_fields", FormatHF, "SiglipModel wants attention pooling"},
		{"hf_clip_gelu", FormatOpenCLIP, ""},
		{"hf_siglip", FormatOpenCLIP, "timm has none of width 16"},
		{"vit_gelu", FormatOpenAI, "is not written"},
	} {
		m, err := mustOpen(t, filepath.Join(goldenDir, c.name), Options{}).Model(nil)
		if err != nil {
			t.Fatal(err)
		}
		dst := filepath.Join(t.TempDir(), "out")
		_, err = Export(dst, c.to, m)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s to %s: %v", c.name, c.to, err)
			}
			continue
		}
		if err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s to %s: error %v, want %q", c.name, c.to, err, c.want)
		}
		if left, _ := os.ReadDir(filepath.Dir(dst)); len(left) > 0 {
			t.Errorf("%s to %s left %v", c.name, c.to, left)
		}
	}
	mixed := mustOpen(t, filepath.Join(goldenDir, "vit_gelu"), Options{})
	mixed.Config.Text.Activation = model.QuickGELU
	m, err := mixed.Model(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Export(filepath.Join(t.TempDir(), "out"), FormatOpenCLIP, m); err == nil || !strings.Contains(err.Error(), "one quick_gelu for both towers") {
		t.Errorf("two activations: %v", err)
	}
}

func TestExportWantsANewDirectory(t *testing.T) {
	m, err := mustOpen(t, filepath.Join(goldenDir, "vit_gelu"), Options{}).Model(nil)
	if err != nil {
		t.Fatal(err)
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "precious"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, to := range []Format{FormatTandem, FormatHF, FormatOpenCLIP} {
		if _, err := Export(full, to, m); !fault.IsUser(err) {
			t.Errorf("%s: %v, want a refusal", to, err)
		}
		if _, err := Export(filepath.Join(t.TempDir(), "new", "deep"), to, m); err != nil {
			t.Errorf("%s: %v", to, err)
		}
	}
	if _, err := os.Stat(filepath.Join(full, "precious")); err != nil {
		t.Error(err)
	}
}

// TestStoreParameters exports a model from memory: the same bytes as from its file.
func TestStoreParameters(t *testing.T) {
	for _, name := range []string{"rn", "hf_siglip"} {
		src := copyModel(t, name)
		c := mustOpen(t, src, Options{})
		store, err := c.LoadStore()
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.Model(nil)
		if err != nil {
			t.Fatal(err)
		}
		m.Params = StoreParameters(store)
		dst := filepath.Join(t.TempDir(), "out")
		if _, err := Export(dst, formatOf(name), m); err != nil {
			t.Fatal(err)
		}
		if got, want := hashes(t, dst), hashes(t, src); !maps.Equal(got, want) {
			t.Errorf("%s: files %v, want %v", name, got, want)
		}
	}
}

// TestMisfits: weights that do not fit their configuration.
func TestMisfits(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(i int, info *safetensors.Info, raw []byte) []byte
	}{
		{"missing", "tensors that are missing: ln_final.weight, visual.proj", func(_ int, info *safetensors.Info, raw []byte) []byte {
			if info.Name == "visual.proj" || info.Name == "ln_final.weight" {
				return nil
			}
			return raw
		}},
		{"renamed", "tensors that nothing reads: visual.ln_prae.weight; tensors that are missing: visual.ln_pre.weight", func(_ int, info *safetensors.Info, raw []byte) []byte {
			info.Name = strings.Replace(info.Name, "visual.ln_pre.w", "visual.ln_prae.w", 1)
			return raw
		}},
		{"turned over", "other shapes: text_projection is [8 16] instead of [16 8]", func(_ int, info *safetensors.Info, raw []byte) []byte {
			if info.Name == "text_projection" {
				info.Shape = []int{8, 16}
			}
			return raw
		}},
		{"integers", "visual.proj is I32, which is not read", func(_ int, info *safetensors.Info, raw []byte) []byte {
			if info.Name == "visual.proj" {
				info.DType = safetensors.I32
			}
			return raw
		}},
	} {
		src := copyModel(t, "vit_gelu")
		rewrite(t, weightsPath(src, FormatOpenCLIP), nil, c.change)
		if _, err := Open(src, Options{}); err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	src := copyModel(t, "hf_clip")
	rewrite(t, weightsPath(src, FormatHF), nil, func(_ int, info *safetensors.Info, raw []byte) []byte {
		if strings.HasSuffix(info.Name, "layers.0.self_attn.k_proj.weight") {
			return narrowed(t, safetensors.F16, info, raw)
		}
		return raw
	})
	if _, err := Open(src, Options{}); err == nil || !strings.Contains(err.Error(), "but other parts of") {
		t.Errorf("parts of two types: %v", err)
	}
}

// TestTablesAreTotal checks the tables of all built-in models on our side.
func TestTablesAreTotal(t *testing.T) {
	for _, name := range model.Names() {
		c, err := model.ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		tables := map[string]Table{"open_clip": OpenCLIP(c, ""), "tandem": identity(c)}
		if _, err := hfKind(c); err == nil {
			tables["hf"] = HF(c)
		}
		for format, table := range tables {
			if err := table.checkOurs(c); err != nil {
				t.Errorf("%s %s: %v", name, format, err)
			}
		}
	}
	broken := OpenCLIP(model.Config{EmbedDim: 8, Vision: model.VisionConfig{Width: 64, Layers: 1, PatchSize: 8, ImageSize: 16}, Text: model.TextConfig{Width: 64, Layers: 1, Vocab: 9, Context: 4}}, "")
	c := model.Config{EmbedDim: 8, Vision: model.VisionConfig{Width: 64, Layers: 2, PatchSize: 8, ImageSize: 16}, Text: model.TextConfig{Width: 64, Layers: 1, Vocab: 9, Context: 4}}.WithDefaults()
	if err := broken.checkOurs(c); err == nil || !strings.Contains(err.Error(), "visual/block_1") {
		t.Errorf("a table with a layer too few: %v", err)
	}
	c.Vision.Layers = 1
	broken = append(broken, Pair{Ours: "visual/nobody", Theirs: "x", Shape: []int{1}})
	if err := broken.checkOurs(c); err == nil || !strings.Contains(err.Error(), "visual/nobody") {
		t.Errorf("a table with a name too many: %v", err)
	}
}

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestOpenAI reads OpenAI's tensors without a configuration: sizes from the shapes, QuickGELU because of the marks.
func TestOpenAI(t *testing.T) {
	dir := copyModel(t, "vit_quickgelu")
	if err := os.Remove(filepath.Join(dir, "open_clip_config.json")); err != nil {
		t.Fatal(err)
	}
	path := weightsPath(dir, FormatOpenCLIP)
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "nothing tells GELU from QuickGELU") {
		t.Errorf("without marks: %v", err)
	}
	addTensors(t, path, map[string][]int{"input_resolution": nil, "context_length": nil, "vocab_size": nil})
	want := mustOpen(t, filepath.Join(goldenDir, "vit_quickgelu"), Options{}).Config
	if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), "heads") {
		t.Errorf("a width under 64 has no default heads: %v", err)
	}
	c := mustOpen(t, path, Options{Model: &want})
	if c.Format != FormatOpenAI || c.Config.Text.Activation != model.QuickGELU || c.Config.NumParams() != want.NumParams() {
		t.Errorf("format %s, configuration %+v", c.Format, c.Config)
	}
	sameParams(t, rawParams(t, mustOpen(t, convert(t, path, FormatTandem, Options{Model: &want}), Options{})), rawParams(t, c))
	back := mustOpen(t, convert(t, path, FormatOpenCLIP, Options{Model: &want}), Options{})
	if _, ok := back.weights.Lookup("input_resolution"); ok || back.Format != FormatOpenCLIP {
		t.Error("OpenAI's marks are in open_clip's file")
	}
}

// TestOpenAISizes derives the configurations of OpenAI's models from the shapes alone.
func TestOpenAISizes(t *testing.T) {
	for _, name := range []string{"ViT-B-32-quickgelu", "ViT-L-14-quickgelu", "RN50-quickgelu", "RN101-quickgelu", "RN50x4-quickgelu"} {
		want, err := model.ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := openAIConfig(tableShapes(OpenCLIP(want, "")))
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %+v (%v), want\n%+v", name, got, err, want)
		}
	}
}

// TestNothingToOpen: errors of directories without a model say what was looked for.
func TestNothingToOpen(t *testing.T) {
	empty := t.TempDir()
	pickled := copyModel(t, "vit_gelu")
	if err := os.Rename(weightsPath(pickled, FormatOpenCLIP), filepath.Join(pickled, "open_clip_pytorch_model.bin")); err != nil {
		t.Fatal(err)
	}
	broken := copyModel(t, "vit_gelu")
	writeFile(t, filepath.Join(broken, "open_clip_config.json"), []byte("{"))
	torn := copyModel(t, "vit_gelu")
	if err := os.Truncate(weightsPath(torn, FormatOpenCLIP), 5000); err != nil {
		t.Fatal(err)
	}
	changed := convert(t, filepath.Join(goldenDir, "vit_gelu"), FormatTandem, Options{})
	writeFile(t, filepath.Join(changed, "model.json"), []byte(`{"format":"tandem-model/9"}`))
	for path, want := range map[string]string{
		empty:                             "no model found: there is no model.json, no open_clip_config.json, no config.json",
		filepath.Join(empty, "nowhere"):   "no such file",
		pickled:                           "weights are read from safetensors only; convert open_clip_pytorch_model.bin first",
		broken:                            "open_clip_config.json: unexpected EOF",
		torn:                              "header",
		changed:                           `format "tandem-model/9"`,
		filepath.Join(goldenDir, "../.."): "no model found",
	} {
		if _, err := Open(path, Options{}); err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", path, err, want)
		}
	}
	if _, err := Open(filepath.Join(goldenDir, "vit_gelu"), Options{From: FormatHF}); err == nil || !strings.Contains(err.Error(), "no config.json") {
		t.Errorf("as the wrong format: %v", err)
	}
}

// TestTwoFormatsInOneDirectory: repositories on the hub hold a model in two formats; the weights decide.
func TestTwoFormatsInOneDirectory(t *testing.T) {
	dir := copyModel(t, "hf_clip")
	data, err := os.ReadFile(filepath.Join(goldenDir, "vit_gelu", "open_clip_config.json"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "open_clip_config.json"), data)
	if c := mustOpen(t, dir, Options{}); c.Format != FormatHF {
		t.Errorf("format %s, want hf: open_clip's weights are not there", c.Format)
	}
	data, err = os.ReadFile(weightsPath(filepath.Join(goldenDir, "vit_gelu"), FormatOpenCLIP))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, weightsPath(dir, FormatOpenCLIP), data)
	if c := mustOpen(t, dir, Options{}); c.Format != FormatOpenCLIP {
		t.Errorf("format %s, want open_clip", c.Format)
	}
	if c := mustOpen(t, dir, Options{From: FormatHF}); c.Format != FormatHF {
		t.Errorf("format %s, want hf as asked", c.Format)
	}
}

// TestLoad reads a model with its tokenizer in one call, from the hub and from disk.
func TestLoad(t *testing.T) {
	src := copyModel(t, "hf_clip")
	writeFile(t, filepath.Join(src, "config.json"), change(t, filepath.Join(src, "config.json"), "text_config.vocab_size", 1514))
	rewrite(t, weightsPath(src, FormatHF), nil, func(_ int, info *safetensors.Info, raw []byte) []byte {
		if strings.HasSuffix(info.Name, "token_embedding.weight") {
			info.Shape = []int{1514, 16}
			return make([]byte, info.Bytes())
		}
		return raw
	})
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		data, err := os.ReadFile(filepath.Join("../../tokenizer/testdata/hf_tiny", name))
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(src, name), data)
	}
	fakeHub(t, src, "secret")
	for _, name := range []string{src, "hf://org/model"} {
		var warnings []string
		m, store, err := Load(context.Background(), name, Options{}, HubOptions{}, func(line string) { warnings = append(warnings, line) })
		if err != nil {
			t.Fatal(err)
		}
		if m.Tokenizer.VocabSize() != 1514 || m.Source["name"] != name || store.GetVariable("/text/token_embed").Shape().Dim(0) != 1514 {
			t.Errorf("%s: %d ids, source %v", name, m.Tokenizer.VocabSize(), m.Source)
		}
		// The end token of the configuration is 63, the tokenizer's 1513.
		if joined := strings.Join(warnings, "\n"); !strings.Contains(joined, "pooled at token 63, but the tokenizer ends texts with 1513") {
			t.Errorf("%s: warnings %q", name, warnings)
		}
	}
	// Through tandem and transformers the tokenizer comes along.
	tok, err := mustOpen(t, src, Options{}).Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	m, err := mustOpen(t, src, Options{}).Model(tok)
	if err != nil {
		t.Fatal(err)
	}
	tandem := filepath.Join(t.TempDir(), "tandem")
	if _, err := Export(tandem, FormatTandem, m); err != nil {
		t.Fatal(err)
	}
	if read, err := mustOpen(t, tandem, Options{}).Tokenizer(); err != nil || read.Fingerprint() != tok.Fingerprint() {
		t.Errorf("the tokenizer in tandem's directory: %v", err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.CopyFS(other, os.DirFS(tandem)); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(other, "model.json"), change(t, filepath.Join(other, "model.json"), "tokenizer.fingerprint", "0123"))
	if _, err := mustOpen(t, other, Options{}).Tokenizer(); err == nil || !strings.Contains(err.Error(), "is not the tokenizer that the model was trained with") {
		t.Errorf("another tokenizer: %v", err)
	}
	for _, to := range []Format{FormatHF, FormatOpenCLIP} {
		c := mustOpen(t, tandem, Options{})
		back, err := c.Tokenizer()
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.Model(back)
		if err != nil {
			t.Fatal(err)
		}
		dst := filepath.Join(t.TempDir(), "out")
		if _, err := Export(dst, to, m); err != nil {
			t.Fatal(err)
		}
		again, err := mustOpen(t, dst, Options{}).Tokenizer()
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"a photo of a cat", "Hello, World!", ""} {
			want, got := make([]int32, 10), make([]int32, 10)
			tok.Encode(want, text)
			again.Encode(got, text)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q becomes %v, want %v", to, text, got, want)
			}
		}
	}
}
