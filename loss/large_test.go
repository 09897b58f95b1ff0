//go:build slow && linux

package loss

import (
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"tandem/backend/backendtest"
	"tandem/internal/prng"
)

// TestLargeBatchNeedsNoMatrix: the loss of 32,768 pairs and its gradients, whose matrix of similarities alone would take
// 4 GiB, fit into less than half of that. The value is the one of independent rows: unrelated features score ln B and a little more.
func TestLargeBatchNeedsNoMatrix(t *testing.T) {
	const batch, embed = 32768, 32
	images, texts := unitRows(batch, embed, 1), unitRows(batch, embed, 2)
	exec, err := NewExec(backendtest.XLA(t), func(images, texts *Node) []*Node {
		scale := Scalar(images.Graph(), images.DType(), 1)
		value := Config{Block: 512}.WithDefaults().Compute(Batch{Images: images, Texts: texts, Scale: scale})
		return append([]*Node{value}, Gradient(value, images, texts)...)
	})
	if err != nil {
		t.Fatal(err)
	}
	before := peakMiB(t)
	out, err := exec.Call(images, texts)
	if err != nil {
		t.Fatal(err)
	}
	used := peakMiB(t) - before
	t.Logf("%d pairs: %.0f MiB", batch, used)
	if used > 1536 {
		t.Errorf("the loss of %d pairs took %.0f MiB", batch, used)
	}
	// E[log Σ exp(x·yⱼ)] for cosines of variance 1/E is ln B + 1/(2E), up to terms of order 1/E².
	if got, want := float64(tensors.ToScalar[float32](out[0])), math.Log(batch)+1.0/(2*embed); math.Abs(got-want) > 5e-3 {
		t.Errorf("loss %.5f, want %.5f", got, want)
	}
}

func unitRows(n, dim int, key uint64) *tensors.Tensor {
	r := prng.New(5, key)
	flat := make([]float32, 0, n*dim)
	for range n {
		for _, x := range unit(r, dim) {
			flat = append(flat, float32(x))
		}
	}
	return tensors.FromFlatDataAndDimensions(flat, n, dim)
}

func peakMiB(t *testing.T) float64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}
