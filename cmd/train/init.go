package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/checkpoints"
	"tandem/checkpoints/foreign"
	"tandem/internal/fault"
)

// baseName is where a fine-tuning keeps the model that it started from: going on from adapters needs it, and so does
// interpolating back to it. The original may move or vanish.
const baseName = "base"

// prepareInit reads the model that training starts from, if the recipe names one, and takes over its configuration,
// preprocessing and tokenizer. A resumed run takes its own copy.
func (s *session) prepareInit(ctx context.Context) error {
	if s.experiment.Init == "" {
		return nil
	}
	dir := filepath.Join(s.dir, baseName)
	if s.resumed != nil {
		return s.adopt(ctx, dir, foreign.Options{})
	}
	source := s.experiment.Init
	if !foreign.IsHub(source) {
		var err error
		if source, err = localModel(ctx, source, s.progress.Linef); err != nil {
			return err
		}
	}
	asked := s.experiment.Model
	if err := s.adopt(ctx, source, foreign.Options{ImageSize: asked.Vision.ImageSize, Context: asked.Text.Context, Name: s.experiment.Init}); err != nil {
		return err
	}
	if s.options.check {
		return nil
	}
	return checkpoints.WriteDir(dir, func(tmp string) error {
		if err := s.initial.Write(tmp); err != nil {
			return err
		}
		return checkpoints.WriteTensors(filepath.Join(tmp, checkpoints.WeightsName), variables(s.initialStore))
	})
}

// adopt loads a model and makes it the experiment's.
func (s *session) adopt(ctx context.Context, source string, opts foreign.Options) (err error) {
	warn := func(line string) { s.warn("%s: %s", s.experiment.Init, line) }
	hub := foreign.HubOptions{Offline: s.options.offline, Progress: s.progress}
	if s.initial, s.initialStore, err = foreign.Load(ctx, source, opts, hub, warn); err != nil {
		return err
	}
	for _, line := range s.experiment.Disregarded(s.initial) {
		warn(line)
	}
	adopted, err := s.experiment.Adopt(s.initial)
	if err != nil {
		return fault.Userf("%s with the model of %s: %w", s.options.config, s.experiment.Init, err)
	}
	if was, is := s.experiment.Data.Cache.Fit, adopted.Data.Cache.Fit; was != is {
		s.progress.Linef("data.cache.fit is %d in place of %d: the initial model takes %d pixels", is, was, adopted.Data.Image.Size)
	}
	s.experiment, s.tokenizer = adopted, s.initial.Tokenizer
	return s.addBias()
}

// addBias gives the initial model the bias on the logits that loss.name siglip learns, where it has none. It changes no
// order of answers.
func (s *session) addBias() error {
	bias := s.experiment.Model.LogitBiasInit
	if bias == nil || s.initial.Config.LogitBiasInit != nil {
		return nil
	}
	s.initial.Config.LogitBiasInit = bias
	_, err := s.initialStore.CreateVariable("/logit_bias", tensors.FromScalar(float32(*bias)))
	return err
}

// localModel finds a model that is not on the hub, as every command does, and checks the files of one of tandem's.
func localModel(ctx context.Context, path string, say func(string, ...any)) (string, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fault.Userf("the model %s does not exist: give a model's directory, a run's, or hf://org/name", path)
	}
	warn := func(line string) { say("passing over a broken checkpoint: %s", line) }
	dir, err := foreign.Locate(ctx, path, "", foreign.HubOptions{}, warn)
	if err == nil && dir == path && checkpoints.IsModelDir(path) {
		err = fault.User(checkpoints.Verify(path))
	}
	return dir, err
}

func variables(store *gml.Store) []*gml.Variable {
	var list []*gml.Variable
	for v := range store.IterVariables() {
		list = append(list, v)
	}
	return list
}

// warn prints a line that -check counts.
func (s *session) warn(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	s.warnings = append(s.warnings, line)
	s.progress.Linef("warning: %s", line)
}
