package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"
)

// Remote is what a driver of a bucket does. Its methods may be called from several goroutines. A missing object is an
// error that wraps fs.ErrNotExist, a refused one an error that wraps fs.ErrPermission; any other error is taken for one
// that may pass.
type Remote interface {
	Stat(ctx context.Context, name string) (Info, error)
	// ReadAt fills p with the bytes of an object from offset off on; less than that is an error.
	ReadAt(ctx context.Context, name string, p []byte, off int64) error
	Write(ctx context.Context, name string, fill func(w io.Writer) error) error
	String() string
	Close() error
}

// Info describes an object. Version changes with its content.
type Info struct {
	Size    int64
	Version string
}

// Options are about buckets; directories need none.
type Options struct {
	// RetryFor is how long a failing request is tried again, with growing pauses; default 5 minutes.
	RetryFor time.Duration
	// CacheDir keeps blocks of objects on disk; default: tandem/blocks in the user's cache directory.
	CacheDir string
	// CacheBytes is the room for them, default 16 GiB. It should hold a window of the shuffling and more.
	CacheBytes int64
	// BlockBytes is how much is fetched at a time, default 4 MiB.
	BlockBytes int64
	// Log is told, at most every few seconds, what is tried again and why.
	Log func(format string, args ...any)
}

const (
	defaultRetryFor   = 5 * time.Minute
	defaultCacheBytes = 16 << 30
	defaultBlockBytes = 4 << 20

	attemptTimeout = time.Minute

	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
	logEvery   = 5 * time.Second
)

func (o Options) withDefaults() Options {
	if o.RetryFor == 0 {
		o.RetryFor = defaultRetryFor
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.BlockBytes == 0 {
		o.BlockBytes = defaultBlockBytes
	}
	return o
}

// NewRemote makes a Store of a driver: with retries, and with a cache of blocks on disk that several workers and runs
// share.
func NewRemote(r Remote, o Options) (Store, error) {
	o = o.withDefaults()
	cache, err := openBlocks(o, r.String())
	if err != nil {
		return nil, err
	}
	s := &remoteStore{remote: r, o: o, cache: cache}
	s.closing, s.closeAll = context.WithCancel(context.Background())
	return s, nil
}

type remoteStore struct {
	remote Remote
	o      Options
	cache  *blocks

	closing  context.Context
	closeAll context.CancelFunc
	ahead    aheadQueue

	logMu  sync.Mutex
	logged time.Time
}

func (s *remoteStore) String() string { return s.remote.String() }

func (s *remoteStore) Close() error {
	s.closeAll()
	s.ahead.wait()
	return s.remote.Close()
}

// Open asks for size and version of an object.
func (s *remoteStore) Open(ctx context.Context, name string) (Object, error) {
	var info Info
	err := s.retry(ctx, name, func(ctx context.Context) (err error) {
		info, err = s.remote.Stat(ctx, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &remoteObject{store: s, ctx: ctx, name: name, info: info, id: objectID(name, info)}, nil
}

// Write is not tried again: fill may not be able to say its bytes twice.
func (s *remoteStore) Write(ctx context.Context, name string, fill func(w io.Writer) error) error {
	if err := s.remote.Write(ctx, name, fill); err != nil {
		return fmt.Errorf("%s/%s: %w", s, name, err)
	}
	return nil
}

// retry calls f until it succeeds, fails for good, or the time is up.
func (s *remoteStore) retry(ctx context.Context, name string, f func(ctx context.Context) error) error {
	began, pause := time.Now(), firstPause
	for tries := 1; ; tries++ {
		err := attempt(ctx, f)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("%s/%s: %w", s, name, err)
		}
		if time.Since(began)+pause > s.o.RetryFor {
			return fmt.Errorf("%s/%s: given up after %d tries in %s: %w", s, name, tries, time.Since(began).Round(time.Second), err)
		}
		s.log("%s/%s: try %d failed, next in %s: %v", s, name, tries, pause, err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		case <-s.closing.Done():
			return fmt.Errorf("%s/%s: closed: %w", s, name, err)
		}
		pause = min(2*pause, maxPause)
	}
}

// attempt calls f once, with an end to how long a silent server is waited for.
func attempt(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	return f(ctx)
}

func (s *remoteStore) log(format string, args ...any) {
	if s.o.Log == nil {
		return
	}
	s.logMu.Lock()
	defer s.logMu.Unlock()
	if now := time.Now(); now.Sub(s.logged) >= logEvery {
		s.logged = now
		s.o.Log(format, args...)
	}
}

type remoteObject struct {
	store *remoteStore
	ctx   context.Context
	name  string
	info  Info
	id    string
}

func (o *remoteObject) Size() int64  { return o.info.Size }
func (o *remoteObject) Close() error { return nil }

// ReadAt reads through the cache, block by block.
func (o *remoteObject) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("store: negative offset")
	}
	for n < len(p) {
		if off >= o.info.Size {
			return n, io.EOF
		}
		k := off / o.store.o.BlockBytes
		from, to := o.blockRange(k)
		want := p[n:min(int64(len(p)), int64(n)+to-off)]
		if err := o.store.read(o, k, want, off-from); err != nil {
			return n, err
		}
		n += len(want)
		off += int64(len(want))
	}
	return n, nil
}

func (o *remoteObject) blockRange(k int64) (from, to int64) {
	size := o.store.o.BlockBytes
	return k * size, min((k+1)*size, o.info.Size)
}

// read fills p from block k of an object, from offset `within` of the block on.
func (s *remoteStore) read(o *remoteObject, k int64, p []byte, within int64) error {
	key := blockKey{o.id, k}
	from, to := o.blockRange(k)
	if s.cache.read(key, to-from, p, within) {
		return nil
	}
	data, err := s.fetch(o.ctx, o, k)
	if err != nil {
		return err
	}
	copy(p, data[within:])
	return nil
}

// fetch gets a block from the bucket into the cache. Several who want the same block wait for one fetch.
func (s *remoteStore) fetch(ctx context.Context, o *remoteObject, k int64) ([]byte, error) {
	from, to := o.blockRange(k)
	return s.cache.once(ctx, blockKey{o.id, k}, func() ([]byte, error) {
		data := make([]byte, to-from)
		err := s.retry(ctx, o.name, func(ctx context.Context) error { return s.remote.ReadAt(ctx, o.name, data, from) })
		if err != nil {
			return nil, err
		}
		if err := s.cache.put(blockKey{o.id, k}, data); err != nil {
			s.log("cache of %s: %v", s, err) // the data are good, only the next read will cost again
		}
		return data, nil
	})
}

// Prefetcher is an Object that can be told what will be read soon.
type Prefetcher interface {
	// Prefetch starts to fetch a part of the object in the background. It never waits and reports no errors.
	Prefetch(off, n int64)
}

// Prefetch queues the blocks of a range. If too many are queued, it is forgotten: reading will fetch them.
func (o *remoteObject) Prefetch(off, n int64) {
	s := o.store
	for k := off / s.o.BlockBytes; k*s.o.BlockBytes < min(off+n, o.info.Size); k++ {
		if key := (blockKey{o.id, k}); !s.cache.has(key) {
			s.ahead.add(key, func() {
				if s.closing.Err() == nil && o.ctx.Err() == nil && !s.cache.has(key) {
					_, _ = s.fetch(o.ctx, o, k) // the reader meets the error, if it lasts
				}
			})
		}
	}
}

// aheadQueue runs fetches in the background, a few at a time, each block once.
type aheadQueue struct {
	mu      sync.Mutex
	queued  map[blockKey]bool
	waiting []func()
	workers int
	wg      sync.WaitGroup
}

// Bounds of reading ahead: enough to fill a fast line, not to flood memory (blocks in flight are in memory).
const (
	aheadWorkers = 8
	aheadQueued  = 4096
)

func (q *aheadQueue) add(key blockKey, f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.queued[key] || len(q.waiting) >= aheadQueued {
		return
	}
	if q.queued == nil {
		q.queued = map[blockKey]bool{}
	}
	q.queued[key] = true
	q.waiting = append(q.waiting, func() {
		f()
		q.mu.Lock()
		delete(q.queued, key)
		q.mu.Unlock()
	})
	if q.workers < aheadWorkers {
		q.workers++
		q.wg.Go(q.work)
	}
}

func (q *aheadQueue) work() {
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.workers--
			q.mu.Unlock()
			return
		}
		f := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		f()
	}
}

// wait drops what is queued and waits for what is running.
func (q *aheadQueue) wait() {
	q.mu.Lock()
	q.waiting = nil
	q.mu.Unlock()
	q.wg.Wait()
}
