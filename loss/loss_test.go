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

// reference computes a loss in float64 with plain loops, from the definition, for features on the unit sphere.
type reference struct {
	images, texts [][]float64
	keys          []int32
	scale, bias   float64
	hasBias       bool
	config        Config
}

func (r *reference) logits() [][]float64 {
	out := make([][]float64, len(r.images))
	for i := range out {
		out[i] = make([]float64, len(r.texts))
		for j := range out[i] {
			for d := range r.images[i] {
				out[i][j] += r.images[i][d] * r.texts[j][d]
			}
			out[i][j] *= r.scale
			if r.hasBias {
				out[i][j] += r.bias
			}
		}
	}
	return out
}

func (r *reference) loss() float64 {
	logits := r.logits()
	n := len(logits)
	if r.config.Name == SigLIP {
		return r.sigmoid(logits)
	}
	total := 0.0
	for i := range n {
		row, column := make([]float64, n), make([]float64, n)
		for j := range n {
			row[j], column[j] = logits[i][j], logits[j][i]
		}
		total += r.crossEntropy(i, row) + r.crossEntropy(i, column)
	}
	return total / float64(2*n)
}

// crossEntropy of row i: targets by the duplicates rule, then label smoothing over what counts.
func (r *reference) crossEntropy(i int, logits []float64) float64 {
	n := len(logits)
	counts := make([]bool, n)
	target := make([]float64, n)
	positives, counted := 0.0, 0.0
	for j := range n {
		same := r.keys[i] == r.keys[j]
		counts[j] = i == j || !same || r.config.Duplicates != DuplicatesMask
		if i == j || same && r.config.Duplicates == DuplicatesPositive {
			target[j] = 1
			positives++
		}
		if counts[j] {
			counted++
		}
	}
	denominator := 0.0
	for j := range n {
		if counts[j] {
			denominator += math.Exp(logits[j])
		}
	}
	sum := 0.0
	for j := range n {
		if !counts[j] {
			continue
		}
		t := (1-r.config.LabelSmoothing)*target[j]/positives + r.config.LabelSmoothing/counted
		sum -= t * (logits[j] - math.Log(denominator))
	}
	return sum
}

func (r *reference) sigmoid(logits [][]float64) float64 {
	total := 0.0
	for i := range logits {
		for j := range logits {
			same := r.keys[i] == r.keys[j]
			positive := i == j || same && r.config.Duplicates == DuplicatesPositive
			if i != j && same && r.config.Duplicates == DuplicatesMask {
				continue
			}
			sign := -1.0
			if positive {
				sign = 1
			}
			total += math.Log1p(math.Exp(-sign * logits[i][j]))
		}
	}
	return total / float64(len(logits))
}

// gradient is the derivative by one number, by central differences in float64.
func (r *reference) gradient(x *float64) float64 {
	const h = 1e-5
	old := *x
	*x = old + h
	up := r.loss()
	*x = old - h
	down := r.loss()
	*x = old
	return (up - down) / (2 * h)
}

func randomReference(c Config, n, dim int, seed uint64) *reference {
	rng := rand.New(rand.NewPCG(seed, 1))
	r := &reference{config: c, scale: 7.5, bias: -2.5, hasBias: c.Name == SigLIP}
	for i := range n {
		r.images, r.texts = append(r.images, unit(rng, dim)), append(r.texts, unit(rng, dim))
		r.keys = append(r.keys, int32(i))
	}
	r.keys[4], r.keys[5], r.keys[1] = 2, 2, 0 // two groups of duplicates
	return r
}

func unit(rng *rand.Rand, dim int) []float64 {
	v := make([]float64, dim)
	norm := 0.0
	for i := range v {
		v[i] = rng.NormFloat64()
		norm += v[i] * v[i]
	}
	for i := range v {
		v[i] = float64(float32(v[i] / math.Sqrt(norm))) // representable, so that both sides see the same numbers
	}
	return v
}

func (r *reference) tensors() []any {
	flat := func(rows [][]float64) *tensors.Tensor {
		var f []float32
		for _, row := range rows {
			for _, x := range row {
				f = append(f, float32(x))
			}
		}
		return tensors.FromFlatDataAndDimensions(f, len(rows), len(rows[0]))
	}
	return []any{flat(r.images), flat(r.texts), tensors.FromScalar(float32(r.scale)), tensors.FromScalar(float32(r.bias)),
		tensors.FromFlatDataAndDimensions(r.keys, len(r.keys))}
}

// TestAgainstFloat64 holds every loss and its gradients (features, scale, bias) to a float64 computation by the book.
func TestAgainstFloat64(t *testing.T) {
	for _, name := range []string{InfoNCE, SigLIP} {
		for _, duplicates := range []string{DuplicatesIgnore, DuplicatesMask, DuplicatesPositive} {
			for _, smoothing := range []float64{0, 0.1} {
				c := Config{Name: name, Duplicates: duplicates, LabelSmoothing: smoothing}
				if c.Validate() != nil {
					continue // siglip takes no smoothing
				}
				for _, c.Block = range []int{0, 1, 5} { // 8 rows at once, one by one, 5 and 3
					t.Run(fmt.Sprintf("%s/%s/%g/%d", name, duplicates, smoothing, c.Block), func(t *testing.T) { checkLoss(t, c) })
				}
			}
		}
	}
}

func checkLoss(t *testing.T, c Config) {
	r := randomReference(c, 8, 5, 42)
	exec, err := NewExec(backendtest.Go(t), func(in []*Node) []*Node {
		b := Batch{Images: in[0], Texts: in[1], Scale: in[2], Keys: in[4]}
		by := []*Node{in[0], in[1], in[2]}
		if c.Name == SigLIP {
			b.Bias = in[3]
			by = append(by, in[3])
		}
		value := c.Compute(b)
		return append([]*Node{value}, Gradient(value, by...)...)
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := exec.Call(r.tensors()...)
	if err != nil {
		t.Fatal(err)
	}
	close := func(what string, got float32, want float64) {
		t.Helper()
		if math.Abs(float64(got)-want) > 2e-6*(1+math.Abs(want)) {
			t.Errorf("%s is %.8g, want %.8g", what, got, want)
		}
	}
	close("loss", tensors.ToScalar[float32](got[0]), r.loss())
	for side, rows := range [][][]float64{r.images, r.texts} {
		flat := tensors.MustCopyFlatData[float32](got[1+side])
		for i := range rows {
			for d := range rows[i] {
				close(fmt.Sprintf("gradient by side %d [%d,%d]", side, i, d), flat[i*len(rows[i])+d], r.gradient(&rows[i][d]))
			}
		}
	}
	close("gradient by scale", tensors.ToScalar[float32](got[3]), r.gradient(&r.scale))
	if c.Name == SigLIP {
		close("gradient by bias", tensors.ToScalar[float32](got[4]), r.gradient(&r.bias))
	}
}

// TestExtremeLogits: the loss stays finite where exp would overflow or underflow.
func TestExtremeLogits(t *testing.T) {
	for _, name := range []string{InfoNCE, SigLIP} {
		for i, scale := range []float32{0, 100, 1e4, 0, 100, 1e4} {
			c := Config{Name: name, Block: i / 3}
			exec, err := NewExec(backendtest.Go(t), func(images, texts, scale *Node) *Node {
				return c.WithDefaults().Compute(Batch{Images: images, Texts: texts, Scale: scale})
			})
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Call([][]float32{{1, 0}, {0, 1}}, [][]float32{{0, 1}, {1, 0}}, scale)
			if err != nil {
				t.Fatal(err)
			}
			if v := float64(tensors.ToScalar[float32](out[0])); math.IsNaN(v) || math.IsInf(v, 0) {
				t.Errorf("%s at scale %g is %g", name, scale, v)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	for want, c := range map[string]Config{
		"loss.name":            {Name: "triplet", Duplicates: DuplicatesIgnore},
		"loss.duplicates":      {Name: InfoNCE, Duplicates: "drop"},
		"loss.label_smoothing": {Name: InfoNCE, Duplicates: DuplicatesIgnore, LabelSmoothing: 1},
		"loss.block":           {Name: InfoNCE, Duplicates: DuplicatesIgnore, Block: -1},
		"siglip":               {Name: SigLIP, Duplicates: DuplicatesIgnore, LabelSmoothing: 0.1},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one about %s", c, err, want)
		}
	}
	if err := (Config{}).WithDefaults().Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}
