package foreign

import (
	"fmt"

	"tandem/model"
)

// OpenCLIP is the table of open_clip's models, whose names are OpenAI's too: CLIP, with an empty textPrefix, and
// CustomTextCLIP, whose text tower lies under "text.". An image tower of SigLIP's form is timm's, under "visual.trunk.".
func OpenCLIP(c model.Config, textPrefix string) Table {
	c = c.WithDefaults()
	var t Table
	switch {
	case c.Vision.Kind == model.ResNet:
		t.openCLIPResNet(c)
	case isTimm(c.Vision):
		t.timmViT(c)
	default:
		t.openCLIPViT(c)
	}
	t.openCLIPText(c, textPrefix)
	t.copy("logit_scale", "logit_scale")
	if c.LogitBiasInit != nil {
		t.copy("logit_bias", "logit_bias")
	}
	return t
}

func (t *Table) copy(ours, theirs string, shape ...int) {
	*t = append(*t, Pair{Ours: ours, Theirs: theirs, Shape: shape})
}

// matrix maps [in, out] to [out, in].
func (t *Table) matrix(ours, theirs string, in, out int) {
	*t = append(*t, Pair{Ours: ours, Theirs: theirs, Shape: []int{out, in}, Transform: SwapInOut})
}

// linear maps a layer's weight and bias.
func (t *Table) linear(ours, theirs string, in, out int) {
	t.matrix(ours+"/weight", theirs+".weight", in, out)
	t.copy(ours+"/bias", theirs+".bias", out)
}

func (t *Table) norm(ours, theirs string, width int) {
	t.copy(ours+"/gain", theirs+".weight", width)
	t.copy(ours+"/bias", theirs+".bias", width)
}

func (t *Table) conv(ours, theirs string, size, in, out int) {
	*t = append(*t, Pair{Ours: ours, Theirs: theirs, Shape: []int{out, in, size, size}, Transform: ChannelsLast})
}

func (t *Table) openCLIPViT(c model.Config) {
	v := c.Vision
	t.conv("visual/patch_embed/weight", "visual.conv1.weight", v.PatchSize, 3, v.Width)
	if v.HasClassToken() {
		t.copy("visual/class_embed", "visual.class_embedding", v.Width)
	}
	t.copy("visual/pos_embed", "visual.positional_embedding", v.Rows(), v.Width)
	if !v.NoPreNorm {
		t.norm("visual/ln_pre", "visual.ln_pre", v.Width)
	}
	for i := range v.Layers {
		t.openCLIPBlock(fmt.Sprintf("visual/block_%d", i), fmt.Sprintf("visual.transformer.resblocks.%d", i), v.Width, v.MLPWidth)
	}
	t.norm("visual/ln_post", "visual.ln_post", v.Width)
	if !v.NoProjection {
		t.copy("visual/proj", "visual.proj", v.Width, c.EmbedDim)
	}
}

// timmViT maps timm's vision transformer in SigLIP's form (timm/models/vision_transformer.py, attention_pool.py).
func (t *Table) timmViT(c model.Config) {
	const trunk = "visual.trunk."
	v := c.Vision
	t.conv("visual/patch_embed/weight", trunk+"patch_embed.proj.weight", v.PatchSize, 3, v.Width)
	t.copy("visual/patch_embed/bias", trunk+"patch_embed.proj.bias", v.Width)
	t.copy("visual/pos_embed", trunk+"pos_embed", 1, v.Rows(), v.Width)
	for i := range v.Layers {
		ours, theirs := fmt.Sprintf("visual/block_%d", i), fmt.Sprintf("%sblocks.%d", trunk, i)
		t.norm(ours+"/ln_1", theirs+".norm1", v.Width)
		t.linear(ours+"/attn/qkv", theirs+".attn.qkv", v.Width, 3*v.Width)
		t.linear(ours+"/attn/out", theirs+".attn.proj", v.Width, v.Width)
		t.norm(ours+"/ln_2", theirs+".norm2", v.Width)
		t.mlp(ours, theirs, v.Width, v.MLPWidth)
	}
	t.norm("visual/ln_post", trunk+"norm", v.Width)
	if v.Pool == model.PoolMap {
		const pool = trunk + "attn_pool"
		t.copy("visual/pool/probe", pool+".latent", 1, 1, v.Width)
		t.linear("visual/pool/attn/q", pool+".q", v.Width, v.Width)
		t.linear("visual/pool/attn/kv", pool+".kv", v.Width, 2*v.Width)
		t.linear("visual/pool/attn/out", pool+".proj", v.Width, v.Width)
		t.norm("visual/pool/ln", pool+".norm", v.Width)
		t.mlp("visual/pool", pool, v.Width, v.MLPWidth)
	}
	if !v.NoProjection {
		t.matrix("visual/proj", "visual.head.proj.weight", v.Width, c.EmbedDim)
	}
}

// mlp maps the two layers that timm and transformers call fc1 and fc2.
func (t *Table) mlp(ours, theirs string, width, mlpWidth int) {
	t.linear(ours+"/mlp/fc", theirs+".mlp.fc1", width, mlpWidth)
	t.linear(ours+"/mlp/proj", theirs+".mlp.fc2", mlpWidth, width)
}

func (t *Table) openCLIPBlock(ours, theirs string, width, mlpWidth int) {
	t.norm(ours+"/ln_1", theirs+".ln_1", width)
	t.matrix(ours+"/attn/qkv/weight", theirs+".attn.in_proj_weight", width, 3*width)
	t.copy(ours+"/attn/qkv/bias", theirs+".attn.in_proj_bias", 3*width)
	t.linear(ours+"/attn/out", theirs+".attn.out_proj", width, width)
	t.norm(ours+"/ln_2", theirs+".ln_2", width)
	t.linear(ours+"/mlp/fc", theirs+".mlp.c_fc", width, mlpWidth)
	t.linear(ours+"/mlp/proj", theirs+".mlp.c_proj", mlpWidth, width)
}

func (t *Table) openCLIPText(c model.Config, prefix string) {
	x := c.Text
	t.copy("text/token_embed", prefix+"token_embedding.weight", x.Vocab, x.Width)
	t.copy("text/pos_embed", prefix+"positional_embedding", x.Context, x.Width)
	for i := range x.Layers {
		t.openCLIPBlock(fmt.Sprintf("text/block_%d", i), fmt.Sprintf("%stransformer.resblocks.%d", prefix, i), x.Width, x.MLPWidth)
	}
	t.norm("text/ln_final", prefix+"ln_final", x.Width)
	if x.ProjectionBias {
		t.matrix("text/proj", prefix+"text_projection.weight", x.Width, c.EmbedDim)
		t.copy("text/proj_bias", prefix+"text_projection.bias", c.EmbedDim)
		return
	}
	t.copy("text/proj", prefix+"text_projection", x.Width, c.EmbedDim)
}

func (t *Table) openCLIPResNet(c model.Config) {
	v := c.Vision
	half := v.Width / 2
	for i, io := range [][2]int{{3, half}, {half, half}, {half, v.Width}} {
		t.conv(fmt.Sprintf("visual/stem/conv%d/weight", i+1), fmt.Sprintf("visual.conv%d.weight", i+1), 3, io[0], io[1])
		t.batchNorm(fmt.Sprintf("visual/stem/bn%d", i+1), fmt.Sprintf("visual.bn%d", i+1), io[1])
	}
	in := v.Width
	for stage, blocks := range v.Stages {
		planes := v.Width << stage
		for block := range blocks {
			ours, theirs := fmt.Sprintf("visual/stage_%d/block_%d", stage, block), fmt.Sprintf("visual.layer%d.%d", stage+1, block)
			t.bottleneck(ours, theirs, in, planes, block == 0)
			in = 4 * planes
		}
	}
	d := 32 * v.Width
	grid := v.ImageSize / 32
	t.copy("visual/attnpool/pos_embed", "visual.attnpool.positional_embedding", grid*grid+1, d)
	t.linear("visual/attnpool/q", "visual.attnpool.q_proj", d, d)
	t.linear("visual/attnpool/k", "visual.attnpool.k_proj", d, d)
	t.linear("visual/attnpool/v", "visual.attnpool.v_proj", d, d)
	t.linear("visual/attnpool/out", "visual.attnpool.c_proj", d, c.EmbedDim)
}

func (t *Table) bottleneck(ours, theirs string, in, planes int, downsample bool) {
	t.conv(ours+"/conv1/weight", theirs+".conv1.weight", 1, in, planes)
	t.batchNorm(ours+"/bn1", theirs+".bn1", planes)
	t.conv(ours+"/conv2/weight", theirs+".conv2.weight", 3, planes, planes)
	t.batchNorm(ours+"/bn2", theirs+".bn2", planes)
	t.conv(ours+"/conv3/weight", theirs+".conv3.weight", 1, planes, 4*planes)
	t.batchNorm(ours+"/bn3", theirs+".bn3", 4*planes)
	if downsample {
		t.conv(ours+"/downsample/conv/weight", theirs+".downsample.0.weight", 1, in, 4*planes)
		t.batchNorm(ours+"/downsample/bn", theirs+".downsample.1", 4*planes)
	}
}

func (t *Table) batchNorm(ours, theirs string, width int) {
	t.norm(ours, theirs, width)
	t.copy(ours+"/running_mean", theirs+".running_mean", width)
	t.copy(ours+"/running_var", theirs+".running_var", width)
	t.copy(ours+"/batches", theirs+".num_batches_tracked")
}
