package main

import (
	"context"
	"sync"

	"tandem/backend"
	"tandem/embed"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

// encoder is what scoring needs of a model.
type encoder interface {
	EncodeImages(ctx context.Context, files ...[]byte) ([][]float32, error)
	EncodeTexts(ctx context.Context, texts []string) ([][]float32, error)
}

// openScorer loads the model whose similarities decide about -min-score.
func openScorer(dir string, p *progress.Reporter) (*scorer, error) {
	m, err := embed.Load(dir, embed.WithBatch(1), embed.WithBackendOptions(backend.Options{Progress: p}), embed.WithWarnings(func(s string) { p.Linef("%s", s) }))
	if err != nil {
		return nil, err
	}
	return &scorer{model: m}, nil
}

// scorer rates captions by their similarity (the cosine of the angle between the embeddings) to the picture.
type scorer struct {
	mu    sync.Mutex // a model serves one call at a time
	model encoder
}

func (s *scorer) score(ctx context.Context, image []byte, captions []string) ([]float64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows, err := s.model.EncodeImages(ctx, image)
	if err != nil {
		return nil, err
	}
	texts, err := s.model.EncodeTexts(ctx, captions)
	if err != nil {
		return nil, err
	}
	scores := make([]float64, len(texts))
	for i, text := range texts {
		for k, x := range text {
			scores[i] += float64(x) * float64(rows[0][k])
		}
	}
	return scores, nil
}

// addScore sets the filter by similarity, if it was asked for.
func (f *buildFlags) addScore(p *progress.Reporter) error {
	switch {
	case f.model == "" && f.build.MinScore == 0:
		return nil
	case f.model == "":
		return fault.Userf("-min-score needs a model to score with: say -model DIR")
	case f.build.MinScore <= -1 || f.build.MinScore >= 1 || f.build.MinScore == 0:
		return fault.Userf("-model needs -min-score, a similarity between -1 and 1 (CLIP's are around 0.2 to 0.35 for good pairs)")
	}
	s, err := openScorer(f.model, p)
	if err != nil {
		return err
	}
	f.build.Score = s.score
	return nil
}
