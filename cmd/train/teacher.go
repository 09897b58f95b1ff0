package main

import (
	"context"
	"math"

	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/checkpoints/foreign"
	"tandem/embed"
	"tandem/internal/fault"
)

// prepareTeacher computes the teacher's rows of every image and caption, once.
func (s *session) prepareTeacher(ctx context.Context) error {
	e := s.experiment
	if s.stepper.Loss.Distill == nil {
		return nil
	}
	if e.Teacher == "" {
		return fault.Userf("loss.distill needs a teacher: name its checkpoint with teacher")
	}
	source := e.Teacher
	if !foreign.IsHub(source) {
		var err error
		if source, err = localModel(ctx, source, s.progress.Linef); err != nil {
			return err
		}
	}
	m, store, err := foreign.Load(ctx, source, foreign.Options{}, foreign.HubOptions{Offline: s.options.offline, Progress: s.progress}, nil)
	if err != nil {
		return err
	}
	teacher, err := embed.New(m, store, embed.WithBackend(s.backend.Backend))
	if err != nil {
		return err
	}
	s.stepper.TeacherScale = teacher.Scale()
	if s.rows.teacherImages, err = s.encodeImages(ctx, teacher, store, "teacher's image tower"); err != nil {
		return err
	}
	s.rows.teacherTexts, err = s.encodeCaptions(ctx, teacher, "teacher's text tower")
	return err
}

// scaleOf is exp(logit_scale) of a model in memory.
func scaleOf(store *gml.Store) float64 {
	return math.Exp(float64(tensors.MustCopyFlatData[float32](store.GetVariable("/logit_scale").MustValue())[0]))
}
