package foreign

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tandem/checkpoints"
	"tandem/checkpoints/safetensors"
	"tandem/model"
)

// Origin is what the way back to a format needs beyond weights, kept word for word: how the configuration was written,
// in which order the tensors lay, the metadata. An export uses it as far as it still says the same as the model.
type Origin struct {
	Format Format
	// Name is where the model came from: a path, or hf://org/name@revision.
	Name string
	// Files are configurations and the index of shards, by name.
	Files map[string][]byte
	// Weights are the files of tensors, in order.
	Weights []OriginWeights
}

// OriginWeights is one file of tensors without its data.
type OriginWeights struct {
	Name      string
	Header    []byte // see safetensors.File.Header
	DataBytes int64
}

func newOrigin(format Format, name string, set *safetensors.Set) *Origin {
	o := &Origin{Format: format, Name: name, Files: map[string][]byte{}}
	if set != nil {
		o.setWeights(set)
	}
	return o
}

func (o *Origin) setWeights(set *safetensors.Set) {
	o.Weights = nil
	for _, f := range set.Files() {
		w := OriginWeights{Name: filepath.Base(f.Path()), Header: f.Header()}
		for _, t := range f.Tensors() {
			w.DataBytes += t.Bytes()
		}
		o.Weights = append(o.Weights, w)
	}
}

// addFile keeps a file of dir, if it is there.
func (o *Origin) addFile(dir, name string) error {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	o.Files[name] = data
	return nil
}

// tokenizerFiles are the names under which the peers keep a tokenizer.
var tokenizerFiles = []string{
	"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
	"spiece.model", "tokenizer.model",
}

// addTokenizer keeps the tokenizer's files.
func (o *Origin) addTokenizer(dir string) error {
	for _, name := range tokenizerFiles {
		if err := o.addFile(dir, name); err != nil {
			return err
		}
	}
	return nil
}

// openCLIP reads the kept configuration.
func (o *Origin) openCLIP(shapes weightShapes) (openCLIPConfig, error) {
	return readOpenCLIPConfig(o.Files["open_clip_config.json"], o.Files["timm_overrides.json"], shapes)
}

// hf reads the kept configuration.
func (o *Origin) hf() (hfConfig, error) {
	preprocessor := o.Files["preprocessor_config.json"]
	if preprocessor == nil {
		preprocessor = o.Files["processor_config.json"]
	}
	return readHFConfig(o.Files["config.json"], preprocessor)
}

// config reads the kept configuration of either format.
func (o *Origin) config() (model.Config, checkpoints.Preprocess, error) {
	switch o.Format {
	case FormatOpenCLIP:
		shapes, err := o.shapes()
		if err != nil {
			return model.Config{}, checkpoints.Preprocess{}, err
		}
		c, err := o.openCLIP(shapes)
		return c.Model.WithDefaults(), c.Preprocess, err
	case FormatHF:
		c, err := o.hf()
		return c.Model.WithDefaults(), c.Preprocess, err
	default:
		return model.Config{}, checkpoints.Preprocess{}, fmt.Errorf("format %s keeps no configuration", o.Format)
	}
}

// table makes the table of the origin's format from a configuration, under the names that its files use.
func (o *Origin) table(shapes weightShapes) func(model.Config) Table {
	if o.Format == FormatHF {
		return HF
	}
	prefix := textPrefix(shapes)
	return func(c model.Config) Table { return OpenCLIP(c, prefix) }
}

// shapes tells the shapes of the kept headers' tensors.
func (o *Origin) shapes() (weightShapes, error) {
	shapes := map[string][]int{}
	for _, w := range o.Weights {
		tensors, _, err := safetensors.ParseHeader(w.Header, w.DataBytes)
		if err != nil {
			return nil, fmt.Errorf("kept header of %s: %w", w.Name, err)
		}
		for _, t := range tensors {
			shapes[t.Name] = t.Shape
		}
	}
	return func(name string) []int { return shapes[name] }, nil
}
