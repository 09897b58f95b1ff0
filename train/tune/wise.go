package tune

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/model"
)

// Interpolate sets the parameters of into to (1−α)·base + α·tuned (WiSE-FT: Wortsman et al., Robust fine-tuning of
// zero-shot models, 2022), computed in float64. At α = 0 and α = 1 they are base's and tuned's to the last bit. All three
// stores hold the parameters of m; counters are taken from the nearer end.
func Interpolate(m model.Config, into, base, tuned *gml.Store, alpha float64) error {
	if !(alpha >= 0 && alpha <= 1) {
		return fmt.Errorf("α = %g lies outside [0, 1]", alpha)
	}
	for _, p := range m.Params() {
		path := "/" + p.Path
		value, err := blend(base.GetVariable(path).MustValue(), tuned.GetVariable(path).MustValue(), alpha)
		if err != nil {
			return fmt.Errorf("%s: %w", p.Path, err)
		}
		if err := into.GetVariable(path).SetValue(value); err != nil {
			return fmt.Errorf("%s: %w", p.Path, err)
		}
	}
	return nil
}

func blend(base, tuned *tensors.Tensor, alpha float64) (*tensors.Tensor, error) {
	nearer := base
	if alpha >= 0.5 {
		nearer = tuned
	}
	if alpha == 0 || alpha == 1 || nearer.DType() != dtypes.Float32 {
		return nearer.LocalClone()
	}
	a, err := tensors.CopyFlatData[float32](base)
	if err != nil {
		return nil, err
	}
	b, err := tensors.CopyFlatData[float32](tuned)
	if err != nil {
		return nil, err
	}
	for i := range a {
		a[i] = float32((1-alpha)*float64(a[i]) + alpha*float64(b[i]))
	}
	return tensors.FromFlatDataAndDimensions(a, base.Shape().Dimensions...), nil
}

// ChooseAlpha returns the index of the smallest α whose value is within tolerance of the best one: as little of the
// fine-tuning as the validation set allows, since what else the model knew is lost along the way.
func ChooseAlpha(values []float64, tolerance float64) int {
	best := slices.Max(values)
	return slices.IndexFunc(values, func(v float64) bool { return v >= best-tolerance })
}
