package main

import (
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tandem/configs"
	"tandem/data"
	"tandem/data/prepare"
	"tandem/internal/progress"
	"tandem/train"
)

// TestTasksReadTheirOwnData: tasks on the recipe's data set read that one, whatever is trained on; tasks on a data set
// that is trained on read the shards of the training.
func TestTasksReadTheirOwnData(t *testing.T) {
	t.Setenv(prepare.RootEnv, shards)
	other := classDirs(t, 2, "train", "test")
	named := data.SourceConfig{Shards: "shapes"}
	for name, sources := range map[string][]data.SourceConfig{
		"replaced": {{Shards: other}}, "second": {{Shards: other}, named}, "first": {named, {Shards: other}}, "left open": nil,
	} {
		t.Run(name, func(t *testing.T) {
			e, err := configs.Load(tiny(t))
			if err != nil {
				t.Fatal(err)
			}
			e.Data.Sources = sources
			s := &session{experiment: e, options: options{offline: true}, progress: progress.New(io.Discard)}
			if err := s.prepareData(t.Context()); err != nil {
				t.Fatal(err)
			}
			tasks, err := s.openTasks(t.Context(), []string{"shapes/name", other})
			if err != nil {
				t.Fatal(err)
			}
			defer s.tasks.Close()
			if got := []int64{tasks[0].Set.Len(), tasks[1].Set.Len()}; got[0] != 64 || got[1] != 4 {
				t.Errorf("shapes/name looks at %d pictures, want 64; %s/test at %d, want 4", got[0], filepath.Base(other), got[1])
			}
		})
	}
}

// TestVocabularyIsOfTheCaptionsTrainedOn: columns and templates count as they do for the batches.
func TestVocabularyIsOfTheCaptionsTrainedOn(t *testing.T) {
	own := classDirs(t, 1, "train")
	var failed error
	seen := map[string]bool{}
	source := data.SourceConfig{Shards: own, Split: "train", Captions: []data.CaptionColumn{{Column: "class", Template: "a drawn {}"}, {Column: "captions"}}}
	for text := range captionsOf(t.Context(), []data.SourceConfig{source, source}, &failed) {
		seen[text] = true
	}
	if want := []string{"a drawn cat", "a drawn dog"}; failed != nil || !slices.Equal(slices.Sorted(maps.Keys(seen)), want) {
		t.Errorf("captions %v (%v), want %v", seen, failed, want)
	}
	for range captionsOf(t.Context(), []data.SourceConfig{source, source}, &failed) {
		break
	}
}

// TestLengthOfAResumedRun: neither the data nor -steps may give the schedule another length.
func TestLengthOfAResumedRun(t *testing.T) {
	for want, s := range map[string]*session{
		"": {resumed: &train.State{Total: 40}},
		"run was to take 48 steps in all; train.length 2 epochs of 256 pairs is 40": {resumedDir: "run", resumed: &train.State{Total: 48}},
		"-steps 41 is more than the 40 steps":                                       {options: options{steps: 41}},
	} {
		if err := s.experiment.Train.Length.UnmarshalText([]byte("2 epochs")); err != nil {
			t.Fatal(err)
		}
		if err := s.checkLength(40, 256); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
