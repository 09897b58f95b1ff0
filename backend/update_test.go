package backend_test

import (
	"runtime"
	"testing"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/backend"
	"tandem/backend/backendtest"
	"tandem/backend/compilehook"
)

// TestUpdateInPlace: updates over the old values give what updates beside them give, also where an old value is still
// needed after another's update.
func TestUpdateInPlace(t *testing.T) {
	run := func(inPlace bool) (a, b []float32) {
		store := gml.NewStore()
		for _, name := range []string{"/a", "/b", "/untouched"} {
			if _, err := store.CreateVariable(name, tensors.FromFlatDataAndDimensions([]float32{1, 2, 3}, 3)); err != nil {
				t.Fatal(err)
			}
		}
		exec, err := gml.NewExec(backendtest.XLA(t), store, func(scope *gml.Scope, x *Node) *Node {
			a, b := scope.GetVariable("a"), scope.GetVariable("b")
			oldA, oldB := a.NodeValue(x), b.NodeValue(x)
			a.SetNodeValue(Add(oldB, x)) // a swap: neither may be written before the other is read
			b.SetNodeValue(Mul(oldA, x))
			if inPlace {
				backend.UpdateInPlace(x.Graph(), store)
			}
			return Add(oldA, scope.GetVariable("untouched").NodeValue(x))
		})
		if err != nil {
			t.Fatal(err)
		}
		defer exec.Finalize()
		for range 3 {
			if _, err := exec.Call(tensors.FromFlatDataAndDimensions([]float32{2, 3, 4}, 3)); err != nil {
				t.Fatal(err)
			}
		}
		value := func(name string) []float32 {
			flat, err := tensors.CopyFlatData[float32](store.GetVariable(name).MustValue())
			if err != nil {
				t.Fatal(err)
			}
			return flat
		}
		return value("/a"), value("/b")
	}
	wantA, wantB := run(false)
	before := compilehook.Aliased()
	a, b := run(true)
	if reused := compilehook.Aliased() - before; runtime.GOOS == "linux" && reused != 2 {
		t.Errorf("%d buffers are reused, want 2", reused)
	}
	for i := range a {
		if a[i] != wantA[i] || b[i] != wantB[i] {
			t.Fatalf("in place %v, %v; beside %v, %v", a, b, wantA, wantB)
		}
	}
}
