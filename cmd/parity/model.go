package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"tandem/checkpoints/foreign"
	"tandem/internal/fault"
	"tandem/loss"
	"tandem/model"
)

// compare runs every check that a directory has files for: float32 on backend b, float64 on exact.
func compare(dir string, b, exact compute.Backend) (*report, error) {
	has := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}
	switch stat, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.User(err)
	case has("inputs.npz"):
		return compareModel(dir, b, exact)
	case has("index.json"):
		return comparePictures(dir)
	case err == nil && !stat.IsDir():
		return compareTokens(dir)
	default:
		return nil, fault.Userf("no golden directory: there is neither inputs.npz (a model) nor index.json (pictures)")
	}
}

func compareModel(dir string, b, exact compute.Backend) (*report, error) {
	g, err := readGolden(dir)
	if err != nil {
		return nil, err
	}
	c, err := foreign.Open(dir, foreign.Options{})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	r := &runner{backend: b, exact: exact, golden: g, checkpoint: c}
	if r.loss, err = r.trainedLoss(); err != nil {
		return nil, err
	}
	out := &report{dir: dir, title: fmt.Sprintf("%s, %d parameters, %s loss", c.Format, c.Config.NumParams(), r.loss.Name)}
	for _, part := range []func(*report) error{r.intermediates, r.outputs, r.training} {
		if err := part(out); err != nil {
			return nil, err
		}
	}
	return out, tokenizerBeside(out, dir, c)
}

// runner compares one model with its golden files.
type runner struct {
	backend    compute.Backend
	exact      compute.Backend // for float64: the pure-Go one, which has nothing to compile
	golden     golden
	checkpoint *foreign.Checkpoint
	loss       loss.Config
}

// trainedLoss finds out which loss "loss" is: the one that the reference logits give.
func (r *runner) trainedLoss() (loss.Config, error) {
	want, err := r.golden.scalar("loss")
	if err != nil {
		return loss.Config{}, err
	}
	logits := r.golden.outputs["logits_per_image"]
	if len(logits.Shape) != 2 || logits.Shape[0] != logits.Shape[1] {
		return loss.Config{}, fault.Userf("outputs: logits_per_image must be square, not %v", logits.Shape)
	}
	name := loss.InfoNCE
	infoNCE, sigmoid := referenceLosses(floats(logits), logits.Shape[0])
	if math.Abs(sigmoid-want) < math.Abs(infoNCE-want) {
		name = loss.SigLIP
	}
	return loss.Config{Name: name}.WithDefaults(), nil
}

// referenceLosses are both losses of a square matrix of logits, in float64.
func referenceLosses(logits []float64, n int) (infoNCE, sigmoid float64) {
	logSum := func(at func(i int) float64) float64 {
		largest, sum := math.Inf(-1), 0.0
		for i := range n {
			largest = math.Max(largest, at(i))
		}
		for i := range n {
			sum += math.Exp(at(i) - largest)
		}
		return largest + math.Log(sum)
	}
	for i := range n {
		row := logSum(func(j int) float64 { return logits[i*n+j] })
		column := logSum(func(j int) float64 { return logits[j*n+i] })
		infoNCE += (row + column - 2*logits[i*n+i]) / float64(2*n)
		for j := range n {
			x := logits[i*n+j]
			if i == j {
				x = -x
			}
			sigmoid += (math.Max(x, 0) + math.Log1p(math.Exp(-math.Abs(x)))) / float64(n)
		}
	}
	return infoNCE, sigmoid
}

// intermediates compares the outputs of modules. The peer has them in float32 only.
func (r *runner) intermediates(out *report) error {
	ours, err := r.trace()
	if err != nil {
		return err
	}
	var checks []check
	for _, name := range slices.Sorted(maps.Keys(r.golden.intermediates)) {
		theirs := r.golden.intermediates[name]
		traced, ok := ours[tracedName(name, r.checkpoint.Config.Vision.Kind == model.ResNet)]
		if !ok {
			checks = append(checks, check{name: name, missing: "tandem has no such module"})
			continue
		}
		values := traced.values
		reference, firstRow := aligned(theirs, traced.shape)
		if firstRow {
			values = firstRows(values, traced.shape)
		}
		checks = append(checks, compareValues(name, values, reference, outputLimit, 0))
	}
	out.add("intermediate outputs", checks...)
	return nil
}

// outputs compares what the model gives in evaluation.
func (r *runner) outputs(out *report) error {
	ours, err := r.evaluate()
	if err != nil {
		return err
	}
	var checks []check
	for _, name := range slices.Sorted(maps.Keys(r.golden.outputs)) {
		if name == trainLosses || len(name) > len(after3) && name[:len(after3)] == after3 {
			continue
		}
		values, ok := ours[name]
		if !ok {
			checks = append(checks, check{name: name, missing: "tandem has no such output"})
			continue
		}
		checks = append(checks, compareValues(name, values, floats(r.golden.outputs[name]), outputLimit, r.relativeNoise(name)))
	}
	out.add("outputs in evaluation", checks...)
	return nil
}

// relativeNoise is the peer's noise of an output, times the output's largest value.
func (r *runner) relativeNoise(name string) float64 {
	return r.golden.noise.Relative[name] * largestOf(floats(r.golden.outputs[name]))
}

const trainLosses = "train_losses"

// training compares gradients and the first loss in float32, and three steps of AdamW in float64.
//
// Steps are judged in float64, as their reference is: Adam divides a gradient by its own size, so that where a gradient is
// next to zero the rounding of float32 alone decides the step (and a ReLU's input that is next to zero, the next gradient).
// The same steps are taken in float32, too, and it is said how many of the weights stay within tolerance there.
func (r *runner) training(out *report) error {
	if r.checkpoint.Config.Vision.PatchDropout > 0 {
		out.add("training", check{name: "patch dropout", missing: "draws random patches: the peer's training cannot be repeated"})
		return nil
	}
	narrow, err := r.train(dtypes.Float32)
	if err != nil {
		return err
	}
	wide, err := r.train(dtypes.Float64)
	if err != nil {
		return err
	}
	losses := floats(r.golden.outputs[trainLosses])
	noise := r.relativeNoise(trainLosses)
	first := compareValues("first loss", narrow.losses[:1], losses[:min(1, len(losses))], outputLimit, noise)
	out.add("first training step, float32", append([]check{first}, r.gradientChecks(narrow.gradients, wide.gradients)...)...)
	out.add("losses of three steps, float64", compareValues(trainLosses, wide.losses, losses, outputLimit, noise))
	weights := r.weightChecks(wide.weights)
	out.add("weights after three steps, float64", weights...)
	out.note("%s", describeNarrow(r.weightChecks(narrow.weights)))
	return nil
}

// describeNarrow says how float32 fares, and names the weights that it leaves beyond tolerance.
func describeNarrow(checks []check) string {
	var beyond []string
	for _, c := range checks {
		if !c.passes() {
			beyond = append(beyond, fmt.Sprintf("%s abs %.2e, tolerance %.2e", c.name, c.absolute, c.tolerance))
		}
	}
	text := fmt.Sprintf("in float32, where rounding has its say, %d of these %d are within tolerance", len(checks)-len(beyond), len(checks))
	if len(beyond) > 0 {
		text += "; beyond: " + strings.Join(beyond, "; ")
	}
	return text
}

// weightChecks compares every weight after three steps.
func (r *runner) weightChecks(ours map[string][]float64) (checks []check) {
	reference := r.golden.weights()
	for _, name := range slices.Sorted(maps.Keys(reference)) {
		values, ok := ours[name]
		if !ok {
			checks = append(checks, check{name: name, missing: "tandem has no such weight"})
			continue
		}
		checks = append(checks, compareValues(name, values, floats(reference[name]), outputLimit, r.golden.noise.After3[after3+name]))
	}
	return append(checks, unknown(ours, reference)...)
}

// unknown lists values of ours that the reference should have and has not.
func unknown[T any](ours map[string][]float64, theirs map[string]T) (checks []check) {
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		if _, ok := theirs[name]; !ok {
			checks = append(checks, check{name: name, missing: "the reference has no such tensor"})
		}
	}
	return checks
}

// gradientChecks compares the gradients of the first step in float32, which the peer has in float32 only. Where its
// gradient is all noise, ours in float64 is compared: two noises would say nothing.
func (r *runner) gradientChecks(narrow, wide map[string][]float64) (checks []check) {
	for _, name := range slices.Sorted(maps.Keys(r.golden.gradients)) {
		ours, ok := narrow[name]
		if !ok {
			checks = append(checks, check{name: name, missing: "tandem has no such gradient"})
			continue
		}
		theirs := floats(r.golden.gradients[name])
		largest := largestOf(theirs)
		noise := r.golden.noise.Relative["grads_worst"] * largest
		if certain := r.certainNoise(name, largest); certain > largest/2 {
			ours, noise = wide[name], certain
		}
		checks = append(checks, compareValues(name, ours, theirs, gradientLimit, noise))
	}
	return append(checks, unknown(narrow, r.golden.gradients)...)
}

// certainNoise is a lower bound of the peer's noise in a gradient. Of its float64 there is the norm, which no element can
// exceed: what the largest element of float32 has more than that is noise. Only key biases of attention are like that,
// whose gradient is zero in exact arithmetic.
func (r *runner) certainNoise(name string, largest float64) float64 {
	norm, ok := r.golden.gradientNorms[name]
	if !ok {
		return 0
	}
	return math.Max(0, largest-norm)
}

func largestOf(values []float64) float64 {
	largest := 0.0
	for _, x := range values {
		largest = math.Max(largest, math.Abs(x))
	}
	return largest
}
