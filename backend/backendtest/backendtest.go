// Package backendtest opens backends for tests, each once in a process.
//
// XLA needs a plugin. If there is none, it is installed as the commands would do, unless TANDEM_OFFLINE=1 is set; a test
// that cannot have it fails and says how to install it, because a skipped test looks like a passed one.
package backendtest

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/gomlx/compute"

	"tandem/backend"
	"tandem/internal/progress"
)

// OfflineEnv names the environment variable that keeps tests from downloading when it is set to 1.
const OfflineEnv = "TANDEM_OFFLINE"

var (
	mu     sync.Mutex
	opened = map[backend.Options]*backend.Backend{}
)

// XLA returns XLA on the CPU with one device.
func XLA(t testing.TB) compute.Backend {
	t.Helper()
	return Devices(t, 1)
}

// Devices returns XLA on the CPU with n virtual devices.
func Devices(t testing.TB, n int) compute.Backend {
	t.Helper()
	return open(t, backend.Options{Name: backend.CPU, Devices: n})
}

// Go returns the pure-Go backend: no plugin and no compiling, for graphs of a few kilobytes.
func Go(t testing.TB) compute.Backend {
	t.Helper()
	return open(t, backend.Options{Name: backend.Go})
}

func open(t testing.TB, opts backend.Options) compute.Backend {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	if b := opened[opts]; b != nil {
		return b.Backend
	}
	key := opts
	opts.Offline = os.Getenv(OfflineEnv) == "1"
	opts.Progress = progress.New(os.Stderr)
	b, err := backend.Open(context.Background(), opts)
	if err != nil {
		t.Fatalf("%v\ninstall the XLA plugin by running this test once with network access and without %s, or put a pjrt_c_api_cpu_plugin.so where PJRT_PLUGIN_LIBRARY_PATH points",
			err, OfflineEnv)
	}
	opened[key] = b
	return b.Backend
}
