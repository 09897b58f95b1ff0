package backend

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// nvidiaProc is where the kernel module tells its version and the GPUs.
const nvidiaProc = "/proc/driver/nvidia"

// visibleEnv chooses among a machine's GPUs.
const visibleEnv = "CUDA_VISIBLE_DEVICES"

// nvidiaIdentity names what decides the machine code of a program for NVIDIA GPUs besides the program and the plugin: the
// driver and the GPUs' models. proc is nvidiaProc; where it is missing nvidia-smi is asked. "" means unknown.
func nvidiaIdentity(ctx context.Context, proc string) string {
	version, err := os.ReadFile(filepath.Join(proc, "version"))
	models := nvidiaModels(proc)
	if err != nil || len(models) == 0 {
		return strings.Join(nvidiaSMI(ctx, "name,driver_version"), "\n")
	}
	driver, _, _ := strings.Cut(string(version), "\n") // the next line names the compiler of the module
	return strings.Join(append(models, driver, os.Getenv(visibleEnv)), "\n")
}

// nvidiaModels lists the models of a machine's GPUs in the order of their places on the bus.
func nvidiaModels(proc string) (models []string) {
	paths, _ := filepath.Glob(filepath.Join(proc, "gpus", "*", "information"))
	slices.Sort(paths)
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		for line := range strings.Lines(string(content)) {
			if key, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "Model" {
				models = append(models, strings.TrimSpace(model))
			}
		}
	}
	return models
}

// nvidiaSMI asks NVIDIA's tool for fields of every GPU that may be used, one line each; nil where it cannot tell.
func nvidiaSMI(ctx context.Context, fields string) []string {
	args := []string{"--query-gpu=" + fields, "--format=csv,noheader,nounits"}
	if visible := os.Getenv(visibleEnv); visible != "" {
		args = append(args, "--id="+visible)
	}
	out, err := exec.CommandContext(ctx, "nvidia-smi", args...).Output()
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// DeviceMemory is the memory of the smallest device of a GPU backend in bytes, 0 where that is not known: on the processor,
// whose devices share the machine's, on TPUs, and without nvidia-smi.
func (i Info) DeviceMemory(ctx context.Context) int64 {
	if i.Name != CUDA {
		return 0
	}
	var least int64
	for _, line := range nvidiaSMI(ctx, "memory.total") {
		mebibytes, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil {
			return 0
		}
		if bytes := mebibytes << 20; least == 0 || bytes < least {
			least = bytes
		}
	}
	return least
}

// compiledFor names the devices that a platform's programs are compiled for, as far as the plugin and the processor do not
// tell. ok is false where programs had better not be kept: what they were compiled for is not known.
func compiledFor(ctx context.Context, platform, proc string) (devices string, ok bool) {
	if platform != "cuda" {
		return platform, true
	}
	identity := nvidiaIdentity(ctx, proc)
	return fmt.Sprintf("%s\n%s", platform, identity), identity != ""
}
