package foreign

import (
	"fmt"
	"regexp"

	"tandem/model"
)

// HF is the table of transformers' CLIPModel and SiglipModel (modeling_clip.py, modeling_siglip.py). Ours fuses what
// theirs keeps apart: queries, keys and values of a block; theirs fuses the same of SigLIP's pooling head.
func HF(c model.Config) Table {
	c = c.WithDefaults()
	var t Table
	siglip := c.Vision.Pool == model.PoolMap
	if c.Vision.Kind == model.ViT { // transformers has no modified ResNet: of such a model only the rest is mapped
		t.hfVision(c.Vision, siglip)
	}
	t.hfText(c.Text)
	if siglip {
		t.hfPool(c.Vision)
		t.matrix("text/proj", "text_model.head.weight", c.Text.Width, c.EmbedDim)
		t.copy("text/proj_bias", "text_model.head.bias", c.EmbedDim)
		t.copy("logit_scale", "logit_scale", 1)
		t.copy("logit_bias", "logit_bias", 1)
		return t
	}
	t.copy("logit_scale", "logit_scale")
	t.matrix("visual/proj", "visual_projection.weight", c.Vision.Width, c.EmbedDim)
	t.matrix("text/proj", "text_projection.weight", c.Text.Width, c.EmbedDim)
	return t
}

func (t *Table) hfVision(v model.VisionConfig, siglip bool) {
	const embeddings = "vision_model.embeddings."
	t.conv("visual/patch_embed/weight", embeddings+"patch_embedding.weight", v.PatchSize, 3, v.Width)
	t.copy("visual/pos_embed", embeddings+"position_embedding.weight", v.Rows(), v.Width)
	if siglip {
		t.copy("visual/patch_embed/bias", embeddings+"patch_embedding.bias", v.Width)
	} else {
		t.copy("visual/class_embed", embeddings+"class_embedding", v.Width)
		t.norm("visual/ln_pre", "vision_model.pre_layrnorm", v.Width) // so spelt
	}
	for i := range v.Layers {
		t.hfBlock(fmt.Sprintf("visual/block_%d", i), fmt.Sprintf("vision_model.encoder.layers.%d", i), v.Width, v.MLPWidth)
	}
	t.norm("visual/ln_post", "vision_model.post_layernorm", v.Width)
}

func (t *Table) hfText(x model.TextConfig) {
	t.copy("text/token_embed", "text_model.embeddings.token_embedding.weight", x.Vocab, x.Width)
	t.copy("text/pos_embed", "text_model.embeddings.position_embedding.weight", x.Context, x.Width)
	for i := range x.Layers {
		t.hfBlock(fmt.Sprintf("text/block_%d", i), fmt.Sprintf("text_model.encoder.layers.%d", i), x.Width, x.MLPWidth)
	}
	t.norm("text/ln_final", "text_model.final_layer_norm", x.Width)
}

func (t *Table) hfBlock(ours, theirs string, width, mlpWidth int) {
	t.norm(ours+"/ln_1", theirs+".layer_norm1", width)
	for i, name := range []string{"q", "k", "v"} {
		separate := fmt.Sprintf("%s.self_attn.%s_proj", theirs, name)
		*t = append(*t,
			Pair{Ours: ours + "/attn/qkv/weight", Theirs: separate + ".weight", Shape: []int{width, width}, Transform: SwapInOut, OursAt: i * width},
			Pair{Ours: ours + "/attn/qkv/bias", Theirs: separate + ".bias", Shape: []int{width}, OursAt: i * width})
	}
	t.linear(ours+"/attn/out", theirs+".self_attn.out_proj", width, width)
	t.norm(ours+"/ln_2", theirs+".layer_norm2", width)
	t.mlp(ours, theirs, width, mlpWidth)
}

// hfPool maps SigLIP's head: its attention is a torch.nn.MultiheadAttention, whose queries, keys and values are one
// matrix; ours has the queries apart, since they are computed for one row only.
func (t *Table) hfPool(v model.VisionConfig) {
	const head = "vision_model.head."
	d := v.Width
	t.copy("visual/pool/probe", head+"probe", 1, 1, d)
	for _, part := range []struct {
		ours string
		rows [2]int
	}{{"q", [2]int{0, d}}, {"kv", [2]int{d, 3 * d}}} {
		ours := "visual/pool/attn/" + part.ours
		*t = append(*t,
			Pair{Ours: ours + "/weight", Theirs: head + "attention.in_proj_weight", Shape: []int{3 * d, d}, Transform: SwapInOut, Rows: part.rows},
			Pair{Ours: ours + "/bias", Theirs: head + "attention.in_proj_bias", Shape: []int{3 * d}, Rows: part.rows})
	}
	t.linear("visual/pool/attn/out", head+"attention.out_proj", d, d)
	t.norm("visual/pool/ln", head+"layernorm", d)
	t.mlp("visual/pool", "vision_model.head", d, v.MLPWidth)
}

// hfBuffers are position counters that files from before 2023 carry.
var hfBuffers = regexp.MustCompile(`^(text|vision)_model\.embeddings\.position_ids$`)

// openAIScalars are what OpenAI's files carry beside the weights.
var openAIScalars = regexp.MustCompile(`^(input_resolution|context_length|vocab_size)$`)
