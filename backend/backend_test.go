package backend_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"

	"tandem/backend"
	"tandem/backend/backendtest"
	"tandem/internal/fault"
)

func add(t *testing.T, b compute.Backend) float32 {
	t.Helper()
	exec, err := graph.NewExec(b, func(x, y *graph.Node) *graph.Node { return graph.Add(x, y) })
	if err != nil {
		t.Fatal(err)
	}
	sums, err := exec.Call(float32(2), float32(40))
	if err != nil {
		t.Fatal(err)
	}
	return sums[0].Value().(float32)
}

func TestBackendsAdd(t *testing.T) {
	for name, open := range map[string]func(testing.TB) compute.Backend{"xla:cpu": backendtest.XLA, "go": backendtest.Go} {
		t.Run(name, func(t *testing.T) {
			if got := add(t, open(t)); got != 42 {
				t.Errorf("2+40 = %g", got)
			}
		})
	}
}

func TestVirtualDevices(t *testing.T) {
	for _, n := range []int{1, 3} {
		if got := backendtest.Devices(t, n).NumDevices(); got != n {
			t.Errorf("asked for %d virtual devices, got %d", n, got)
		}
	}
}

func TestInfoOfThePlugin(t *testing.T) {
	backendtest.XLA(t) // installs it
	b, err := backend.Open(t.Context(), backend.Options{Name: backend.CPU, Offline: true, Devices: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	line := b.Info.String()
	for _, want := range []string{"backend xla:cpu: plugin /", "_plugin.so, PJRT API 0.", "2 devices (cpu:0, cpu:1)"} {
		if !strings.Contains(line, want) {
			t.Errorf("%q does not contain %q", line, want)
		}
	}
}

// TestVersionTellsPluginsApart: by one changed byte in a piece that is looked at and by the size; nothing but the plugin
// counts.
func TestVersionTellsPluginsApart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plugin.so")
	info := backend.Info{Name: backend.CPU, PluginPath: path, APIVersion: "0.1"}
	library := make([]byte, 9<<20)
	version := func() string {
		t.Helper()
		if err := os.WriteFile(path, library, 0o644); err != nil {
			t.Fatal(err)
		}
		return info.Version()
	}
	first := version()
	if again := version(); again != first || !strings.HasPrefix(first, "PJRT API 0.1, plugin ") {
		t.Errorf("%q, then %q", first, again)
	}
	seen := map[string]bool{first: true}
	for _, at := range []int{0, len(library) * 37 / 64, len(library) * 63 / 64} {
		library[at]++
		seen[version()] = true
	}
	library = append(library, 0)
	if seen[version()] = true; len(seen) != 5 {
		t.Errorf("five libraries have %d versions: %v", len(seen), seen)
	}
	if v := (backend.Info{Name: backend.Go}).Version(); v != "" {
		t.Errorf("without a plugin: %q", v)
	}
}

func TestOpenRefuses(t *testing.T) {
	tests := []struct {
		opts backend.Options
		want string
	}{
		{backend.Options{Name: "cuda"}, `backend "cuda" is not known; choose one of auto, xla:cpu, xla:cuda, xla:tpu, go`},
		{backend.Options{Name: "go", Devices: 2}, "the pure-Go backend has one device, not 2; use -backend xla:cpu"},
		{backend.Options{Devices: -1}, "devices -1: the number of devices cannot be negative"},
	}
	for _, test := range tests {
		_, err := backend.Open(t.Context(), test.opts)
		if err == nil || err.Error() != test.want || !fault.IsUser(err) {
			t.Errorf("%+v: error %v, want the user error %q", test.opts, err, test.want)
		}
	}
}

func TestOpenGo(t *testing.T) {
	b, err := backend.Open(context.Background(), backend.Options{Name: backend.Go})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if line := b.Info.String(); !strings.HasPrefix(line, "backend go: pure Go, no plugin, 1 device (") {
		t.Errorf("info line %q", line)
	}
}

// TestNoDevice: a machine without the device says so and starts no download.
func TestNoDevice(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	_, err := backend.Open(t.Context(), backend.Options{Name: backend.TPU})
	if !fault.IsUser(err) || !strings.HasPrefix(err.Error(), "backend xla:tpu: no such device, or no XLA plugin for it") {
		t.Errorf("error %v, want a user error", err)
	}
}
