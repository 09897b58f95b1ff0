package build

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"

	"tandem/data/ingest"
)

// maxNearDistance is how far apart two dHashes may be and still be found through the index of dedup.
const maxNearDistance = 3

// bands split a dHash into 16-bit pieces: two hashes that differ in at most 3 bits share one of 4 pieces.
const bands = maxNearDistance + 1

// dedup remembers the rows that were kept, in about 40 bytes a row and, for near-duplicates, 40 more. What it learns
// goes to a log, from which a later run takes it up again.
type dedup struct {
	mode     string
	distance int
	keys     map[uint64]struct{}
	images   map[uint64]struct{}
	near     [bands]map[uint16][]uint64
	log      *bufio.Writer
	file     *os.File
	written  int64
}

// entry is one kept row in the log: three hashes.
const entryBytes = 24

func newDedup(o *Options) *dedup {
	d := &dedup{mode: o.Dedup, distance: o.NearDistance, keys: map[uint64]struct{}{}, images: map[uint64]struct{}{}}
	for i := range d.near {
		d.near[i] = map[uint16][]uint64{}
	}
	return d
}

// open takes up the first n bytes of the log at path and appends behind them.
func (d *dedup) open(path string, n int64) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	d.file, d.written = f, n
	if err := d.replay(f, n); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	if err := errors.Join(f.Truncate(n), seek(f, n)); err != nil {
		return errors.Join(err, f.Close())
	}
	d.log = bufio.NewWriter(f)
	return nil
}

func seek(f *os.File, n int64) error {
	_, err := f.Seek(n, io.SeekStart)
	return err
}

func (d *dedup) replay(f *os.File, n int64) error {
	r := bufio.NewReader(f)
	var b [entryBytes]byte
	for ; n > 0; n -= entryBytes {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return err
		}
		d.remember(binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:]))
	}
	return nil
}

// find reports why a row is a duplicate of one that was kept, or "".
func (d *dedup) find(it *item) ingest.Reason {
	if _, ok := d.keys[keyHash(it)]; ok {
		return ingest.DuplicateKey
	}
	if d.mode == "" || d.mode == "none" {
		return ""
	}
	if _, ok := d.images[it.digest]; ok {
		return ingest.DuplicateImage
	}
	if d.mode == "near" && d.findNear(it.dhash) {
		return ingest.NearDuplicate
	}
	return ""
}

func keyHash(it *item) uint64 { return hash64([]byte(it.row.Key)) }

// hash64 is the head of the sha256: stable across runs, and two of ten million rows collide once in 400,000 builds.
func hash64(b []byte) uint64 {
	sum := sha256.Sum256(b)
	return binary.LittleEndian.Uint64(sum[:])
}

func (d *dedup) findNear(hash uint64) bool {
	for i := range d.near {
		for _, other := range d.near[i][band(hash, i)] {
			if bits.OnesCount64(hash^other) <= d.distance {
				return true
			}
		}
	}
	return false
}

func band(hash uint64, i int) uint16 { return uint16(hash >> (16 * i)) }

// keep remembers a row and logs it.
func (d *dedup) keep(it *item) error {
	key := keyHash(it)
	d.remember(key, it.digest, it.dhash)
	d.written += entryBytes
	if d.log == nil {
		return nil
	}
	var b [entryBytes]byte
	binary.LittleEndian.PutUint64(b[:], key)
	binary.LittleEndian.PutUint64(b[8:], it.digest)
	binary.LittleEndian.PutUint64(b[16:], it.dhash)
	_, err := d.log.Write(b[:])
	return err
}

func (d *dedup) remember(key, image, dhash uint64) {
	d.keys[key] = struct{}{}
	if d.mode == "exact" || d.mode == "near" {
		d.images[image] = struct{}{}
	}
	if d.mode == "near" {
		for i := range d.near {
			d.near[i][band(dhash, i)] = append(d.near[i][band(dhash, i)], dhash)
		}
	}
}

// sync makes the log durable up to what was kept.
func (d *dedup) sync() error {
	if d.log == nil {
		return nil
	}
	return errors.Join(d.log.Flush(), d.file.Sync())
}

func (d *dedup) close() {
	if d.file != nil {
		d.file.Close()
	}
}
