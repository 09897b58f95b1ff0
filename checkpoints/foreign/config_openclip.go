package foreign

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"tandem/checkpoints"
	"tandem/checkpoints/safetensors"
	"tandem/imaging"
	"tandem/model"
)

// openCLIPConfig is what open_clip_config.json says (open_clip/model.py: CLIPVisionCfg, CLIPTextCfg).
type openCLIPConfig struct {
	Model      model.Config
	Preprocess checkpoints.Preprocess
	TimmName   string // the image tower is timm's
	TimmHead   bool   // a linear layer of open_clip's follows timm's tower
	// Tokenizer is text_cfg's hf_tokenizer_name, "" for CLIP's own.
	Tokenizer string
	Cleaning  string // tokenizer_kwargs.clean
	Notes     []string
}

// weightShapes gives the shape of a tensor of the file, nil if it has none of that name.
type weightShapes func(name string) []int

func shapesOf(set *safetensors.Set) weightShapes {
	return func(name string) []int {
		info, _ := set.Lookup(name)
		return info.Shape
	}
}

// count is the number of n = 0, 1, … for which pattern (with a %d) names a tensor.
func (w weightShapes) count(pattern string) int {
	n := 0
	for w(fmt.Sprintf(pattern, n)) != nil {
		n++
	}
	return n
}

// readOpenCLIPConfig reads open_clip_config.json. overrides are the bytes of timm_overrides.json, if there is one: sizes
// that were given to timm beside the name. shapes tells the sizes of a timm tower, which no configuration holds.
func readOpenCLIPConfig(data, overrides []byte, shapes weightShapes) (openCLIPConfig, error) {
	var c openCLIPConfig
	file, err := parseFields("open_clip_config.json", data)
	if err != nil {
		return c, err
	}
	top := file.sub("model_cfg")
	if !file.has("model_cfg") {
		file.fault("model_cfg", "is missing")
	}
	quick := c.readTop(top)
	c.readOpenCLIPText(top.sub("text_cfg"), quick)
	vision := top.sub("vision_cfg")
	if vision.has("timm_model_name") {
		err = c.readTimm(vision, overrides, shapes)
	} else {
		c.readOpenCLIPVision(vision, quick)
	}
	if err != nil {
		return c, err
	}
	top.done()
	c.readPreprocess(file.sub("preprocess_cfg"))
	if !file.has("preprocess_cfg") {
		c.Notes = append(c.Notes, "no preprocess_cfg: OpenAI's mean and std are assumed, as open_clip does")
	}
	file.done()
	return c, file.err()
}

func (c *openCLIPConfig) readTop(s *section) (quick bool) {
	c.Model.EmbedDim = s.integer("embed_dim", 0)
	c.Model.LogitScaleInit = s.number("init_logit_scale", model.DefaultLogitScale)
	if s.has("init_logit_bias") {
		bias := s.number("init_logit_bias", 0)
		c.Model.LogitBiasInit = &bias
	}
	s.ignore("custom_text", "nonscalar_logit_scale") // names and shapes; the weights tell them
	s.ignore("output_dict", "cast_dtype")            // how the peer returns and casts
	if s.has("multimodal_cfg") {
		s.fault("multimodal_cfg", "is not implemented: this is a CoCa")
		s.ignore("multimodal_cfg")
	}
	return s.flag("quick_gelu", false)
}

// readBlocks reads the fields that both towers have.
func readBlocks(s *section, width int, quick bool) (mlpWidth int, activation model.Activation, epsilon float64) {
	mlpWidth = int(float64(width) * s.number("mlp_ratio", 4))
	activation = model.GELU
	if quick {
		activation = model.QuickGELU
	}
	act := s.sub("act_kwargs")
	switch approximate := act.choice("approximate", "none", "none", "tanh"); {
	case quick && act.has("approximate"):
		act.fault("approximate", "does not go with quick_gelu")
	case approximate == "tanh":
		activation = model.GELUTanh
	}
	act.done()
	norm := s.sub("norm_kwargs")
	epsilon = norm.number("eps", 1e-5)
	norm.only("elementwise_affine", true)
	norm.only("bias", true)
	norm.done()
	s.only("ls_init_value")
	s.only("block_type", "default")
	for _, key := range []string{"qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc", "output_tokens"} {
		s.only(key, false)
	}
	return mlpWidth, activation, epsilon
}

func (c *openCLIPConfig) readOpenCLIPVision(s *section, quick bool) {
	v := &c.Model.Vision
	v.ImageSize = s.square("image_size", 224)
	v.Width = s.integer("width", 768)
	headWidth := max(1, s.integer("head_width", 64))
	s.only("attentional_pool", false)
	s.ignore("attn_pooler_queries", "attn_pooler_heads") // of the attentional pool
	s.only("pos_embed_type", "learnable")
	s.only("timm_model_name", "")
	s.ignore("timm_model_pretrained", "timm_pool", "timm_proj", "timm_proj_bias", "timm_drop", "timm_drop_path") // of a timm tower
	if _, isList := s.values["layers"].([]any); isList {
		v.Kind = model.ResNet
		v.Heads = v.Width * 32 / headWidth
		v.Stages = s.integers("layers", 4)
		readBlocks(s, v.Width, false)
		c.readUnusedByResNet(s)
		s.done()
		return
	}
	v.Kind = model.ViT
	v.Layers = s.integer("layers", 12)
	v.Heads = v.Width / headWidth
	v.PatchSize = s.square("patch_size", 16)
	v.MLPWidth, v.Activation, v.NormEpsilon = readBlocks(s, v.Width, quick)
	v.PatchDropout = s.number("patch_dropout", 0)
	v.NoPreNorm = s.flag("no_ln_pre", false)
	v.NormAfterPool = s.flag("final_ln_after_pool", false)
	v.Pool = map[string]string{"tok": model.PoolClass, "avg": model.PoolAvg}[s.choice("pool_type", "tok", "tok", "avg")]
	s.done()
}

// readUnusedByResNet refuses fields that open_clip's ResNet would overlook.
func (c *openCLIPConfig) readUnusedByResNet(s *section) {
	s.ignore("patch_size")
	s.only("patch_dropout", 0)
	s.only("no_ln_pre", false)
	s.only("final_ln_after_pool", false)
	s.only("pool_type", "tok")
}

func (c *openCLIPConfig) readOpenCLIPText(s *section, quick bool) {
	t := &c.Model.Text
	if s.has("hf_model_name") {
		s.fault("hf_model_name", "= %s is not implemented: the text tower is a Hugging Face model", brief(s.values["hf_model_name"]))
	}
	s.ignore("hf_model_name", "hf_model_pretrained", "hf_proj_type", "hf_pooler_type")
	t.Context = s.integer("context_length", 77)
	t.Vocab = s.integer("vocab_size", 49408)
	t.Width = s.integer("width", 512)
	t.Heads = s.integer("heads", 8)
	t.Layers = s.integer("layers", 12)
	t.MLPWidth, t.Activation, t.NormEpsilon = readBlocks(s, t.Width, quick)
	t.NoCausalMask = s.flag("no_causal_mask", false)
	t.ProjectionBias = s.flag("proj_bias", false)
	t.Pool = s.choice("pool_type", model.PoolArgmax, model.PoolArgmax, model.PoolEOS, model.PoolLast, model.PoolFirst)
	eos := s.integer("eos_id", 2)
	if t.Pool == model.PoolEOS {
		t.EOSID = eos
	}
	s.only("embed_cls", false)
	s.only("final_ln_after_pool", false)
	s.only("proj_type", "linear")
	s.ignore("pad_id") // of embed_cls
	c.Tokenizer = s.text("hf_tokenizer_name", "")
	s.ignore("tokenizer_mode") // of the peer's tokenizer class
	kwargs := s.sub("tokenizer_kwargs")
	c.Cleaning = kwargs.text("clean", "")
	kwargs.only("strip_sep_token", false)
	kwargs.done()
	s.done()
}

func (c *openCLIPConfig) readPreprocess(s *section) {
	v := &c.Model.Vision
	s.only("size", v.ImageSize, []any{v.ImageSize, v.ImageSize})
	s.only("mode", "RGB")
	v.Mean = s.triple("mean", model.CLIPMean)
	v.Std = s.triple("std", model.CLIPStd)
	c.Preprocess = checkpoints.Preprocess{
		Interpolation: imaging.Interpolation(s.choice("interpolation", "bicubic", interpolations...)),
		Resize:        imaging.ResizeMode(s.choice("resize_mode", "shortest", resizeModes...)),
		Fill:          s.integer("fill_color", 0),
	}.WithDefaults()
	s.done()
}

// timmName is the name of a SigLIP tower in timm: size class, patch, pooling, pixels, and which weights to start from.
var timmName = regexp.MustCompile(`^vit_([a-z0-9]+)_patch(\d+)_siglip_(gap_)?(\d+)(\.[a-z0-9_]+)?$`)

// timmHeads and timmMLP are what a timm name means beyond the shapes of the weights (timm/models/vision_transformer.py).
var timmHeads = map[string]int{"base": 12, "large": 16, "so400m": 16, "giantopt": 16}

// timmTanh lists the towers that timm builds with the tanh approximation of GELU: those that came with SigLIP 2.
var timmTanh = regexp.MustCompile(`^vit_(base_patch32_siglip_(gap_)?256|large_patch16_siglip_(gap_)?512|so400m_patch16_siglip_.*|giantopt_.*)$`)

func (c *openCLIPConfig) readTimm(s *section, overrides []byte, shapes weightShapes) error {
	v := &c.Model.Vision
	c.TimmName = s.text("timm_model_name", "")
	match := timmName.FindStringSubmatch(c.TimmName)
	if match == nil {
		return fmt.Errorf("open_clip_config.json.model_cfg.vision_cfg.timm_model_name = %q is not implemented: of timm's towers only SigLIP's are (vit_*_patch*_siglip_*)", c.TimmName)
	}
	name := strings.TrimSuffix(c.TimmName, match[5])
	v.Kind, v.NoClassToken, v.NoPreNorm, v.PatchBias, v.NormEpsilon = model.ViT, true, true, true, 1e-6
	v.Heads = timmHeads[match[1]]
	v.Activation = model.GELU
	if timmTanh.MatchString(name) {
		v.Activation = model.GELUTanh
	}
	v.ImageSize = s.square("image_size", 224)
	c.readTimmPool(s, match[3] != "")
	s.ignore("timm_model_pretrained") // where timm would start
	s.only("timm_drop", 0)
	s.only("timm_drop_path", 0)
	v.PatchDropout = s.number("patch_dropout", 0)
	if err := c.timmSizes(shapes); err != nil {
		return err
	}
	return c.readTimmOverrides(s, overrides)
}

// readTimmPool reads how the tower's rows become one, and which projection follows.
func (c *openCLIPConfig) readTimmPool(s *section, gap bool) {
	v := &c.Model.Vision
	for _, key := range []string{"timm_pool", "timm_proj"} { // null is not the default here: it means timm's own head
		if value, given := s.values[key]; given && value == nil {
			s.fault(key, "= null is not implemented")
		}
	}
	c.TimmHead = s.choice("timm_proj", "linear", "none", "linear") == "linear"
	v.NoProjection = !c.TimmHead
	s.only("timm_proj_bias", false)
	own, pools := "map", map[string]string{"map": model.PoolMap, "avg": model.PoolAvg}
	if gap {
		own = "avg"
	}
	v.Pool = pools[own]
	if pool := s.choice("timm_pool", "avg", "map", "avg", ""); pool != own && (pool != "" || !c.TimmHead) {
		s.fault("timm_pool", "= %q is not implemented for %s", pool, c.TimmName)
	}
}

// timmSizes takes the tower's sizes from its weights.
func (c *openCLIPConfig) timmSizes(shapes weightShapes) error {
	v := &c.Model.Vision
	patch, fc := shapes("visual.trunk.patch_embed.proj.weight"), shapes("visual.trunk.blocks.0.mlp.fc1.weight")
	if len(patch) != 4 || len(fc) != 2 {
		return fmt.Errorf("the weights have no timm tower (visual.trunk.…), which open_clip_config.json names: %s", c.TimmName)
	}
	v.Width, v.PatchSize, v.MLPWidth = patch[0], patch[2], fc[0]
	v.Layers = shapes.count("visual.trunk.blocks.%d.norm1.weight")
	return nil
}

// readTimmOverrides reads arguments that were given to timm.create_model beside the name. The sizes are in the weights
// already and must agree; heads and activation are only here.
func (c *openCLIPConfig) readTimmOverrides(vision *section, data []byte) error {
	v := &c.Model.Vision
	if data == nil {
		data = []byte("{}")
	}
	s, err := parseFields("timm_overrides.json", data)
	if err != nil {
		return err
	}
	s.only("embed_dim", v.Width)
	s.only("depth", v.Layers)
	s.only("patch_size", v.PatchSize)
	s.only("img_size", v.ImageSize, []any{v.ImageSize, v.ImageSize})
	s.only("mlp_ratio", float64(v.MLPWidth)/float64(v.Width))
	v.Heads = s.integer("num_heads", v.Heads)
	if s.has("act_layer") {
		v.Activation = model.Activation(s.choice("act_layer", "", string(model.GELU), string(model.GELUTanh), string(model.QuickGELU)))
	}
	s.ignore("note")
	s.done()
	if v.Heads == 0 {
		s.fault("num_heads", "is missing: %s does not tell the number of heads", c.TimmName)
	}
	// open_clip overlooks these for a timm tower; they must not say something else.
	vision.only("width", v.Width)
	vision.only("layers", v.Layers)
	vision.only("patch_size", v.PatchSize)
	vision.only("head_width", 64, v.Width/max(1, v.Heads))
	vision.only("mlp_ratio", 4, float64(v.MLPWidth)/float64(v.Width))
	vision.done()
	return s.err()
}

// object is a JSON object whose fields keep their order.
type object []field

type field struct {
	key   string
	value any
}

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, f := range o {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(strconv.AppendQuote(b, f.key), ':')
		value, err := json.Marshal(f.value)
		if err != nil {
			return nil, err
		}
		b = append(b, value...)
	}
	return append(b, '}'), nil
}

// real is a number that is written with a point or an exponent even where it is whole: transformers tells 1.0 from 1.
type real float64

// MarshalJSON implements json.Marshaler.
func (r real) MarshalJSON() ([]byte, error) {
	text, err := json.Marshal(float64(r))
	if err == nil && !strings.ContainsAny(string(text), ".e") {
		text = append(text, ".0"...)
	}
	return text, err
}

func (o *object) add(key string, value any) { *o = append(*o, field{key, value}) }

// addIf adds a field that differs from what its absence means.
func (o *object) addIf(differs bool, key string, value any) {
	if differs {
		o.add(key, value)
	}
}

func marshalIndented(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	return append(data, '\n'), err
}

// writeOpenCLIPConfig is the inverse of readOpenCLIPConfig, or says what open_clip cannot express.
func writeOpenCLIPConfig(c openCLIPConfig) ([]byte, error) {
	m := c.Model.WithDefaults()
	if !slices.Contains(interpolations, string(c.Preprocess.Interpolation)) {
		return nil, fmt.Errorf("open_clip cannot express preprocessing with interpolation %s: it can be bicubic or bilinear", c.Preprocess.Interpolation)
	}
	quick, err := sharedQuickGELU(m)
	if err != nil {
		return nil, err
	}
	vision, err := c.visionFields(m)
	if err != nil {
		return nil, err
	}
	var top, pp object
	top.add("embed_dim", m.EmbedDim)
	top.addIf(quick, "quick_gelu", true)
	top.addIf(m.LogitScaleInit != model.DefaultLogitScale, "init_logit_scale", m.LogitScaleInit)
	if m.LogitBiasInit != nil {
		top.add("init_logit_bias", *m.LogitBiasInit)
	}
	top.addIf(usesTextPrefix(m), "custom_text", true)
	top.add("vision_cfg", vision)
	top.add("text_cfg", c.textFields(m.Text))
	pp.add("mean", m.Vision.Mean)
	pp.add("std", m.Vision.Std)
	pp.add("interpolation", c.Preprocess.Interpolation)
	pp.add("resize_mode", c.Preprocess.Resize)
	pp.addIf(c.Preprocess.Fill != 0, "fill_color", c.Preprocess.Fill)
	return marshalIndented(object{{"model_cfg", top}, {"preprocess_cfg", pp}})
}

// usesTextPrefix: the text tower of a model with a bias, SigLIP's kind, is an open_clip CustomTextCLIP, whose text tower
// lies under "text.".
func usesTextPrefix(m model.Config) bool {
	return m.LogitBiasInit != nil || m.Text.ProjectionBias || m.Text.NoCausalMask || m.Vision.Pool == model.PoolMap
}

// sharedQuickGELU: open_clip has one quick_gelu for both towers (timm's towers and ResNets have none of it).
func sharedQuickGELU(m model.Config) (bool, error) {
	text := m.Text.Activation == model.QuickGELU
	native := m.Vision.Kind == model.ViT && !isTimm(m.Vision)
	if native && (m.Vision.Activation == model.QuickGELU) != text {
		return false, fmt.Errorf("open_clip has one quick_gelu for both towers; here vision has %s and text %s", m.Vision.Activation, m.Text.Activation)
	}
	return text, nil
}

// isTimm reports whether open_clip would take this tower from timm: SigLIP's form.
func isTimm(v model.VisionConfig) bool { return v.Kind == model.ViT && v.NoClassToken && v.PatchBias }

// blockFields writes what readBlocks reads.
func blockFields(o *object, width, mlpWidth int, activation model.Activation, epsilon float64) {
	o.addIf(mlpWidth != 4*width, "mlp_ratio", ratio(width, mlpWidth))
	o.addIf(epsilon != 1e-5, "norm_kwargs", object{{"eps", epsilon}})
	o.addIf(activation == model.GELUTanh, "act_kwargs", object{{"approximate", "tanh"}})
}

// ratio is the shortest number r for which int(width·r), in float64, is mlpWidth.
func ratio(width, mlpWidth int) float64 {
	r := float64(mlpWidth) / float64(width)
	for digits := 1; digits < 15; digits++ {
		short, _ := strconv.ParseFloat(strconv.FormatFloat(r, 'f', digits, 64), 64)
		if int(float64(width)*short) == mlpWidth {
			return short
		}
	}
	for int(float64(width)*r) < mlpWidth {
		r = math.Nextafter(r, math.Inf(1))
	}
	return r
}

func (c openCLIPConfig) visionFields(m model.Config) (object, error) {
	v := m.Vision
	switch {
	case v.Kind == model.ResNet:
		return c.resNetFields(v)
	case isTimm(v):
		return c.timmFields(m)
	case v.NoClassToken, v.PatchBias, v.NoProjection, v.Pool == model.PoolMap:
		return nil, fmt.Errorf("open_clip's own ViT has a class token, a patch embedding without bias, a projection, and pools the class token or the mean; this image tower differs")
	case v.Width%v.Heads != 0 || v.Width/(v.Width/v.Heads) != v.Heads:
		return nil, fmt.Errorf("open_clip cannot express %d heads of width %d", v.Heads, v.Width)
	}
	var o object
	o.add("image_size", v.ImageSize)
	o.add("layers", v.Layers)
	o.add("width", v.Width)
	o.addIf(v.Width/v.Heads != 64, "head_width", v.Width/v.Heads)
	o.add("patch_size", v.PatchSize)
	blockFields(&o, v.Width, v.MLPWidth, v.Activation, v.NormEpsilon)
	o.addIf(v.PatchDropout != 0, "patch_dropout", v.PatchDropout)
	o.addIf(v.NoPreNorm, "no_ln_pre", true)
	o.addIf(v.NormAfterPool, "final_ln_after_pool", true)
	o.addIf(v.Pool == model.PoolAvg, "pool_type", "avg")
	return o, nil
}

func (c openCLIPConfig) resNetFields(v model.VisionConfig) (object, error) {
	headWidth := v.Width * 32 / v.Heads
	if v.Width*32/headWidth != v.Heads {
		return nil, fmt.Errorf("open_clip cannot express %d heads of width %d", v.Heads, 32*v.Width)
	}
	o := object{{"image_size", v.ImageSize}, {"layers", v.Stages}, {"width", v.Width}, {"patch_size", nil}}
	o.addIf(headWidth != 64, "head_width", headWidth)
	return o, nil
}

// timmSizeNames are timm's SigLIP towers: width, layers and heads of each size class.
var timmSizeNames = []struct {
	name                 string
	width, layers, heads int
	mlpWidth             int
}{
	{"base", 768, 12, 12, 3072}, {"large", 1024, 24, 16, 4096}, {"so400m", 1152, 27, 16, 4304}, {"giantopt", 1536, 40, 16, 6144},
}

// timmPixels are the picture sizes that timm has names for, by size class and patch.
var timmPixels = map[string][]int{
	"base_32": {256}, "base_16": {224, 256, 384, 512}, "large_16": {256, 384, 512}, "so400m_14": {224, 378, 384},
	"so400m_16": {256, 384, 512}, "giantopt_16": {256, 384},
}

// timmFields names the timm tower that has these sizes: open_clip can make no other.
func (c openCLIPConfig) timmFields(m model.Config) (object, error) {
	v := m.Vision
	name := nameOfTimm(v)
	if name == "" {
		return nil, fmt.Errorf("open_clip takes SigLIP's image towers from timm by name, and timm has none of width %d, %d layers, %d heads, patch %d, %d pixels, %s, pooling %s",
			v.Width, v.Layers, v.Heads, v.PatchSize, v.ImageSize, v.Activation, v.Pool)
	}
	o := object{{"image_size", v.ImageSize}, {"timm_model_name", name}, {"timm_model_pretrained", false}}
	o.add("timm_pool", map[string]string{model.PoolMap: "map", model.PoolAvg: "avg"}[v.Pool])
	o.add("timm_proj", map[bool]string{true: "none", false: "linear"}[v.NoProjection])
	o.addIf(v.PatchDropout != 0, "patch_dropout", v.PatchDropout)
	return o, nil
}

func nameOfTimm(v model.VisionConfig) string {
	if v.NormEpsilon != 1e-6 || !v.NoPreNorm || v.NormAfterPool {
		return ""
	}
	gap := ""
	if v.Pool == model.PoolAvg {
		gap = "gap_"
	}
	for _, size := range timmSizeNames {
		if size.width != v.Width || size.layers != v.Layers || size.heads != v.Heads || size.mlpWidth != v.MLPWidth {
			continue
		}
		for _, pixels := range timmPixels[fmt.Sprintf("%s_%d", size.name, v.PatchSize)] {
			name := fmt.Sprintf("vit_%s_patch%d_siglip_%s%d", size.name, v.PatchSize, gap, pixels)
			if pixels == v.ImageSize && timmTanh.MatchString(name) == (v.Activation == model.GELUTanh) && v.Activation != model.QuickGELU {
				return name
			}
		}
	}
	return ""
}

func (c openCLIPConfig) textFields(t model.TextConfig) object {
	var o object
	o.add("context_length", t.Context)
	o.add("vocab_size", t.Vocab)
	o.addIf(c.Tokenizer != "", "hf_tokenizer_name", c.Tokenizer)
	o.addIf(c.Cleaning != "", "tokenizer_kwargs", object{{"clean", c.Cleaning}})
	o.add("width", t.Width)
	o.add("heads", t.Heads)
	o.add("layers", t.Layers)
	blockFields(&o, t.Width, t.MLPWidth, t.Activation, t.NormEpsilon)
	o.addIf(t.NoCausalMask, "no_causal_mask", true)
	o.addIf(t.ProjectionBias, "proj_bias", true)
	o.addIf(t.Pool != model.PoolArgmax, "pool_type", t.Pool)
	o.addIf(t.Pool == model.PoolEOS, "eos_id", t.EOSID)
	return o
}
