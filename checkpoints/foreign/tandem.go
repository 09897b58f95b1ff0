package foreign

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"tandem/checkpoints"
	"tandem/checkpoints/safetensors"
	"tandem/model"
)

// Inside a tandem model directory, "source" holds what the way back to another format needs: its configurations word for
// word, the headers of its tensors as NAME.header, its buffers in extra.safetensors, and origin.json, which lists them.
const (
	sourceDir    = "source"
	originFile   = "origin.json"
	extraFile    = "extra.safetensors"
	headerSuffix = ".header"
)

// originFacts is origin.json.
type originFacts struct {
	Format  Format         `json:"format"`
	Name    string         `json:"name"`
	Files   []string       `json:"files"`
	Weights []originHeader `json:"weights"`
}

type originHeader struct {
	Name      string `json:"name"`
	DataBytes int64  `json:"data_bytes"`
}

// identity is the table of tandem's own files: our names and our layouts.
func identity(c model.Config) Table {
	var t Table
	for _, p := range c.Params() {
		t.copy(p.Path, p.Path, p.Dims...)
	}
	return t
}

// writeTandem fills a model directory. The types of the weights stay what they were.
func (m Model) writeTandem(dir string) error {
	entries, err := m.entries(identity(m.Config))
	if err != nil {
		return err
	}
	metadata := map[string]string{"format": "tandem"}
	if err := safetensors.WriteFile(filepath.Join(dir, checkpoints.WeightsName), metadata, slices.Collect(maps.Values(entries))); err != nil {
		return err
	}
	m.Model.Weights = checkpoints.WeightsName
	if err := m.Model.Write(dir); err != nil || m.Origin == nil {
		return err
	}
	return m.writeOrigin(filepath.Join(dir, sourceDir))
}

func (m Model) writeOrigin(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	facts := originFacts{Format: m.Origin.Format, Name: m.Origin.Name, Files: slices.Sorted(maps.Keys(m.Origin.Files))}
	for name, data := range m.Origin.Files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	for _, w := range m.Origin.Weights {
		facts.Weights = append(facts.Weights, originHeader{w.Name, w.DataBytes})
		if err := os.WriteFile(filepath.Join(dir, w.Name+headerSuffix), w.Header, 0o644); err != nil {
			return err
		}
	}
	if err := checkpoints.WriteJSON(filepath.Join(dir, originFile), facts); err != nil || len(m.buffers) == 0 {
		return err
	}
	return safetensors.WriteFile(filepath.Join(dir, extraFile), nil, slices.Collect(maps.Values(m.buffers)))
}

// openTandem opens a model directory of tandem's; the tokenizer stays unread.
func openTandem(dir, file string, _ []byte) (*Checkpoint, error) {
	m, fingerprint, err := checkpoints.ReadModelFile(dir)
	if err != nil {
		return nil, err
	}
	set, err := openWeights(dir, file, "logit_scale", m.Weights)
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{
		Format: FormatTandem, Path: set.Path(), Config: m.Config, Preprocess: m.Preprocess, Source: m.Source,
		dir: dir, makeTable: identity, weights: set, fingerprint: fingerprint,
	}
	if err := c.openOrigin(filepath.Join(dir, sourceDir)); err != nil {
		return closing(set, err)
	}
	return c, nil
}

func (c *Checkpoint) openOrigin(dir string) error {
	var facts originFacts
	if err := checkpoints.ReadJSON(filepath.Join(dir, originFile), &facts); errors.Is(err, fs.ErrNotExist) {
		return nil // a model that tandem made itself
	} else if err != nil {
		return err
	}
	o := &Origin{Format: facts.Format, Name: facts.Name, Files: map[string][]byte{}}
	for _, name := range facts.Files {
		data, err := readInside(dir, name)
		if err != nil {
			return err
		}
		o.Files[name] = data
	}
	for _, w := range facts.Weights {
		header, err := readInside(dir, w.Name+headerSuffix)
		if err != nil {
			return err
		}
		o.Weights = append(o.Weights, OriginWeights{w.Name, header, w.DataBytes})
	}
	c.Origin = o
	extra, err := safetensors.OpenSet(filepath.Join(dir, extraFile))
	if err == nil {
		c.extra = extra
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}

// readInside reads a file of dir whose name comes from a file.
func readInside(dir, name string) ([]byte, error) {
	if !filepath.IsLocal(name) || filepath.Base(name) != name {
		return nil, fmt.Errorf("%s: file name %q leads out of the directory", dir, name)
	}
	return os.ReadFile(filepath.Join(dir, name))
}
