package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"

	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/checkpoints"
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
	if err := s.checkTeacher(m, store); err != nil {
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

// teacherDigest is the key of a run's identity that says which model its teacher was, wherever that lies.
const teacherDigest = "teacher.sha256"

// checkTeacher refuses to go on with another teacher than the run began with: a run or a directory of that name may hold
// another model by now. Runs that kept no digest go by the name alone.
func (s *session) checkTeacher(m checkpoints.Model, store *gml.Store) error {
	h := sha256.New()
	for _, p := range m.Config.Params() {
		hashTensor(h, p.Path, store.GetVariable("/"+p.Path).MustValue())
	}
	fmt.Fprintln(h, m.Tokenizer.Fingerprint())
	s.teacherDigest = hex.EncodeToString(h.Sum(nil))
	if s.resumed == nil {
		return nil
	}
	identity := s.resumed.Identity
	switch identity[teacherDigest] {
	case s.teacherDigest:
		identity["teacher"] = s.experiment.Teacher
	case "":
		identity[teacherDigest] = s.teacherDigest
	default:
		return fault.Userf("teacher %s is not the model that %s learned from, the one of %s at that time: resuming would mix the two; name that model, a checkpoint's directory for example, or use another -dir",
			s.experiment.Teacher, s.resumedDir, identity["teacher"])
	}
	return nil
}

// scaleOf is exp(logit_scale) of a model in memory.
func scaleOf(store *gml.Store) float64 {
	return math.Exp(float64(tensors.MustCopyFlatData[float32](store.GetVariable("/logit_scale").MustValue())[0]))
}
