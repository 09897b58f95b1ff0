package foreign

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tandem/checkpoints/safetensors"
	"tandem/internal/atomicfile"
	"tandem/internal/fault"
	"tandem/model"
)

// TandemFormat is the value of "format" in model.json.
const TandemFormat = "tandem-model/1"

// Names of the files of tandem's model directory.
const (
	ModelFile    = "model.json"
	WeightsFile  = "model.safetensors"
	ManifestFile = "manifest.json"
	TokenizerDir = "tokenizer"
	sourceDir    = "source"
	extraFile    = "extra.safetensors"
	headerSuffix = ".header"
)

// modelFile is model.json.
type modelFile struct {
	Format     string         `json:"format"`
	Model      model.Config   `json:"model"`
	Preprocess Preprocess     `json:"preprocess"`
	Tokenizer  tokenizerFacts `json:"tokenizer"`
	Source     *sourceFacts   `json:"source,omitempty"`
}

type tokenizerFacts struct {
	Fingerprint string `json:"fingerprint,omitempty"`
	Name        string `json:"name,omitempty"`
	Cleaning    string `json:"cleaning,omitempty"`
}

// sourceFacts say where a model came from; the directory "source" holds the files they name.
type sourceFacts struct {
	Format  Format         `json:"format"`
	Name    string         `json:"name"`
	Files   []string       `json:"files,omitempty"`
	Weights []sourceHeader `json:"weights,omitempty"`
	Notes   []string       `json:"notes,omitempty"`
}

// sourceHeader is a file of tensors whose header is kept as NAME.header.
type sourceHeader struct {
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

func appendInt64s(b []byte, values []int64) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	return b
}

// writeTandem writes tandem's model directory into dir: model.json, model.safetensors (names are paths of parameters, our
// layouts, the types that the weights came in), the tokenizer, source/ (what the way back needs) and, last, manifest.json
// with the size and the sha256 of each file.
func (m Model) writeTandem(dir string) error {
	entries, err := m.entries(identity(m.Config))
	if err != nil {
		return err
	}
	if err := safetensors.WriteFile(filepath.Join(dir, WeightsFile), nil, slices.Collect(maps.Values(entries))); err != nil {
		return err
	}
	if m.TokenizerFiles != nil {
		if err := m.TokenizerFiles(filepath.Join(dir, TokenizerDir)); err != nil {
			return err
		}
	}
	file := modelFile{
		Format: TandemFormat, Model: m.Config, Preprocess: m.Preprocess,
		Tokenizer: tokenizerFacts{m.TokenizerFingerprint, m.TokenizerName, m.Cleaning},
	}
	if m.Origin != nil {
		if err := m.writeOrigin(filepath.Join(dir, sourceDir)); err != nil {
			return err
		}
		file.Source = m.sourceFacts()
	}
	data, err := json.MarshalIndent(file, "", " ")
	if err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, ModelFile), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return WriteManifest(dir)
}

func (m Model) sourceFacts() *sourceFacts {
	facts := &sourceFacts{Format: m.Origin.Format, Name: m.Origin.Name, Files: slices.Sorted(maps.Keys(m.Origin.Files)), Notes: m.Notes}
	for _, w := range m.Origin.Weights {
		facts.Weights = append(facts.Weights, sourceHeader{w.Name, w.DataBytes})
	}
	return facts
}

func (m Model) writeOrigin(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, data := range m.Origin.Files {
		if err := atomicfile.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	for _, w := range m.Origin.Weights {
		if err := atomicfile.WriteFile(filepath.Join(dir, w.Name+headerSuffix), w.Header, 0o644); err != nil {
			return err
		}
	}
	if len(m.buffers) == 0 {
		return nil
	}
	return safetensors.WriteFile(filepath.Join(dir, extraFile), nil, slices.Collect(maps.Values(m.buffers)))
}

// openTandem opens a directory that writeTandem wrote.
func openTandem(dir, file string, data []byte) (*Checkpoint, error) {
	var facts modelFile
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&facts); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, ModelFile), err)
	}
	if facts.Format != TandemFormat {
		return nil, fmt.Errorf("%s: format %q is not read: it can be %s", filepath.Join(dir, ModelFile), facts.Format, TandemFormat)
	}
	if err := checkSizes(dir); err != nil {
		return nil, err
	}
	set, err := openWeights(dir, file, "logit_scale", WeightsFile)
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{
		Format: FormatTandem, Path: set.Path(), Config: facts.Model, Preprocess: facts.Preprocess, dir: dir, makeTable: identity, weights: set,
		TokenizerName: facts.Tokenizer.Name, Cleaning: facts.Tokenizer.Cleaning,
	}
	if facts.Source != nil {
		c.Notes = facts.Source.Notes
		if err := c.openOrigin(filepath.Join(dir, sourceDir), facts.Source); err != nil {
			return closing(set, err)
		}
	}
	return c, nil
}

func (c *Checkpoint) openOrigin(dir string, facts *sourceFacts) (err error) {
	o := &Origin{Format: facts.Format, Name: facts.Name, Files: map[string][]byte{}}
	read := func(name string) (data []byte) {
		if !filepath.IsLocal(name) {
			err = errors.Join(err, fmt.Errorf("%s: source file %q is not inside", dir, name))
			return nil
		}
		data, readErr := os.ReadFile(filepath.Join(dir, name))
		err = errors.Join(err, readErr)
		return data
	}
	for _, name := range facts.Files {
		o.Files[name] = read(name)
	}
	for _, w := range facts.Weights {
		o.Weights = append(o.Weights, OriginWeights{w.Name, read(w.Name + headerSuffix), w.DataBytes})
	}
	if err != nil {
		return err
	}
	c.Origin = o
	c.extra, err = safetensors.OpenSet(filepath.Join(dir, extraFile))
	if errors.Is(err, fs.ErrNotExist) {
		c.extra, err = nil, nil
	}
	return err
}

// manifest is manifest.json.
type manifest struct {
	Format string          `json:"format"`
	Files  []manifestEntry `json:"files"`
}

type manifestEntry struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

const manifestFormat = "tandem-manifest/1"

// WriteManifest lists every file below dir with its size and sha256 in dir's manifest.json.
func WriteManifest(dir string) error {
	m := manifest{Format: manifestFormat}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || name == ManifestFile {
			return err
		}
		size, sum, err := hashFile(path)
		m.Files = append(m.Files, manifestEntry{filepath.ToSlash(name), size, sum})
		return err
	})
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, ManifestFile), append(data, '\n'), 0o644)
}

func hashFile(path string) (size int64, sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return size, hex.EncodeToString(h.Sum(nil)), err
}

func readManifest(dir string) (manifest, error) {
	var m manifest
	data, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil || m.Format != manifestFormat {
		return m, errors.Join(err, fmt.Errorf("%s: no manifest of format %s", filepath.Join(dir, ManifestFile), manifestFormat))
	}
	for _, f := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Name)) || strings.Contains(f.Name, `\`) {
			return m, fmt.Errorf("%s: file %q is not inside", filepath.Join(dir, ManifestFile), f.Name)
		}
	}
	return m, nil
}

// checkSizes compares the files of a tandem directory with its manifest by their sizes, which costs nothing.
func checkSizes(dir string) error {
	m, err := readManifest(dir)
	if err != nil {
		return err
	}
	for _, f := range m.Files {
		stat, err := os.Stat(filepath.Join(dir, filepath.FromSlash(f.Name)))
		if err != nil {
			return err
		}
		if stat.Size() != f.Size {
			return fmt.Errorf("%s: %s has %d bytes, the manifest says %d", dir, f.Name, stat.Size(), f.Size)
		}
	}
	return nil
}

// Verify reads every file of a tandem directory and compares it with the manifest.
func Verify(dir string) error {
	m, err := readManifest(dir)
	if err != nil {
		return fault.User(err)
	}
	for _, f := range m.Files {
		size, sum, err := hashFile(filepath.Join(dir, filepath.FromSlash(f.Name)))
		if err != nil {
			return fault.User(err)
		}
		if size != f.Size || sum != f.SHA256 {
			return fault.Userf("%s: %s differs from the manifest: the file is damaged or was changed", dir, f.Name)
		}
	}
	return nil
}
