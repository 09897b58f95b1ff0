package checkpoints

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tandem/imaging"
	"tandem/internal/fault"
	"tandem/model"
	"tandem/tokenizer"
)

// Names inside a model directory.
const (
	ModelName     = "model.json"
	TokenizerName = "tokenizer"
	AverageName   = "model_ema.safetensors"
)

const modelFormat = "tandem-model/1"

// Model is everything of a model but its weights: what it takes to build the graph and to feed it.
type Model struct {
	Config     model.Config
	Preprocess Preprocess
	Tokenizer  tokenizer.Tokenizer
	// Weights is the file that inference reads: WeightsName, or AverageName where a moving average was kept.
	Weights string
	// Source says where the model came from.
	Source map[string]string
}

// Preprocess is how an image becomes the tower's input, apart from size, mean and std, which model.Config has.
type Preprocess struct {
	Resize        imaging.ResizeMode    `yaml:"resize,omitempty" json:"resize"`
	Interpolation imaging.Interpolation `yaml:"interpolation,omitempty" json:"interpolation"`
	Alpha         imaging.AlphaMode     `yaml:"alpha,omitempty" json:"alpha"`
	Orient        bool                  `yaml:"orient,omitempty" json:"orient,omitempty"`
	Fill          int                   `yaml:"fill,omitempty" json:"fill,omitempty"`
}

// WithDefaults fills the fields that zero leaves open with open_clip's.
func (p Preprocess) WithDefaults() Preprocess {
	if p.Resize == "" {
		p.Resize = imaging.Shortest
	}
	if p.Interpolation == "" {
		p.Interpolation = imaging.Bicubic
	}
	if p.Alpha == "" {
		p.Alpha = imaging.AlphaDrop
	}
	return p
}

// Validate reports the first field that cannot be used. It expects WithDefaults.
func (p Preprocess) Validate() error {
	c := imaging.DefaultEvalConfig(1) // size, mean and std are the model's to check
	c.Resize, c.Interpolation, c.Alpha, c.Orient, c.Fill = p.Resize, p.Interpolation, p.Alpha, p.Orient, p.Fill
	if err := c.Validate(); err != nil {
		return fmt.Errorf("preprocess.%w", err)
	}
	return nil
}

// Eval is the evaluation transform for a model.
func (p Preprocess) Eval(v model.VisionConfig) imaging.EvalConfig {
	c := imaging.EvalConfig{
		Size: v.ImageSize, Resize: p.Resize, Interpolation: p.Interpolation, Alpha: p.Alpha, Orient: p.Orient, Fill: p.Fill,
	}
	for i := range 3 {
		c.Mean[i], c.Std[i] = float32(v.Mean[i]), float32(v.Std[i])
	}
	return c
}

// modelFile is model.json.
type modelFile struct {
	Format     string            `json:"format"`
	Model      model.Config      `json:"model"`
	Preprocess Preprocess        `json:"preprocess"`
	Tokenizer  tokenizerEntry    `json:"tokenizer"`
	Weights    string            `json:"weights"`
	Source     map[string]string `json:"source,omitempty"`
}

type tokenizerEntry struct {
	Fingerprint string `json:"fingerprint"`
	Context     int    `json:"context"`
}

// Write puts model.json and the tokenizer's files into a directory that WriteDir is filling; the weights are the
// caller's to add. A converted model may come without a tokenizer.
func (m Model) Write(dir string) error {
	if m.Weights == "" {
		m.Weights = WeightsName
	}
	file := modelFile{
		Format: modelFormat, Model: m.Config, Preprocess: m.Preprocess, Weights: m.Weights, Source: m.Source,
		Tokenizer: tokenizerEntry{Context: m.Config.Text.Context},
	}
	if m.Tokenizer != nil {
		file.Tokenizer.Fingerprint = m.Tokenizer.Fingerprint()
	}
	if err := WriteJSON(filepath.Join(dir, ModelName), file); err != nil || m.Tokenizer == nil {
		return err
	}
	return m.Tokenizer.Save(filepath.Join(dir, TokenizerName))
}

// IsModelDir reports whether dir holds a model of tandem's.
func IsModelDir(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, ModelName))
	return err == nil
}

// ReadModelFile reads model.json alone: the model without its tokenizer, of which it tells the fingerprint.
func ReadModelFile(dir string) (m Model, tokenizerFingerprint string, err error) {
	var file modelFile
	path := filepath.Join(dir, ModelName)
	if err := ReadJSON(path, &file); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return Model{}, "", fault.Userf("%s is not a model directory: it has no %s", dir, ModelName)
		}
		return Model{}, "", fault.User(err)
	}
	if file.Format != modelFormat {
		return Model{}, "", fault.Userf("%s: format %q is not %q", path, file.Format, modelFormat)
	}
	c := file.Model.WithDefaults()
	if err := c.Validate(); err != nil {
		return Model{}, "", fault.Userf("%s: %w", path, err)
	}
	m = Model{Config: c, Preprocess: file.Preprocess.WithDefaults(), Weights: file.Weights, Source: file.Source}
	return m, file.Tokenizer.Fingerprint, nil
}

// FinalName is where a run leaves the model that a finished fine-tuning arrived at: the best checkpoint, interpolated
// where that was asked for.
const FinalName = "final"

// Resolve finds a model directory from what a user names: the directory itself, a run, or its checkpoints. A run means its
// final model if it has one, otherwise its newest good checkpoint. A broken final model is an error: another one is not
// what it stands for. warn gets a line for each broken checkpoint passed over.
func Resolve(path string, warn func(string)) (string, error) {
	if IsModelDir(path) {
		return path, nil
	}
	if HasFinal(path) {
		final := filepath.Join(path, FinalName)
		if err := Verify(final); err != nil {
			return "", fault.Userf("the final model of run %s is broken: %w; resume the run to make it anew, or name one of its checkpoints", path, err)
		}
		return final, nil
	}
	for _, root := range []string{path, filepath.Join(path, CheckpointsName)} {
		_, dir, skipped, ok, err := Root{Dir: root}.Newest()
		if err != nil {
			return "", err
		}
		for _, bad := range skipped {
			warn(bad.Error())
		}
		if ok {
			return dir, nil
		}
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fault.Userf("%s does not exist: give a checkpoint's directory or a run's", path)
	}
	return "", fault.Userf("%s is not a checkpoint and holds none: give a directory with %s, or a run's", path, ModelName)
}

// HasFinal reports whether a directory is a run with a final model, whole or not.
func HasFinal(dir string) bool {
	final := filepath.Join(dir, FinalName)
	_, err := os.Stat(filepath.Join(final, ManifestName))
	return err == nil || IsModelDir(final)
}

// CheckpointsName is where a run keeps its step directories.
const CheckpointsName = "checkpoints"
