package main

import (
	"regexp"
	"strconv"

	"tandem/internal/npy"
)

// tracedNames translate names of the peers' modules to names that model.Run.Trace is called with.
var tracedNames = []struct {
	theirs *regexp.Regexp
	ours   string // the last group of theirs follows
}{
	// open_clip's vision transformer and modified ResNet
	{regexp.MustCompile(`^visual\.conv1$`), "/visual/patch_embed"},
	{regexp.MustCompile(`^visual\.avgpool$`), "/visual/stem"},
	{regexp.MustCompile(`^visual\.attnpool$`), "/visual/attnpool"},
	{regexp.MustCompile(`^visual\.layer([1-4])$`), "/visual/stage_"},
	{regexp.MustCompile(`^visual\.ln_pre$`), "/visual/ln_pre"},
	{regexp.MustCompile(`^visual\.ln_post$`), "/visual/ln_post"},
	{regexp.MustCompile(`^visual\.transformer\.resblocks\.(\d+)$`), "/visual/block_"},
	// its text transformer, at the top or under "text."
	{regexp.MustCompile(`^(?:text\.)?transformer\.resblocks\.(\d+)$`), "/text/block_"},
	{regexp.MustCompile(`^(?:text\.)?ln_final$`), "/text/ln_final"},
	// timm's vision transformer
	{regexp.MustCompile(`^visual\.trunk\.patch_embed(?:\.proj)?$`), "/visual/patch_embed"},
	{regexp.MustCompile(`^visual\.trunk\.blocks\.(\d+)$`), "/visual/block_"},
	{regexp.MustCompile(`^visual\.trunk\.norm$`), "/visual/ln_post"},
	{regexp.MustCompile(`^visual\.trunk\.attn_pool$`), "/visual/pool"},
	// transformers
	{regexp.MustCompile(`^vision_model\.embeddings\.patch_embedding$`), "/visual/patch_embed"},
	{regexp.MustCompile(`^vision_model\.pre_layrnorm$`), "/visual/ln_pre"},
	{regexp.MustCompile(`^vision_model\.encoder\.layers\.(\d+)$`), "/visual/block_"},
	{regexp.MustCompile(`^vision_model\.post_layernorm$`), "/visual/ln_post"},
	{regexp.MustCompile(`^vision_model\.head$`), "/visual/pool"},
	{regexp.MustCompile(`^text_model\.encoder\.layers\.(\d+)$`), "/text/block_"},
	{regexp.MustCompile(`^text_model\.final_layer_norm$`), "/text/ln_final"},
	// whole towers
	{regexp.MustCompile(`^(visual|visual_projection)$`), imageFeatures},
	{regexp.MustCompile(`^(text|text_projection|text\.text_projection|text_model\.head)$`), textFeatures},
}

// Names of the towers' outputs among the traced values.
const (
	imageFeatures = "image features"
	textFeatures  = "text features"
)

// tracedName is our name of a module's output, "" if there is none. open_clip counts a ResNet's stages from 1.
func tracedName(theirs string, resnet bool) string {
	for _, n := range tracedNames {
		match := n.theirs.FindStringSubmatch(theirs)
		if match == nil {
			continue
		}
		switch {
		case n.ours == "/visual/patch_embed" && resnet:
			return "/visual/stem/conv1"
		case n.ours == "/visual/stage_":
			stage, _ := strconv.Atoi(match[1])
			return n.ours + strconv.Itoa(stage-1)
		case n.ours == imageFeatures, n.ours == textFeatures, len(match) == 1:
			return n.ours
		default:
			return n.ours + match[1]
		}
	}
	return ""
}

// aligned brings a reference intermediate into the order of ours, of the given shape: theirs may have channels first, or
// hold only the row of the class token. The second result says which rows of ours it is to be compared with: all, or the
// first of each sequence.
func aligned(theirs npy.Array, ours []int) (values []float64, firstRowOnly bool) {
	values = floats(theirs)
	if len(theirs.Shape) == 4 {
		return channelsLast(values, theirs.Shape), false
	}
	return values, len(theirs.Shape) == 2 && len(ours) == 3
}

// firstRows takes row 0 of each sequence of [B, L, D].
func firstRows(values []float64, shape []int) []float64 {
	sequence := shape[1] * shape[2]
	var out []float64
	for b := range shape[0] {
		out = append(out, values[b*sequence:b*sequence+shape[2]]...)
	}
	return out
}
