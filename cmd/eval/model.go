package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"tandem/checkpoints"
	"tandem/embed"
)

// describe is what a report says of the model.
func describe(m *embed.Model) map[string]string {
	facts := map[string]string{
		"checkpoint": m.Dir, "parameters": fmt.Sprintf("%.1f M", float64(m.Config.NumParams())/1e6),
		"tokenizer": fmt.Sprintf("%.12s", m.Tokenizer.Fingerprint()),
	}
	for k, v := range m.Source {
		facts[k] = v
	}
	return facts
}

// modelFingerprint is a hash over what makes a model: weights, configuration with preprocessing, tokenizer. The state of
// a training beside them is no part of it. A checkpoint's manifest knows the files' hashes already; of a foreign model
// every file counts, and of one that is not on disk its name does.
func modelFingerprint(m *embed.Model) (string, error) {
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

// embeddings names a model's embeddings in the cache: those of another backend, or of batches split over devices, may
// differ in the last bits.
func (c *common) embeddings(fingerprint string) string {
	name := fingerprint + " " + c.backend
	if c.devices > 1 {
		name += fmt.Sprintf(" on %d devices", c.devices)
	}
	return name
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
