package loss

import (
	"math"
	"math/rand/v2"
	"testing"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"tandem/backend/backendtest"
)

// unitRows are random rows of length 1.
func unitRows(r *rand.Rand, n, dim int) [][]float32 {
	rows := make([][]float32, n)
	for i := range rows {
		rows[i] = make([]float32, dim)
		var sum float64
		for j := range rows[i] {
			rows[i][j] = float32(r.NormFloat64())
			sum += float64(rows[i][j]) * float64(rows[i][j])
		}
		for j := range rows[i] {
			rows[i][j] /= float32(math.Sqrt(sum))
		}
	}
	return rows
}

func dot64(a, b []float32) (sum float64) {
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

// logSoftmax of scale·x.
func logSoftmax(x []float64) []float64 {
	var sum float64
	for _, v := range x {
		sum += math.Exp(v)
	}
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = v - math.Log(sum)
	}
	return out
}

// TestDistillAgainstFloat64 compares both kinds, and the pull on the temperature, with plain loops. The teacher is wider
// than the student.
func TestDistillAgainstFloat64(t *testing.T) {
	const n, scale, teacherScale = 6, 7.5, 11.0
	r := rand.New(rand.NewPCG(1, 2))
	images, texts := unitRows(r, n, 5), unitRows(r, n, 5)
	for name, test := range map[string]struct {
		config Config
		width  int
		want   func(tImages, tTexts [][]float32) float64
	}{
		"logits": {Config{Distill: &Distill{Weight: 0.5}}, 9, func(tImages, tTexts [][]float32) float64 {
			return 0.5 * distillReference(images, texts, tImages, tTexts, scale, teacherScale)
		}},
		"features": {Config{Distill: &Distill{Kind: DistillFeatures, Weight: 2}}, 5, func(tImages, tTexts [][]float32) (sum float64) {
			for i := range n {
				sum += (2 - dot64(images[i], tImages[i]) - dot64(texts[i], tTexts[i])) / 2 / n
			}
			return 2 * sum
		}},
		"pull": {Config{ScalePull: 3, ScaleTarget: 5}, 5, func(_, _ [][]float32) float64 { return 3 * math.Pow(math.Log(scale/5), 2) }},
	} {
		t.Run(name, func(t *testing.T) {
			tImages, tTexts := unitRows(r, n, test.width), unitRows(r, n, test.width)
			c := test.config.WithDefaults()
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
			out, err := ExecOnce(backendtest.Go(t), func(in []*Node) *Node {
				s := Scalar(in[0].Graph(), in[0].DType(), scale)
				b := Batch{Images: in[0], Texts: in[1], Scale: s, TeacherImages: in[2], TeacherTexts: in[3], TeacherScale: teacherScale}
				return Sub(c.Compute(b), Config{}.WithDefaults().Compute(b))
			}, images, texts, tImages, tTexts)
			if err != nil {
				t.Fatal(err)
			}
			got, want := float64(tensors.ToScalar[float32](out)), test.want(tImages, tTexts)
			if math.Abs(got-want) > 2e-6*math.Max(1, want) {
				t.Errorf("%g, want %g", got, want)
			}
		})
	}
}

// distillReference is the cross-entropy of the student's similarities against the teacher's, the mean of both directions.
func distillReference(images, texts, tImages, tTexts [][]float32, scale, teacherScale float64) (total float64) {
	n := len(images)
	for i := range n {
		var s, tch [2][]float64
		for j := range n {
			s[0] = append(s[0], scale*dot64(images[i], texts[j]))
			s[1] = append(s[1], scale*dot64(images[j], texts[i]))
			tch[0] = append(tch[0], teacherScale*dot64(tImages[i], tTexts[j]))
			tch[1] = append(tch[1], teacherScale*dot64(tImages[j], tTexts[i]))
		}
		for d := range 2 {
			student, teacher := logSoftmax(s[d]), logSoftmax(tch[d])
			for j := range n {
				total -= math.Exp(teacher[j]) * student[j] / float64(2*n)
			}
		}
	}
	return total
}
