package foreign

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"

	"tandem/checkpoints"
	"tandem/imaging"
	"tandem/model"
	"tandem/tokenizer"
)

// hfConfig is what config.json and preprocessor_config.json say of a CLIPModel or a SiglipModel.
type hfConfig struct {
	Kind       string // model_type: clip or siglip
	Model      model.Config
	Preprocess checkpoints.Preprocess
	Notes      []string
}

// The model types that are read.
const (
	hfCLIP   = "clip"
	hfSiglip = "siglip"
)

// hfGeneral are fields of transformers' PretrainedConfig that concern the harness (what is returned, how text is
// generated, where a file came from) or the initial weights, and nothing that a CLIP computes.
var hfGeneral = []string{
	"architectures", "model_type", "dtype", "torch_dtype", "transformers_version", "_name_or_path", "_commit_hash",
	"_attn_implementation_autoset", "initializer_factor", "initializer_range", "tie_word_embeddings", "tie_encoder_decoder",
	"return_dict", "output_hidden_states", "output_attentions", "torchscript", "use_bfloat16", "tf_legacy_loss",
	"chunk_size_feed_forward", "is_encoder_decoder", "is_decoder", "cross_attention_hidden_size", "max_length", "min_length",
	"do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p", "typical_p",
	"repetition_penalty", "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids",
	"num_return_sequences", "output_scores", "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id",
	"remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens", "finetuning_task",
	"id2label", "label2id", "num_labels", "tokenizer_class", "prefix", "bos_token_id", "pad_token_id", "sep_token_id",
	"decoder_start_token_id", "task_specific_params", "problem_type", "use_cache", "gradient_checkpointing",
}

// ignoreGeneral passes over hfGeneral and refuses the general fields that would change the model.
func (s *section) ignoreGeneral() {
	s.ignore(hfGeneral...)
	s.only("add_cross_attention", false)
	s.only("attention_dropout", 0)
	s.only("dropout", 0) // of early files; nothing ever read it
	s.only("pruned_heads", map[string]any{})
	s.only("quantization_config")
}

// readHFConfig reads config.json and preprocessor_config.json; preprocessor may be nil.
func readHFConfig(data, preprocessor []byte) (hfConfig, error) {
	var c hfConfig
	s, err := parseFields("config.json", data)
	if err != nil {
		return c, err
	}
	c.Kind = s.text("model_type", "")
	if err := checkModelType(c.Kind); err != nil {
		return c, err
	}
	text, vision := s.configOf("text_config"), s.configOf("vision_config")
	s.ignoreGeneral()
	s.ignore("eos_token_id") // the text tower's counts
	if c.Kind == hfCLIP {
		c.Model.EmbedDim = s.integer("projection_dim", 512)
		c.Model.LogitScaleInit = s.number("logit_scale_init_value", 2.6592)
	}
	c.readHFVision(vision)
	c.readHFText(text)
	s.done()
	if err := s.err(); err != nil {
		return c, err
	}
	return c, c.readHFPreprocess(preprocessor)
}

func checkModelType(kind string) error {
	switch kind {
	case hfCLIP, hfSiglip:
		return nil
	case "siglip2":
		return fmt.Errorf("config.json.model_type = \"siglip2\" is not implemented: that is the NaFlex SigLIP 2 for pictures of any shape; the SigLIP 2 models of one size (patch16-224 and so on) have model_type siglip")
	default:
		return fmt.Errorf("config.json.model_type = %q is not implemented: it can be clip or siglip", kind)
	}
}

// configOf is a tower's object. Old files have it twice; as transformers does, the values of …_config_dict win.
func (s *section) configOf(key string) *section {
	child, old := s.sub(key), s.sub(key+"_dict")
	child.values = maps.Clone(child.values)
	for k, v := range old.values {
		child.values[k] = v
	}
	return child
}

var hfActivations = map[string]model.Activation{
	"gelu": model.GELU, "gelu_python": model.GELU, "quick_gelu": model.QuickGELU,
	"gelu_pytorch_tanh": model.GELUTanh, "gelu_new": model.GELUTanh,
}

// readTower reads the fields that both towers of both kinds have.
func (c *hfConfig) readTower(s *section) (width, heads, layers, mlpWidth int, activation model.Activation, epsilon float64) {
	defaults := map[string]struct {
		activation string
		epsilon    float64
	}{hfCLIP: {"quick_gelu", 1e-5}, hfSiglip: {"gelu_pytorch_tanh", 1e-6}}[c.Kind]
	if !s.has("hidden_act") {
		c.Notes = append(c.Notes, fmt.Sprintf("%s has no hidden_act: %s, the default of model_type %s", s.path, defaults.activation, c.Kind))
	}
	name := s.text("hidden_act", defaults.activation)
	activation, known := hfActivations[name]
	if !known {
		s.fault("hidden_act", "= %q is not implemented", name)
	}
	s.ignoreGeneral()
	s.ignore("projection_dim") // of the tower when it stands alone
	return s.integer("hidden_size", 0), s.integer("num_attention_heads", 0), s.integer("num_hidden_layers", 12),
		s.integer("intermediate_size", 0), activation, s.number("layer_norm_eps", defaults.epsilon)
}

func (c *hfConfig) readHFVision(s *section) {
	v := &c.Model.Vision
	s.setAbsent("hidden_size", 768)
	s.setAbsent("num_attention_heads", 12)
	s.setAbsent("intermediate_size", 3072)
	v.Kind = model.ViT
	v.Width, v.Heads, v.Layers, v.MLPWidth, v.Activation, v.NormEpsilon = c.readTower(s)
	v.ImageSize = s.square("image_size", 224)
	v.PatchSize = s.square("patch_size", map[string]int{hfCLIP: 32, hfSiglip: 16}[c.Kind])
	s.only("num_channels", 3)
	v.Pool = model.PoolClass
	if c.Kind == hfSiglip {
		v.Pool, v.NoClassToken, v.NoPreNorm, v.PatchBias, v.NoProjection = model.PoolMap, true, true, true, true
		s.only("vision_use_head", true)
		c.Model.EmbedDim = v.Width
	}
	s.ignore("eos_token_id")
	s.done()
}

func (c *hfConfig) readHFText(s *section) {
	t := &c.Model.Text
	defaults := map[string][5]int{hfCLIP: {512, 8, 2048, 49408, 77}, hfSiglip: {768, 12, 3072, 32000, 64}}[c.Kind]
	for i, key := range []string{"hidden_size", "num_attention_heads", "intermediate_size", "vocab_size", "max_position_embeddings"} {
		s.setAbsent(key, defaults[i])
	}
	t.Width, t.Heads, t.Layers, t.MLPWidth, t.Activation, t.NormEpsilon = c.readTower(s)
	t.Vocab = s.integer("vocab_size", 0)
	t.Context = s.integer("max_position_embeddings", 0)
	if c.Kind == hfSiglip {
		s.ignore("eos_token_id") // SigLIP pools the last token
		bias := -10.0
		c.Model.LogitBiasInit = &bias
		c.Model.LogitScaleInit = math.Log(10)
		t.Pool, t.NoCausalMask, t.ProjectionBias = model.PoolLast, true, true
		if size := s.integer("projection_size", t.Width); size != c.Model.EmbedDim {
			s.fault("projection_size", "= %d differs from the image tower's width %d: such features cannot be compared", size, c.Model.EmbedDim)
		}
		s.done()
		return
	}
	// The rule of CLIPTextTransformer: 2 stood in early files by mistake, and means the largest id.
	t.Pool, t.EOSID = model.PoolEOS, s.integer("eos_token_id", 49407)
	if t.EOSID == 2 {
		t.Pool, t.EOSID = model.PoolArgmax, 0
		c.Notes = append(c.Notes, "text_config.eos_token_id is 2: as in transformers, each text is pooled at its largest id, not at id 2")
	}
	s.done()
}

// setAbsent gives a field a value if it has none.
func (s *section) setAbsent(key string, value int) {
	if s.values[key] == nil {
		s.values[key] = json.Number(fmt.Sprint(value))
	}
}

// readHFPreprocess reads preprocessor_config.json, or processor_config.json, which holds the same one level down.
func (c *hfConfig) readHFPreprocess(data []byte) error {
	v := &c.Model.Vision
	v.Mean, v.Std = model.CLIPMean, model.CLIPStd
	c.Preprocess = checkpoints.Preprocess{}.WithDefaults()
	if c.Kind == hfSiglip {
		v.Mean, v.Std, c.Preprocess.Resize = half, half, imaging.Squash
	}
	if data != nil {
		return c.readProcessor(data)
	}
	c.Notes = append(c.Notes, fmt.Sprintf("no preprocessor_config.json: the default of model_type %s is assumed (%s)", c.Kind, describePreprocess(*v, c.Preprocess)))
	return nil
}

func (c *hfConfig) readProcessor(data []byte) error {
	s, err := parseFields("preprocessor_config.json", data)
	if err != nil {
		return err
	}
	if s.has("image_processor") {
		s.path = "processor_config.json"
		s = s.sub("image_processor")
	}
	p, v := &c.Preprocess, &c.Model.Vision
	for _, key := range []string{"do_resize", "do_rescale", "do_normalize", "do_convert_rgb"} {
		s.only(key, true)
	}
	s.only("do_pad", false)
	v.Mean = s.triple("image_mean", v.Mean)
	v.Std = s.triple("image_std", v.Std)
	if factor := s.number("rescale_factor", 1/255.0); math.Abs(factor*255-1) > 1e-6 {
		s.fault("rescale_factor", "= %g is not implemented: it can be 1/255", factor)
	}
	switch resample := s.integer("resample", 3); resample {
	case 2:
		p.Interpolation = imaging.Bilinear
	case 3:
		p.Interpolation = imaging.Bicubic
	default:
		s.fault("resample", "= %d is not implemented: it can be 2 (bilinear) or 3 (bicubic)", resample)
	}
	c.readHFSize(s)
	s.ignore("image_processor_type", "feature_extractor_type", "processor_class", "data_format", "input_data_format", "return_tensors",
		"device", "disable_grouping", "default_to_square", "image_seq_length", "_valid_processor_keys", "size_divisor", "pad_size")
	s.done()
	return s.err()
}

// readHFSize: the shorter edge and a crop from the middle, or both sides squashed. An old file has one number, which
// meant the shorter edge for CLIP.
func (c *hfConfig) readHFSize(s *section) {
	want := c.Model.Vision.ImageSize
	crop := s.flag("do_center_crop", c.Kind == hfCLIP)
	if crop {
		if size := s.side("crop_size", want); size != want {
			s.fault("crop_size", "= %d differs from the model's image_size %d", size, want)
		}
	} else {
		s.ignore("crop_size")
	}
	size, isObject := s.values["size"].(map[string]any)
	_, shortest := size["shortest_edge"]
	c.Preprocess.Resize = imaging.Squash
	if shortest || !isObject && c.Kind == hfCLIP {
		c.Preprocess.Resize = imaging.Shortest
	}
	if size := s.side("size", want); size != want {
		s.fault("size", "= %d differs from the model's image_size %d", size, want)
	}
	if crop != (c.Preprocess.Resize == imaging.Shortest) {
		s.fault("do_center_crop", "= %t with size %s is not implemented", crop, brief(s.values["size"]))
	}
}

// side is a picture size: a number, {"shortest_edge": n} or {"height": n, "width": n}.
func (s *section) side(key string, absent int) int {
	if _, isObject := s.values[key].(map[string]any); !isObject {
		return s.square(key, absent)
	}
	o := s.sub(key)
	if o.has("shortest_edge") {
		absent = o.integer("shortest_edge", absent)
		o.done()
		return absent
	}
	height := o.integer("height", absent)
	o.only("width", height)
	o.done()
	return height
}

// hfKind says which transformers model can hold m, or why none can.
func hfKind(m model.Config) (string, error) {
	v, t := m.Vision, m.Text
	siglip := m.LogitBiasInit != nil || v.Pool == model.PoolMap || t.ProjectionBias || t.NoCausalMask
	kind, wants := hfCLIP, []want{
		{v.Kind == model.ViT, "a vision transformer (there is no modified ResNet)"},
		{v.Pool == model.PoolClass, "the class token pooled"},
		{!v.NoClassToken && !v.NoPreNorm && !v.PatchBias && !v.NoProjection && !v.NormAfterPool, "a class token, a first norm, a projection, no bias in the patch embedding, and the last norm before pooling"},
		{t.Pool == model.PoolArgmax || t.Pool == model.PoolEOS, "the text pooled at its end token"},
		{t.Pool != model.PoolEOS || t.EOSID != 2, "an end token other than 2, which it reads as the largest id"},
		{!t.ProjectionBias && !t.NoCausalMask && m.LogitBiasInit == nil, "a causal mask, no bias in the text projection and no logit bias"},
	}
	if siglip {
		kind, wants = hfSiglip, []want{
			{v.Kind == model.ViT, "a vision transformer (there is no modified ResNet)"},
			{v.Pool == model.PoolMap, "attention pooling over the image"},
			{v.NoClassToken && v.NoPreNorm && v.PatchBias && v.NoProjection && !v.NormAfterPool, "no class token, no first norm, no projection of the image, a bias in the patch embedding, and the last norm before pooling"},
			{t.Pool == model.PoolLast, "the last token pooled"},
			{t.ProjectionBias && t.NoCausalMask && m.LogitBiasInit != nil, "no causal mask, a bias in the text projection and a logit bias"},
		}
	}
	for _, w := range wants {
		if !w.met {
			return "", fmt.Errorf("transformers cannot express this model: its %s wants %s", map[string]string{hfCLIP: "CLIPModel", hfSiglip: "SiglipModel"}[kind], w.what)
		}
	}
	return kind, nil
}

type want struct {
	met  bool
	what string
}

// writeHFConfig returns config.json and preprocessor_config.json, or says what transformers cannot express. dtype is the
// type of the weights by PyTorch's name. The ids of special tokens are those of tok, which may be nil: transformers' own
// defaults are those of CLIP's vocabulary.
func writeHFConfig(m model.Config, p checkpoints.Preprocess, dtype string, tok tokenizer.Tokenizer) (config, preprocessor []byte, err error) {
	m = m.WithDefaults()
	kind, err := hfKind(m)
	if err != nil {
		return nil, nil, err
	}
	top := object{{"architectures", []string{map[string]string{hfCLIP: "CLIPModel", hfSiglip: "SiglipModel"}[kind]}}}
	top.add("dtype", dtype)
	if kind == hfCLIP {
		top.add("logit_scale_init_value", real(m.LogitScaleInit))
		top.add("projection_dim", m.EmbedDim)
	}
	top.add("model_type", kind)
	top.add("text_config", append(hfTextFields(kind, m), hfSpecialTokens(kind, tok)...))
	top.add("vision_config", hfVisionFields(kind, m))
	if config, err = marshalIndented(top); err != nil {
		return nil, nil, err
	}
	preprocessor, err = writeHFPreprocess(kind, m.Vision, p)
	return config, preprocessor, err
}

func hfTower(kind, tower string, width, heads, layers, mlpWidth int, activation model.Activation, epsilon float64) object {
	names := map[model.Activation]string{model.GELU: "gelu", model.QuickGELU: "quick_gelu", model.GELUTanh: "gelu_pytorch_tanh"}
	return object{
		{"attention_dropout", real(0)}, {"hidden_act", names[activation]}, {"hidden_size", width}, {"intermediate_size", mlpWidth},
		{"layer_norm_eps", real(epsilon)}, {"model_type", kind + "_" + tower + "_model"}, {"num_attention_heads", heads}, {"num_hidden_layers", layers},
	}
}

func hfTextFields(kind string, m model.Config) object {
	t := m.Text
	o := hfTower(kind, "text", t.Width, t.Heads, t.Layers, t.MLPWidth, t.Activation, t.NormEpsilon)
	o.add("max_position_embeddings", t.Context)
	o.add("vocab_size", t.Vocab)
	if kind == hfSiglip {
		o.add("projection_size", m.EmbedDim)
		return o
	}
	o.add("projection_dim", m.EmbedDim)
	switch t.Pool {
	case model.PoolEOS:
		o.add("eos_token_id", t.EOSID)
	default: // the legacy value that means the largest id
		o.add("eos_token_id", 2)
	}
	return o
}

// hfSpecialTokens are the ids that the text tower does not read itself; null where there is no such token.
func hfSpecialTokens(kind string, tok tokenizer.Tokenizer) (o object) {
	if tok == nil {
		return nil
	}
	add := func(name string, id int32) {
		if id < 0 {
			o.add(name, nil)
			return
		}
		o.add(name, id)
	}
	add("bos_token_id", tok.Start())
	add("pad_token_id", tok.Pad())
	if kind == hfSiglip { // for CLIP it says what is pooled
		add("eos_token_id", tok.End())
	}
	return o
}

func hfVisionFields(kind string, m model.Config) object {
	v := m.Vision
	o := hfTower(kind, "vision", v.Width, v.Heads, v.Layers, v.MLPWidth, v.Activation, v.NormEpsilon)
	o.add("image_size", v.ImageSize)
	o.add("num_channels", 3)
	o.add("patch_size", v.PatchSize)
	if kind == hfCLIP {
		o.add("projection_dim", m.EmbedDim)
	}
	return o
}

func writeHFPreprocess(kind string, v model.VisionConfig, p checkpoints.Preprocess) ([]byte, error) {
	square := object{{"height", v.ImageSize}, {"width", v.ImageSize}}
	resample := map[imaging.Interpolation]int{imaging.Bilinear: 2, imaging.Bicubic: 3}[p.Interpolation]
	var o object
	switch {
	case resample == 0:
		return nil, fmt.Errorf("preprocessing with interpolation %s cannot be expressed: it can be bicubic or bilinear", p.Interpolation)
	case p.Resize == imaging.Shortest:
		o = object{{"crop_size", square}, {"do_center_crop", true}, {"size", object{{"shortest_edge", v.ImageSize}}}}
	case p.Resize == imaging.Squash:
		o = object{{"do_center_crop", false}, {"size", square}}
	default:
		return nil, fmt.Errorf("transformers cannot express preprocessing that resizes %q: it can be shortest or squash", p.Resize)
	}
	o.add("do_convert_rgb", true)
	o.add("do_normalize", true)
	o.add("do_rescale", true)
	o.add("do_resize", true)
	o.add("image_mean", v.Mean)
	processor := "CLIPImageProcessor" // the one of the two that crops
	if kind == hfSiglip && p.Resize == imaging.Squash {
		processor = "SiglipImageProcessor"
	}
	o.add("image_processor_type", processor)
	o.add("image_std", v.Std)
	o.add("resample", resample)
	o.add("rescale_factor", 1/255.0)
	return marshalIndented(o)
}
