package eval

import (
	"context"
	"errors"
	"iter"
	"math"
	"slices"

	"tandem/internal/zeroshot"
)

// ClassificationResult is what a zero-shot classification found.
type ClassificationResult struct {
	Classes  []string          `json:"classes"`
	Metrics  map[string]Metric `json:"metrics"`
	PerClass []ClassResult     `json:"per_class"`
	// Confusion[i][j] counts examples of class i that were taken for class j; left out where there are too many classes.
	Confusion [][]int        `json:"confusion,omitempty"`
	Skipped   map[string]int `json:"skipped"`
	Samples   []Sample       `json:"-"`
}

// ClassResult is one class's share.
type ClassResult struct {
	Name      string `json:"name"`
	N         int    `json:"n"`
	Correct   int    `json:"correct"`
	Predicted int    `json:"predicted"`
}

// Sample is one example with what the model thought of it.
type Sample struct {
	ID      string
	Image   []byte
	Truth   int
	Ranking []Guess // best first, up to five
	Correct bool
}

// Guess is a class with its probability and similarity.
type Guess struct {
	Class       int
	Probability float64
	Similarity  float64
}

// Metric names of a classification.
const (
	Acc1               = "acc1"
	Acc5               = "acc5"
	MeanPerClassRecall = "mean_per_class_recall"
)

// maxConfusion bounds the classes a confusion table is kept for.
const maxConfusion = 128

// Classify runs a classifier over a labelled set. label names the metadata column that holds the class's name.
func Classify(ctx context.Context, enc Encoder, c *zeroshot.Classifier, set Dataset, label string) (*ClassificationResult, error) {
	run := newClassification(c)
	for example, row := range encoded(ctx, enc, set, &run.err) {
		truth, ok := run.index[example.Labels[label]]
		switch {
		case !ok && example.Labels[label] == "":
			run.result.Skipped["no label"]++
		case !ok:
			run.result.Skipped["label is no class"]++
		case row == nil:
			run.result.Skipped["image: "+run.reason()]++
		default:
			run.count(example, truth, row)
		}
	}
	if run.err != nil && !isImageError(run.err) {
		return nil, run.err
	}
	return run.finish(), nil
}

func isImageError(err error) bool {
	var bad ImageError
	return errors.As(err, &bad)
}

// encoded pairs each example with its row. A bad image comes with a nil row and its error in *failed; any other error is
// left there and ends the sequence.
func encoded(ctx context.Context, enc Encoder, set Dataset, failed *error) iter.Seq2[Example, []float32] {
	return func(yield func(Example, []float32) bool) {
		var waiting []Example // read but not yet encoded: encoders work in batches
		files := func(yield func([]byte, error) bool) {
			for example, err := range set.Examples(ctx) {
				if err == nil {
					waiting = append(waiting, example)
				}
				if !yield(example.Image, err) {
					return
				}
			}
		}
		for row, err := range enc.EncodeImageSeq(ctx, files) {
			if err != nil {
				*failed = err
				if !isImageError(err) {
					return
				}
				row = nil
			}
			example := waiting[0]
			waiting = waiting[1:]
			if !yield(example, row) {
				return
			}
		}
	}
}

// classification is a run under way.
type classification struct {
	classifier *zeroshot.Classifier
	index      map[string]int
	result     *ClassificationResult
	hits1      int
	hits5      int
	n          int
	sims       []float32
	order      []int
	samples    sampler
	err        error
}

func newClassification(c *zeroshot.Classifier) *classification {
	k := len(c.Classes)
	run := &classification{classifier: c, index: map[string]int{}, sims: make([]float32, k), order: make([]int, k)}
	run.result = &ClassificationResult{Skipped: map[string]int{}, PerClass: make([]ClassResult, k), Classes: make([]string, k)}
	for i, class := range c.Classes {
		run.index[class.Name] = i
		run.result.Classes[i] = class.Name
		run.result.PerClass[i].Name = class.Name
	}
	if k <= maxConfusion {
		run.result.Confusion = make([][]int, k)
		for i := range run.result.Confusion {
			run.result.Confusion[i] = make([]int, k)
		}
	}
	return run
}

func (run *classification) reason() string {
	var bad ImageError
	if errors.As(run.err, &bad) {
		return bad.ImageReason()
	}
	return "unknown"
}

// count scores one example. Ties go to the class that comes first.
func (run *classification) count(example Example, truth int, row []float32) {
	run.classifier.Similarities(run.sims, row)
	for i := range run.order {
		run.order[i] = i
	}
	slices.SortFunc(run.order, func(a, b int) int {
		if run.sims[a] != run.sims[b] {
			if run.sims[a] > run.sims[b] {
				return -1
			}
			return 1
		}
		return a - b
	})
	best := run.order[0]
	run.n++
	run.result.PerClass[truth].N++
	run.result.PerClass[best].Predicted++
	if best == truth {
		run.hits1++
		run.result.PerClass[truth].Correct++
	}
	if slices.Contains(run.order[:min(5, len(run.order))], truth) {
		run.hits5++
	}
	if run.result.Confusion != nil {
		run.result.Confusion[truth][best]++
	}
	run.samples.offer(run.sample(example, truth))
}

func (run *classification) sample(example Example, truth int) Sample {
	probabilities := zeroshot.Softmax(run.sims, run.classifier.Scale)
	s := Sample{ID: example.ID, Image: example.Image, Truth: truth, Correct: run.order[0] == truth}
	for _, class := range run.order[:min(5, len(run.order))] {
		s.Ranking = append(s.Ranking, Guess{class, probabilities[class], float64(run.sims[class])})
	}
	return s
}

func (run *classification) finish() *ClassificationResult {
	r, k := run.result, len(run.classifier.Classes)
	chance := 1 / float64(k)
	r.Metrics = map[string]Metric{
		Acc1: Share(run.hits1, run.n, chance),
	}
	if k > 5 {
		r.Metrics[Acc5] = Share(run.hits5, run.n, 5*chance)
	}
	r.Metrics[MeanPerClassRecall] = meanRecall(r.PerClass, chance)
	r.Samples = run.samples.taken
	return r
}

// meanRecall is the mean over the classes that occur; its interval treats the classes' recalls as independent.
func meanRecall(classes []ClassResult, chance float64) Metric {
	var sum, variance float64
	n, present := 0, 0
	for _, c := range classes {
		if c.N == 0 {
			continue
		}
		p := float64(c.Correct) / float64(c.N)
		smoothed := (float64(c.Correct) + 1) / (float64(c.N) + 2) // a class of one example is not certain
		sum += p
		variance += smoothed * (1 - smoothed) / float64(c.N)
		present++
		n += c.N
	}
	m := Metric{N: n, Chance: &chance}
	if present == 0 {
		return m
	}
	m.Value = sum / float64(present)
	half := z95 * math.Sqrt(variance) / float64(present)
	m.Low, m.High = math.Max(0, m.Value-half), math.Min(1, m.Value+half)
	return m
}

// sampler keeps examples for the report: the first right and the first wrong answers, spread over the classes.
type sampler struct {
	taken    []Sample
	perClass map[int]int
	right    int
	wrong    int
}

const samplesOfAKind = 24

func (s *sampler) offer(sample Sample) {
	if s.perClass == nil {
		s.perClass = map[int]int{}
	}
	count := &s.wrong
	if sample.Correct {
		count = &s.right
	}
	if *count >= samplesOfAKind || s.perClass[sample.Truth] >= 4 {
		return
	}
	*count++
	s.perClass[sample.Truth]++
	sample.Image = slices.Clone(sample.Image)
	s.taken = append(s.taken, sample)
}
