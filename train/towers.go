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
func (s *Stepper) encode(scope *gml.Scope, images, tokens, rng *Node) (imagesBE, textsBE *Node) {
	run := model.Run{Training: true, DType: s.DType, Rng: rng, Rematerialise: s.Rematerialise, AdapterDropout: s.AdapterDropout}
	imagesBE, textsBE = images, tokens
	if images.Rank() == 4 {
		run.Training = !TowerFrozen(s.store, imageTower)
		imagesBE = s.Model.EncodeImages(scope, images, run)
	}
	if tokens.DType().IsInt() {
		run.Training = !TowerFrozen(s.store, textTower)
		textsBE = s.Model.EncodeTexts(scope, tokens, run)
	}
	return model.L2Normalise(imagesBE), model.L2Normalise(textsBE)
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

// inputs are a batch's images [B, S, S, 3] and tokens [B, L], cut to a compiled length, or the rows [B, E] that stand for
// them.
func (s *Stepper) inputs(in Input) (images, tokens *tensors.Tensor, batch int, err error) {
	side, context, dim := s.Model.Vision.ImageSize, s.Model.Text.Context, s.Model.EmbedDim
	batch = len(in.Tokens) / context
	if in.TextRows != nil {
		batch = len(in.TextRows) / dim
	}
	pixels := batch * side * side * 3
	switch {
	case batch == 0 || in.TextRows == nil && len(in.Tokens) != batch*context || in.ImageRows == nil && len(in.Images) != pixels:
		return nil, nil, 0, fmt.Errorf("batch of %d pixel bytes and %d tokens does not fit %d×%d images and context %d",
			len(in.Images), len(in.Tokens), side, side, context)
	case in.TextRows != nil && len(in.TextRows) != batch*dim || in.ImageRows != nil && len(in.ImageRows) != batch*dim:
		return nil, nil, 0, fmt.Errorf("batch of %d numbers for images and %d for texts does not fit rows of %d", len(in.ImageRows), len(in.TextRows), dim)
	}
	if in.ImageRows != nil {
		images = tensors.FromFlatDataAndDimensions(in.ImageRows, batch, dim)
	} else {
		images = tensors.FromFlatDataAndDimensions(in.Images, batch, side, side, 3)
	}
	if in.TextRows != nil {
		return images, tensors.FromFlatDataAndDimensions(in.TextRows, batch, dim), batch, nil
	}
	length := s.Model.Text.CutLength(in.Longest)
	return images, tensors.FromFlatDataAndDimensions(cutTokens(in.Tokens, context, length), batch, length), batch, nil
}

// FrozenTowers reports which towers training changes nothing of.
func (s *Stepper) FrozenTowers() (image, text bool) {
	return TowerFrozen(s.store, imageTower), TowerFrozen(s.store, textTower)
}

// graphWithExtras is graph with the inputs that only some steps have.
func (s *Stepper) graphWithExtras(scope *gml.Scope, in []*Node) *Node {
	s.extras = in[5:]
	return s.graph(scope, in[0], in[1], in[2], in[3], in[4])
}

// withTeacher adds the teacher's rows to what the loss sees.
func (s *Stepper) withTeacher(b loss.Batch) loss.Batch {
	if s.Loss.Distill != nil {
		b.TeacherImages, b.TeacherTexts, b.TeacherScale = s.extras[0], s.extras[1], s.TeacherScale
	}
	return b
}

// teacherArguments appends the teacher's rows to a step's arguments.
func (s *Stepper) teacherArguments(args []any, in Input, batch int) ([]any, error) {
	if s.Loss.Distill == nil {
		return args, nil
	}
	for _, rows := range [][]float32{in.TeacherImages, in.TeacherTexts} {
		if len(rows) == 0 || len(rows)%batch != 0 {
			return nil, fmt.Errorf("loss.distill: %d numbers of the teacher for %d pairs", len(rows), batch)
		}
		args = append(args, tensors.FromFlatDataAndDimensions(rows, batch, len(rows)/batch))
	}
	return args, nil
}
