package main

import (
	"context"
	"testing"
)

// lengths is a model whose embeddings are two numbers: the share of even bytes, and of odd ones.
type lengths struct{}

func (lengths) row(s string) []float32 {
	even := float32(0)
	for i := range len(s) {
		if s[i]%2 == 0 {
			even += 1 / float32(len(s))
		}
	}
	return []float32{even, 1 - even}
}

func (m lengths) EncodeImages(_ context.Context, files ...[]byte) ([][]float32, error) {
	return [][]float32{m.row(string(files[0]))}, nil
}

func (m lengths) EncodeTexts(_ context.Context, texts []string) (rows [][]float32, err error) {
	for _, t := range texts {
		rows = append(rows, m.row(t))
	}
	return rows, nil
}

func TestScore(t *testing.T) {
	s := &scorer{model: lengths{}}
	scores, err := s.score(context.Background(), []byte("bbb"), []string{"b", "a", "ab"})
	if err != nil || len(scores) != 3 || scores[0] != 1 || scores[1] != 0 || scores[2] != 0.5 {
		t.Errorf("scores %v, error %v", scores, err)
	}
}
