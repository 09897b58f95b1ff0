// Package configs nests every part's own configuration into one Experiment, and finds recipes: YAML files, of which
// some are embedded in the program. A recipe may be derived from another by a few lines (base). Unknown keys are errors.
package configs

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"tandem/checkpoints"
	"tandem/data"
	"tandem/data/prepare"
	"tandem/internal/fault"
	"tandem/internal/strictyaml"
	"tandem/loss"
	"tandem/model"
	"tandem/optim"
	"tandem/train"
	"tandem/train/tune"
)

// Experiment is everything that decides a training.
type Experiment struct {
	// Base is the recipe that this one changes.
	Base string `yaml:"base,omitempty" json:"base,omitempty"`
	Name string `yaml:"name" json:"name"`

	// Init is a model to start from: a directory of any format, a run, or hf://org/name. The model, its preprocessing and
	// its tokenizer come from there; of the model section count only vision.image_size and text.context (positions are
	// resized), vision.patch_dropout and text.lengths, and for loss.name siglip the logit_bias_init of a model without one.
	Init string      `yaml:"init,omitempty" json:"init,omitempty"`
	Tune tune.Config `yaml:"tune,omitempty" json:"tune"`
	// Teacher is the model that loss.distill learns from, named as Init is.
	Teacher string `yaml:"teacher,omitempty" json:"teacher,omitempty"`

	Dataset    prepare.Config         `yaml:"dataset,omitempty" json:"dataset"`
	Model      ModelConfig            `yaml:"model" json:"model"`
	Preprocess checkpoints.Preprocess `yaml:"preprocess,omitempty" json:"preprocess"`
	Tokenizer  TokenizerConfig        `yaml:"tokenizer,omitempty" json:"tokenizer"`
	Data       data.Config            `yaml:"data" json:"data"`
	Loss       loss.Config            `yaml:"loss,omitempty" json:"loss"`
	Optim      optim.Config           `yaml:"optim,omitempty" json:"optim"`
	Train      train.Config           `yaml:"train" json:"train"`
	Eval       EvalConfig             `yaml:"eval,omitempty" json:"eval"`

	// LRRange is the range of optim.lr in which the recipe was measured; train -check warns of anything else.
	LRRange [2]float64 `yaml:"lr_range,omitempty" json:"lr_range,omitempty"`
}

// ModelConfig is a model.Config that may start from a built-in one.
type ModelConfig struct {
	Preset       string `yaml:"preset,omitempty" json:"preset,omitempty"`
	model.Config `yaml:",inline"`
}

// TokenizerConfig chooses the vocabulary.
type TokenizerConfig struct {
	// Kind is clip (CLIP's 49,408 ids), train (a byte-pair vocabulary trained on the captions) or a directory.
	Kind string `yaml:"kind,omitempty" json:"kind"`
	// Vocab is the size of a trained vocabulary.
	Vocab int `yaml:"vocab,omitempty" json:"vocab,omitempty"`
}

// EvalConfig says what is evaluated during and after training.
type EvalConfig struct {
	// Hook lists the tasks that run every train.eval_every; Final the ones that run at the end. Each entry is a task's
	// or a suite's name, or a file.
	Hook  []string `yaml:"hook,omitempty" json:"hook,omitempty"`
	Final []string `yaml:"final,omitempty" json:"final,omitempty"`

	// Guard lists the tasks that a fine-tuning should not lose; the report sets them against Final, before and after.
	Guard []string `yaml:"guard,omitempty" json:"guard,omitempty"`
	// Select chooses the best checkpoint, on data that nothing else is judged by.
	Select *Select `yaml:"select,omitempty" json:"select,omitempty"`
	// Wise interpolates between the initial and the fine-tuned weights (WiSE-FT: Wortsman et al., 2022).
	Wise *Wise `yaml:"wise,omitempty" json:"wise,omitempty"`
}

// Select names a metric, measured every train.eval_every.
type Select struct {
	Task   string `yaml:"task" json:"task"`
	Metric string `yaml:"metric,omitempty" json:"metric,omitempty"` // default: the task's headline
	// Patience ends the training after that many measurements without a new best; 0 never does.
	Patience int `yaml:"patience,omitempty" json:"patience,omitempty"`
}

// Wise is a sweep over the weight α of the fine-tuned parameters. The smallest α counts whose metric on Select's task is
// within Tolerance of the best.
type Wise struct {
	Alphas    []float64 `yaml:"alphas,omitempty" json:"alphas"`       // default 0, 0.1, … 1
	Tolerance *float64  `yaml:"tolerance,omitempty" json:"tolerance"` // default 0.01: one point
}

//go:embed recipes/*.yaml
var recipes embed.FS

// Names lists the embedded recipes.
func Names() []string {
	entries, _ := fs.Glob(recipes, "recipes/*.yaml")
	for i, e := range entries {
		entries[i] = strings.TrimSuffix(filepath.Base(e), ".yaml")
	}
	slices.Sort(entries)
	return entries
}

// Load finds a recipe by name or path, lays it over its base, applies assignments of the form path=value, fills
// defaults and validates.
func Load(nameOrPath string, assignments ...string) (Experiment, error) {
	merged, err := loadMap(nameOrPath, nil)
	if err != nil {
		return Experiment{}, err
	}
	for _, a := range assignments {
		if strings.HasPrefix(a, "base=") {
			return Experiment{}, fault.Userf("-set %s: base says what a recipe's file changes; choose a recipe with -config", a)
		}
		over, err := strictyaml.Override(a, &Experiment{})
		if err != nil {
			return Experiment{}, err
		}
		merged = strictyaml.Merge(merged, over)
	}
	given := merged
	if merged, err = applyPreset(merged); err != nil {
		return Experiment{}, err
	}
	var e Experiment
	if err := strictyaml.DecodeInto(nameOrPath, merged, &e); err != nil {
		return Experiment{}, err
	}
	if err := e.checkZeros(given); err != nil {
		return Experiment{}, fault.Userf("%s: %w", nameOrPath, err)
	}
	if e.Init == "" {
		e = e.withDefaults()
		err = e.Validate()
	} else {
		err = e.validateTuning() // the rest once the model is known (Adopt)
	}
	if err != nil {
		return Experiment{}, fault.Userf("%s: %w", nameOrPath, err)
	}
	return e, nil
}

// loadMap reads a recipe and the chain of its bases.
func loadMap(nameOrPath string, chain []string) (strictyaml.Map, error) {
	if slices.Contains(chain, nameOrPath) {
		return nil, fault.Userf("recipe %s is its own base: %s", nameOrPath, strings.Join(append(chain, nameOrPath), " → "))
	}
	name, content, err := read(nameOrPath)
	if err != nil {
		return nil, err
	}
	m, err := strictyaml.DecodeMap(name, content, &Experiment{})
	if err != nil {
		return nil, err
	}
	base, _ := m["base"].(string)
	if base == "" {
		return m, nil
	}
	if isPath(base) && !filepath.IsAbs(base) {
		base = filepath.Join(filepath.Dir(name), base)
	}
	below, err := loadMap(base, append(chain, nameOrPath))
	if err != nil {
		return nil, err
	}
	return strictyaml.Merge(below, m), nil
}

func isPath(s string) bool {
	return strings.ContainsRune(s, filepath.Separator) || strings.HasSuffix(s, ".yaml") || strings.HasSuffix(s, ".yml")
}

// read returns a recipe's content and the name to use in messages.
func read(nameOrPath string) (string, []byte, error) {
	if !isPath(nameOrPath) {
		content, err := recipes.ReadFile("recipes/" + nameOrPath + ".yaml")
		if err != nil {
			return "", nil, fault.Userf("recipe %q is unknown: use one of %s, or the path of a YAML file", nameOrPath, strings.Join(Names(), ", "))
		}
		return nameOrPath + ".yaml", content, nil
	}
	content, err := os.ReadFile(nameOrPath)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, fault.Userf("recipe %s does not exist", nameOrPath)
	}
	return nameOrPath, content, err
}

// applyPreset lays the model section over the built-in model it names.
func applyPreset(m strictyaml.Map) (strictyaml.Map, error) {
	section, _ := m["model"].(strictyaml.Map)
	name, _ := section["preset"].(string)
	if name == "" {
		return m, nil
	}
	preset, err := model.Preset(name)
	if err != nil {
		return nil, fault.Userf("model.preset: %w", err)
	}
	content, err := yaml.Marshal(preset)
	if err != nil {
		return nil, err
	}
	below := strictyaml.Map{}
	if err := yaml.Unmarshal(content, &below); err != nil {
		return nil, err
	}
	return strictyaml.Merge(m, strictyaml.Map{"model": strictyaml.Merge(below, section)}), nil
}

// checkZeros refuses a zero that would silently become a default: given is what the recipe and the user say.
func (e Experiment) checkZeros(given strictyaml.Map) error {
	if e.Init != "" { // of these, the initial model's count
		given = maps.Clone(given)
		delete(given, "model")
		delete(given, "preprocess")
	}
	said, used := map[string]string{}, map[string]string{}
	flatten("", given, said)
	tree, err := e.withDefaults().tree()
	if err != nil {
		return err
	}
	flatten("", tree, used)
	for _, key := range slices.Sorted(maps.Keys(said)) {
		zero, err := strconv.ParseFloat(said[key], 64)
		if err != nil || zero != 0 {
			continue
		}
		if value, err := strconv.ParseFloat(used[key], 64); err == nil && value != 0 {
			return fmt.Errorf("%s is 0, which would become the default, %g: leave the key out for that, or give another number", key, value)
		}
	}
	return nil
}

// withDefaults fills what zero leaves open, and derives what one part must share with another.
func (e Experiment) withDefaults() Experiment {
	if e.Tokenizer.Kind == "" {
		e.Tokenizer.Kind = TokenizerCLIP
	}
	if e.Tokenizer.Kind == TokenizerTrain && e.Model.Text.Vocab == 0 {
		e.Model.Text.Vocab = e.Tokenizer.Vocab
	}
	e.Model.Config = e.Model.Config.WithDefaults()
	e.Preprocess = e.Preprocess.WithDefaults()
	if e.Data.Image.Size == 0 {
		e.Data.Image.Size = e.Model.Vision.ImageSize
	}
	e.Data.Image = e.Data.Image.WithDefaults()
	e.Data = e.Data.WithDefaults()
	e.Tune = e.Tune.WithDefaults()
	e.Eval = e.Eval.withDefaults()
	e.Loss = e.Loss.WithDefaults()
	e.Optim = e.Optim.WithDefaults()
	e.Train = e.Train.WithDefaults()
	return e
}

// Kinds of tokenizer.
const (
	TokenizerCLIP  = "clip"
	TokenizerTrain = "train"
)

// Validate reports the first thing that is wrong, naming the key.
func (e Experiment) Validate() error {
	switch {
	case e.Name == "":
		return fmt.Errorf("name is missing")
	case e.Init == "" && e.Model.EmbedDim == 0:
		return fmt.Errorf("there is no model: start from one with -init RUN, a model directory or hf://organisation/name, or describe it under model")
	case e.Tokenizer.Kind == TokenizerTrain && e.Tokenizer.Vocab < 600:
		return fmt.Errorf("tokenizer.vocab is %d: a trained vocabulary needs at least 600, the bytes take 514", e.Tokenizer.Vocab)
	case e.Tokenizer.Kind == TokenizerTrain && e.Tokenizer.Vocab != e.Model.Text.Vocab:
		return fmt.Errorf("tokenizer.vocab %d and model.text.vocab %d differ", e.Tokenizer.Vocab, e.Model.Text.Vocab)
	case e.Data.Image.Size != e.Model.Vision.ImageSize:
		return fmt.Errorf("data.image.size %d and model.vision.image_size %d differ", e.Data.Image.Size, e.Model.Vision.ImageSize)
	case e.Data.Batch < 2:
		return fmt.Errorf("data.batch is %d: a contrastive loss needs at least 2 pairs to tell apart", e.Data.Batch)
	case e.Train.Chunk > 0 && e.Data.Batch%e.Train.Chunk != 0:
		return fmt.Errorf("train.chunk %d does not divide data.batch %d", e.Train.Chunk, e.Data.Batch)
	case e.Train.Chunk > 0 && e.Model.Vision.Kind == model.ResNet:
		return fmt.Errorf("train.chunk does not go with model.vision.kind resnet: its batch norm sees the whole batch")
	case e.Loss.Name == loss.SigLIP && e.Model.LogitBiasInit == nil:
		return fmt.Errorf("loss.name siglip needs model.logit_bias_init (SigLIP's is -10)")
	}
	return firstError(e.validateRange, e.Model.Config.Validate, e.Preprocess.Validate, e.Loss.Validate, e.Optim.Validate, e.Train.Validate, e.Dataset.Validate, e.validateData, e.validateTuning)
}

// validateRange checks what says which learning rates the recipe was measured with.
func (e Experiment) validateRange() error {
	if r := e.LRRange; !(r[0] >= 0 && r[0] <= r[1] && r[1] <= maxRate) {
		return fmt.Errorf("lr_range must be two learning rates, ascending within 0 and %g, is %v", maxRate, r)
	}
	return nil
}

// maxRate is beyond what optim.lr can be.
const maxRate = 1e4

// validateData checks the data section; its sources may still be open where a data set is to be built.
func (e Experiment) validateData() error {
	d := e.Data
	if len(d.Sources) == 0 && e.Dataset.Name != "" {
		d.Sources = []data.SourceConfig{{Shards: e.Dataset.Name}}
		d = d.WithDefaults()
	}
	return d.Validate()
}

func firstError(checks ...func() error) error {
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// free lists the keys, and what lies below them, that may change between a run and its resumption: they change no weight
// beyond rounding. A built-in model's name says nothing that the model section does not.
var free = []string{
	"base", "name", "eval", "lr_range", "model.preset",
	"train.save_every", "train.eval_every", "train.keep", "train.keep_every", "train.max_bad_steps", "train.norms",
	"train.chunk", "train.rematerialise", "loss.block",
	"data.workers", "data.prefetch", "data.cache.bytes",
}

func isFree(key string) bool {
	return slices.ContainsFunc(free, func(f string) bool {
		rest, ok := strings.CutPrefix(key, f)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// Identity is the part of the configuration that decides weights and data, flattened to dotted keys and printed values.
func (e Experiment) Identity() (map[string]string, error) {
	tree, err := e.tree()
	if err != nil {
		return nil, err
	}
	flat := map[string]string{}
	flatten("", tree, flat)
	Deciding(flat)
	return flat, nil
}

// Deciding takes out of an identity, of an earlier version's too, what may change between a run and its resumption.
func Deciding(identity map[string]string) {
	maps.DeleteFunc(identity, func(key, _ string) bool { return isFree(key) })
}

// tree is the configuration as a decoded document.
func (e Experiment) tree() (strictyaml.Map, error) {
	content, err := e.YAML()
	if err != nil {
		return nil, err
	}
	tree := strictyaml.Map{}
	return tree, yaml.Unmarshal(content, &tree)
}

func flatten(prefix string, v any, into map[string]string) {
	switch v := v.(type) {
	case strictyaml.Map:
		for k, child := range v {
			flatten(strings.TrimPrefix(prefix+"."+k, "."), child, into)
		}
	case []any:
		for i, child := range v {
			flatten(fmt.Sprintf("%s[%d]", prefix, i), child, into)
		}
	default:
		into[prefix] = fmt.Sprint(v)
	}
}

// YAML is the whole configuration as a recipe file that stands by itself: what came from a base or a built-in model is
// written out, and neither is named, or what they set and e does not would come back.
func (e Experiment) YAML() ([]byte, error) {
	e.Base, e.Model.Preset = "", ""
	return yaml.Marshal(e)
}
