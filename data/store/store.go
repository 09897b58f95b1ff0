// Package store reads and writes named objects where shards live: a local directory or, with the drivers of
// data/store/cloud, a bucket. Everything that reads shards goes through the two small interfaces here.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"tandem/internal/atomicfile"
	"tandem/internal/fault"
)

// Store is a set of objects addressed by slash-separated names. A missing object is an error that wraps
// fs.ErrNotExist. Its methods may be called from several goroutines.
type Store interface {
	// Open prepares random reads of an object. ctx governs the reads too: cancelling it ends them.
	Open(ctx context.Context, name string) (Object, error)
	// Write replaces an object by what fill writes, or leaves the old one if fill or the store fails.
	Write(ctx context.Context, name string, fill func(w io.Writer) error) error
	// String is the location as the user wrote it.
	String() string
	// Close lets connections and caches go.
	Close() error
}

// Object is one open object. ReadAt may be called from several goroutines.
type Object interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Opener makes a Store from a URL.
type Opener func(ctx context.Context, url string) (Store, error)

var (
	mu      sync.Mutex
	openers = map[string]Opener{}
)

// Register adds the opener of a URL scheme. Drivers call it from init; a second one for a scheme panics.
func Register(scheme string, open Opener) {
	mu.Lock()
	defer mu.Unlock()
	if openers[scheme] != nil {
		panic("store: scheme " + scheme + " registered twice")
	}
	openers[scheme] = open
}

// knownElsewhere names schemes whose drivers are behind a build tag, so that the message can say which.
var knownElsewhere = map[string]string{"s3": "s3", "gs": "gcs", "azblob": "azure"}

// Open opens a local directory, or a URL whose scheme has a driver.
func Open(ctx context.Context, location string) (Store, error) {
	if location == "" {
		return nil, fault.Userf("no location of shards given: pass a directory or a URL")
	}
	scheme, _, isURL := strings.Cut(location, "://")
	if !isURL {
		return Local(location), nil
	}
	mu.Lock()
	open := openers[scheme]
	mu.Unlock()
	if open != nil {
		return open(ctx, location)
	}
	if tag := knownElsewhere[scheme]; tag != "" {
		return nil, fault.Userf("%s: this program was built without %s:// support: build it with `-tags %s`", location, scheme, tag)
	}
	return nil, fault.Userf("%s: unknown kind of location %q; known are directories, file://, mem://, s3://, gs:// and azblob://", location, scheme)
}

// ReadFile reads a whole object of at most limit bytes.
func ReadFile(ctx context.Context, s Store, name string, limit int64) ([]byte, error) {
	o, err := s.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	if o.Size() > limit {
		return nil, fmt.Errorf("%s/%s: %d bytes, more than the %d that are allowed", s, name, o.Size(), limit)
	}
	data := make([]byte, o.Size())
	if n, err := o.ReadAt(data, 0); n < len(data) {
		return nil, fmt.Errorf("%s/%s: read %d of %d bytes: %w", s, name, n, len(data), err)
	}
	return data, nil
}

// Local is a directory as a store.
type Local string

func (d Local) String() string { return string(d) }

// Close does nothing.
func (d Local) Close() error { return nil }

func (d Local) path(name string) (string, error) {
	if !fs.ValidPath(name) || !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", fmt.Errorf("%s: object name %q leaves the directory", d, name)
	}
	return filepath.Join(string(d), filepath.FromSlash(name)), nil
}

// Open opens a regular file of the directory.
func (d Local) Open(_ context.Context, name string) (Object, error) {
	path, err := d.path(name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &localObject{f, info.Size()}, nil
}

// Write replaces a file atomically.
func (d Local) Write(_ context.Context, name string, fill func(w io.Writer) error) error {
	path, err := d.path(name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(path, 0o644, fill)
}

type localObject struct {
	*os.File
	size int64
}

func (o *localObject) Size() int64 { return o.size }
