package foreign

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tandem/checkpoints"
	"tandem/imaging"
	"tandem/model"
)

// tableShapes are the shapes of the tensors that a table names: a file without data.
func tableShapes(t Table) weightShapes {
	shapes := map[string][]int{}
	for _, p := range t {
		shapes[p.Theirs] = p.Shape
		if p.Shape == nil {
			shapes[p.Theirs] = []int{}
		}
	}
	return func(name string) []int { return shapes[name] }
}

// TestBuiltInsAreOpenCLIPs reads open_clip 3.3.0's own configurations (open_clip/model_configs) and compares them with the
// built-in models of the same names.
func TestBuiltInsAreOpenCLIPs(t *testing.T) {
	files, err := filepath.Glob("testdata/open_clip_configs/*.json")
	if err != nil || len(files) != 16 {
		t.Fatalf("%d configurations, want 16 (%v)", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		want, err := model.ByName(name)
		if err != nil {
			t.Error(err)
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readOpenCLIPConfig([]byte(`{"model_cfg":`+string(data)+`}`), nil, tableShapes(OpenCLIP(want, "")))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if name == "ViT-B-16-SigLIP" {
			// What training SigLIP starts from, and its pixels, are not in the configuration but in open_clip's trainer
			// and its list of weights.
			got.Model.LogitScaleInit, got.Model.Vision.Mean, got.Model.Vision.Std = want.LogitScaleInit, want.Vision.Mean, want.Vision.Std
		}
		if !reflect.DeepEqual(got.Model.WithDefaults(), want) {
			t.Errorf("%s:\n%+v, want\n%+v", name, got.Model.WithDefaults(), want)
		}
		if len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "no preprocess_cfg") {
			t.Errorf("%s: notes %q", name, got.Notes)
		}
	}
}

// change sets a field of a configuration, addressed by its path, and returns the file.
func change(t testing.TB, file, path string, value any) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var top map[string]any
	if err := json.Unmarshal(data, &top); err != nil {
		t.Fatal(err)
	}
	keys := strings.Split(path, ".")
	at := top
	for _, key := range keys[:len(keys)-1] {
		child, ok := at[key].(map[string]any)
		if !ok {
			child = map[string]any{}
			at[key] = child
		}
		at = child
	}
	at[keys[len(keys)-1]] = value
	out, err := json.Marshal(top)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestOpenCLIPFields: each field is read, or refused by its name, or harmless.
func TestOpenCLIPFields(t *testing.T) {
	base := filepath.Join(goldenDir, "vit_gelu", "open_clip_config.json")
	for _, c := range []struct {
		path  string
		value any
		want  string // what the error says; "" for none
	}{
		{"model_cfg.embed_dim", "8", "model_cfg.embed_dim must be a number"},
		{"model_cfg.embed_dim", 8.5, "model_cfg.embed_dim must be a whole number"},
		{"model_cfg.multimodal_cfg", map[string]any{"layers": 1}, "multimodal_cfg is not implemented: this is a CoCa"},
		{"model_cfg.quick_glu", true, "model_cfg.quick_glu is not implemented"},
		{"model_cfg.vision_cfg", 3, "model_cfg.vision_cfg must be an object"},
		{"model_cfg.vision_cfg.ls_init_value", 1e-4, "vision_cfg.ls_init_value = 0.0001 is not implemented"},
		{"model_cfg.vision_cfg.ls_init_value", nil, ""},
		{"model_cfg.vision_cfg.attentional_pool", true, "vision_cfg.attentional_pool = true is not implemented"},
		{"model_cfg.vision_cfg.attn_pooler_heads", 4, ""},
		{"model_cfg.vision_cfg.pos_embed_type", "sin_cos_2d", "vision_cfg.pos_embed_type"},
		{"model_cfg.vision_cfg.pool_type", "none", `vision_cfg.pool_type = "none" is not implemented`},
		{"model_cfg.vision_cfg.qk_norm", true, "vision_cfg.qk_norm = true"},
		{"model_cfg.vision_cfg.block_type", "custom", "vision_cfg.block_type"},
		{"model_cfg.vision_cfg.output_tokens", true, "vision_cfg.output_tokens"},
		{"model_cfg.vision_cfg.image_size", []any{16, 16}, ""},
		{"model_cfg.vision_cfg.image_size", []any{16, 32}, "vision_cfg.image_size must be a number or two equal ones"},
		{"model_cfg.vision_cfg.act_kwargs.approximate", "fast", "vision_cfg.act_kwargs.approximate"},
		{"model_cfg.vision_cfg.act_kwargs.inplace", true, "vision_cfg.act_kwargs.inplace is not implemented"},
		{"model_cfg.vision_cfg.norm_kwargs.elementwise_affine", false, "norm_kwargs.elementwise_affine = false"},
		{"model_cfg.vision_cfg.layers", []any{1, 2, 3}, "vision_cfg.layers must be 4 numbers"},
		{"model_cfg.vision_cfg.timm_model_name", "convnext_base", `timm_model_name = "convnext_base" is not implemented`},
		{"model_cfg.vision_cfg.timm_model_name", "vit_base_patch16_224", `timm_model_name = "vit_base_patch16_224" is not implemented`},
		{"model_cfg.text_cfg.hf_model_name", "roberta-base", `hf_model_name = "roberta-base" is not implemented`},
		{"model_cfg.text_cfg.embed_cls", true, "text_cfg.embed_cls = true"},
		{"model_cfg.text_cfg.pad_id", 7, ""},
		{"model_cfg.text_cfg.proj_type", "none", "text_cfg.proj_type"},
		{"model_cfg.text_cfg.pool_type", "cls", "text_cfg.pool_type"},
		{"model_cfg.text_cfg.tokenizer_kwargs.strip_sep_token", true, "strip_sep_token = true"},
		{"model_cfg.text_cfg.use_pad_mask", true, "text_cfg.use_pad_mask is not implemented"},
		{"preprocess_cfg.resize_mode", "crop", "preprocess_cfg.resize_mode"},
		{"preprocess_cfg.interpolation", "random", "preprocess_cfg.interpolation"},
		{"preprocess_cfg.mode", "L", `preprocess_cfg.mode = "L"`},
		{"preprocess_cfg.mean", []any{0.5}, "preprocess_cfg.mean must be 3 numbers"},
		{"preprocess_cfg.size", 32, "preprocess_cfg.size = 32 is not implemented"},
		{"preprocess_cfg.size", []any{16, 16}, ""},
		{"preprocess_cfg.crop_pct", 0.9, "preprocess_cfg.crop_pct is not implemented"},
		{"version", 2, "open_clip_config.json.version is not implemented"},
		{"model_cfg", nil, "model_cfg is missing"},
	} {
		_, err := readOpenCLIPConfig(change(t, base, c.path, c.value), nil, func(string) []int { return nil })
		checkError(t, c.path, c.value, err, c.want)
	}
	quick := change(t, filepath.Join(goldenDir, "vit_quickgelu", "open_clip_config.json"), "model_cfg.text_cfg.act_kwargs.approximate", "tanh")
	_, err := readOpenCLIPConfig(quick, nil, func(string) []int { return nil })
	checkError(t, "act_kwargs with quick_gelu", nil, err, "does not go with quick_gelu")
}

func checkError(t *testing.T, path string, value any, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s = %v: %v, want no error", path, value, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%s = %v: error %v, want %q", path, value, err, want)
	case err != nil && strings.Contains(err.Error(), "\n"):
		t.Errorf("%s = %v: error of several lines: %v", path, value, err)
	}
}

func TestTimmFields(t *testing.T) {
	dir := filepath.Join(goldenDir, "siglip_timm")
	config, overrides := filepath.Join(dir, "open_clip_config.json"), filepath.Join(dir, "timm_overrides.json")
	plain, err := os.ReadFile(overrides)
	if err != nil {
		t.Fatal(err)
	}
	shapes := shapesOf(mustOpen(t, dir, Options{}).weights)
	for _, c := range []struct {
		path  string
		value any
		want  string
	}{
		{"model_cfg.vision_cfg.timm_pool", "avg", `timm_pool = "avg" is not implemented for vit_base_patch16_siglip_224`},
		{"model_cfg.vision_cfg.timm_pool", "token", "timm_pool"},
		{"model_cfg.vision_cfg.timm_pool", nil, "timm_pool = null"},
		{"model_cfg.vision_cfg.timm_proj", nil, "timm_proj = null"},
		{"model_cfg.vision_cfg.timm_proj", "mlp", "timm_proj"},
		{"model_cfg.vision_cfg.timm_proj_bias", true, "timm_proj_bias"},
		{"model_cfg.vision_cfg.timm_drop_path", 0.1, "timm_drop_path = 0.1"},
		{"model_cfg.vision_cfg.timm_drop", 0.0, ""},
		{"model_cfg.vision_cfg.timm_model_name", "vit_base_patch16_siglip_224.webli", ""},
		{"model_cfg.vision_cfg.width", 768, "vision_cfg.width = 768"},
		{"model_cfg.vision_cfg.no_ln_pre", true, "vision_cfg.no_ln_pre is not implemented"},
	} {
		_, err := readOpenCLIPConfig(change(t, config, c.path, c.value), plain, shapes)
		checkError(t, c.path, c.value, err, c.want)
	}
	for _, c := range []struct {
		path  string
		value any
		want  string
	}{
		{"depth", 3, "timm_overrides.json.depth = 3"},
		{"embed_dim", 32, "timm_overrides.json.embed_dim = 32"},
		{"init_values", 1e-5, "timm_overrides.json.init_values is not implemented"},
		{"act_layer", "relu", "timm_overrides.json.act_layer"},
		{"act_layer", "gelu_tanh", ""},
		{"img_size", []any{16, 16}, ""},
	} {
		data, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		_, err = readOpenCLIPConfig(data, change(t, overrides, c.path, c.value), shapes)
		checkError(t, c.path, c.value, err, c.want)
	}
	unknown := change(t, config, "model_cfg.vision_cfg.timm_model_name", "vit_huge_patch16_siglip_224")
	_, err = readOpenCLIPConfig(unknown, nil, shapes)
	checkError(t, "heads of an unknown size", nil, err, "does not tell the number of heads")
}

func TestTimmNames(t *testing.T) {
	c, err := model.ByName("ViT-B-16-SigLIP")
	if err != nil {
		t.Fatal(err)
	}
	so400m := c
	so400m.EmbedDim = 1152
	v := &so400m.Vision
	v.Width, v.Layers, v.Heads, v.MLPWidth, v.PatchSize, v.ImageSize = 1152, 27, 16, 4304, 14, 384
	gap := c
	gap.Vision.Pool, gap.Vision.ImageSize = model.PoolAvg, 512
	tanh := c
	tanh.Vision.Activation = model.GELUTanh
	large := tanh
	large.Vision.Width, large.Vision.Layers, large.Vision.Heads, large.Vision.MLPWidth, large.Vision.ImageSize = 1024, 24, 16, 4096, 512
	odd := c
	odd.Vision.ImageSize = 240
	for want, config := range map[string]model.Config{
		"vit_base_patch16_siglip_224": c, "vit_so400m_patch14_siglip_384": so400m, "vit_base_patch16_siglip_gap_512": gap,
		"vit_large_patch16_siglip_512": large,
	} {
		if got := nameOfTimm(config.Vision); got != want {
			t.Errorf("name %q, want %q", got, want)
		}
	}
	for _, config := range []model.Config{odd, tanh} {
		if got := nameOfTimm(config.Vision); got != "" {
			t.Errorf("a tower that timm does not have is called %q", got)
		}
	}
}

func TestRatio(t *testing.T) {
	for _, c := range []struct{ width, mlp int }{{1152, 4304}, {768, 3072}, {16, 41}, {640, 1667}, {1408, 6144}, {1664, 8192}, {7, 30}, {3, 1}} {
		if r := ratio(c.width, c.mlp); int(float64(c.width)*r) != c.mlp {
			t.Errorf("%d·%g is not %d", c.width, r, c.mlp)
		}
	}
	if r := ratio(1152, 4304); r > 3.7362 {
		t.Errorf("ratio %g is longer than need be", r)
	}
}

// oldHF is a configuration as transformers wrote it in 2022: every general field, and each tower twice.
const oldHF = `{"_commit_hash": null, "architectures": ["CLIPModel"], "initializer_factor": 1.0, "logit_scale_init_value": 2.6592,
"model_type": "clip", "projection_dim": 512, "torch_dtype": "float32", "transformers_version": null,
"text_config": {"_name_or_path": "", "add_cross_attention": false, "architectures": null, "attention_dropout": 0.0,
 "bad_words_ids": null, "bos_token_id": 0, "chunk_size_feed_forward": 0, "cross_attention_hidden_size": null,
 "decoder_start_token_id": null, "diversity_penalty": 0.0, "do_sample": false, "dropout": 0.0, "early_stopping": false,
 "encoder_no_repeat_ngram_size": 0, "eos_token_id": 2, "finetuning_task": null, "forced_bos_token_id": null,
 "forced_eos_token_id": null, "hidden_act": "quick_gelu", "hidden_size": 512, "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
 "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": 2048, "is_decoder": false,
 "is_encoder_decoder": false, "label2id": {"LABEL_0": 0, "LABEL_1": 1}, "layer_norm_eps": 1e-05, "length_penalty": 1.0,
 "max_length": 20, "max_position_embeddings": 77, "min_length": 0, "model_type": "clip_text_model",
 "no_repeat_ngram_size": 0, "num_attention_heads": 8, "num_beam_groups": 1, "num_beams": 1, "num_hidden_layers": 12,
 "num_return_sequences": 1, "output_attentions": false, "output_hidden_states": false, "output_scores": false,
 "pad_token_id": 1, "prefix": null, "problem_type": null, "pruned_heads": {}, "remove_invalid_values": false,
 "repetition_penalty": 1.0, "return_dict": true, "return_dict_in_generate": false, "sep_token_id": null,
 "task_specific_params": null, "temperature": 1.0, "tie_encoder_decoder": false, "tie_word_embeddings": true,
 "tokenizer_class": null, "top_k": 50, "top_p": 1.0, "torch_dtype": null, "torchscript": false,
 "transformers_version": "4.16.0.dev0", "use_bfloat16": false, "vocab_size": 49408},
"text_config_dict": null,
"vision_config": {"attention_dropout": 0.0, "dropout": 0.0, "hidden_act": "quick_gelu", "hidden_size": 768, "image_size": 224,
 "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-05,
 "model_type": "clip_vision_model", "num_attention_heads": 12, "num_hidden_layers": 12, "patch_size": 32},
"vision_config_dict": {"num_hidden_layers": 12}}`

const oldProcessor = `{"crop_size": 224, "do_center_crop": true, "do_normalize": true, "do_resize": true,
"feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48145466, 0.4578275, 0.40821073],
"image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "size": 224}`

func TestOldHF(t *testing.T) {
	c, err := readHFConfig([]byte(oldHF), []byte(oldProcessor))
	if err != nil {
		t.Fatal(err)
	}
	want, err := model.ByName("ViT-B-32-quickgelu")
	if err != nil {
		t.Fatal(err)
	}
	want.LogitScaleInit = 2.6592
	if got := c.Model.WithDefaults(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want\n%+v", got, want)
	}
	if p := (checkpoints.Preprocess{}).WithDefaults(); c.Preprocess != p {
		t.Errorf("preprocessing %+v, want %+v", c.Preprocess, p)
	}
	if len(c.Notes) != 1 || !strings.Contains(c.Notes[0], "eos_token_id is 2") {
		t.Errorf("notes %q", c.Notes)
	}
}

func TestHFFields(t *testing.T) {
	base := filepath.Join(goldenDir, "hf_clip", "config.json")
	for _, c := range []struct {
		path  string
		value any
		want  string
	}{
		{"model_type", "siglip2", "NaFlex"},
		{"model_type", "blip", `model_type = "blip" is not implemented`},
		{"quantization_config", map[string]any{"bits": 4}, "config.json.quantization_config"},
		{"text_config.hidden_act", "relu", `text_config.hidden_act = "relu" is not implemented`},
		{"text_config.hidden_act", "gelu_new", ""},
		{"text_config.attention_dropout", 0.1, "text_config.attention_dropout = 0.1"},
		{"text_config.add_cross_attention", true, "text_config.add_cross_attention = true"},
		{"text_config.eos_token_id", []any{1, 2}, "text_config.eos_token_id must be a number"},
		{"text_config.rope_theta", 1e4, "text_config.rope_theta is not implemented"},
		{"text_config.temperature", 0.5, ""},
		{"vision_config.num_channels", 1, "vision_config.num_channels = 1"},
		{"vision_config.image_size", []any{16, 16}, ""},
		{"vision_config.patch_size", []any{4, 8}, "vision_config.patch_size"},
		{"vision_config.use_mean_pooling", true, "vision_config.use_mean_pooling is not implemented"},
	} {
		_, err := readHFConfig(change(t, base, c.path, c.value), nil)
		checkError(t, c.path, c.value, err, c.want)
	}
	siglip := filepath.Join(goldenDir, "hf_siglip", "config.json")
	_, err := readHFConfig(change(t, siglip, "vision_config.vision_use_head", false), nil)
	checkError(t, "vision_use_head", false, err, "vision_config.vision_use_head = false")
	_, err = readHFConfig(change(t, siglip, "text_config.projection_size", 8), nil)
	checkError(t, "projection_size", 8, err, "such features cannot be compared")
}

func TestHFPreprocess(t *testing.T) {
	config, err := os.ReadFile(filepath.Join(goldenDir, "hf_clip", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	shortest := checkpoints.Preprocess{}.WithDefaults()
	squash, bilinear := shortest, shortest
	squash.Resize, bilinear.Interpolation = imaging.Squash, imaging.Bilinear
	for _, c := range []struct {
		processor, want string
		preprocess      checkpoints.Preprocess
	}{
		{`{"size": 16, "crop_size": 16}`, "", shortest},
		{`{"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}, "resample": 2}`, "", bilinear},
		{`{"size": {"height": 16, "width": 16}, "do_center_crop": false}`, "", squash},
		{`{"image_processor": {"size": {"height": 16, "width": 16}, "do_center_crop": null}, "processor_class": "CLIPProcessor"}`, "do_center_crop = true with size", shortest},
		{`{"image_processor": {"size": {"height": 16, "width": 16}, "do_center_crop": false}, "processor_class": "CLIPProcessor"}`, "", squash},
		{`{"size": {"shortest_edge": 20}, "crop_size": 16}`, "size = 20 differs", shortest},
		{`{"size": {"shortest_edge": 16}, "crop_size": 12}`, "crop_size = 12 differs", shortest},
		{`{"size": {"longest_edge": 16}}`, "longest_edge is not implemented", shortest},
		{`{"do_rescale": false}`, "do_rescale = false", shortest},
		{`{"rescale_factor": 1.0}`, "rescale_factor = 1 ", shortest},
		{`{"resample": 1}`, "resample = 1", shortest},
		{`{"do_reduce_labels": true}`, "do_reduce_labels is not implemented", shortest},
		{`[]`, "preprocessor_config.json: ", shortest},
	} {
		got, err := readHFConfig(config, []byte(c.processor))
		checkError(t, "preprocessor_config.json", c.processor, err, c.want)
		if err == nil && got.Preprocess != c.preprocess {
			t.Errorf("%s: %+v, want %+v", c.processor, got.Preprocess, c.preprocess)
		}
	}
}

// TestConfigsComeBack writes fresh configurations of every golden model that the format can express and reads them again.
func TestConfigsComeBack(t *testing.T) {
	for _, name := range goldenNames {
		c := mustOpen(t, filepath.Join(goldenDir, name), Options{})
		shapes := tableShapes(c.Table())
		if data, err := writeOpenCLIPConfig(openCLIPConfig{Model: c.Config, Preprocess: c.Preprocess, Tokenizer: "x", Cleaning: "lower"}); err == nil {
			got, err := readOpenCLIPConfig(data, nil, shapes)
			if err != nil || !reflect.DeepEqual(got.Model.WithDefaults(), c.Config) || got.Preprocess != c.Preprocess || got.Tokenizer != "x" || got.Cleaning != "lower" {
				t.Errorf("%s: %+v (%v), want\n%+v\n%s", name, got, err, c.Config, data)
			}
		} else if formatOf(name) == FormatOpenCLIP && !isTimm(c.Config.Vision) { // no timm tower is that small
			t.Errorf("%s: %v", name, err)
		}
		config, processor, err := writeHFConfig(c.Config, c.Preprocess, "float32", nil)
		if err != nil {
			if formatOf(name) == FormatHF {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		got, err := readHFConfig(config, processor)
		want := c.Config
		if got.Kind == hfSiglip { // SiglipConfig holds no initial temperature
			got.Model.LogitScaleInit = want.LogitScaleInit
		}
		if err != nil || !reflect.DeepEqual(got.Model.WithDefaults(), want) || got.Preprocess != c.Preprocess {
			t.Errorf("%s: %+v (%v), want\n%+v\n%s", name, got, err, want, config)
		}
	}
}

func FuzzConfigs(f *testing.F) {
	for _, name := range goldenNames {
		for _, file := range []string{"open_clip_config.json", "config.json"} {
			if data, err := os.ReadFile(filepath.Join(goldenDir, name, file)); err == nil {
				f.Add(data, []byte(oldProcessor))
			}
		}
	}
	f.Add([]byte(oldHF), []byte(`{"size":{}}`))
	f.Fuzz(func(t *testing.T, config, processor []byte) {
		readHFConfig(config, processor)
		readOpenCLIPConfig(config, processor, func(string) []int { return []int{4, 3, 2, 2} })
	})
}

// TestSizesAreOpenCLIPs compares the built-in models with what open_clip 3.3.0 builds under the same names: the numbers of
// parameters and buffers, and a hash over the names and shapes of all tensors (scripts/open_clip_sizes.py).
func TestSizesAreOpenCLIPs(t *testing.T) {
	var file struct {
		Models []struct {
			Name       string `json:"name"`
			Parameters int    `json:"parameters"`
			Image      int    `json:"image_parameters"`
			Buffers    int    `json:"buffers"`
			Tensors    int    `json:"tensors"`
			Hash       string `json:"names_and_shapes"`
		} `json:"models"`
	}
	data, err := os.ReadFile("testdata/open_clip_sizes.json")
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil || len(file.Models) != 19 {
		t.Fatalf("%d models, want 19 (%v)", len(file.Models), err)
	}
	for _, want := range file.Models {
		c, err := model.ByName(want.Name)
		if err != nil {
			t.Error(err)
			continue
		}
		image, buffers := 0, 0
		for _, p := range c.Params() {
			switch {
			case p.Buffer:
				buffers += p.Size()
			case strings.HasPrefix(p.Path, "visual/"):
				image += p.Size()
			}
		}
		prefix := ""
		if usesTextPrefix(c) {
			prefix = "text."
		}
		shapes := map[string][]int{}
		for _, p := range OpenCLIP(c, prefix) {
			shapes[p.Theirs] = append([]int{}, p.Shape...)
		}
		hash := sha256.New()
		for _, name := range slices.Sorted(maps.Keys(shapes)) {
			fmt.Fprintf(hash, "%s [%s]\n", name, strings.Trim(strings.ReplaceAll(fmt.Sprint(shapes[name]), " ", ", "), "[]"))
		}
		if c.NumParams() != want.Parameters || image != want.Image || buffers != want.Buffers || len(shapes) != want.Tensors {
			t.Errorf("%s has %d parameters (%d image), %d buffers, %d tensors; open_clip %+v", want.Name, c.NumParams(), image, buffers, len(shapes), want)
		}
		if got := hex.EncodeToString(hash.Sum(nil)); got != want.Hash {
			t.Errorf("%s: names and shapes of the tensors differ from open_clip's", want.Name)
		}
	}
}
