package backend

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/gomlx/go-xla/installer"
	"github.com/gomlx/go-xla/pjrt"

	"tandem/internal/fault"
	"tandem/internal/progress"
)

// absentError says that a platform's plugin cannot be had here: none is installed, and it may not or cannot be fetched.
type absentError struct{ err error }

func (e *absentError) Error() string { return e.err.Error() }
func (e *absentError) Unwrap() error { return e.err }

// finder looks for plugins and installs missing ones.
type finder struct {
	dirs    []string // searched in this order
	home    string   // go-xla's own directory, where plugins are installed
	homeErr error    // why there is no home directory
	offline bool
	report  *progress.Reporter
	install func(ctx context.Context, platform, dir string, report *progress.Reporter) error
}

func newFinder(opts Options) *finder {
	f := &finder{offline: opts.Offline, report: opts.Progress, install: installPlugin}
	lib, err := installer.DefaultHomeLibPath()
	if err != nil {
		f.homeErr = err
	} else {
		f.home = filepath.Join(lib, "go-xla")
	}
	f.dirs = searchPath(os.Getenv(pjrt.PJRTPluginPathsEnv), f.home)
	return f
}

// searchPath lists the directories that hold plugins: those of the environment variable, go-xla's own directory in the
// home directory, then, unless the variable is set, the system's.
func searchPath(env, home string) []string {
	var dirs []string
	for _, dir := range filepath.SplitList(env) {
		if abs, err := filepath.Abs(dir); dir != "" && err == nil {
			dirs = append(dirs, abs)
		}
	}
	if home != "" {
		dirs = append(dirs, home)
	}
	if env == "" {
		dirs = append(dirs, "/usr/local/lib/go-xla")
	}
	return dirs
}

// plugin returns the absolute path of a platform's plugin after installing it if there is none.
func (f *finder) plugin(ctx context.Context, platform string) (string, error) {
	path, err := findPlugin(f.dirs, platform)
	if path != "" || err != nil {
		return path, err
	}
	switch {
	case f.offline:
		return "", &absentError{fault.Userf("no XLA plugin for %s in %s, and -offline forbids to fetch it: start once without -offline, or put it there",
			platform, strings.Join(f.dirs, ", "))}
	case f.home == "":
		return "", &absentError{fmt.Errorf("no XLA plugin for %s, and no place to install it: %w", platform, f.homeErr)}
	}
	if err := f.install(ctx, platform, f.home, f.report); err != nil {
		return "", err
	}
	path, err = findPlugin(f.dirs, platform)
	if path == "" && err == nil { // go-xla's installers do nothing, and say nothing, where a device or a build is missing
		err = &absentError{fault.Userf("backend xla:%s: no such device, or no XLA plugin for it, on this %s/%s machine", platform, runtime.GOOS, runtime.GOARCH)}
	}
	return path, err
}

// findPlugin returns the first plugin of a platform in dirs, checked; "" if there is none. Names are those that go-xla
// knows; a versioned name counts after the plain one, the newest first.
func findPlugin(dirs []string, platform string) (string, error) {
	extension := map[string]string{"darwin": "dylib", "windows": "dll"}[runtime.GOOS]
	if extension == "" {
		extension = "so"
	}
	for _, dir := range dirs {
		for _, sub := range []string{"", "nvidia"} { // go-xla keeps CUDA's in a directory of its own
			for _, pattern := range []string{"pjrt_c_api_%s_plugin", "pjrt-plugin-%s", "pjrt_plugin_%s", "pjrt_c_api_%s_v*_plugin"} {
				pattern = fmt.Sprintf(pattern, platform) + "." + extension
				found, err := globIn(filepath.Join(dir, sub), pattern)
				if err != nil || len(found) == 0 {
					continue
				}
				return found[len(found)-1], checkLibrary(found[len(found)-1])
			}
		}
	}
	return "", nil
}

// globIn lists the files of dir whose names match pattern, sorted. Unlike filepath.Glob it takes dir as it is written.
func globIn(dir, pattern string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, entry := range entries {
		if ok, _ := filepath.Match(pattern, entry.Name()); ok {
			found = append(found, filepath.Join(dir, entry.Name()))
		}
	}
	slices.Sort(found)
	return found, nil
}

// checkLibrary refuses a library that cannot be loaded. The loader maps a library's segments without looking at its
// size and dies by SIGBUS on a truncated one.
func checkLibrary(path string) error {
	reason := error(nil)
	switch info, err := os.Stat(path); {
	case err != nil:
		reason = err
	case !info.Mode().IsRegular():
		reason = errors.New("it is not a file")
	case runtime.GOOS == "linux":
		reason = checkELF(path, info.Size())
	case info.Size() == 0:
		reason = errors.New("it is empty")
	}
	if reason != nil {
		return fmt.Errorf("%s: damaged XLA plugin (%w): delete this file and start again to have it installed anew", path, reason)
	}
	return nil
}

// libraryIdentity is a short hash of a library: of its size and of 64 KiB at each of 64 places. Plugins know no version of
// their own, carry no build identifier, and are hundreds of megabytes; two builds differ nearly everywhere.
func libraryIdentity(path string) (string, error) {
	const places, piece = 64, 64 << 10
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, info.Size())
	for i := range int64(places) {
		if _, err := io.Copy(h, io.NewSectionReader(f, i*info.Size()/places, piece)); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

func checkELF(path string, size int64) error {
	f, err := elf.Open(path) // reads the section table, which is a library's last part
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("it is truncated at %s", progress.FormatBytes(size))
		}
		return err
	}
	defer f.Close()
	if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]; want != 0 && f.Machine != want {
		return fmt.Errorf("it is built for %s", f.Machine)
	}
	for _, p := range f.Progs {
		if p.Off+p.Filesz > uint64(size) {
			return fmt.Errorf("it is truncated at %s", progress.FormatBytes(size))
		}
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(symbols, func(s elf.Symbol) bool { return s.Name == pjrt.GetPJRTApiFunctionName }) {
		return fmt.Errorf("it exports no %s", pjrt.GetPJRTApiFunctionName)
	}
	return nil
}
