package main

import (
	"cmp"
	"fmt"

	"tandem/embed"
	"tandem/eval"
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

// embeddings names a model's embeddings in the cache: those of another backend, of another build of it, or of batches
// split over devices, may differ in the last bits.
func (c *common) embeddings(m *embed.Model, fingerprint string) string {
	build := cmp.Or(m.Backend.Version(), eval.Versions()["github.com/gomlx/compute"], "unknown build")
	name := fmt.Sprintf("%s %s (%s)", fingerprint, m.Backend.Name, build)
	if c.devices > 1 {
		name += fmt.Sprintf(" on %d devices", c.devices)
	}
	return name
}

// versions are those of the program's modules and of the plugin that ran the model.
func versions(m *embed.Model) map[string]string {
	all := eval.Versions()
	if version := m.Backend.Version(); version != "" {
		all[m.Backend.Name] = version
	}
	return all
}
