package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

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

// modelFingerprint is a hash over the files that make a model: weights, configuration with preprocessing, tokenizer. The
// state of a training beside them is no part of it. A directory's manifest knows the files' hashes already.
func modelFingerprint(dir string) (string, error) {
	m, tokenizer, err := checkpoints.ReadModelFile(dir)
	if err != nil {
		return "", err
	}
	sums := map[string]string{}
	var manifest checkpoints.Manifest
	if checkpoints.ReadJSON(filepath.Join(dir, checkpoints.ManifestName), &manifest) == nil {
		for _, f := range manifest.Files {
			sums[f.Name] = f.SHA256
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && (e.Name() == cmp.Or(m.Weights, checkpoints.WeightsName) || e.Name() == checkpoints.ModelName) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	h := sha256.New()
	fmt.Fprintln(h, "tokenizer", tokenizer)
	for _, name := range names {
		sum := sums[name]
		if sum == "" {
			if sum, err = hashFile(filepath.Join(dir, name)); err != nil {
				return "", err
			}
		}
		fmt.Fprintln(h, name, sum)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
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
