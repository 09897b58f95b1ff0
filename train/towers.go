package train

import (
	"strings"

	. "github.com/gomlx/gomlx/core/graph"
	gml "github.com/gomlx/gomlx/ml/model"

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
	run := model.Run{Training: true, DType: s.DType, Rng: rng, PatchNoise: noise, Rematerialise: s.Rematerialise, AdapterDropout: s.AdapterDropout}
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
