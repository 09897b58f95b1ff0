package eval

import (
	"cmp"
	"context"
	"slices"

	"tandem/eval/metrics"
	"tandem/eval/record"
	"tandem/eval/retrieve"
	"tandem/internal/fault"
	"tandem/internal/zeroshot"
)

// RetrievalResult is what a search of texts by image and of images by text found.
type RetrievalResult struct {
	Images  int               `json:"images"`
	Texts   int               `json:"texts"`
	Metrics map[string]Metric `json:"metrics"`
	Skipped map[string]int    `json:"skipped"`
	Samples []RetrievalSample `json:"-"`
	Records []record.Record   `json:"-"`
}

// RetrievalSample is one query text with the images found for it.
type RetrievalSample struct {
	Text  string
	Rank  int // of the first right image, from 1
	Found []FoundImage
}

// FoundImage is an image of an answer.
type FoundImage struct {
	ID       string
	Image    []byte
	Relevant bool
	row      int64
}

// cutoffs are the k of R@k.
var cutoffs = []int{1, 5, 10}

// Directions of retrieval, as metrics and records name them.
const (
	ImageToText = "image_to_text"
	TextToImage = "text_to_image"
)

// MedianRank ends the names of the metrics of which less is better.
const MedianRank = "_median_rank"

// retrievalMetrics are the metrics of a direction.
var retrievalMetrics = []string{"_R@1", "_R@5", "_R@10", "_mAP@10", MedianRank}

// retrieve searches both ways over a captioned set. Images and texts belong together if they share a key: the value of
// the metadata column match, or, where match is empty, the example itself. A text that several examples carry is one
// candidate that belongs to all their keys. R@k is the share of queries with a relevant candidate among the first k;
// of equally similar candidates the irrelevant ones count as ahead. The texts of one image are a cluster, and with the
// task's column those of the images that share its value.
func (s *Session) retrieve(ctx context.Context, task Task, set Dataset, in *Inputs) (*RetrievalResult, error) {
	set = filter(set, task.subset())
	e, err := s.embed(ctx, set)
	if err != nil {
		return nil, err
	}
	if err := checkCluster(task, e.Examples); err != nil {
		return nil, err
	}
	in.saw(e)
	in.seal()
	pool := retrievalPool{textIndex: map[string]int{}, keyIndex: map[string]int{}}
	result := &RetrievalResult{Skipped: map[string]int{}, Metrics: map[string]Metric{}}
	for i, example := range e.Examples {
		reason := ""
		switch {
		case e.Rows[i] == nil:
			reason = "image: " + e.Reasons[i]
		case len(example.Captions) == 0:
			reason = "no caption"
		case task.Match != "" && example.Labels[task.Match] == "":
			reason = "no match value"
		default:
			pool.add(example, e.Rows[i], task.Match)
			continue
		}
		result.leaveOut(ImageToText, example, reason)
	}
	if n := result.Skipped["no match value"]; n > 0 && len(pool.images) == 0 {
		return nil, fault.Userf("match: no example has a value in column %q, which says what belongs together; the columns are %s", task.Match, columnNames(e.Examples))
	}
	if err := checkMeasured(task, e.Examples, len(pool.images), result.Skipped); err != nil {
		return nil, err
	}
	rows, err := s.enc.EncodeTexts(ctx, pool.texts)
	if err != nil {
		return nil, err
	}
	if err := checkRows(len(rows), len(pool.texts), "captions"); err != nil {
		return nil, err
	}
	result.Images, result.Texts = len(pool.images), len(pool.texts)
	toText, toImage, err := retrieve.Rank(retrieve.FromRows(pool.images), retrieve.FromRows(rows), pool.links())
	if err != nil {
		return nil, err
	}
	imageClusters, textClusters := pool.clusters(task.Cluster)
	result.add(ImageToText, toText, imageClusters, s.o.Seed)
	result.add(TextToImage, toImage, textClusters, s.o.Seed)
	result.Records = append(result.Records, pool.records(task, toText, toImage)...)
	result.Samples = pool.sample(rows, toImage)
	if s.o.Pictures {
		err = illustrateFound(ctx, set, result.Samples)
	}
	return result, err
}

// leaveOut counts and records an example that was not scored.
func (r *RetrievalResult) leaveOut(set string, example Example, reason string) {
	r.Skipped[reason]++
	r.Records = append(r.Records, record.Record{Set: set, ID: example.ID, Skipped: reason, Metadata: example.Labels, Known: true})
}

// add fills in the metrics of one direction.
func (r *RetrievalResult) add(direction string, ranks *retrieve.Ranks, clusters []int, seed uint64) {
	for i, k := range cutoffs {
		m := metrics.Rate(ranks.RecallAt(k), clusters, seed)
		chance := ranks.ChanceAt(k)
		m.Chance = &chance
		r.Metrics[direction+retrievalMetrics[i]] = m
	}
	r.Metrics[direction+"_mAP@10"] = metrics.Rate(ranks.AveragePrecisionAt(10), clusters, seed)
	r.Metrics[direction+MedianRank] = retrieve.MedianRank(ranks.FirstRanks(), clusters, seed)
}

// retrievalPool holds the candidates of both sides.
type retrievalPool struct {
	images    [][]float32
	imageKeys []int
	examples  []Example
	texts     []string
	textKeys  [][]int
	textFrom  []int // the first image that carries the text
	textIndex map[string]int
	keyIndex  map[string]int
}

func (p *retrievalPool) add(example Example, row []float32, match string) {
	key := example.ID
	if match != "" {
		key = example.Labels[match]
	}
	k, ok := p.keyIndex[key]
	if !ok {
		k = len(p.keyIndex)
		p.keyIndex[key] = k
	}
	p.images = append(p.images, row)
	p.imageKeys = append(p.imageKeys, k)
	p.examples = append(p.examples, example)
	for _, text := range example.Captions {
		t, ok := p.textIndex[text]
		if !ok {
			t = len(p.texts)
			p.textIndex[text] = t
			p.texts = append(p.texts, text)
			p.textKeys = append(p.textKeys, nil)
			p.textFrom = append(p.textFrom, len(p.images)-1)
		}
		if !slices.Contains(p.textKeys[t], k) {
			p.textKeys[t] = append(p.textKeys[t], k)
		}
	}
}

// links lists the texts that belong to each image.
func (p *retrievalPool) links() retrieve.Links {
	byKey := make([][]int, len(p.keyIndex))
	for t, keys := range p.textKeys {
		for _, k := range keys {
			byKey[k] = append(byKey[k], t)
		}
	}
	relevant := make([][]int, len(p.images))
	for i, k := range p.imageKeys {
		relevant[i] = byKey[k]
	}
	return retrieve.NewLinks(relevant)
}

// clusters of the images and of the texts: a text goes with the first image that carries it.
func (p *retrievalPool) clusters(column string) (images, texts []int) {
	images = clustersOf(column, p.examples)
	if images == nil {
		images = make([]int, len(p.images))
		for i := range images {
			images[i] = i
		}
	}
	texts = make([]int, len(p.texts))
	for t, i := range p.textFrom {
		texts[t] = images[i]
	}
	return images, texts
}

// records of both directions. Their clusters are those of the intervals: the task's column, or else the image.
func (p *retrievalPool) records(task Task, toText, toImage *retrieve.Ranks) []record.Record {
	cluster := func(e Example) string { return cmp.Or(e.Labels[task.Cluster], e.ID) }
	var out []record.Record
	add := func(ranks *retrieve.Ranks, fill func(q int) record.Record) {
		hits, precisions := ranks.RecallAt(1), ranks.AveragePrecisionAt(10)
		for q := range ranks.Queries() {
			r := fill(q)
			r.Known, r.Correct, r.Score, r.AveragePrecision = true, hits[q] == 1, hits[q], precisions[q]
			if places := ranks.Of(q); len(places) > 0 {
				r.Rank = int64(places[0]) + 1
			}
			out = append(out, r)
		}
	}
	add(toText, func(q int) record.Record {
		e := p.examples[q]
		return record.Record{Set: ImageToText, ID: e.ID, Metadata: e.Labels, Cluster: cluster(e)}
	})
	add(toImage, func(q int) record.Record {
		return record.Record{Set: TextToImage, ID: p.texts[q], Cluster: cluster(p.examples[p.textFrom[q]])}
	})
	return out
}

// Numbers of queries and answers that the report shows.
const (
	sampleQueries = 12
	sampleAnswers = 8
)

// sample picks queries spread over the texts, with the images found for each.
func (p *retrievalPool) sample(rows [][]float32, ranks *retrieve.Ranks) []RetrievalSample {
	var samples []RetrievalSample
	for q := range min(sampleQueries, len(p.texts)) {
		t := q * len(p.texts) / min(sampleQueries, len(p.texts))
		sims := make([]float32, len(p.images))
		for i, image := range p.images {
			sims[i] = zeroshot.Dot(rows[t], image)
		}
		s := RetrievalSample{Text: p.texts[t]}
		if places := ranks.Of(t); len(places) > 0 {
			s.Rank = int(places[0]) + 1
		}
		for _, i := range top(sims, sampleAnswers) {
			relevant := slices.Contains(p.textKeys[t], p.imageKeys[i])
			s.Found = append(s.Found, FoundImage{ID: p.examples[i].ID, Relevant: relevant, row: p.examples[i].Row})
		}
		samples = append(samples, s)
	}
	return samples
}

// illustrateFound reads the images of all samples, each once.
func illustrateFound(ctx context.Context, set Dataset, samples []RetrievalSample) error {
	images, rows := map[string]*[]byte{}, map[string]int64{}
	for _, s := range samples {
		for _, f := range s.Found {
			images[f.ID], rows[f.ID] = new([]byte), f.row
		}
	}
	wanted := map[string]*[]byte{}
	for id, image := range images {
		wanted[id] = image
	}
	if err := fetchImages(ctx, set, wanted, rows); err != nil {
		return err
	}
	for _, s := range samples {
		for i := range s.Found {
			s.Found[i].Image = *images[s.Found[i].ID]
		}
	}
	return nil
}
