package embed

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"tandem/checkpoints"
	"tandem/internal/fault"
	"tandem/internal/zeroshot"
)

// Fingerprint is a hash over what makes a model: weights, configuration with preprocessing, tokenizer. Reports, rules and
// probes name the model that they belong to by it. The state of a training beside the weights is no part of it. A
// checkpoint's manifest knows the files' hashes already; of a foreign model every file counts, and of one that is not on
// disk its name does. It is computed once. A model in training, which New made, has none: "".
func (m *Model) Fingerprint() (string, error) {
	if m.fingerprint == nil {
		return "", nil
	}
	return m.fingerprint()
}

func (m *Model) hash() (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, "tokenizer", m.Tokenizer.Fingerprint())
	names, sums, err := modelFiles(m.Dir)
	if err != nil {
		return "", err
	}
	if len(names) == 0 {
		fmt.Fprintln(h, m.Dir, m.Source)
	}
	for _, name := range names {
		sum := sums[filepath.Base(name)]
		if sum == "" {
			if sum, err = hashFile(name); err != nil {
				return "", err
			}
		}
		fmt.Fprintln(h, filepath.Base(name), sum)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// IsFor reports whether something that was fitted to a model's embeddings, a rule or a probe, was fitted to this one's:
// stored is what it keeps, a fingerprint that may have the backend behind it; of "", which names no model, it is true.
func (m *Model) IsFor(stored string) (bool, error) {
	if stored == "" {
		return true, nil
	}
	own, err := m.Fingerprint()
	return own != "" && (stored == own || strings.HasPrefix(stored, own+" ")), err
}

// checkRule refuses a rule that was fitted to another model.
func (m *Model) checkRule(path string, rule *zeroshot.Rule) error {
	same, err := m.IsFor(rule.Model)
	if err != nil || same {
		return err
	}
	own, err := m.Fingerprint()
	if err != nil {
		return err
	}
	return fault.Userf("%s was fitted to another model (%.12s, this is %.12s): evaluate this one to get its rule", path, rule.Model, cmp.Or(own, "one in training"))
}

// modelFiles lists the files of the model at path, with the hashes that are known.
func modelFiles(path string) (names []string, sums map[string]string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, nil // a name of the hub
	}
	if !info.IsDir() {
		return []string{path}, nil, nil
	}
	own := map[string]bool{}
	if m, _, err := checkpoints.ReadModelFile(path); err == nil {
		own = map[string]bool{checkpoints.ModelName: true, cmp.Or(m.Weights, checkpoints.WeightsName): true}
		sums = map[string]string{}
		var manifest checkpoints.Manifest
		if checkpoints.ReadJSON(filepath.Join(path, checkpoints.ManifestName), &manifest) == nil {
			for _, f := range manifest.Files {
				sums[f.Name] = f.SHA256
			}
		}
	}
	entries, err := os.ReadDir(path) // sorted
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if !e.IsDir() && (len(own) == 0 || own[e.Name()]) {
			names = append(names, filepath.Join(path, e.Name()))
		}
	}
	return names, sums, nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
