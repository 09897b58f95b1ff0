//go:build linux && cgo

package compilehook_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"tandem/backend"
	"tandem/backend/compilehook"
)

// TestSecondCompileIsALoad: a program is compiled once and loaded after that; a damaged entry is compiled anew and put
// right; another program is another entry. The results never differ.
func TestSecondCompileIsALoad(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(backend.CacheEnv, dir)
	b, err := backend.Open(context.Background(), backend.Options{
		Name: backend.CPU, Devices: 1, KeepCompiled: true, Offline: os.Getenv("TANDEM_OFFLINE") == "1",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	compute := func(factor float64) {
		t.Helper()
		exec, err := NewExec(b.Backend, func(x *Node) *Node { return ReduceAllSum(Exp(MulScalar(x, factor))) })
		if err != nil {
			t.Fatal(err)
		}
		defer exec.Finalize()
		exec.WithName("cache test")
		out, err := exec.Call([]float32{0, 0, 0})
		if err != nil {
			t.Fatal(err)
		}
		if got := tensors.ToScalar[float32](out[0]); got != 3 {
			t.Errorf("3·e⁰ is %g", got)
		}
	}
	check := func(what string, wantLoaded, wantPut int64) {
		t.Helper()
		if loaded, put := compilehook.Counts(); loaded != wantLoaded || put != wantPut {
			t.Errorf("%s: %d loaded and %d put, want %d and %d", what, loaded, put, wantLoaded, wantPut)
		}
	}
	compute(2)
	check("first", 0, 1)
	compute(2)
	check("again", 1, 1)
	compute(5)
	check("another program", 1, 2)
	entries, _ := filepath.Glob(filepath.Join(dir, "*.xla"))
	if len(entries) != 2 {
		t.Fatalf("%d entries, want 2", len(entries))
	}
	for _, path := range entries {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		content[len(content)/2] ^= 1
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	compute(2)
	check("damaged", 1, 3)
	compute(2)
	check("put right", 2, 3)
	keep := func(devices string) {
		t.Helper()
		if err := compilehook.Keep(b.Info.PluginPath, devices, dir); err != nil {
			t.Fatal(err)
		}
	}
	keep("another GPU")
	compute(2)
	check("for another GPU", 2, 4)
	keep("cpu")
	compute(2)
	check("for the first again", 3, 4)
	if err := os.WriteFile(entries[0], nil, 0o644); err != nil {
		t.Fatal(err)
	}
	compute(2)
	compute(5)
}
