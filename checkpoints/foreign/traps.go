package foreign

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"

	"tandem/model"
	"tandem/tokenizer"
)

// origins are what open_clip knows of published weights (open_clip/pretrained.py), by parts of their names: the
// activation they were trained with, and mean and standard deviation of their pixels. The first that matches counts.
var origins = []struct {
	name       *regexp.Regexp
	activation model.Activation
	mean       [3]float64
}{
	{regexp.MustCompile(`(?i)siglip|webli`), "", half},
	{regexp.MustCompile(`(?i)clipa`), model.GELU, [3]float64{0.485, 0.456, 0.406}},
	{regexp.MustCompile(`(?i)l-?14.*laion2b.s32b.b82k`), model.GELU, half},
	{regexp.MustCompile(`(?i)(laion|datacomp|commonpool).*(2b|5b|datacomp|commonpool|xl)`), model.GELU, model.CLIPMean},
	{regexp.MustCompile(`(?i)dfn2b.*39b|metaclip_altogether`), model.GELU, model.CLIPMean},
	{regexp.MustCompile(`(?i)openai|dfn[25]b|metaclip|yfcc15m|cc12m`), model.QuickGELU, model.CLIPMean},
}

// Traps are warnings of what goes wrong silently: the configuration says one thing, and what is known of weights of that
// name another. tok may be nil.
func (c *Checkpoint) Traps(tok tokenizer.Tokenizer) []string {
	name, original := cmp.Or(c.Source[sourceName], c.Path), c.Format
	if c.Origin != nil {
		name, original = c.Origin.Name, c.Origin.Format
	}
	warnings := c.pixelTraps(name)
	for _, o := range origins {
		if o.name.MatchString(name) {
			warnings = append(warnings, c.activationTraps(name, o.activation)...)
			break
		}
	}
	if original == FormatOpenAI && c.Config.Text.Activation != model.QuickGELU {
		warnings = append(warnings, fmt.Sprintf("OpenAI's weights were trained with QuickGELU; here the text tower has %s, which costs points silently", c.Config.Text.Activation))
	}
	return append(warnings, c.poolTraps(tok)...)
}

func (c *Checkpoint) activationTraps(name string, known model.Activation) (warnings []string) {
	towers := map[string]model.Activation{"text": c.Config.Text.Activation}
	if c.Config.Vision.Kind == model.ViT {
		towers["image"] = c.Config.Vision.Activation
	}
	for _, tower := range []string{"image", "text"} {
		if activation := towers[tower]; known != "" && activation != "" && activation != known {
			warnings = append(warnings, fmt.Sprintf("weights called %q were trained with %s as far as open_clip knows; here the %s tower has %s: a mix-up costs points silently", name, known, tower, activation))
		}
	}
	return warnings
}

func (c *Checkpoint) pixelTraps(name string) []string {
	v := c.Config.Vision
	want := model.CLIPMean
	if v.Pool == model.PoolMap {
		want = half
	}
	for _, o := range origins {
		if o.name.MatchString(name) {
			want = o.mean
			break
		}
	}
	if v.Mean == want {
		return nil
	}
	return []string{fmt.Sprintf("pixels are normalised with mean %.5g and std %.5g, where models of this kind have mean %.5g: make sure that the weights were trained so", v.Mean, v.Std, want)}
}

func (c *Checkpoint) poolTraps(tok tokenizer.Tokenizer) (warnings []string) {
	t := c.Config.Text
	if tok == nil {
		return nil
	}
	end := int(tok.End())
	switch {
	case t.Pool == model.PoolEOS && end != t.EOSID:
		warnings = append(warnings, fmt.Sprintf("the text is pooled at token %d, but the tokenizer ends texts with %d: every text would give the feature of its first token", t.EOSID, end))
	case t.Pool == model.PoolArgmax && end != tok.VocabSize()-1:
		warnings = append(warnings, fmt.Sprintf("the text is pooled at its largest id, but the tokenizer ends texts with %d of %d ids: a larger id in a text would be pooled instead", end, tok.VocabSize()))
	}
	if slices.Contains([]string{model.PoolArgmax, model.PoolEOS}, t.Pool) && t.NoCausalMask {
		warnings = append(warnings, "the text tower has no causal mask but pools the end token: padding changes its features")
	}
	if missing := t.Vocab - tok.VocabSize(); missing > 0 {
		warnings = append(warnings, fmt.Sprintf("the model's vocabulary has %d entries that the tokenizer never gives", missing))
	}
	return warnings
}
