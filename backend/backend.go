package backend

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/go-xla/installer"
	"github.com/gomlx/go-xla/pjrt"

	"tandem/backend/compilehook"
	"tandem/backend/hostmem"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

// Names of the backends that Open knows.
const (
	Auto = "auto"     // the best that this machine has, see Open
	CPU  = "xla:cpu"  // XLA on the processor
	CUDA = "xla:cuda" // XLA on NVIDIA GPUs
	TPU  = "xla:tpu"  // XLA on TPUs
	Go   = "go"       // GoMLX's pure-Go backend: no plugin, no compile, slow
)

// Names returns the values of Options.Name, for usage texts.
func Names() []string { return []string{Auto, CPU, CUDA, TPU, Go} }

// Options say which backend to open and how.
type Options struct {
	// Name is one of Names; empty means Auto.
	Name string
	// Offline forbids every download: what is missing becomes an error that names it (a warning under Auto).
	Offline bool
	// Progress shows downloads and warnings; nil is silent.
	Progress *progress.Reporter
	// Devices is the number of devices that the caller wants to use. XLA's CPU backend makes that many virtual ones;
	// on other backends it is an error to ask for more than there are. 0 means one on the CPU, all of them elsewhere.
	Devices int
	// KeepMemory keeps the large blocks that XLA allocates on the CPU within the process from step to step (see package
	// hostmem), for the rest of the process. For training and long evaluations; it holds the memory of a step's
	// temporaries while nothing is computed.
	KeepMemory bool
	// KeepCompiled keeps compiled programs in the user's cache directory (see package compilehook): the next start of the same
	// configuration need not compile. TANDEM_CACHE=off turns it off, a path moves it.
	KeepCompiled bool
}

// Info describes an open backend.
type Info struct {
	Name        string   // one of Names, never Auto
	PluginPath  string   // the library's absolute path; empty for Go
	APIVersion  string   // PJRT API version, like "0.115"; empty for Go
	Devices     []string // one description a device, like "cpu:0"
	KeepsMemory bool     // whether large blocks stay with the process from step to step
	Warning     string   // what the user should know about the choice, or empty; Open has shown it through Progress
}

// Version tells builds of a backend apart, whose numbers may differ in the last bits: PJRT's version and the library's
// identity. It is empty for Go, whose version is the module's, and for a backend that Open did not open.
func (i Info) Version() string {
	if i.PluginPath == "" {
		return ""
	}
	identity, err := libraryIdentity(i.PluginPath)
	if err != nil {
		identity = "gone" // since it was opened
	}
	return fmt.Sprintf("PJRT API %s, plugin %s", i.APIVersion, identity)
}

// Accelerated reports whether the devices are GPUs or TPUs.
func (i Info) Accelerated() bool { return i.Name == CUDA || i.Name == TPU }

// String returns the line that commands print.
func (i Info) String() string {
	devices := fmt.Sprintf("%d devices (%s)", len(i.Devices), strings.Join(i.Devices, ", "))
	if len(i.Devices) == 1 {
		devices = "1 device (" + i.Devices[0] + ")"
	}
	if i.PluginPath == "" {
		return fmt.Sprintf("backend %s: pure Go, no plugin, %s", i.Name, devices)
	}
	return fmt.Sprintf("backend %s: plugin %s, PJRT API %s, %s", i.Name, i.PluginPath, i.APIVersion, devices)
}

// Backend is an open backend. GoMLX compares backends by identity, so the interface is a field and not embedded: there
// is one value to hand on.
type Backend struct {
	Backend compute.Backend
	Info    Info
}

// Close frees the backend and everything that lives on it.
func (b *Backend) Close() {
	if b != nil && b.Backend != nil {
		b.Backend.Finalize()
	}
}

// Open opens the backend that opts name. Auto takes a GPU's or TPU's plugin where the machine has the device, else XLA
// on the CPU, else the pure-Go backend with a warning; it installs what is missing unless opts.Offline. Wrong options
// are the user's mistakes (fault.IsUser); a damaged plugin or download is an error under Auto too.
func Open(ctx context.Context, opts Options) (*Backend, error) {
	if opts.Name == "" {
		opts.Name = Auto
	}
	switch {
	case !slices.Contains(Names(), opts.Name):
		return nil, fault.Userf("backend %q is not known; choose one of %s", opts.Name, strings.Join(Names(), ", "))
	case opts.Devices < 0:
		return nil, fault.Userf("devices %d: the number of devices cannot be negative", opts.Devices)
	case opts.Name == Auto:
		return openAuto(ctx, opts, newFinder(opts), machinePlatforms())
	case opts.Name == Go:
		return openGo(opts, "")
	default:
		return openXLA(ctx, opts, newFinder(opts), strings.TrimPrefix(opts.Name, "xla:"))
	}
}

// machinePlatforms lists the XLA platforms worth trying on this machine, best first.
func machinePlatforms() []string {
	var platforms []string
	if installer.HasNvidiaGPU() {
		platforms = append(platforms, "cuda")
	}
	if hasTPU() {
		platforms = append(platforms, "tpu")
	}
	return append(platforms, "cpu")
}

// openAuto opens the first of platforms that can be had, else the pure-Go backend. A damaged library or download and a
// cancelled context end the search: the user has to act, and would not notice a slower backend.
func openAuto(ctx context.Context, opts Options, f *finder, platforms []string) (*Backend, error) {
	var missing []string
	for _, platform := range platforms {
		b, err := openXLA(ctx, opts, f, platform)
		var absent *absentError
		switch {
		case err == nil:
			b.Info.Warning = warn(opts, strings.Join(missing, "; "))
			return b, nil
		case ctx.Err() != nil || !errors.As(err, &absent):
			return nil, err
		}
		missing = append(missing, fault.OneLine(err))
	}
	return openGo(opts, "the pure-Go backend is used, which is for tiny models only: "+strings.Join(missing, "; "))
}

func warn(opts Options, warning string) string {
	if warning != "" {
		opts.Progress.Linef("warning: %s", warning)
	}
	return warning
}

func openGo(opts Options, warning string) (*Backend, error) {
	if opts.Devices > 1 {
		return nil, fault.Userf("the pure-Go backend has one device, not %d; use -backend %s", opts.Devices, CPU)
	}
	b, err := gobackend.New("")
	if err != nil {
		return nil, fmt.Errorf("open the pure-Go backend: %w", err)
	}
	return &Backend{Backend: b, Info: Info{Name: Go, Devices: describeDevices(b), Warning: warn(opts, warning)}}, nil
}

// openXLA finds or installs the plugin of an XLA platform ("cpu", "cuda", "tpu") and opens it.
func openXLA(ctx context.Context, opts Options, f *finder, platform string) (*Backend, error) {
	path, err := f.plugin(ctx, platform)
	if err != nil {
		return nil, err
	}
	b, err := openPlugin(path, platform, opts.Devices)
	if err == nil {
		_ = compilehook.Install(path) // without it updates are written beside the old values
	}
	if err == nil && opts.KeepCompiled {
		keepCompiled(path)
	}
	if err == nil && platform == "cpu" && opts.KeepMemory {
		b.Info.KeepsMemory = hostmem.Enable(0) == nil // without it everything works, only slower
	}
	return b, err
}

// CacheEnv names the environment variable with the directory of compiled programs, or "off".
const CacheEnv = "TANDEM_CACHE"

// keepCompiled turns the cache on where it can be had; without it everything works, only starting takes longer.
func keepCompiled(plugin string) {
	dir := os.Getenv(CacheEnv)
	if dir == "off" {
		return
	}
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return
		}
		dir = filepath.Join(cache, "tandem", "compiled")
	}
	_ = compilehook.Keep(plugin, dir) // a plugin or platform without it compiles every time
}

func openPlugin(path, platform string, devices int) (*Backend, error) {
	if strings.Contains(path, ",") { // go-xla reads what follows a comma as options
		return nil, fault.Userf("%s: the path of an XLA plugin must not contain a comma; move it", path)
	}
	client := pjrt.NamedValuesMap{}
	if platform == "cpu" {
		client["cpu_device_count"] = int64(max(1, devices)) // the plugin's own default is four devices
	}
	b, err := xla.NewWithOptions(path, client)
	if err != nil {
		return nil, fmt.Errorf("%s: the XLA plugin does not open: %w", path, err)
	}
	if n := b.NumDevices(); devices > n {
		b.Finalize()
		return nil, fault.Userf("backend xla:%s has %d devices, not %d", platform, n, devices)
	}
	info := Info{Name: "xla:" + platform, PluginPath: path, Devices: describeDevices(b)}
	if plugin, err := pjrt.GetPlugin(path); err == nil {
		major, minor := plugin.Version()
		info.APIVersion = fmt.Sprintf("%d.%d", major, minor)
	}
	return &Backend{Backend: b, Info: info}, nil
}

func describeDevices(b compute.Backend) []string {
	var devices []string
	for i := range b.NumDevices() {
		name, _, _ := strings.Cut(b.DeviceDescription(compute.DeviceNum(i)), " [processId=")
		devices = append(devices, name)
	}
	return devices
}
