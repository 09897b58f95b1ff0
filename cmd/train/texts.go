package main

import (
	"context"

	"tandem/train"
)

// fitTexts tells a fine-tuning's step how long its captions are and, where labels are the captions, how few different
// ones there are. Later captions may be longer or more: their batches run as they are.
func (s *session) fitTexts(ctx context.Context, step *train.Stepper) error {
	e := s.experiment
	if e.Init == "" || step.HasHead() {
		return nil
	}
	texts, err := s.sampleCaptions(ctx)
	if err != nil {
		return err
	}
	step.TextLength = texts.longest
	if texts.distinct < e.Data.Batch {
		step.DistinctTexts = texts.distinct
	}
	return nil
}

// captionSample is what the first captions of the training's sources are like.
type captionSample struct {
	captions, distinct int
	longest            int // in tokens
	full               int // captions that fill the context
}

// sampledCaptions bounds how many captions of a source are looked at.
const sampledCaptions = 20_000

// sampleCaptions looks at the captions as the recipe trains on them, templates applied.
func (s *session) sampleCaptions(ctx context.Context) (captionSample, error) {
	tokens := make([]int32, s.experiment.Model.Text.Context)
	known := map[string]bool{}
	var sample captionSample
	for _, src := range s.experiment.Data.Sources {
		seen := 0
		err := eachCaption(ctx, src, func(text string) bool {
			n := s.tokenizer.Encode(tokens, text)
			sample.longest = max(sample.longest, n)
			if n == len(tokens) {
				sample.full++
			}
			known[tokenKey(tokens)] = true
			seen++
			return seen < sampledCaptions
		})
		if err != nil {
			return sample, err
		}
		sample.captions += seen
	}
	sample.distinct = len(known)
	return sample, nil
}
