package eval

import (
	"context"
	"fmt"
	"iter"

	"tandem/data/shapes"
	"tandem/eval/record"
	"tandem/internal/zeroshot"
)

// SelectionResult is how often the true caption was told from wrong ones.
type SelectionResult struct {
	Metrics map[string]Metric `json:"metrics"`
	Skipped map[string]int    `json:"skipped"`
	Samples []SelectionSample `json:"-"`
	Records []record.Record   `json:"-"`
}

// SelectionSample is one image with its captions.
type SelectionSample struct {
	ID      string
	Image   []byte
	Texts   []ScoredText // the true one first
	Correct bool
	row     int64
}

// ScoredText is a caption with its similarity.
type ScoredText struct {
	Text       string
	Similarity float64
}

// Metric names of a selection: Chosen for captions with wrong ones, the rest for pairs (Thrush et al., 2022, Winoground).
const (
	Chosen     = "chosen"
	TextScore  = "text_score"
	ImageScore = "image_score"
	GroupScore = "group_score"
)

// selection asks which caption is true of an image. Equal similarities count as wrong.
func (s *Session) selection(ctx context.Context, task Task, set Dataset, in *Inputs) (*SelectionResult, error) {
	if task.Probe != "" {
		set = probeSet{task}
	} else {
		set = filter(set, task.subset())
	}
	e, err := s.embed(ctx, set)
	if err != nil {
		return nil, err
	}
	if err := checkCluster(task, e.Examples); err != nil {
		return nil, err
	}
	in.saw(e)
	in.seal()
	if task.Pairs != "" {
		return s.pairs(ctx, task, e)
	}
	return s.choose(ctx, task, set, e)
}

func (s *Session) choose(ctx context.Context, task Task, set Dataset, e *Embedded) (*SelectionResult, error) {
	r := &SelectionResult{Skipped: map[string]int{}}
	var kept []int
	var texts []string
	var starts []int
	for i, example := range e.Examples {
		wrong := example.Wrong
		for _, column := range task.Wrong {
			if text := example.Labels[column]; text != "" {
				wrong = append(wrong, text)
			}
		}
		switch {
		case e.Rows[i] == nil:
			r.leaveOut(example, "image: "+e.Reasons[i])
		case len(example.Captions) == 0:
			r.leaveOut(example, "no caption")
		case len(wrong) == 0:
			r.leaveOut(example, "no wrong caption")
		default:
			kept, starts = append(kept, i), append(starts, len(texts))
			texts = append(append(texts, example.Captions[0]), wrong...)
		}
	}
	if err := checkMeasured(task, e.Examples, len(kept), r.Skipped); err != nil {
		return nil, err
	}
	rows, err := s.encodeDistinct(ctx, texts)
	if err != nil {
		return nil, err
	}
	starts = append(starts, len(texts))
	hits, chance := make([]float64, len(kept)), 0.0
	for k, i := range kept {
		sample := SelectionSample{ID: e.Examples[i].ID, Correct: true, row: e.Examples[i].Row}
		for t := starts[k]; t < starts[k+1]; t++ {
			sim := float64(zeroshot.Dot(e.Rows[i], rows[t]))
			sample.Texts = append(sample.Texts, ScoredText{texts[t], sim})
			sample.Correct = sample.Correct && (t == starts[k] || sim < sample.Texts[0].Similarity)
		}
		if sample.Correct {
			hits[k] = 1
		}
		chance += 1 / float64(len(sample.Texts)) / float64(len(kept))
		r.Records = append(r.Records, sample.record(e.Examples[i], task))
		if len(r.Samples) < samplesOfAKind {
			r.Samples = append(r.Samples, sample)
		}
	}
	var examples []Example
	for _, i := range kept {
		examples = append(examples, e.Examples[i])
	}
	r.Metrics = map[string]Metric{Chosen: shareOf(hits, clustersOf(task.Cluster, examples), chance)}
	if !s.o.Pictures {
		return r, nil
	}
	wanted, where := map[string]*[]byte{}, map[string]int64{}
	for i := range r.Samples {
		wanted[r.Samples[i].ID], where[r.Samples[i].ID] = &r.Samples[i].Image, r.Samples[i].row
	}
	return r, fetchImages(ctx, set, wanted, where)
}

// leaveOut counts and records an example that was not scored.
func (r *SelectionResult) leaveOut(e Example, reason string) {
	r.Skipped[reason]++
	r.Records = append(r.Records, record.Record{Set: "test", ID: e.ID, Skipped: reason, Metadata: e.Labels, Known: true})
}

func (s SelectionSample) record(e Example, task Task) record.Record {
	r := record.Record{Set: "test", ID: e.ID, Label: s.Texts[0].Text, Correct: s.Correct, Known: true, Metadata: e.Labels, Cluster: e.Labels[task.Cluster]}
	best := 0
	for i, t := range s.Texts {
		if t.Similarity > s.Texts[best].Similarity {
			best = i
		}
	}
	r.Prediction, r.Similarity = s.Texts[best].Text, s.Texts[best].Similarity
	if s.Correct {
		r.Score = 1
	}
	return r
}

// encodeDistinct encodes each text once.
func (s *Session) encodeDistinct(ctx context.Context, texts []string) ([][]float32, error) {
	index := map[string]int{}
	var distinct []string
	for _, t := range texts {
		if _, ok := index[t]; !ok {
			index[t] = len(distinct)
			distinct = append(distinct, t)
		}
	}
	rows, err := s.enc.EncodeTexts(ctx, distinct)
	if err != nil {
		return nil, err
	}
	if err := checkRows(len(rows), len(distinct), "captions"); err != nil {
		return nil, err
	}
	out := make([][]float32, len(texts))
	for i, t := range texts {
		out[i] = rows[index[t]]
	}
	return out, nil
}

// pairs scores examples two by two: text score, each image finds its caption; image score, each caption its image; group
// score, both. A pair is in the cluster of its first example.
func (s *Session) pairs(ctx context.Context, task Task, e *Embedded) (*SelectionResult, error) {
	r := &SelectionResult{Skipped: map[string]int{}}
	index := map[string]int{}
	var sets [][]int
	for i, example := range e.Examples {
		key := example.Labels[task.Pairs]
		if e.Rows[i] == nil || key == "" || len(example.Captions) == 0 {
			reason := "no pair or caption"
			if e.Rows[i] == nil {
				reason = "image: " + e.Reasons[i]
			}
			r.leaveOut(example, reason)
			continue
		}
		n, ok := index[key]
		if !ok {
			n = len(sets)
			index[key] = n
			sets = append(sets, nil)
		}
		sets[n] = append(sets[n], i)
	}
	var texts []string
	for _, example := range e.Examples {
		text := ""
		if len(example.Captions) > 0 {
			text = example.Captions[0]
		}
		texts = append(texts, text)
	}
	rows, err := s.encodeDistinct(ctx, texts)
	if err != nil {
		return nil, err
	}
	hits := map[string][]float64{}
	var first []Example // of each pair
	for _, set := range sets {
		if len(set) != 2 {
			for _, i := range set {
				r.leaveOut(e.Examples[i], fmt.Sprintf("%d examples of a pair", len(set)))
			}
			continue
		}
		first = append(first, e.Examples[set[0]])
		text, image := scorePair(e.Rows[set[0]], e.Rows[set[1]], rows[set[0]], rows[set[1]])
		rec := record.Record{Set: "test", ID: e.Examples[set[0]].ID, Label: texts[set[0]], Known: true, Correct: text && image,
			TextCorrect: text, ImageCorrect: image, Metadata: e.Examples[set[0]].Labels, Cluster: e.Examples[set[0]].Labels[task.Cluster]}
		for name, hit := range map[string]bool{TextScore: text, ImageScore: image, GroupScore: text && image} {
			score := 0.0
			if hit {
				score = 1
			}
			hits[name] = append(hits[name], score)
		}
		if text && image {
			rec.Score = 1
		}
		r.Records = append(r.Records, rec)
	}
	if len(first) == 0 {
		if err := checkMeasured(task, e.Examples, 0, r.Skipped); err != nil {
			return nil, fmt.Errorf("pairs: no two examples share a value of column %q: %w", task.Pairs, err)
		}
	}
	r.Metrics = map[string]Metric{}
	for name, chance := range map[string]float64{TextScore: 1.0 / 4, ImageScore: 1.0 / 4, GroupScore: 1.0 / 6} {
		r.Metrics[name] = shareOf(hits[name], clustersOf(task.Cluster, first), chance)
	}
	return r, nil
}

func scorePair(image0, image1, text0, text1 []float32) (text, image bool) {
	s00, s01 := zeroshot.Dot(image0, text0), zeroshot.Dot(image0, text1)
	s10, s11 := zeroshot.Dot(image1, text0), zeroshot.Dot(image1, text1)
	return s00 > s01 && s11 > s10, s00 > s10 && s11 > s01
}

// probeSet generates pictures of shapes with a true caption and wrong ones.
type probeSet struct{ task Task }

// probeCount is how many pictures a probe has by default.
const probeCount = 500

func (p probeSet) source() (*shapes.Source, error) {
	return shapes.New(shapes.Config{Size: 64, Train: 1, Test: 1, HeldOut: 1})
}

// Examples implements Dataset.
func (p probeSet) Examples(context.Context) iter.Seq2[Example, error] {
	return func(yield func(Example, error) bool) {
		source, err := p.source()
		if err != nil {
			yield(Example{}, err)
			return
		}
		n := p.task.Count
		if n == 0 {
			n = probeCount
		}
		for i := range uint64(n) {
			probe, err := source.Probe(p.task.Probe, i)
			e := Example{ID: probe.Key, Image: probe.Image, Captions: []string{probe.Correct}, Wrong: probe.Wrong, Labels: probe.Labels, Row: int64(i)}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Fingerprint names the generator's parameters: its pictures are a function of them.
func (p probeSet) Fingerprint() string {
	return fmt.Sprintf("shapes probe %s %d", p.task.Probe, p.task.Count)
}
