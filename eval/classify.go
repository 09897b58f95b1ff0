package eval

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"

	"tandem/eval/bias"
	"tandem/eval/doubt"
	"tandem/eval/metrics"
	"tandem/eval/record"
	"tandem/internal/fault"
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
	// What was left out of the task's validation examples and of its unknown images.
	SkippedValidation map[string]int `json:"skipped_validation,omitempty"`
	SkippedUnknown    map[string]int `json:"skipped_unknown,omitempty"`

	Doubt *doubt.Result `json:"doubt,omitempty"`
	// DoubtNote says what doubt was fitted on, or why it was not measured.
	DoubtNote      string      `json:"doubt_note,omitempty"`
	Groups         []bias.Gaps `json:"groups,omitempty"`
	Counterfactual *bias.Flips `json:"counterfactual,omitempty"`

	Samples []Sample        `json:"-"` // for the report
	Records []record.Record `json:"-"`

	unknownNote string // why there are no unknown images to measure on, although the task names some
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
	row     int64
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

// topAnswers is how many answers of an example are kept.
const topAnswers = 5

func (s *Session) classification(ctx context.Context, task Task, set Dataset, in *Inputs) (*ClassificationResult, error) {
	e, c, err := s.labelled(ctx, task, set, in)
	if err != nil {
		return nil, err
	}
	answers := score(c, task, e)
	if err := checkMeasured(task, e.Examples, answers.Len(), answers.skipped); err != nil {
		return nil, err
	}
	r := answers.result()
	if err := s.doubts(ctx, task, set, c, answers, r, in); err != nil {
		return nil, err
	}
	answers.bias(r, s.o.Seed)
	r.Samples = answers.samples()
	if s.o.Pictures {
		if err := illustrate(ctx, filter(set, task.subset()), r.Samples); err != nil {
			return nil, err
		}
	}
	in.seal()
	return r, nil
}

// answers are what a classifier says of every example that has a class, in order.
type answers struct {
	doubt.Answers
	classifier *zeroshot.Classifier
	task       Task
	examples   []Example
	tops       [][]int // first classes, best first
	skipped    map[string]int
	records    []record.Record // one for each example of the set, skipped ones too
	at         []int           // records[at[i]] is of answer i
}

// score classifies a set. Of equal similarities the class that comes first wins.
func score(c *zeroshot.Classifier, task Task, e *Embedded) *answers {
	a := newAnswers(c, task)
	index := map[string]int{}
	for i, class := range c.Classes {
		index[class.Name] = i
	}
	var rows [][]float32
	for i, example := range e.Examples {
		label := example.Labels[task.Label]
		truth, ok := index[label]
		reason := ""
		switch {
		case label == "":
			reason = "no label"
		case !ok:
			reason = notClass
		case e.Rows[i] == nil:
			reason = "image: " + e.Reasons[i]
		}
		if a.keep("test", example, label, reason) {
			a.Truth, rows = append(a.Truth, truth), append(rows, e.Rows[i])
		}
	}
	a.compute(rows)
	return a
}

// scoreUnknown classifies images of none of the classes. Those whose label is a class after all are skipped.
func scoreUnknown(c *zeroshot.Classifier, task Task, e *Embedded) *answers {
	a := newAnswers(c, task)
	var rows [][]float32
	for i, example := range e.Examples {
		label, reason := example.Labels[task.Label], ""
		switch {
		case slices.ContainsFunc(c.Classes, func(class Class) bool { return class.Name == label }):
			reason = labelIsClass
		case e.Rows[i] == nil:
			reason = "image: " + e.Reasons[i]
		}
		if a.keep("unknown", example, label, reason) {
			a.Truth, rows = append(a.Truth, -1), append(rows, e.Rows[i])
		}
	}
	a.compute(rows)
	return a
}

func newAnswers(c *zeroshot.Classifier, task Task) *answers {
	return &answers{classifier: c, task: task, skipped: map[string]int{}}
}

// keep notes an example and reports whether it is to be scored.
func (a *answers) keep(set string, example Example, label, skipped string) bool {
	a.records = append(a.records, record.Record{
		Set: set, ID: example.ID, Label: label, Skipped: skipped, Metadata: example.Labels, Known: true, Cluster: example.Labels[a.task.Cluster],
	})
	if skipped != "" {
		a.skipped[skipped]++
		return false
	}
	a.examples, a.at = append(a.examples, example), append(a.at, len(a.records)-1)
	return true
}

// compute fills similarities, rankings and records from rows.
func (a *answers) compute(rows [][]float32) {
	a.Clusters = clustersOf(a.task.Cluster, a.examples)
	k := len(a.classifier.Classes)
	flat := make([]float32, len(rows)*k)
	a.Similarities, a.tops = make([][]float32, len(rows)), make([][]int, len(rows))
	eachParallel(len(rows), func(i int) {
		a.Similarities[i] = flat[i*k : (i+1)*k : (i+1)*k]
		a.classifier.Similarities(a.Similarities[i], rows[i])
		a.tops[i] = top(a.Similarities[i], topAnswers)
		a.record(i)
	})
}

// top lists the n highest similarities' places, best first; of equals the first.
func top(similarities []float32, n int) []int {
	best := make([]int, 0, n+1)
	for c, s := range similarities {
		if len(best) == n && s <= similarities[best[n-1]] {
			continue
		}
		at := len(best)
		for at > 0 && similarities[best[at-1]] < s {
			at--
		}
		best = slices.Insert(best, at, c)
		best = best[:min(n, len(best))]
	}
	return best
}

func (a *answers) record(i int) {
	r, sims := &a.records[a.at[i]], a.Similarities[i]
	p := zeroshot.Softmax(sims, a.classifier.Scale)
	for _, class := range a.tops[i] {
		r.TopClasses = append(r.TopClasses, a.classifier.Classes[class].Name)
		r.TopProbabilities, r.TopSimilarities = append(r.TopProbabilities, p[class]), append(r.TopSimilarities, float64(sims[class]))
	}
	best := a.tops[i][0]
	r.Prediction, r.Probability, r.Similarity = a.classifier.Classes[best].Name, p[best], float64(sims[best])
	r.Margin = zeroshot.Confidence(zeroshot.ByMargin, sims, 1)
	r.Entropy = -zeroshot.Confidence(zeroshot.ByEntropy, sims, a.classifier.Scale)
	if a.Truth[i] >= 0 {
		r.LabelProbability, r.Correct = p[a.Truth[i]], best == a.Truth[i]
		if r.Correct {
			r.Score = 1
		}
	}
}

// clustersOf numbers the values of a column; examples without one stand alone.
func clustersOf(column string, examples []Example) []int {
	if column == "" {
		return nil
	}
	index := map[string]int{}
	out := make([]int, len(examples))
	for i, e := range examples {
		key := e.Labels[column]
		if key == "" {
			key = fmt.Sprintf("\x00%d", i)
		}
		n, ok := index[key]
		if !ok {
			n = len(index)
			index[key] = n
		}
		out[i] = n
	}
	return out
}

func (a *answers) result() *ClassificationResult {
	k := len(a.classifier.Classes)
	r := &ClassificationResult{Skipped: a.skipped, PerClass: make([]ClassResult, k), Classes: make([]string, k), Records: a.records}
	for i, class := range a.classifier.Classes {
		r.Classes[i], r.PerClass[i].Name = class.Name, class.Name
	}
	if k <= maxConfusion {
		r.Confusion = make([][]int, k)
		for i := range r.Confusion {
			r.Confusion[i] = make([]int, k)
		}
	}
	hits1, hits5 := make([]float64, a.Len()), make([]float64, a.Len())
	for i, truth := range a.Truth {
		best := a.tops[i][0]
		r.PerClass[truth].N++
		r.PerClass[best].Predicted++
		if best == truth {
			hits1[i] = 1
			r.PerClass[truth].Correct++
		}
		if slices.Contains(a.tops[i], truth) {
			hits5[i] = 1
		}
		if r.Confusion != nil {
			r.Confusion[truth][best]++
		}
	}
	chance := 1 / float64(k)
	r.Metrics = map[string]Metric{Acc1: shareOf(hits1, a.Clusters, chance), MeanPerClassRecall: meanRecall(r.PerClass, chance)}
	if r.Metrics[Acc1].Clusters > 0 {
		r.Metrics[MeanPerClassRecall] = a.clusteredRecall(hits1, chance)
	}
	if k > topAnswers {
		r.Metrics[Acc5] = shareOf(hits5, a.Clusters, topAnswers*chance)
	}
	return r
}

// shareOf is the share of ones with a level of guessing.
func shareOf(hits []float64, clusters []int, chance float64) Metric {
	m := metrics.Rate(hits, clusters, 0)
	m.Chance = &chance
	return m
}

// z95 is the standard normal's 97.5 % quantile.
const z95 = 1.959963984540054

// clusteredRecall is the mean recall over the classes that occur with a bootstrap interval over clusters of examples. A
// class of which a draw has no example does not count in it.
func (a *answers) clusteredRecall(hits []float64, chance float64) Metric {
	classes := len(a.classifier.Classes)
	counts, right := make([]float64, classes), make([]float64, classes)
	m := metrics.Bootstrap(a.Len(), a.Clusters, 0, func(items []int) float64 {
		clear(counts)
		clear(right)
		for _, i := range items {
			counts[a.Truth[i]]++
			right[a.Truth[i]] += hits[i]
		}
		sum, present := 0.0, 0.0
		for c, n := range counts {
			if n > 0 {
				sum += right[c] / n
				present++
			}
		}
		return sum / present
	}).Widened()
	m.Chance = &chance
	return m
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

// bias fills in gaps between groups and counterfactual pairs.
func (a *answers) bias(r *ClassificationResult, seed uint64) {
	correct, clusters := a.Correct(), a.Clusters
	for _, column := range a.task.Groups {
		list := make([]bias.Answer, a.Len())
		for i, e := range a.examples {
			list[i] = bias.Answer{Group: e.Labels[column], Truth: a.Truth[i], Correct: correct[i], Cluster: i}
			if clusters != nil {
				list[i].Cluster = clusters[i]
			}
		}
		r.Groups = append(r.Groups, bias.Compare(column, list, seed))
	}
	if c := a.task.Counterfactual; c != nil {
		variants := make([]bias.Variant, a.Len())
		for i, e := range a.examples {
			variants[i] = bias.Variant{Match: e.Labels[c.Match], Attribute: e.Labels[c.Attribute], Prediction: a.tops[i][0],
				Correct: correct[i], TruthProbability: a.records[a.at[i]].LabelProbability}
		}
		flips := bias.CompareVariants(c.Match, c.Attribute, variants, seed)
		r.Counterfactual = &flips
	}
}

// minDoubt is how many examples doubt needs on each side to say anything.
const minDoubt = 20

// doubts measures calibration, rules and prediction sets. Accuracy is of all examples; doubt is fitted on validation
// examples and measured on the others.
func (s *Session) doubts(ctx context.Context, task Task, set Dataset, c *zeroshot.Classifier, a *answers, r *ClassificationResult, in *Inputs) error {
	if !s.o.Doubt && task.Doubt == nil {
		return nil
	}
	fit, measure := a.halves()
	own := a // the examples to fit on are among these
	r.DoubtNote = "fitted on half of the examples, chosen by a hash of their identifiers, and measured on the other half"
	if task.Validation != nil {
		e, err := s.other(ctx, task, set, *task.Validation, "validation", in)
		if err != nil {
			return fmt.Errorf("validation: %w", err)
		}
		own = score(c, task, e)
		r.SkippedValidation = own.skipped
		fit, measure = own.all(), a.all()
		for i := range own.records {
			own.records[i].Set = "validation"
		}
		defer func() { r.Records = append(r.Records, own.records...) }()
		r.DoubtNote = "fitted on the task's validation examples and measured on its own"
	}
	unknown, err := s.unknown(ctx, task, set, c, r, in)
	if err != nil {
		return fmt.Errorf("unknown: %w", err)
	}
	defer func() { r.Records = append(r.Records, unknown.records...) }()
	if len(fit) < minDoubt || len(measure) < minDoubt {
		r.DoubtNote = fmt.Sprintf("not measured: %d examples to fit on and %d to measure on; both need %d", len(fit), len(measure), minDoubt)
		return nil
	}
	config := doubt.Config{}
	if task.Doubt != nil {
		config = *task.Doubt
	}
	if r.Doubt, err = doubt.Evaluate(config, own.Pick(fit), a.Pick(measure), unknown.Answers, c.Scale, s.o.Seed); err != nil {
		return err
	}
	rule := &r.Doubt.Chosen
	rule.Task, rule.Model, rule.Classes, rule.Templates = task.Name, s.o.Model, c.Classes, task.Templates
	for _, side := range []*answers{a, own, unknown} {
		side.refuse(rule)
	}
	choosing, measuring := doubt.Divide(config, unknown.Answers)
	own.mark(fit, record.Fitted)
	a.mark(measure, record.Measured)
	unknown.mark(choosing, record.Fitted)
	unknown.mark(measuring, record.Measured)
	return nil
}

// unknown scores the task's images of none of the classes, where it names some. A threshold that is chosen by them needs
// them; otherwise the result notes why there are none.
func (s *Session) unknown(ctx context.Context, task Task, set Dataset, c *zeroshot.Classifier, r *ClassificationResult, in *Inputs) (*answers, error) {
	if task.Unknown == nil {
		return newAnswers(c, task), nil
	}
	e, err := s.other(ctx, task, set, *task.Unknown, "unknown", in)
	if err != nil {
		return nil, err
	}
	a := scoreUnknown(c, task, e)
	r.SkippedUnknown = a.skipped
	if a.Len() > 0 {
		return a, nil
	}
	r.unknownNote = noUnknown(e, a.skipped, r.Classes)
	if task.Doubt != nil && task.Doubt.FalseAccept > 0 {
		return nil, fault.Userf("%s", r.unknownNote)
	}
	return a, nil
}

// labelIsClass is why an image is not of none of the classes.
const labelIsClass = "label is a class"

// noUnknown says why none of the images can stand for what is unknown.
func noUnknown(e *Embedded, skipped map[string]int, classes []string) string {
	n := len(e.Examples)
	switch {
	case n == 0:
		return "no example is chosen: check the split and what where, only and except ask for"
	case skipped[labelIsClass] == n:
		return fmt.Sprintf("%d of %d images have a label that is a class (%s): name others, or leave classes out of the task's own examples with except", n, n, someOf(classes))
	}
	return fmt.Sprintf("none of %s can be used: %s", plural(n, "image"), SkippedWords(skipped))
}

// someOf lists the first few of many names.
func someOf(names []string) string {
	const shown = 8
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}

// all are the places of all answers.
func (a *answers) all() []int {
	list := make([]int, a.Len())
	for i := range list {
		list[i] = i
	}
	return list
}

// mark writes into the records what doubt did with the answers.
func (a *answers) mark(answers []int, part string) {
	for _, i := range answers {
		a.records[a.at[i]].Part = part
	}
}

// halves divides the examples by a hash of their cluster or identifier.
func (a *answers) halves() (first, second []int) {
	for i, e := range a.examples {
		key := e.Labels[a.task.Cluster]
		if key == "" {
			key = e.ID
		}
		h := fnv.New64a()
		h.Write([]byte(key))
		if sum := h.Sum64(); (sum^sum>>32)&1 == 0 {
			first = append(first, i)
		} else {
			second = append(second, i)
		}
	}
	return first, second
}

// refuse writes the rule's answers into the records.
func (a *answers) refuse(rule *zeroshot.Rule) {
	eachParallel(a.Len(), func(i int) {
		r, sims := &a.records[a.at[i]], a.Similarities[i]
		p := zeroshot.Softmax(sims, rule.Scale)
		r.Known, r.Confidence = rule.Known(sims), zeroshot.Confidence(rule.Score, sims, rule.Scale)
		r.FittedProbability = slices.Max(p)
		var set []int
		if rule.Conformal != nil {
			set = rule.Conformal.Set(p)
			r.SetSize = int64(len(set))
		}
		if truth := a.Truth[i]; truth >= 0 {
			r.FittedLabelProbability, r.SetHolds = p[truth], slices.Contains(set, truth)
		}
	})
}

// Numbers of samples that a report shows, of each kind and of one class.
const (
	samplesOfAKind  = 12
	samplesPerClass = 3
)

// samples picks examples for the report: right answers spread over the classes, and the wrong ones the model was surest
// of.
func (a *answers) samples() []Sample {
	probability := make([]float64, a.Len())
	var right, wrong []int
	for i := range a.Truth {
		probability[i] = a.records[a.at[i]].Probability
		if a.tops[i][0] == a.Truth[i] {
			right = append(right, i)
		} else {
			wrong = append(wrong, i)
		}
	}
	slices.SortStableFunc(wrong, func(i, j int) int {
		switch {
		case probability[i] > probability[j]:
			return -1
		case probability[i] < probability[j]:
			return 1
		}
		return 0
	})
	var out []Sample
	for _, list := range [][]int{right, wrong} {
		perClass, taken := map[int]int{}, 0
		limit := max(1, min(samplesPerClass, samplesOfAKind/max(1, len(a.classifier.Classes))+1))
		for _, i := range list {
			if taken == samplesOfAKind || perClass[a.Truth[i]] == limit {
				continue
			}
			perClass[a.Truth[i]]++
			taken++
			out = append(out, a.sample(i))
		}
	}
	return out
}

func (a *answers) sample(i int) Sample {
	r := a.records[a.at[i]]
	s := Sample{ID: r.ID, Truth: a.Truth[i], Correct: r.Correct, row: a.examples[i].Row}
	for k, class := range a.tops[i] {
		s.Ranking = append(s.Ranking, Guess{class, r.TopProbabilities[k], r.TopSimilarities[k]})
	}
	return s
}

// illustrate reads the samples' images.
func illustrate(ctx context.Context, set Dataset, samples []Sample) error {
	wanted := map[string]*[]byte{}
	rows := map[string]int64{}
	for i := range samples {
		wanted[samples[i].ID], rows[samples[i].ID] = &samples[i].Image, samples[i].row
	}
	return fetchImages(ctx, set, wanted, rows)
}

// fetchImages fills in images by identifier: one by one where the set can, else in a pass over it.
func fetchImages(ctx context.Context, set Dataset, wanted map[string]*[]byte, rows map[string]int64) error {
	if direct, ok := set.(imager); ok {
		for _, id := range sortedKeys(wanted) {
			image, err := direct.ImageAt(ctx, rows[id])
			if err == errNoShortcut {
				break
			}
			if err != nil {
				return err
			}
			*wanted[id] = slices.Clone(image)
			delete(wanted, id)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	for example, err := range set.Examples(ctx) {
		if err != nil {
			return err
		}
		if image, ok := wanted[example.ID]; ok {
			*image = slices.Clone(example.Image)
			if delete(wanted, example.ID); len(wanted) == 0 {
				return nil
			}
		}
	}
	return nil
}

// eachParallel runs work(0) … work(n−1) on all cores.
func eachParallel(n int, work func(i int)) {
	var wg sync.WaitGroup
	workers := min(n, runtime.GOMAXPROCS(0))
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				work(i)
			}
		})
	}
	wg.Wait()
}
