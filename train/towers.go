package train

import (
	"fmt"
	"strconv"
	"strings"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/loss"
	"tandem/model"
	"tandem/optim"
)

// adapterInfos describes the adapters of a store to the optimiser.
func adapterInfos(c model.Config, store *gml.Store) []optim.ParamInfo {
	var infos []optim.ParamInfo
	for _, a := range c.Adapters(store) {
		for _, v := range []*gml.Variable{a.A, a.B} {
			infos = append(infos, optim.ParamInfo{Path: strings.TrimPrefix(v.Path(), "/"), Rank: v.Shape().Rank(), AdapterOf: a.Weight})
		}
	}
	return infos
}

// encode runs both towers: images [B, S, S, 3] and tokens [B, L], or for either the rows [B, E] that a frozen tower made
// of them before, → rows on the unit sphere.
func (s *Stepper) encode(scope *gml.Scope, images, tokens, rng, noise *Node) (imagesBE, textsBE *Node) {
	imagesBE, textsBE = s.encodeImages(scope, images, rng, noise), tokens
	if tokens.DType().IsInt() {
		run := s.run(rng, noise)
		run.Training = !TowerFrozen(s.store, textTower)
		textsBE = s.Model.EncodeTexts(scope, tokens, run)
	}
	return imagesBE, model.L2Normalise(textsBE)
}

// encodeImages runs the image tower alone.
func (s *Stepper) encodeImages(scope *gml.Scope, images, rng, noise *Node) (imagesBE *Node) {
	imagesBE = images
	if images.Rank() == 4 {
		run := s.run(rng, noise)
		run.Training = !TowerFrozen(s.store, imageTower)
		imagesBE = s.Model.EncodeImages(scope, images, run)
	}
	return model.L2Normalise(imagesBE)
}

// run is how the towers run in a step.
func (s *Stepper) run(rng, noise *Node) model.Run {
	return model.Run{DType: s.DType, Rng: rng, PatchNoise: noise, Rematerialise: s.Rematerialise, AdapterDropout: s.AdapterDropout}
}

// The towers' scopes.
const (
	imageTower = "/visual/"
	textTower  = "/text/"
)

// TowerFrozen reports whether training changes nothing of a tower. Such a tower runs as in evaluation: its batch norms
// keep their running statistics, and no patch is dropped.
func TowerFrozen(store *gml.Store, tower string) bool {
	for v := range store.IterVariables() {
		if v.Trainable && strings.HasPrefix(v.Path(), tower) {
			return false
		}
	}
	return true
}

func isOptimiserState(path string) bool { return strings.HasPrefix(path, "/"+optim.StateScope) }

// trains reports whether a parameter, or its adapter, is trained.
func (s *Stepper) trains(path string) bool {
	if s.store.GetVariable("/" + path).Trainable {
		return true
	}
	layer, ok := strings.CutSuffix(path, "/weight")
	return ok && s.store.GetVariable("/"+layer+"/lora_a") != nil
}

// blockIndex is the number of the block that a path of a tower lies in; what comes before the blocks counts as the
// first, what comes after them as no block.
func blockIndex(path, tower string, layers int) (int, bool) {
	rest, ok := strings.CutPrefix(path, tower)
	if !ok {
		return 0, false
	}
	head, _, _ := strings.Cut(rest, "/")
	if digits, ok := strings.CutPrefix(head, "block_"); ok {
		n, err := strconv.Atoi(digits)
		return n, err == nil
	}
	switch head {
	case "ln_post", "ln_final", "proj", "proj_bias", "pool", "attnpool":
		return layers, true
	default:
		return 0, true
	}
}

// checkedBatch finds the size of an input, of which images and texts may each be pixels and tokens, or rows.
func (s *Stepper) checkedBatch(in Input) (*batch, error) {
	side, context, dim := s.Model.Vision.ImageSize, s.Model.Text.Context, s.Model.EmbedDim
	b := &batch{images: in.Images, imageRows: in.ImageRows, textRows: in.TextRows, dim: dim, side: side,
		size: len(in.Tokens) / context, device: s.device}
	if in.TextRows != nil {
		b.size = len(in.TextRows) / dim
	}
	switch {
	case b.size == 0 || in.TextRows == nil && len(in.Tokens) != b.size*context || in.ImageRows == nil && len(in.Images) != b.size*side*side*3:
		return nil, fmt.Errorf("batch of %d pixel bytes and %d tokens does not fit %d×%d images and context %d",
			len(in.Images), len(in.Tokens), side, side, context)
	case in.TextRows != nil && len(in.TextRows) != b.size*dim || in.ImageRows != nil && len(in.ImageRows) != b.size*dim:
		return nil, fmt.Errorf("batch of %d numbers for images and %d for texts does not fit rows of %d", len(in.ImageRows), len(in.TextRows), dim)
	}
	return b, nil
}

// FrozenTowers reports which towers training changes nothing of.
func (s *Stepper) FrozenTowers() (image, text bool) {
	return TowerFrozen(s.store, imageTower), TowerFrozen(s.store, textTower)
}

// withTeacher adds the teacher's rows to what the loss sees.
func (s *Stepper) withTeacher(b loss.Batch, rows []*Node) loss.Batch {
	if s.Loss.Distill != nil {
		b.TeacherImages, b.TeacherTexts, b.TeacherScale = rows[0], rows[1], s.TeacherScale
	}
	return b
}

// teacherLayouts are the layouts of a step's last inputs, the teacher's rows.
func (s *Stepper) teacherLayouts() []layout {
	if s.Loss.Distill == nil {
		return nil
	}
	return []layout{split, split}
}

// teacherArguments are the teacher's rows of images and texts, nil without a teacher.
func (s *Stepper) teacherArguments(in Input, batch int) (args []*tensors.Tensor, err error) {
	if s.Loss.Distill == nil {
		return nil, nil
	}
	for _, rows := range [][]float32{in.TeacherImages, in.TeacherTexts} {
		if len(rows) == 0 || len(rows)%batch != 0 {
			return nil, fmt.Errorf("loss.distill: %d numbers of the teacher for %d pairs", len(rows), batch)
		}
		args = append(args, tensors.FromFlatDataAndDimensions(rows, batch, len(rows)/batch))
	}
	return args, nil
}
