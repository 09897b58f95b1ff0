package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/fault"
)

// flaky is a bucket whose next requests fail.
type flaky struct {
	Remote
	reads, stats atomic.Int64
	fail         atomic.Int64 // requests that still fail; negative: all
	err          error
	slow         time.Duration
}

func (f *flaky) failure() error {
	if n := f.fail.Load(); n < 0 || n > 0 && f.fail.Add(-1) >= 0 {
		if f.err != nil {
			return f.err
		}
		return errors.New("connection refused")
	}
	return nil
}

func (f *flaky) Stat(ctx context.Context, name string) (Info, error) {
	f.stats.Add(1)
	if err := f.failure(); err != nil {
		return Info{}, err
	}
	return f.Remote.Stat(ctx, name)
}

func (f *flaky) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	f.reads.Add(1)
	if f.slow > 0 {
		time.Sleep(f.slow)
	}
	if err := f.failure(); err != nil {
		clear(p) // half-read
		return err
	}
	return f.Remote.ReadAt(ctx, name, p, off)
}

// bucket makes a store over a memory bucket that holds one object of n bytes.
func bucket(t *testing.T, n int, o Options) (Store, *flaky, []byte) {
	t.Helper()
	m := Mem(t.Name())
	data := make([]byte, n)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	if err := m.Write(context.Background(), "a/b", func(w io.Writer) error { _, err := w.Write(data); return err }); err != nil {
		t.Fatal(err)
	}
	f := &flaky{Remote: m}
	if o.CacheDir == "" {
		o.CacheDir = t.TempDir()
	}
	s, err := NewRemote(f, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, f, data
}

func mustOpen(t *testing.T, s Store, name string) Object {
	t.Helper()
	o, err := s.Open(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func checkRead(t *testing.T, o Object, data []byte, off, n int) {
	t.Helper()
	p := make([]byte, n)
	got, err := o.ReadAt(p, int64(off))
	want := data[min(off, len(data)):min(off+n, len(data))]
	if got != len(want) || !bytes.Equal(p[:got], want) || (err != nil) != (len(want) < n) || (err != nil && err != io.EOF) {
		t.Fatalf("read of %d bytes at %d: %d bytes, error %v", n, off, got, err)
	}
}

func TestRemoteReads(t *testing.T) {
	s, f, data := bucket(t, 10_050, Options{BlockBytes: 1000})
	o := mustOpen(t, s, "a/b")
	if o.Size() != int64(len(data)) {
		t.Errorf("size %d", o.Size())
	}
	for range 300 {
		checkRead(t, o, data, rand.IntN(len(data)), rand.IntN(3000))
	}
	checkRead(t, o, data, 0, len(data))
	checkRead(t, o, data, len(data), 1)
	if n := f.reads.Load(); n != 11 {
		t.Errorf("%d blocks fetched, want each of 11 once", n)
	}
	if _, err := s.Open(context.Background(), "gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing object: %v", err)
	}
}

// TestCacheLives holds that another run finds the blocks, that a changed object is not mixed up with the old one, and
// that damage in the cache is noticed.
func TestCacheLives(t *testing.T) {
	dir := t.TempDir()
	o := Options{BlockBytes: 1000, CacheDir: dir}
	s, _, data := bucket(t, 5000, o)
	checkRead(t, mustOpen(t, s, "a/b"), data, 0, 5000)

	again, f, data := reopen(t, o)
	checkRead(t, mustOpen(t, again, "a/b"), data, 0, 5000)
	if n := f.reads.Load(); n != 0 {
		t.Errorf("the second run fetched %d blocks", n)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"+blockSuffix))
	if err != nil || len(files) != 5 {
		t.Fatalf("cache holds %v, error %v", files, err)
	}
	flip(t, files[1], 500)
	if err := os.Truncate(files[2], 77); err != nil {
		t.Fatal(err)
	}
	os.Remove(files[3])
	os.WriteFile(filepath.Join(filepath.Dir(files[0]), ".tmp-123"), []byte("half"), 0o644)
	healed, f, data := reopen(t, o)
	checkRead(t, mustOpen(t, healed, "a/b"), data, 0, 5000)
	if n := f.reads.Load(); n != 3 {
		t.Errorf("%d blocks fetched for one flipped, one cut and one lost", n)
	}

	changed := bytes.Repeat([]byte("new"), 1667)[:5000]
	if err := Mem(t.Name()).Write(context.Background(), "a/b", func(w io.Writer) error { _, err := w.Write(changed); return err }); err != nil {
		t.Fatal(err)
	}
	fresh, _, _ := reopen(t, o)
	checkRead(t, mustOpen(t, fresh, "a/b"), changed, 0, 5000)
}

func reopen(t *testing.T, o Options) (Store, *flaky, []byte) {
	t.Helper()
	f := &flaky{Remote: Mem(t.Name())}
	s, err := NewRemote(f, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	data, _, err := Mem(t.Name()).object("a/b")
	if err != nil {
		t.Fatal(err)
	}
	return s, f, data
}

func flip(t *testing.T, path string, at int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 1
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCacheLimit(t *testing.T) {
	dir := t.TempDir()
	s, f, data := bucket(t, 50_000, Options{BlockBytes: 1000, CacheBytes: 10_100, CacheDir: dir})
	o := mustOpen(t, s, "a/b")
	for range 3 {
		checkRead(t, o, data, 0, len(data))
	}
	var total int64
	filepath.Walk(dir, func(_ string, info fs.FileInfo, _ error) error {
		if info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	if total > 10_100 || total < 8_000 {
		t.Errorf("cache of %d bytes, limit 10100", total)
	}
	before := f.reads.Load()
	checkRead(t, o, data, 49_000, 1000) // the block used last is there
	if f.reads.Load() != before {
		t.Error("the newest block was thrown out")
	}
}

func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []string
		s, f, data := bucket(t, 3000, Options{BlockBytes: 1000, RetryFor: time.Minute, Log: func(format string, args ...any) { log = append(log, fmt.Sprintf(format, args...)) }})
		f.fail.Store(4)
		o := mustOpen(t, s, "a/b")
		f.fail.Store(6)
		began := time.Now()
		checkRead(t, o, data, 0, 3000)
		if waited := time.Since(began); waited < 3*time.Second || waited > 30*time.Second {
			t.Errorf("six failures cost %s", waited)
		}
		if len(log) == 0 || !strings.Contains(log[0], "connection refused") || !strings.Contains(log[0], "a/b: try 1 failed") {
			t.Errorf("log %q", log)
		}
	})
}

func TestGivingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f, _ := bucket(t, 3000, Options{BlockBytes: 1000, RetryFor: 30 * time.Second})
		o := mustOpen(t, s, "a/b")
		f.fail.Store(-1)
		began := time.Now()
		_, err := o.ReadAt(make([]byte, 10), 0)
		if err == nil || !strings.Contains(err.Error(), "a/b: given up after ") || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("error %v", err)
		}
		if waited := time.Since(began); waited < 20*time.Second || waited > 30*time.Second {
			t.Errorf("gave up after %s", waited)
		}
		f.err = fs.ErrPermission
		if _, err := s.Open(context.Background(), "a/b"); !errors.Is(err, fs.ErrPermission) || f.stats.Load() != 2 {
			t.Errorf("forbidden object: error %v after %d requests", err, f.stats.Load())
		}
	})
}

func TestCancelWhileRetrying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f, _ := bucket(t, 3000, Options{})
		ctx, cancel := context.WithCancel(context.Background())
		o, err := s.Open(ctx, "a/b")
		if err != nil {
			t.Fatal(err)
		}
		f.fail.Store(-1)
		time.AfterFunc(time.Second, cancel)
		if _, err := o.ReadAt(make([]byte, 10), 0); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

func TestOneFetchForMany(t *testing.T) {
	s, f, data := bucket(t, 1000, Options{BlockBytes: 1000})
	f.slow = 20 * time.Millisecond
	o := mustOpen(t, s, "a/b")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { checkRead(t, o, data, i*10, 100) })
	}
	wg.Wait()
	if n := f.reads.Load(); n != 1 {
		t.Errorf("%d fetches of one block", n)
	}
}

func TestPrefetch(t *testing.T) {
	s, f, data := bucket(t, 100_000, Options{BlockBytes: 1000})
	o := mustOpen(t, s, "a/b")
	for off := range 10 {
		o.(Prefetcher).Prefetch(int64(off*5000), 2500)
	}
	o.(Prefetcher).Prefetch(99_900, 5000) // beyond the end
	for range 500 {
		if f.reads.Load() == 31 {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	if n := f.reads.Load(); n != 31 {
		t.Errorf("%d blocks prefetched, want 31", n)
	}
	time.Sleep(5 * time.Millisecond) // the last block goes into the cache
	checkRead(t, o, data, 5000, 2500)
	if n := f.reads.Load(); n != 31 {
		t.Errorf("a prefetched range was fetched again: %d fetches", n)
	}
	f.slow = time.Millisecond
	for off := range 100 {
		o.(Prefetcher).Prefetch(int64(off*1000), 1000)
	}
	if err := s.Close(); err != nil { // waits for what is running and drops the rest
		t.Error(err)
	}
}

func TestMemAndFileURLs(t *testing.T) {
	dir := t.TempDir()
	for _, location := range []string{"mem://" + t.Name(), "file://" + t.TempDir(), dir} {
		s, err := Open(context.Background(), location)
		if err != nil {
			t.Fatal(err)
		}
		write := func(text string, err error) error {
			return s.Write(context.Background(), "sub/x", func(w io.Writer) error { io.WriteString(w, text); return err })
		}
		broken := errors.New("broken")
		if err := write("half", broken); !errors.Is(err, broken) {
			t.Errorf("%s: failed write: %v", location, err)
		}
		if _, err := s.Open(context.Background(), "sub/x"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: after a failed write: %v", location, err)
		}
		if err := write("whole", nil); err != nil {
			t.Fatal(err)
		}
		if data, err := ReadFile(context.Background(), s, "sub/x", 100); string(data) != "whole" || err != nil {
			t.Errorf("%s: %q, %v", location, data, err)
		}
		if _, err := ReadFile(context.Background(), s, "sub/x", 3); err == nil || !strings.Contains(err.Error(), "5 bytes, more than the 3") {
			t.Errorf("%s: %v", location, err)
		}
	}
	if _, err := Local(dir).Open(context.Background(), "../x"); err == nil || !strings.Contains(err.Error(), "leaves the directory") {
		t.Errorf("traversal: %v", err)
	}
	if _, err := Local(dir).Open(context.Background(), "sub"); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("directory: %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	for location, want := range map[string]string{
		"": "no location of shards given", "ftp://x/y": `unknown kind of location "ftp"`, "file://host/x": "want file:///path",
	} {
		if _, err := Open(context.Background(), location); err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", location, err, want)
		}
	}
}
