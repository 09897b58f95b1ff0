package packaged

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"tandem/data/source"
	"tandem/internal/atomicfile"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

// tools are the commands that bring packages, and the root of the file system that apt-get installs to.
type tools struct{ python, apt, dpkgDeb, dpkgQuery, root string }

func (t *tools) setDefaults() {
	for field, value := range map[*string]string{
		&t.python: "python3", &t.apt: "apt-get", &t.dpkgDeb: "dpkg-deb", &t.dpkgQuery: "dpkg-query", &t.root: "/",
	} {
		if *field == "" {
			*field = value
		}
	}
}

// wheel is a package of the Python package index, pinned.
type wheel struct {
	source.Licence // Work and Version are what pip is asked for
	file           string
	sha256         string
	size           int64
}

func (w wheel) open(ctx context.Context, o Options) (unpacked, error) {
	path := filepath.Join(o.Packages, w.file)
	if err := w.check(path); err != nil {
		if o.Offline {
			return unpacked{}, fault.Userf("%w, and -offline forbids to download it: start once without", err)
		}
		if err := w.download(ctx, path, o); err != nil {
			return unpacked{}, err
		}
	}
	z, err := zip.OpenReader(path)
	if err != nil {
		return unpacked{}, fmt.Errorf("%s: %w", path, err)
	}
	return unpacked{FS: z, licence: w.Licence, close: z}, nil
}

// check refuses a file that is not the pinned wheel.
func (w wheel) check(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is not there", path)
	} else if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != w.sha256 {
		return fmt.Errorf("%s has the sha256 %s, not %s as pinned", path, sum, w.sha256)
	}
	return nil
}

// download has pip fetch the wheel, which honours the user's index, proxy and certificates, and puts it at path.
func (w wheel) download(ctx context.Context, path string, o Options) error {
	spec := w.Work + "==" + w.Version
	if _, err := exec.LookPath(o.tools.python); err != nil {
		return fault.Userf("%s comes through pip, and there is no %s: install it (Debian: apt-get install python3-pip)", spec, o.tools.python)
	}
	return fetching(ctx, o, fmt.Sprintf("downloading %s (%s)", spec, progress.FormatBytes(w.size)), func(tmp string) error {
		err := command(ctx, tmp, o.tools.python, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check",
			"--no-deps", "--only-binary", ":all:", "--dest", tmp, spec)
		if err != nil {
			return fmt.Errorf("pip download %s: %w", spec, err)
		}
		came := filepath.Join(tmp, w.file)
		if err := w.check(came); err != nil {
			return fmt.Errorf("pip download %s: %w", spec, err)
		}
		return atomicfile.Rename(came, path)
	})
}

// deb is a Debian package. Its version is what the release of the system has.
type deb struct {
	source.Licence // Work is the package's name
	dir            string
}

func (d deb) open(ctx context.Context, o Options) (unpacked, error) {
	if installed := filepath.Join(o.tools.root, d.dir); isDir(installed) {
		version, err := exec.CommandContext(ctx, o.tools.dpkgQuery, "-W", "-f", "${Version}", d.Work).Output()
		if err != nil {
			version = []byte("unknown") // the files came another way
		}
		return d.unpacked(installed, string(version)), nil
	}
	cached := filepath.Join(o.Packages, d.Work)
	if !isDir(cached) {
		if err := d.download(ctx, cached, o); err != nil {
			return unpacked{}, err
		}
	}
	version, err := os.ReadFile(filepath.Join(cached, "version"))
	if err != nil {
		return unpacked{}, fmt.Errorf("%w: remove %s and try again", err, cached)
	}
	return d.unpacked(filepath.Join(cached, d.dir), strings.TrimSpace(string(version))), nil
}

func (d deb) unpacked(dir, version string) unpacked {
	l := d.Licence
	l.Version = version
	return unpacked{FS: os.DirFS(dir), dir: dir, licence: l}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// download has apt-get fetch the package, checked against the system's signed lists, and unpacks it into dir. That needs
// no rights, where installing does.
func (d deb) download(ctx context.Context, dir string, o Options) error {
	install := fmt.Sprintf("install the Debian package %s (as root: apt-get install %s)", d.Work, d.Work)
	if o.Offline {
		return fault.Userf("%s is not there, and -offline forbids to download it: %s", filepath.Join(o.tools.root, d.dir), install)
	}
	for _, tool := range []string{o.tools.apt, o.tools.dpkgDeb} {
		if _, err := exec.LookPath(tool); err != nil {
			return fault.Userf("%s is not there, and neither is %s to fetch it: on Debian or Ubuntu, %s; elsewhere unpack that package into %s",
				filepath.Join(o.tools.root, d.dir), tool, install, dir)
		}
	}
	return fetching(ctx, o, "downloading Debian's "+d.Work, func(tmp string) error {
		if err := command(ctx, tmp, o.tools.apt, "download", "-q", d.Work); err != nil {
			return fmt.Errorf("apt-get download %s: %w: if the package is not found, run apt-get update as root first, or %s", d.Work, err, install)
		}
		return d.unpack(ctx, tmp, dir, o)
	})
}

// unpack takes the package out of the archive that lies in tmp.
func (d deb) unpack(ctx context.Context, tmp, dir string, o Options) error {
	archives, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(archives) != 1 {
		return fmt.Errorf("apt-get download %s brought %d archives, want 1", d.Work, len(archives))
	}
	files := filepath.Join(tmp, "files")
	version, err := exec.CommandContext(ctx, o.tools.dpkgDeb, "-f", archives[0], "Version").Output()
	if err != nil {
		return fmt.Errorf("dpkg-deb -f %s: %w", archives[0], err)
	}
	if err := command(ctx, tmp, o.tools.dpkgDeb, "-x", archives[0], files); err != nil {
		return fmt.Errorf("dpkg-deb -x %s: %w", archives[0], err)
	}
	if !isDir(filepath.Join(files, d.dir)) {
		return fmt.Errorf("%s %s has no %s", d.Work, strings.TrimSpace(string(version)), d.dir)
	}
	if err := os.WriteFile(filepath.Join(files, "version"), version, 0o644); err != nil {
		return err
	}
	if err := atomicfile.SyncTree(files); err != nil {
		return err
	}
	return atomicfile.Rename(files, dir)
}

// fetching runs work with a fresh directory beside the kept packages, and says what it does.
func fetching(ctx context.Context, o Options, what string, work func(tmp string) error) error {
	if err := os.MkdirAll(o.Packages, 0o755); err != nil {
		return fmt.Errorf("make the directory of packages: %w", err)
	}
	tmp, err := os.MkdirTemp(o.Packages, ".tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	o.Progress.Linef("%s", what)
	if err := work(tmp); ctx.Err() != nil {
		return ctx.Err()
	} else if err != nil {
		return err
	}
	return nil
}

// command runs a program in dir. Its error is the last line that the program marked as one.
func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = io.Discard, &output
	err := cmd.Run()
	if err == nil {
		return nil
	}
	message := err.Error()
	for line := range strings.Lines(output.String()) {
		for _, mark := range []string{"ERROR: ", "E: ", "dpkg-deb: error: "} {
			if text, ok := strings.CutPrefix(strings.TrimSpace(line), mark); ok {
				message = text
			}
		}
	}
	return errors.New(message)
}
