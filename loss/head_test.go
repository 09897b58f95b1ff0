package loss

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"tandem/backend/backendtest"
)

// derivative is that of f by x, by central differences in float64.
func derivative(x *float64, f func() float64) float64 {
	const h = 1e-5
	old := *x
	*x = old + h
	up := f()
	*x = old - h
	down := f()
	*x = old
	return (up - down) / (2 * h)
}

// checkNear compares a float32 result with its float64 reference.
func checkNear(t *testing.T, what string, got float32, want float64) {
	t.Helper()
	if math.Abs(float64(got)-want) > 2e-6*(1+math.Abs(want)) {
		t.Errorf("%s is %.8g, want %.8g", what, got, want)
	}
}

// checkGradients compares the gradients by rows with central differences of f.
func checkGradients(t *testing.T, what string, got *tensors.Tensor, rows [][]float64, f func() float64) {
	t.Helper()
	flat := tensors.MustCopyFlatData[float32](got)
	for i := range rows {
		for d := range rows[i] {
			checkNear(t, fmt.Sprintf("gradient by %s [%d,%d]", what, i, d), flat[i*len(rows[i])+d], derivative(&rows[i][d], f))
		}
	}
}

func flatten(rows [][]float64) *tensors.Tensor {
	var flat []float32
	for _, row := range rows {
		for _, x := range row {
			flat = append(flat, float32(x))
		}
	}
	return tensors.FromFlatDataAndDimensions(flat, len(rows), len(rows[0]))
}

func unitRows64(rng *rand.Rand, n, dim int) (rows [][]float64) {
	for range n {
		rows = append(rows, unit(rng, dim))
	}
	return rows
}

// headReference is cross-entropy with label smoothing by its definition.
func headReference(images, head [][]float64, classes []int32, scale, smoothing float64) (total float64) {
	for i, image := range images {
		logits, sum := make([]float64, len(head)), 0.0
		for c := range head {
			for d := range image {
				logits[c] += scale * image[d] * head[c][d]
			}
			sum += math.Exp(logits[c])
		}
		for c := range head {
			target := smoothing / float64(len(head))
			if int32(c) == classes[i] {
				target += 1 - smoothing
			}
			total -= target * (logits[c] - math.Log(sum)) / float64(len(images))
		}
	}
	return total
}

// TestHeadAgainstFloat64 holds the head's loss and its gradients by images, head and scale to plain loops.
func TestHeadAgainstFloat64(t *testing.T) {
	for _, smoothing := range []float64{0, 0.1} {
		rng := rand.New(rand.NewPCG(3, 4))
		images, head, classes, scale := unitRows64(rng, 6, 5), unitRows64(rng, 3, 5), []int32{0, 2, 2, 1, 0, 2}, 7.5
		for d := range head[1] {
			head[1][d] *= 1.5 // a trained head's rows have any length
		}
		c := Config{Name: Head, LabelSmoothing: smoothing}.WithDefaults()
		exec, err := NewExec(backendtest.Go(t), func(in []*Node) []*Node {
			value := c.Compute(Batch{Images: in[0], Head: in[1], Scale: in[2], Keys: in[3]})
			return append([]*Node{value}, Gradient(value, in[0], in[1], in[2])...)
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := exec.Call(flatten(images), flatten(head), tensors.FromScalar(float32(scale)), classes)
		if err != nil {
			t.Fatal(err)
		}
		want := func() float64 { return headReference(images, head, classes, scale, smoothing) }
		checkNear(t, "loss", tensors.ToScalar[float32](got[0]), want())
		checkGradients(t, "images", got[1], images, want)
		checkGradients(t, "head", got[2], head, want)
		checkNear(t, "gradient by scale", tensors.ToScalar[float32](got[3]), derivative(&scale, want))
	}
}

// negativesReference adds hard negatives to the reference of the other losses.
type negativesReference struct {
	*reference
	negatives [][]float64
	mask      []int32
}

// logits of image i with the negatives that are there.
func (r *negativesReference) wrong(i int) (logits []float64) {
	for n, row := range r.negatives {
		if r.mask[n] == 0 {
			continue
		}
		x := 0.0
		for d := range row {
			x += r.scale * r.images[i][d] * row[d]
		}
		if r.hasBias {
			x += r.bias
		}
		logits = append(logits, x)
	}
	return logits
}

func (r *negativesReference) loss() float64 {
	total := r.reference.loss()
	logits := r.logits()
	n := len(logits)
	for i := range n {
		if r.config.Name == SigLIP {
			for _, x := range r.wrong(i) {
				total += math.Log1p(math.Exp(x)) / float64(n)
			}
			continue
		}
		// The targets lie on the texts alone and sum to 1, so that the wider denominator adds ln(wide/narrow).
		narrow := 0.0
		for j := range n {
			if r.config.Duplicates != DuplicatesMask || i == j || r.keys[i] != r.keys[j] {
				narrow += math.Exp(logits[i][j])
			}
		}
		wide := narrow
		for _, x := range r.wrong(i) {
			wide += math.Exp(x)
		}
		total += math.Log(wide/narrow) / float64(2*n)
	}
	return total
}

// TestNegativesAgainstFloat64 holds the losses with hard negatives, one of which is missing, and their gradients to a
// float64 computation.
func TestNegativesAgainstFloat64(t *testing.T) {
	for _, name := range []string{InfoNCE, SigLIP} {
		for _, duplicates := range []string{DuplicatesIgnore, DuplicatesMask, DuplicatesPositive} {
			for _, smoothing := range []float64{0, 0.1} {
				c := Config{Name: name, Duplicates: duplicates, LabelSmoothing: smoothing}
				if c.Validate() == nil {
					t.Run(fmt.Sprintf("%s/%s/%g", name, duplicates, smoothing), func(t *testing.T) { checkNegatives(t, c) })
				}
			}
		}
	}
}

func checkNegatives(t *testing.T, c Config) {
	rng := rand.New(rand.NewPCG(5, 6))
	r := &negativesReference{randomReference(c, 8, 5, 42), unitRows64(rng, 4, 5), []int32{1, 0, 1, 1}}
	exec, err := NewExec(backendtest.Go(t), func(in []*Node) []*Node {
		b := Batch{Images: in[0], Texts: in[1], Scale: in[2], Keys: in[4], Negatives: in[5], NegativeMask: in[6]}
		if c.Name == SigLIP {
			b.Bias = in[3]
		}
		value := c.Compute(b)
		return append([]*Node{value}, Gradient(value, in[0], in[1], in[5], in[2])...)
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := exec.Call(append(r.tensors(), flatten(r.negatives), r.mask)...)
	if err != nil {
		t.Fatal(err)
	}
	checkNear(t, "loss", tensors.ToScalar[float32](got[0]), r.loss())
	checkGradients(t, "images", got[1], r.images, r.loss)
	checkGradients(t, "texts", got[2], r.texts, r.loss)
	checkGradients(t, "negatives", got[3], r.negatives, r.loss)
	checkNear(t, "gradient by scale", tensors.ToScalar[float32](got[4]), derivative(&r.scale, r.loss))
}

func TestHeadGoesAlone(t *testing.T) {
	for _, c := range []Config{{Name: Head, Block: 2}, {Name: Head, ScalePull: 1}, {Name: Head, Distill: &Distill{}}} {
		if err := c.WithDefaults().Validate(); err == nil || !strings.Contains(err.Error(), "head") {
			t.Errorf("%+v: error %v, want one about head", c, err)
		}
	}
}
