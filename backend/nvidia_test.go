package backend

import (
	"os"
	"path/filepath"
	"testing"
)

const (
	fakeVersion = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version:  gcc version 11.4.0\n"
	fakeGPU     = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 24\nGPU UUID: \t GPU-1\nBus Location: \t 0000:05:00.0\n"
)

// machine makes a directory as /proc/driver/nvidia is.
func machine(t *testing.T, version string, gpus ...string) string {
	t.Helper()
	proc := t.TempDir()
	write := func(content string, at ...string) {
		path := filepath.Join(append([]string{proc}, at...)...)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(version, "version")
	for i, gpu := range gpus {
		write(gpu, "gpus", "0000:0"+string(rune('0'+i))+":00.0", "information")
	}
	return proc
}

// fakeSMI puts an nvidia-smi first in PATH that prints text, or fails without one.
func fakeSMI(t *testing.T, text string) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\nexit 9\n"
	if text != "" {
		script = "#!/bin/sh\ncat <<'E'\n" + text + "\nE\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "nvidia-smi"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// TestCompiledFor: programs for GPUs are kept apart by driver and model; those for the processor do not depend on either,
// and what is compiled for an unknown GPU is not kept.
func TestCompiledFor(t *testing.T) {
	fakeSMI(t, "")
	t.Setenv(visibleEnv, "")
	key := func(platform, proc string) string {
		t.Helper()
		devices, ok := compiledFor(t.Context(), platform, proc)
		if !ok {
			t.Fatalf("%s: unknown", platform)
		}
		return devices
	}
	h100 := machine(t, fakeVersion, fakeGPU)
	same := machine(t, fakeVersion, "Model: NVIDIA H100 80GB HBM3\nGPU UUID: \t GPU-2\n")
	if a, b := key("cuda", h100), key("cuda", same); a != b {
		t.Errorf("two machines of one kind have the keys %q and %q", a, b)
	}
	for what, other := range map[string]string{
		"driver":      machine(t, "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.10\n", fakeGPU),
		"model":       machine(t, fakeVersion, "Model: \t NVIDIA A100-SXM4-80GB\n"),
		"second GPU":  machine(t, fakeVersion, fakeGPU, fakeGPU),
		"other order": machine(t, fakeVersion, fakeGPU, "Model: NVIDIA A100-SXM4-80GB\n"),
	} {
		if a, b := key("cuda", h100), key("cuda", other); a == b {
			t.Errorf("another %s has the same key %q", what, a)
		}
	}
	if a, b := key("cpu", h100), key("cpu", t.TempDir()); a != b {
		t.Errorf("the processor's key depends on the GPU: %q, %q", a, b)
	}
	if devices, ok := compiledFor(t.Context(), "cuda", t.TempDir()); ok {
		t.Errorf("an unknown GPU has the key %q", devices)
	}
	fakeSMI(t, "NVIDIA GeForce RTX 4090, 551.86")
	first := key("cuda", t.TempDir()) // as under WSL, which has no such directory
	fakeSMI(t, "NVIDIA GeForce RTX 4090, 552.12")
	if second := key("cuda", t.TempDir()); first == second {
		t.Errorf("another driver has the same key %q by nvidia-smi", first)
	}
}

// TestDeviceMemory: the smallest of the GPUs counts; the processor has no memory of its own.
func TestDeviceMemory(t *testing.T) {
	fakeSMI(t, "143771\n81559")
	if got, want := (Info{Name: CUDA}).DeviceMemory(t.Context()), int64(81559)<<20; got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
	if got := (Info{Name: CPU}).DeviceMemory(t.Context()); got != 0 {
		t.Errorf("the processor has %d bytes", got)
	}
	fakeSMI(t, "[N/A]")
	if got := (Info{Name: CUDA}).DeviceMemory(t.Context()); got != 0 {
		t.Errorf("%d bytes of unknown memory", got)
	}
}
