package backend

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/gomlx/go-xla/installer"

	"tandem/internal/atomicfile"
	"tandem/internal/progress"
)

// cpuLibrary is the name under which the CPU plugin is installed; go-xla finds it too.
const cpuLibrary = "pjrt_c_api_cpu_plugin.so"

// installPlugin installs a platform's plugin into dir, go-xla's own directory.
func installPlugin(ctx context.Context, platform, dir string, report *progress.Reporter) error {
	if platform == "cpu" && runtime.GOOS == "linux" && runtime.GOARCH == "amd64" {
		return newWheelInstaller(pinnedWheel, dir, report).run(ctx)
	}
	if platform == "cuda" && !installer.HasNvidiaGPU() || platform == "tpu" && !hasTPU() {
		return nil // nothing to install for; the finder says so
	}
	return installWithGoXLA(ctx, platform, dir, report)
}

// installWithGoXLA leaves the work to go-xla's own installer. It prints on standard output, which belongs to the
// command's results, so that standard error takes its place meanwhile; it cannot be cancelled, so it is abandoned.
func installWithGoXLA(ctx context.Context, platform, dir string, report *progress.Reporter) error {
	task := report.Start("installing the XLA plugin for "+platform+" with go-xla's installer", -1, progress.Bytes)
	done := make(chan error, 1)
	go func() {
		stdout := os.Stdout
		os.Stdout = os.Stderr
		defer func() { os.Stdout = stdout }()
		done <- installer.AutoInstallPlugin(platform, filepath.Dir(dir), true, installer.Quiet)
	}()
	select {
	case <-ctx.Done():
		task.Fail()
		return ctx.Err()
	case err := <-done:
		if err != nil {
			task.Fail()
			return &absentError{fmt.Errorf("the XLA plugin for %s could not be installed: %w", platform, err)}
		}
		task.Done()
		return nil
	}
}

// wheelInstaller puts the library of a Python wheel into a directory: under a lock, so that two starts at once download
// once, and by rename, so that nobody ever sees half a library.
type wheelInstaller struct {
	wheel  wheel
	dir    string
	report *progress.Reporter
	python string // command that runs pip
	// info asks the package index for a package's files, for machines without pip.
	info func(name string) (*installer.PipPackageInfo, error)
}

func newWheelInstaller(w wheel, dir string, report *progress.Reporter) *wheelInstaller {
	return &wheelInstaller{wheel: w, dir: dir, report: report, python: "python3", info: installer.GetPipInfo}
}

func (in *wheelInstaller) run(ctx context.Context) (err error) {
	if err := os.MkdirAll(in.dir, 0o755); err != nil {
		return fmt.Errorf("make the directory of XLA plugins: %w", err)
	}
	unlock, err := in.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(in.dir, cpuLibrary)); err == nil {
		return nil // another start was quicker
	}
	in.sweep()
	tmp, err := os.MkdirTemp(in.dir, tmpPrefix)
	if err != nil {
		return fmt.Errorf("make room for the XLA plugin: %w", err)
	}
	defer os.RemoveAll(tmp)
	path, err := in.fetch(ctx, tmp)
	if err != nil {
		return err
	}
	if err := in.wheel.verify(path); err != nil {
		return err
	}
	return in.unpack(path, tmp)
}

const tmpPrefix = ".tmp-install-"

// sweep removes what killed starts have left. The lock is held: nobody is using it.
func (in *wheelInstaller) sweep() {
	left, _ := globIn(in.dir, tmpPrefix+"*")
	for _, dir := range left {
		os.RemoveAll(dir)
	}
}

// lock waits until no other process, and no other goroutine, installs into the directory.
func (in *wheelInstaller) lock(ctx context.Context) (unlock func(), err error) {
	lock := flock.New(filepath.Join(in.dir, ".install.lock"))
	ok, err := lock.TryLock()
	if err == nil && !ok {
		in.report.Linef("waiting for another start that is installing the XLA plugin …")
		_, err = lock.TryLockContext(ctx, 200*time.Millisecond)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", in.dir, err)
	}
	return func() { lock.Close() }, nil
}

// unpack moves the wheel's library and licence files from inside tmp to their places, the library last.
func (in *wheelInstaller) unpack(wheelPath, tmp string) error {
	task := in.report.Start("unpacking the XLA plugin", in.wheel.unpacked, progress.Bytes)
	licences := filepath.Join(tmp, "licenses")
	library := filepath.Join(tmp, cpuLibrary)
	if err := unzipPlugin(wheelPath, library, licences, task); err != nil {
		task.Fail()
		return fmt.Errorf("unpack %s: %w", in.wheel.file, err)
	}
	task.Done()
	if err := atomicfile.SyncTree(tmp); err != nil {
		return fmt.Errorf("unpack %s: %w", in.wheel.file, err)
	}
	if err := checkLibrary(library); err != nil {
		return err
	}
	kept := filepath.Join(in.dir, strings.TrimSuffix(cpuLibrary, ".so")+".licenses")
	if err := os.RemoveAll(kept); err != nil {
		return err
	}
	if err := atomicfile.Rename(licences, kept); err != nil {
		return err
	}
	return atomicfile.Rename(library, filepath.Join(in.dir, cpuLibrary))
}

// unzipPlugin extracts the wheel's one plugin library to the file library and its licence files into the directory
// licences.
func unzipPlugin(wheelPath, library, licences string, task *progress.Task) error {
	r, err := zip.OpenReader(wheelPath)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := os.Mkdir(licences, 0o755); err != nil {
		return err
	}
	found := false
	for _, member := range r.File {
		dir, name := filepath.Split(member.Name)
		switch {
		case name == cpuLibrary:
			found = true
			err = unzipFile(member, library, task)
		case strings.HasSuffix(dir, ".dist-info/licenses/") && name != "":
			err = unzipFile(member, filepath.Join(licences, name), task)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", member.Name, err)
		}
	}
	if !found {
		return errors.New("it holds no " + cpuLibrary)
	}
	return nil
}

func unzipFile(member *zip.File, path string, task *progress.Task) error {
	in, err := member.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.MultiWriter(out, task), in)
	return errors.Join(err, out.Close())
}

// wheel pins a Python wheel.
type wheel struct {
	name, version string
	platform      string // pip's platform tag
	file          string // file name
	size          int64
	sha256        string
	unpacked      int64 // bytes of the library and its licences
}

// pinnedWheel ships the CPU plugin of JAX's XLA, PJRT API 0.115, Apache-2.0. jaxlib's own library exports no GetPjrtApi.
var pinnedWheel = wheel{
	name:     "lammps-jax-pjrt-cpu",
	version:  "0.11.2",
	platform: "manylinux_2_27_x86_64",
	file:     "lammps_jax_pjrt_cpu-0.11.2-py3-none-manylinux_2_27_x86_64.whl",
	size:     62_711_338,
	sha256:   "1319390d948b39f69f7dade496b7c385149d9ca6097a6b62114da113216d9ad1",
	unpacked: 201_863_543,
}

// verify refuses a file that is not the pinned wheel to the last bit.
func (w wheel) verify(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the downloaded %s: %w", w.file, err)
	}
	defer f.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, f)
	if err != nil {
		return fmt.Errorf("read the downloaded %s: %w", w.file, err)
	}
	if n < w.size {
		return fmt.Errorf("the download of %s is truncated: %d of %d bytes came, and nothing was installed; try again", w.file, n, w.size)
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); sum != w.sha256 {
		return fmt.Errorf("the download of %s is corrupt: its sha256 is %s, not %s, and nothing was installed; try again, or look at the mirror that served it",
			w.file, sum, w.sha256)
	}
	return nil
}
