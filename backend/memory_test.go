package backend_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"tandem/backend"
)

// memoryEnv makes TestMemoryHelper the body of a process of its own: the pool cannot be switched off again.
const memoryEnv = "BACKEND_TEST_KEEP_MEMORY"

// TestKeepMemory measures page faults a step with and without the pool, on a step with some 100 MB of temporaries.
func TestKeepMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("no pool on", runtime.GOOS)
		return
	}
	without, with := stepFaults(t, "no"), stepFaults(t, "yes")
	if with > 1000 {
		t.Errorf("%d page faults a step with KeepMemory, want 1,000 at most", with)
	}
	if without < 4*with+1000 {
		t.Errorf("%d page faults a step without KeepMemory and %d with it: the step shows nothing", without, with)
	}
}

func stepFaults(t *testing.T, keep string) (faults int64) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestMemoryHelper$", "-test.v")
	cmd.Env = append(os.Environ(), memoryEnv+"="+keep)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	i := bytes.Index(out, []byte("faults a step: "))
	if i < 0 {
		t.Fatalf("no figure in %q", out)
	}
	if _, err := fmt.Sscanf(string(out[i:]), "faults a step: %d", &faults); err != nil {
		t.Fatal(err)
	}
	return faults
}

func TestMemoryHelper(t *testing.T) {
	keep := os.Getenv(memoryEnv)
	if keep == "" {
		return
	}
	b, err := backend.Open(t.Context(), backend.Options{Name: backend.CPU, KeepMemory: keep == "yes"})
	if err != nil {
		t.Fatal(err)
	}
	if b.Info.KeepsMemory != (keep == "yes") {
		t.Fatalf("KeepsMemory is %v", b.Info.KeepsMemory)
	}
	step, err := graph.NewExec(b.Backend, func(x *graph.Node) *graph.Node {
		wide := graph.Tanh(graph.Einsum("ij,kj->ik", x, x)) // [4096,4096]: 64 MB, over what glibc ever keeps
		return graph.ReduceAllSum(graph.Einsum("ij,jk->ik", wide, x))
	})
	if err != nil {
		t.Fatal(err)
	}
	x := make([][]float32, 4096)
	for i := range x {
		x[i] = []float32{float32(i%7) - 3, 1, float32(i % 3), 0.5}
	}
	const warm, steps = 3, 3
	var before, after syscall.Rusage
	for i := range warm + steps {
		if i == warm {
			syscall.Getrusage(syscall.RUSAGE_SELF, &before)
		}
		out, err := step.Call(x)
		if err != nil {
			t.Fatal(err)
		}
		out[0].FinalizeAll()
	}
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	t.Log(strings.TrimSpace(fmt.Sprintln("faults a step:", (after.Minflt-before.Minflt)/steps)))
}
