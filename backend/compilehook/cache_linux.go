//go:build linux && cgo

package compilehook

// #cgo LDFLAGS: -ldl
// #include <stdlib.h>
// #include "hook.h"
import "C"

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"tandem/internal/atomicfile"
)

var (
	mu           sync.Mutex
	dir          string // "" while off
	environment  []byte // hash of what decides the machine code besides the program
	hits, stored atomic.Int64
)

// Install puts the hook into the table of an open plugin. It serves one plugin a process; further calls for it do nothing.
func Install(pluginPath string) error {
	path := C.CString(pluginPath)
	defer C.free(unsafe.Pointer(path))
	mu.Lock()
	defer mu.Unlock()
	if errno := C.compilehook_install(path); errno != 0 {
		return fmt.Errorf("hook the compiler: %w", syscall.Errno(errno))
	}
	return nil
}

// Keep installs the hook and keeps executables in a directory, which is made if need be, for the rest of the process. devices
// names what they are compiled for, beside the processor: GPUs and their driver. A second call changes both.
func Keep(pluginPath, devices, directory string) error {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	info, err := os.Stat(pluginPath)
	if err != nil {
		return err
	}
	if err := Install(pluginPath); err != nil {
		return err
	}
	h := sha256.New()
	fmt.Fprintln(h, info.Size(), info.ModTime().UnixNano(), filepath.Base(pluginPath), os.Getenv("XLA_FLAGS"), devices, processor())
	mu.Lock()
	defer mu.Unlock()
	dir, environment = directory, h.Sum(nil)
	return nil
}

// Counts are the programs loaded from the cache and put into it so far.
func Counts() (loaded, put int64) { return hits.Load(), stored.Load() }

// processor names the processor's features: machine code for others may not run here.
func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	var lines []string
	for line := range strings.Lines(string(info)) {
		if key, _, _ := strings.Cut(line, ":"); slices.Contains([]string{"flags", "Features", "model name", "processor"}, strings.TrimSpace(key)) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// entry is the path of a program's entry, or "" while the cache is off.
func entry(c *C.pjrt_compile_args) string {
	mu.Lock()
	defer mu.Unlock()
	if dir == "" {
		return ""
	}
	h := sha256.New()
	h.Write(environment)
	for _, part := range [][]byte{view(c.program.code, c.program.code_size), view(c.compile_options, c.compile_options_size)} {
		fmt.Fprintln(h, len(part))
		h.Write(part)
	}
	return filepath.Join(dir, hex.EncodeToString(h.Sum(nil))+".xla")
}

func view(p *C.char, n C.size_t) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(p)), int(n)) }

// compilehookProgram returns a program with its aliases in memory that the caller frees, or nil if it has none.
//
//export compilehookProgram
func compilehookProgram(c *C.pjrt_compile_args, size *C.size_t) *C.char {
	code := withAliases(view(c.program.code, c.program.code_size))
	if code == nil {
		return nil
	}
	*size = C.size_t(len(code))
	return (*C.char)(C.CBytes(code))
}

// compilehookLoad returns a program's executable in memory that the caller frees, or nil.
//
//export compilehookLoad
func compilehookLoad(c *C.pjrt_compile_args, size *C.size_t) *C.char {
	path := entry(c)
	if path == "" {
		return nil
	}
	content, err := os.ReadFile(path)
	if err != nil || len(content) <= sha256.Size {
		return nil
	}
	sum := sha256.Sum256(content[sha256.Size:])
	if !bytes.Equal(sum[:], content[:sha256.Size]) {
		return nil
	}
	hits.Add(1)
	*size = C.size_t(len(content) - sha256.Size)
	return (*C.char)(C.CBytes(content[sha256.Size:]))
}

// compilehookStore puts a program's executable into the cache.
//
//export compilehookStore
func compilehookStore(c *C.pjrt_compile_args, executable *C.char, size C.size_t) {
	path := entry(c)
	if path == "" {
		return
	}
	content := view(executable, size)
	sum := sha256.Sum256(content)
	if atomicfile.WriteFile(path, append(sum[:], content...), 0o644) == nil {
		stored.Add(1)
		prune(filepath.Dir(path))
	}
}

// keep is how many executables stay; the oldest go first.
const keep = 128

func prune(directory string) {
	paths, err := filepath.Glob(filepath.Join(directory, "*.xla"))
	if err != nil || len(paths) <= keep {
		return
	}
	age := func(path string) int64 {
		info, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return info.ModTime().UnixNano()
	}
	slices.SortFunc(paths, func(a, b string) int { return int((age(a) - age(b)) / 1e6) })
	for _, path := range paths[:len(paths)-keep] {
		os.Remove(path)
	}
}
