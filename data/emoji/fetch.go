package emoji

import (
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tandem/internal/atomicfile"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

// FetchOptions says how to download.
type FetchOptions struct {
	Offline  bool               // never download: a missing package is an error that names it
	Progress *progress.Reporter // nil is silent
}

// Fetch makes sure that dir holds the packages that config needs, each with the pinned sha512; it downloads missing and
// damaged ones with npm, which honours the user's registry and proxy. On error what was fetched stays, whole, for the next
// try.
func Fetch(ctx context.Context, dir string, config Config, opts FetchOptions) error {
	if err := config.Validate(); err != nil {
		return err
	}
	return (&fetcher{dir: dir, npm: "npm", opts: opts}).fetch(ctx, neededPackages(config, packages))
}

type fetcher struct {
	dir  string
	npm  string // command
	opts FetchOptions
}

func (f *fetcher) fetch(ctx context.Context, needed []pkg) error {
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return fmt.Errorf("make the cache of emoji packages: %w", err)
	}
	var missing []pkg
	size := int64(0)
	for _, p := range needed {
		if p.check(filepath.Join(f.dir, p.file())) != nil {
			missing = append(missing, p)
			size += p.size
		}
	}
	switch {
	case len(missing) == 0:
		return nil
	case f.opts.Offline:
		return fault.Userf("%s: %s is missing or damaged, and -offline forbids to fetch it: start once without -offline, or use -config shapes, which needs no download",
			f.dir, missing[0].file())
	}
	if _, err := exec.LookPath(f.npm); err != nil {
		return fault.Userf("the emoji pictures come through npm, and there is no %s: install it (Debian: apt-get install npm), or use -config shapes, which needs nothing", f.npm)
	}
	return f.download(ctx, missing, size)
}

// download gets packages three at a time: most of the time goes into npm's own start.
func (f *fetcher) download(ctx context.Context, missing []pkg, size int64) error {
	task := f.opts.Progress.Start(fmt.Sprintf("downloading %d packages of emoji", len(missing)), size, progress.Bytes)
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(3)
	for _, p := range missing {
		group.Go(func() error {
			if err := f.pack(groupCtx, p); err != nil {
				return err
			}
			task.Add(p.size)
			return nil
		})
	}
	err := group.Wait()
	switch {
	case ctx.Err() != nil:
		task.Fail()
		return ctx.Err()
	case err != nil:
		task.Fail()
		return fmt.Errorf("%w; try again, or use -config shapes, which needs no download", err)
	}
	task.Done()
	return nil
}

// pack runs npm pack in a directory of its own, checks what came and moves it into the cache.
func (f *fetcher) pack(ctx context.Context, p pkg) error {
	tmp, err := os.MkdirTemp(f.dir, ".tmp-npm-")
	if err != nil {
		return fmt.Errorf("make room for %s: %w", p.Work, err)
	}
	defer os.RemoveAll(tmp)
	spec := p.Work + "@" + p.Version
	cmd := exec.CommandContext(ctx, f.npm, "pack", spec, "--json", "--ignore-scripts", "--loglevel=error")
	cmd.Dir = tmp
	cmd.WaitDelay = 5 * time.Second
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = io.Discard, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("npm pack %s: %s", spec, npmError(output.String(), err))
	}
	came := filepath.Join(tmp, p.file())
	if err := p.check(came); err != nil {
		return fmt.Errorf("npm pack %s: %w", spec, err)
	}
	if err := atomicfile.SyncTree(tmp); err != nil {
		return err
	}
	return atomicfile.Rename(came, filepath.Join(f.dir, p.file()))
}

// npmError picks the line of npm's output that says what happened, else what the process died of.
func npmError(output string, err error) string {
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		for _, prefix := range []string{"npm error ", "npm ERR! "} {
			if text, ok := strings.CutPrefix(line, prefix); ok && !strings.HasPrefix(text, "code ") && !strings.HasPrefix(text, "errno ") {
				return text
			}
		}
	}
	return err.Error()
}

// check refuses a file that is not the pinned tarball.
func (p pkg) check(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is no %s", filepath.Base(path))
	} else if err != nil {
		return err
	}
	defer f.Close()
	hash := sha512.New()
	n, err := io.Copy(hash, f)
	if err != nil {
		return err
	}
	if sum := base64.StdEncoding.EncodeToString(hash.Sum(nil)); sum != p.sha512 {
		return fmt.Errorf("%s is refused: its %d bytes have the sha512 %s, not %s as pinned", filepath.Base(path), n, sum, p.sha512)
	}
	return nil
}

// mangle is the name that npm pack gives to a package's tarball, without version.
func mangle(name string) string { return strings.ReplaceAll(strings.TrimPrefix(name, "@"), "/", "-") }
