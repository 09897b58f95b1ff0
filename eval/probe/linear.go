package probe

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/optimize"

	"tandem/internal/zeroshot"
)

// Linear is multinomial logistic regression: logits = Weights·row + Bias.
type Linear struct {
	Classes []string
	Weights [][]float32 // [classes][dim]
	Bias    []float32   // [classes]
}

// Probabilities implements Predictor.
func (m *Linear) Probabilities(row []float32) []float64 {
	logits := make([]float64, len(m.Weights))
	for c, w := range m.Weights {
		logits[c] = float64(zeroshot.Dot(w, row)) + float64(m.Bias[c])
	}
	return zeroshot.Softmax(logits, 1)
}

// LinearOptions say how a linear probe is trained.
type LinearOptions struct {
	// Lambdas are the weights of the penalty to try: loss = mean cross-entropy + λ/2·‖W‖², the bias free. scikit-learn's C
	// is 1/(λ·N). Default: DefaultLambdas.
	Lambdas []float64
	// Iterations bounds L-BFGS; default 1000, as in CLIP's own probe.
	Iterations int
	// Refit trains once more on train and validation together with the chosen λ.
	Refit bool
}

// DefaultLambdas are the penalties tried by default.
func DefaultLambdas() []float64 {
	var list []float64
	for e := -8.0; e <= 1; e += 0.75 {
		list = append(list, math.Pow(10, e))
	}
	return list
}

// Trial is one penalty with the accuracy and the mean cross-entropy it reached on validation.
type Trial struct {
	Lambda   float64 `json:"lambda"`
	Accuracy float64 `json:"accuracy"`
	LogLoss  float64 `json:"log_loss"`
}

// TrainLinear trains a linear probe, the penalty chosen by accuracy on validation, of equals by cross-entropy there. It
// is deterministic. Trials lists every penalty tried, from the largest down, each starting from the one before.
func TrainLinear(train, validation Set, o LinearOptions) (*Linear, []Trial, error) {
	if err := train.Validate(); err != nil {
		return nil, nil, err
	}
	if len(o.Lambdas) == 0 {
		o.Lambdas = DefaultLambdas()
	}
	lambdas := slices.Clone(o.Lambdas)
	slices.Sort(lambdas)
	slices.Reverse(lambdas)
	if len(lambdas) > 1 {
		if err := validation.Validate(); err != nil {
			return nil, nil, fmt.Errorf("validation: %w", err)
		}
	}
	var trials []Trial
	var best *Linear
	var chosen Trial
	fit := newRegression(train)
	for _, lambda := range lambdas {
		if lambda <= 0 || math.IsNaN(lambda) || math.IsInf(lambda, 0) {
			return nil, nil, fmt.Errorf("probe: penalty %g must be a positive number", lambda)
		}
		m, err := fit.solve(lambda, o.Iterations)
		if err != nil {
			return nil, nil, err
		}
		if validation.Len() == 0 {
			return m, []Trial{{Lambda: lambda}}, nil
		}
		t := Trial{lambda, Accuracy(m, validation).Value, logLoss(m, validation)}
		trials = append(trials, t)
		if best == nil || t.Accuracy > chosen.Accuracy || t.Accuracy == chosen.Accuracy && t.LogLoss < chosen.LogLoss {
			best, chosen = m, t
		}
	}
	if o.Refit {
		both := Set{Classes: train.Classes, Rows: slices.Concat(train.Rows, validation.Rows), Labels: slices.Concat(train.Labels, validation.Labels)}
		m, err := newRegression(both).solve(chosen.Lambda, o.Iterations)
		return m, trials, err
	}
	return best, trials, nil
}

// regression is the problem over one training set; its solution is the start of the next penalty's.
type regression struct {
	set     Set
	x       *mat.Dense // [n, dim+1], the last column 1
	classes int
	columns int
	theta   []float64 // [dim+1, classes]
}

func newRegression(s Set) *regression {
	r := &regression{set: s, classes: len(s.Classes), columns: s.Dim() + 1}
	data := make([]float64, s.Len()*r.columns)
	for i, row := range s.Rows {
		for j, v := range row {
			data[i*r.columns+j] = float64(v)
		}
		data[(i+1)*r.columns-1] = 1
	}
	r.x = mat.NewDense(s.Len(), r.columns, data)
	r.theta = make([]float64, r.columns*r.classes)
	return r
}

// solve minimises from where the last solution was.
func (r *regression) solve(lambda float64, iterations int) (*Linear, error) {
	if iterations == 0 {
		iterations = 1000
	}
	evaluation := r.objective(lambda)
	problem := optimize.Problem{
		Func: func(theta []float64) float64 { loss, _ := evaluation(theta); return loss },
		Grad: func(gradient, theta []float64) { _, g := evaluation(theta); copy(gradient, g) },
	}
	settings := &optimize.Settings{
		MajorIterations: iterations, GradientThreshold: 1e-6,
		Converger: &optimize.FunctionConverge{Relative: 1e-10, Absolute: 1e-14, Iterations: 10},
	}
	result, err := optimize.Minimize(problem, r.theta, settings, &optimize.LBFGS{Store: 10})
	// A line search that finds no lower point, at the limit of the arithmetic, has arrived.
	if result == nil || err != nil && !errors.Is(err, optimize.ErrLinesearcherFailure) && !errors.Is(err, optimize.ErrNoProgress) {
		return nil, fmt.Errorf("probe: L-BFGS at λ = %g: %w", lambda, err)
	}
	r.theta = slices.Clone(result.X)
	return r.model(), nil
}

// objective returns a function that computes loss and gradient together and remembers the last point: L-BFGS asks for
// both in turn.
func (r *regression) objective(lambda float64) func(theta []float64) (float64, []float64) {
	n := r.set.Len()
	var last []float64
	var loss float64
	gradient := make([]float64, len(r.theta))
	logits := mat.NewDense(n, r.classes, nil)
	return func(theta []float64) (float64, []float64) {
		if slices.Equal(last, theta) {
			return loss, gradient
		}
		last = append(last[:0], theta...)
		w := mat.NewDense(r.columns, r.classes, last)
		logits.Mul(r.x, w)
		loss = 0
		for i := range n {
			row := logits.RawRowView(i)
			truth := row[r.set.Labels[i]]
			top := slices.Max(row)
			total := 0.0
			for c := range row {
				row[c] = math.Exp(row[c] - top)
				total += row[c]
			}
			loss += math.Log(total) + top - truth
			for c := range row {
				row[c] /= total * float64(n)
			}
			row[r.set.Labels[i]] -= 1 / float64(n)
		}
		loss /= float64(n)
		mat.NewDense(r.columns, r.classes, gradient).Mul(r.x.T(), logits)
		for j := range (r.columns - 1) * r.classes {
			loss += lambda / 2 * last[j] * last[j]
			gradient[j] += lambda * last[j]
		}
		return loss, gradient
	}
}

func (r *regression) model() *Linear {
	m := &Linear{Classes: r.set.Classes, Weights: make([][]float32, r.classes), Bias: make([]float32, r.classes)}
	for c := range r.classes {
		m.Weights[c] = make([]float32, r.columns-1)
		for j := range m.Weights[c] {
			m.Weights[c][j] = float32(r.theta[j*r.classes+c])
		}
		m.Bias[c] = float32(r.theta[(r.columns-1)*r.classes+c])
	}
	return m
}
