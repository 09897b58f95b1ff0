package spm

import (
	"slices"
	"unicode/utf8"
)

// unkPenalty is how much worse than the worst piece an unknown character is.
const unkPenalty = 10

// Segmenter finds the best segmentation of a text under a unigram model: the one whose scores sum to the most
// (Viterbi; Kudo, "Subword Regularization", 2018).
type Segmenter struct {
	pieces *Pieces
	scores []float64
	bonus  []bool // user-defined pieces, which win whatever the scores
	max    float64
	unk    int32
	unkAt  float64 // the score of an unknown character
	single bool    // sums are rounded to float32, as in SentencePiece; Hugging Face's are float64
}

// NewSegmenter returns the segmenter of a SentencePiece model.
func NewSegmenter(m *Model) *Segmenter {
	s := &Segmenter{scores: make([]float64, len(m.Pieces)), bonus: make([]bool, len(m.Pieces)), unk: m.Unk, single: true}
	texts := map[string]int32{}
	var normal []float64
	for id, p := range m.Pieces {
		s.scores[id] = float64(p.Score)
		if p.Type == Normal {
			normal = append(normal, float64(p.Score))
		}
		if p.Type == Normal || p.Type == UserDefined {
			texts[p.Text] = int32(id)
		}
		s.bonus[id] = p.Type == UserDefined
	}
	if len(normal) > 0 {
		s.max = slices.Max(normal)
		s.unkAt = float64(float32(slices.Min(normal)) - unkPenalty)
	}
	s.pieces = NewPieces(texts)
	return s
}

// NewPlainSegmenter returns the segmenter of a list of pieces and scores as Hugging Face has it: every piece may be
// matched, none has a bonus. It is not empty.
func NewPlainSegmenter(texts []string, scores []float64, unk int32) *Segmenter {
	ids := make(map[string]int32, len(texts))
	for id, text := range texts {
		if text != "" {
			ids[text] = int32(id)
		}
	}
	return &Segmenter{
		pieces: NewPieces(ids),
		scores: scores,
		bonus:  make([]bool, len(texts)),
		unk:    unk,
		unkAt:  slices.Min(scores) - unkPenalty,
	}
}

// Step is the last piece of the best way to some place in the text.
type Step struct {
	id    int32
	from  int32 // -1 where nothing leads here
	score float64
}

// Segment is a piece of a text.
type Segment struct {
	ID         int32
	Start, End int32
}

// Append appends the segments of text, which is valid UTF-8, from left to right. Neighbouring unknown characters are one
// segment. steps is scratch space, returned for the next call.
func (s *Segmenter) Append(dst []Segment, text []byte, steps []Step) ([]Segment, []Step) {
	steps = slices.Grow(steps[:0], len(text)+1)[:len(text)+1]
	for i := range steps {
		steps[i].from = -1
	}
	steps[0].score = 0
	for at := 0; at < len(text); {
		at += s.stepFrom(steps, text, at)
	}
	begin := len(dst)
	for end := int32(len(text)); end > 0; end = steps[end].from {
		step := steps[end]
		if n := len(dst); step.id == s.unk && n > begin && dst[n-1].ID == s.unk {
			dst[n-1].Start = step.from
			continue
		}
		dst = append(dst, Segment{step.id, step.from, end})
	}
	slices.Reverse(dst[begin:])
	return dst, steps
}

// stepFrom makes all the steps from text[at], and returns the length of the character there.
func (s *Segmenter) stepFrom(steps []Step, text []byte, at int) int {
	_, size := utf8.DecodeRune(text[at:])
	known := false
	for scan := s.pieces.Scan(text[at:]); ; {
		length, id, ok := scan.Next()
		if !ok {
			break
		}
		known = known || length == size
		s.offer(&steps[at+length], id, at, s.score(id, length)+steps[at].score)
	}
	if !known {
		s.offer(&steps[at+size], s.unk, at, s.round(s.unkAt+steps[at].score))
	}
	return size
}

// score returns the score of a piece, whose length counts where it is user-defined.
func (s *Segmenter) score(id int32, length int) float64 {
	if s.bonus[id] {
		return s.round(float64(length)*s.max) - 0.1
	}
	return s.scores[id]
}

func (s *Segmenter) offer(to *Step, id int32, from int, score float64) {
	if to.from < 0 || score > to.score {
		*to = Step{id, int32(from), s.round(score)}
	}
}

func (s *Segmenter) round(score float64) float64 {
	if s.single {
		return float64(float32(score))
	}
	return score
}
