package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/backend"
	"tandem/internal/fault"
	"tandem/train"
)

// TestCheckMemory: on GPUs the smallest of them counts, not the machine's memory; each holds all weights and its share of
// the activations.
func TestCheckMemory(t *testing.T) {
	const gib = 1 << 30
	dir := t.TempDir()
	script := "#!/bin/sh\necho 81920\necho 40960\n" // 80 and 40 GiB
	if err := os.WriteFile(filepath.Join(dir, "nvidia-smi"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	machine := memoryAvailable() + residentMemory()
	for _, test := range []struct {
		name    string
		backend string
		devices int
		memory  train.Memory
		want    string
	}{
		{"fits the GPU", backend.CUDA, 1, train.Memory{Weights: 10 * gib, Activations: 29 * gib}, ""},
		{"no GPU holds it", backend.CUDA, 1, train.Memory{Weights: 10 * gib, Activations: 31 * gib}, "the training wants about 41.00 GiB of each device's memory, the smallest has 40.00 GiB"},
		{"two GPUs share it", backend.CUDA, 2, train.Memory{Weights: 10 * gib, Activations: 58 * gib}, ""},
		{"each holds the weights", backend.CUDA, 2, train.Memory{Weights: 20 * gib, Optimiser: 15 * gib, Activations: 20 * gib}, "45.00 GiB of each device's memory"},
		{"the machine's memory", backend.CPU, 1, train.Memory{Activations: 2 * machine}, "are free: make data.batch smaller"},
		{"virtual devices hold the weights each", backend.CPU, 8, train.Memory{Weights: machine / 4}, "are free: make data.batch smaller"},
		{"small", backend.CPU, 1, train.Memory{Weights: machine / 4}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &session{options: options{devices: test.devices}, backend: &backend.Backend{Info: backend.Info{Name: test.backend}}}
			err := s.checkMemory(t.Context(), test.memory)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !fault.IsUser(err)):
				t.Errorf("error %v, want the user's with %q", err, test.want)
			}
		})
	}
}
