package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gomlx/go-xla/installer"

	"tandem/internal/progress"
)

// fetch downloads the wheel into tmp and returns its path; the caller verifies it. pip goes first, because it knows the
// user's mirror, proxy and certificates; without pip the index is asked through go-xla's installer package.
func (in *wheelInstaller) fetch(ctx context.Context, tmp string) (string, error) {
	what := fmt.Sprintf("downloading the XLA plugin for the CPU (%s %s)", in.wheel.name, in.wheel.version)
	task := in.report.Start(what, in.wheel.size, progress.Bytes)
	var path string
	err := in.pipRuns(ctx)
	if err == nil {
		path, err = in.fetchWithPip(ctx, tmp, task)
	} else if noPip := err; ctx.Err() == nil {
		if path, err = in.fetchWithHTTP(ctx, tmp, task); err != nil {
			err = fmt.Errorf("%w; with pip it might work (%w): install python3-pip and try again", err, noPip)
		}
	}
	switch {
	case ctx.Err() != nil:
		task.Fail()
		return "", ctx.Err()
	case err != nil:
		task.Fail()
		return "", &absentError{fmt.Errorf("the XLA plugin for the CPU could not be fetched: %w", err)}
	}
	task.Done()
	return path, nil
}

// pipRuns tells why pip cannot be used, or nil.
func (in *wheelInstaller) pipRuns(ctx context.Context) error {
	if _, err := exec.LookPath(in.python); err != nil {
		return fmt.Errorf("there is no %s", in.python)
	}
	if err := exec.CommandContext(ctx, in.python, "-m", "pip", "--version").Run(); err != nil {
		return fmt.Errorf("%s has no pip", in.python)
	}
	return nil
}

// fetchWithPip runs pip. It says nothing about its progress that a program could rely on, so the growth of its temporary
// directory is watched.
func (in *wheelInstaller) fetchWithPip(ctx context.Context, tmp string, task *progress.Task) (string, error) {
	work, dest := filepath.Join(tmp, "pip-work"), filepath.Join(tmp, "pip")
	if err := errors.Join(os.Mkdir(work, 0o755), os.Mkdir(dest, 0o755)); err != nil {
		return "", err
	}
	// --platform frees the choice of the wheel from the age and the build of the Python that happens to be there.
	cmd := exec.CommandContext(ctx, in.python, "-m", "pip", "download", "--quiet", "--progress-bar", "off", "--no-input",
		"--disable-pip-version-check", "--no-cache-dir", "--no-deps", "--only-binary", ":all:",
		"--platform", in.wheel.platform, "--dest", dest, in.wheel.name+"=="+in.wheel.version)
	cmd.Env = append(os.Environ(), "TMPDIR="+work)
	cmd.WaitDelay = 5 * time.Second
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	stop := watchGrowth(task, in.wheel.size, work, dest)
	err := cmd.Run()
	stop()
	if err != nil {
		return "", fmt.Errorf("pip download %s==%s: %s", in.wheel.name, in.wheel.version, pipError(output.String(), err))
	}
	path := filepath.Join(dest, in.wheel.file)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("pip download %s==%s brought no %s", in.wheel.name, in.wheel.version, in.wheel.file)
	}
	return path, nil
}

// pipError is the last line of output that pip marks as an error, else what the process died of.
func pipError(output string, err error) string {
	message := err.Error()
	for line := range strings.Lines(output) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "ERROR: "); ok {
			message = text
		}
	}
	return message
}

// watchGrowth feeds task with the bytes that appear under dirs, to at most limit, until stop is called.
func watchGrowth(task *progress.Task, limit int64, dirs ...string) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		seen := int64(0)
		for open := true; open; {
			select {
			case <-ticker.C:
			case <-quit:
				open = false
			}
			if now := min(limit, largestFile(dirs)); now > seen {
				task.Add(now - seen)
				seen = now
			}
		}
	}()
	return func() { close(quit); <-done }
}

// largestFile returns the size of the largest file under dirs: pip moves a finished download, or copies it.
func largestFile(dirs []string) (size int64) {
	for _, dir := range dirs {
		filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() {
				if info, err := entry.Info(); err == nil {
					size = max(size, info.Size())
				}
			}
			return nil
		})
	}
	return size
}

// fetchWithHTTP asks the index for the file's address and downloads it.
func (in *wheelInstaller) fetchWithHTTP(ctx context.Context, tmp string, task *progress.Task) (string, error) {
	address, err := in.address(ctx)
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s", address, response.Status)
	}
	path := filepath.Join(tmp, in.wheel.file)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(io.MultiWriter(f, task), io.LimitReader(response.Body, in.wheel.size+1))
	if err = errors.Join(err, f.Close()); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", fmt.Errorf("%s: %w", address, err)
	}
	return path, nil // a body that ended early is told by wheel.verify
}

// address returns where the index keeps the wheel. go-xla's request cannot be cancelled, so it is abandoned.
func (in *wheelInstaller) address(ctx context.Context) (string, error) {
	type answer struct {
		info *installer.PipPackageInfo
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		info, err := in.info(in.wheel.name)
		answers <- answer{info, err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case a := <-answers:
		if a.err != nil {
			return "", fmt.Errorf("ask the package index for %s: %w", in.wheel.name, a.err)
		}
		return in.pick(a.info.Releases[in.wheel.version])
	}
}

func (in *wheelInstaller) pick(releases []installer.PipReleaseInfo) (string, error) {
	for _, release := range releases {
		if release.Filename != in.wheel.file {
			continue
		}
		if u, err := url.Parse(release.URL); err != nil || !u.IsAbs() {
			return "", fmt.Errorf("the package index gives %q as the address of %s, which cannot be fetched", release.URL, in.wheel.file)
		}
		return release.URL, nil
	}
	return "", fmt.Errorf("the package index has no %s", in.wheel.file)
}
