package store

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// blocks is a cache of blocks of objects in a directory, one file a block: the bytes and their CRC-32C. The block used
// least recently goes first. Several processes may share a directory; each keeps to its own limit.
type blocks struct {
	dir   string
	limit int64

	mu      sync.Mutex
	items   map[blockKey]*list.Element
	recent  *list.List // of *block, most recently used first
	bytes   int64
	running map[blockKey]*running
}

// blockKey is a block of an object.
type blockKey struct {
	object string
	k      int64
}

type block struct {
	key     blockKey
	bytes   int64
	checked bool // the checksum was compared in this process
}

// running is a fetch that others may wait for.
type running struct {
	done chan struct{}
	data []byte
	err  error
}

const (
	blockSuffix  = ".block"
	sumBytes     = 4
	cacheDirName = "tandem/blocks"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// objectID names a version of an object in file names.
func objectID(name string, info Info) string {
	sum := sha256.Sum256([]byte(fmt.Sprintf("%s\x00%d\x00%s", name, info.Size, info.Version)))
	return hex.EncodeToString(sum[:12])
}

// openBlocks prepares the directory and takes up what is in it.
func openBlocks(o Options, location string) (*blocks, error) {
	dir := o.CacheDir
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no directory for the cache of %s: %w", location, err)
		}
		dir = filepath.Join(user, filepath.FromSlash(cacheDirName))
	}
	sum := sha256.Sum256([]byte(fmt.Sprintf("%s\x00%d", location, o.BlockBytes)))
	b := &blocks{
		dir: filepath.Join(dir, hex.EncodeToString(sum[:8])), limit: o.CacheBytes,
		items: map[blockKey]*list.Element{}, recent: list.New(), running: map[blockKey]*running{},
	}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return nil, err
	}
	return b, b.scan()
}

// scan takes up the blocks of earlier runs, oldest first.
func (b *blocks) scan() error {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return err
	}
	type old struct {
		block
		time int64
	}
	var found []old
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // another process removed it
		}
		key, ok := parseBlockName(e.Name())
		if !ok {
			os.Remove(filepath.Join(b.dir, e.Name())) // half-written
			continue
		}
		found = append(found, old{block{key, info.Size(), false}, info.ModTime().UnixNano()})
	}
	slices.SortFunc(found, func(x, y old) int { return int(min(max(x.time-y.time, -1), 1)) })
	for _, f := range found {
		b.items[f.key] = b.recent.PushFront(&f.block)
		b.bytes += f.bytes
	}
	b.shrink()
	return nil
}

func (b *blocks) path(key blockKey) string {
	return filepath.Join(b.dir, fmt.Sprintf("%s-%d%s", key.object, key.k, blockSuffix))
}

func parseBlockName(name string) (key blockKey, ok bool) {
	stem, ok := strings.CutSuffix(name, blockSuffix)
	if !ok {
		return key, false
	}
	object, k, ok := strings.Cut(stem, "-")
	key.object = object
	_, err := fmt.Sscanf(k, "%d", &key.k)
	return key, ok && err == nil && len(object) == 24
}

// shrink removes the blocks used least recently until the limit holds; b.mu is held, or nobody else knows b.
func (b *blocks) shrink() {
	for b.bytes > b.limit && b.recent.Len() > 1 {
		b.drop(b.recent.Back())
	}
}

func (b *blocks) drop(e *list.Element) {
	old := b.recent.Remove(e).(*block)
	delete(b.items, old.key)
	b.bytes -= old.bytes
	os.Remove(b.path(old.key))
}

func (b *blocks) has(key blockKey) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.items[key] != nil
}

// touch finds a block and notes the use.
func (b *blocks) touch(key blockKey) (found, checked bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.items[key]
	if e == nil {
		return false, false
	}
	b.recent.MoveToFront(e)
	return true, e.Value.(*block).checked
}

// read fills p from a cached block of a given size. The first read in a process checks the block; a damaged one is
// dropped.
func (b *blocks) read(key blockKey, size int64, p []byte, within int64) bool {
	found, checked := b.touch(key)
	if !found {
		return false
	}
	if checked {
		f, err := os.Open(b.path(key))
		if err == nil {
			_, err = f.ReadAt(p, within)
			f.Close()
		}
		if err != nil {
			b.forget(key)
		}
		return err == nil
	}
	data, err := os.ReadFile(b.path(key))
	if err != nil || int64(len(data)) != size+sumBytes || binary.LittleEndian.Uint32(data[size:]) != crc32.Checksum(data[:size], castagnoli) {
		b.forget(key)
		return false
	}
	copy(p, data[within:size])
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.items[key]; e != nil {
		e.Value.(*block).checked = true
	}
	return true
}

func (b *blocks) forget(key blockKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.items[key]; e != nil {
		b.drop(e)
	}
}

// put stores a block. An error leaves the cache without it.
func (b *blocks) put(key blockKey, data []byte) error {
	f, err := os.CreateTemp(b.dir, ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		_, err = f.Write(binary.LittleEndian.AppendUint32(nil, crc32.Checksum(data, castagnoli)))
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), b.path(key)) // not synced: a torn block fails its checksum
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.items[key] == nil {
		n := int64(len(data) + sumBytes)
		b.items[key] = b.recent.PushFront(&block{key, n, true})
		b.bytes += n
		b.shrink()
	}
	return nil
}

// once runs fetch, or waits for the fetch of the same block that runs already.
func (b *blocks) once(ctx context.Context, key blockKey, fetch func() ([]byte, error)) ([]byte, error) {
	b.mu.Lock()
	if r := b.running[key]; r != nil {
		b.mu.Unlock()
		select {
		case <-r.done:
			return r.data, r.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	r := &running{done: make(chan struct{})}
	b.running[key] = r
	b.mu.Unlock()
	r.data, r.err = fetch()
	b.mu.Lock()
	delete(b.running, key)
	b.mu.Unlock()
	close(r.done)
	return r.data, r.err
}
