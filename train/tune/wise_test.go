package tune

import (
	"math"
	"slices"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/model"
)

func storeOf(t *testing.T, m model.Config, seed uint64) *gml.Store {
	t.Helper()
	s, err := m.NewStore(seed)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestInterpolate: the end points are equal to the last bit, counters included, and what lies between is the float64 mean.
func TestInterpolate(t *testing.T) {
	for name, m := range models() {
		base, tuned, into := storeOf(t, m, 1), storeOf(t, m, 2), storeOf(t, m, 3)
		for _, p := range m.Params() {
			if p.Counter {
				if err := tuned.GetVariable("/" + p.Path).SetValue(tensors.FromScalar(int64(77))); err != nil {
					t.Fatal(err)
				}
			}
		}
		for alpha, same := range map[float64]*gml.Store{0: base, 1: tuned} {
			if err := Interpolate(m, into, base, tuned, alpha); err != nil {
				t.Fatal(err)
			}
			for _, p := range m.Params() {
				got, want := into.GetVariable("/"+p.Path).MustValue(), same.GetVariable("/"+p.Path).MustValue()
				if !got.Equal(want) {
					t.Errorf("%s: %s differs at α = %g", name, p.Path, alpha)
				}
			}
		}
		if err := Interpolate(m, into, base, tuned, 0.3); err != nil {
			t.Fatal(err)
		}
		for _, p := range m.Params() {
			v := func(s *gml.Store) *tensors.Tensor { return s.GetVariable("/" + p.Path).MustValue() }
			if v(base).DType() != dtypes.Float32 {
				continue
			}
			a, b, got := tensors.MustCopyFlatData[float32](v(base)), tensors.MustCopyFlatData[float32](v(tuned)), tensors.MustCopyFlatData[float32](v(into))
			for i := range got {
				if want := float32(0.7*float64(a[i]) + 0.3*float64(b[i])); math.Abs(float64(got[i]-want)) > 1e-7*math.Abs(float64(want)) {
					t.Fatalf("%s: %s[%d] is %g, want %g", name, p.Path, i, got[i], want)
				}
			}
		}
		if err := Interpolate(m, into, base, tuned, 1.1); err == nil {
			t.Error("α = 1.1: no error")
		}
	}
}

func TestChooseAlpha(t *testing.T) {
	values := []float64{0.2, 0.5, 0.8, 0.81, 0.805}
	for tolerance, want := range map[float64]int{0: 3, 0.006: 3, 0.011: 2, 0.4: 1, 1: 0} {
		if got := ChooseAlpha(values, tolerance); got != want {
			t.Errorf("tolerance %g: %d, want %d", tolerance, got, want)
		}
	}
	if got := ChooseAlpha(slices.Repeat([]float64{0.5}, 3), 0); got != 0 {
		t.Errorf("among equals %d, want the first", got)
	}
}
