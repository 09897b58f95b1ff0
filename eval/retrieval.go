package eval

import (
	"context"
	"runtime"
	"slices"
	"sync"

	"tandem/internal/zeroshot"
)

// RetrievalResult is what a search of texts by image and of images by text found.
type RetrievalResult struct {
	Images  int               `json:"images"`
	Texts   int               `json:"texts"`
	Metrics map[string]Metric `json:"metrics"`
	Skipped map[string]int    `json:"skipped"`
	Samples []RetrievalSample `json:"-"`
}

// RetrievalSample is one query text with the images found for it.
type RetrievalSample struct {
	Text  string
	Found []FoundImage
}

// FoundImage is an image of an answer.
type FoundImage struct {
	ID       string
	Image    []byte
	Relevant bool
}

// cutoffs are the k of R@k.
var cutoffs = []int{1, 5, 10}

// recallNames are the metrics' names by direction.
var recallNames = map[bool][]string{
	true:  {"image_to_text_R@1", "image_to_text_R@5", "image_to_text_R@10"},
	false: {"text_to_image_R@1", "text_to_image_R@5", "text_to_image_R@10"},
}

// Retrieve searches both ways over a captioned set. Images and texts belong together if they share a key: the value of
// the metadata column match, or, where match is empty, the example itself. A text that several examples carry is one
// candidate that belongs to all their keys. R@k is the share of queries with a relevant candidate among the first k;
// of equally similar candidates the irrelevant ones count as ahead.
func Retrieve(ctx context.Context, enc Encoder, set Dataset, match string) (*RetrievalResult, error) {
	pool := retrievalPool{textIndex: map[string]int{}, keyIndex: map[string]int{}}
	result := &RetrievalResult{Skipped: map[string]int{}}
	var failed error
	for example, row := range encoded(ctx, enc, set, &failed) {
		switch {
		case row == nil:
			result.Skipped["image"]++
		case len(example.Captions) == 0:
			result.Skipped["no caption"]++
		default:
			pool.add(example, row, match)
		}
	}
	if failed != nil && !isImageError(failed) {
		return nil, failed
	}
	rows, err := enc.EncodeTexts(ctx, pool.texts)
	if err != nil {
		return nil, err
	}
	if err := checkRows(len(rows), len(pool.texts), "captions"); err != nil {
		return nil, err
	}
	result.Images, result.Texts = len(pool.images), len(pool.texts)
	result.Metrics = map[string]Metric{}
	imageKeys := make([][]int, len(pool.images))
	for i, key := range pool.imageKeys {
		imageKeys[i] = []int{key}
	}
	pool.recalls(result, true, pool.images, imageKeys, rows, pool.textKeys)
	pool.recalls(result, false, rows, pool.textKeys, pool.images, imageKeys)
	result.Samples = pool.sample(rows)
	return result, nil
}

// retrievalPool holds the candidates of both sides.
type retrievalPool struct {
	images    [][]float32
	imageKeys []int
	examples  []Example // without captions, for the report
	texts     []string
	textKeys  [][]int
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
	p.images = append(p.images, slices.Clone(row))
	p.imageKeys = append(p.imageKeys, k)
	p.examples = append(p.examples, Example{ID: example.ID, Image: slices.Clone(example.Image)})
	for _, text := range example.Captions {
		t, ok := p.textIndex[text]
		if !ok {
			t = len(p.texts)
			p.textIndex[text] = t
			p.texts = append(p.texts, text)
			p.textKeys = append(p.textKeys, nil)
		}
		if !slices.Contains(p.textKeys[t], k) {
			p.textKeys[t] = append(p.textKeys[t], k)
		}
	}
}

// recalls fills in R@k of one direction.
func (p *retrievalPool) recalls(r *RetrievalResult, byImage bool, queries [][]float32, queryKeys [][]int, candidates [][]float32, candidateKeys [][]int) {
	byKey := make([][]int, len(p.keyIndex))
	for c, keys := range candidateKeys {
		for _, k := range keys {
			byKey[k] = append(byKey[k], c)
		}
	}
	ranks, relevant := make([]int, len(queries)), make([]int, len(queries))
	eachParallel(len(queries), func(q int) {
		ranks[q], relevant[q] = rankOfFirstRelevant(queries[q], queryKeys[q], candidates, byKey)
	})
	for i, k := range cutoffs {
		hits, chance := 0, 0.0
		for q := range queries {
			if ranks[q] < k {
				hits++
			}
			chance += hitChance(len(candidates), relevant[q], k)
		}
		r.Metrics[recallNames[byImage][i]] = Share(hits, len(queries), chance/float64(max(1, len(queries))))
	}
}

// rankOfFirstRelevant is the number of irrelevant candidates at least as similar as the best relevant one.
func rankOfFirstRelevant(query []float32, keys []int, candidates [][]float32, byKey [][]int) (rank, relevant int) {
	isRelevant := map[int]bool{}
	best := float32(-2)
	for _, k := range keys {
		for _, c := range byKey[k] {
			isRelevant[c] = true
			best = max(best, zeroshot.Dot(query, candidates[c]))
		}
	}
	for c, row := range candidates {
		if !isRelevant[c] && zeroshot.Dot(query, row) >= best {
			rank++
		}
	}
	return rank, len(isRelevant)
}

// hitChance is the probability that k of n candidates drawn at random hold one of m relevant ones.
func hitChance(n, m, k int) float64 {
	if m > n-k {
		return 1
	}
	miss := 1.0
	for i := range k {
		miss *= float64(n-m-i) / float64(n-i)
	}
	return 1 - miss
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

// Numbers of queries and answers that the report shows.
const (
	sampleQueries = 12
	sampleAnswers = 6
)

// sample picks queries spread over the texts, with the images found for each.
func (p *retrievalPool) sample(rows [][]float32) []RetrievalSample {
	var samples []RetrievalSample
	for q := range min(sampleQueries, len(p.texts)) {
		t := q * len(p.texts) / min(sampleQueries, len(p.texts))
		order := make([]int, len(p.images))
		sims := make([]float32, len(p.images))
		for i, image := range p.images {
			order[i], sims[i] = i, zeroshot.Dot(rows[t], image)
		}
		slices.SortStableFunc(order, func(a, b int) int {
			switch {
			case sims[a] > sims[b]:
				return -1
			case sims[a] < sims[b]:
				return 1
			default:
				return 0
			}
		})
		s := RetrievalSample{Text: p.texts[t]}
		for _, i := range order[:min(sampleAnswers, len(order))] {
			relevant := slices.Contains(p.textKeys[t], p.imageKeys[i])
			s.Found = append(s.Found, FoundImage{p.examples[i].ID, p.examples[i].Image, relevant})
		}
		samples = append(samples, s)
	}
	return samples
}
