package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"tandem/data/ingest"
	"tandem/data/shard"
	"tandem/internal/atomicfile"
	"tandem/internal/fault"
)

// The files of a build that has not finished, inside its directory. SkippedName stays.
const (
	journalDir  = ".build"
	journalName = "journal.json"
	dedupName   = "kept.bin"
	lockName    = "lock"
	SkippedName = shard.SkippedName
)

// lockPause is how often a waiting build looks whether the other has finished.
const lockPause = 200 * time.Millisecond

// state is everything that a build knows when it is about to take a row.
type state struct {
	Next     position         `json:"next"`
	Books    shard.Books      `json:"books"`
	Sources  map[string]int64 `json:"sources"` // rows kept, by source
	Captions captionTally     `json:"captions"`
	Bytes    int64            `json:"bytes"`         // of all images kept so far
	Skipped  int64            `json:"skipped_bytes"` // length of the list of skipped rows
	Kept     int64            `json:"kept_bytes"`    // length of the log of kept rows
}

func (s *state) clone() state {
	c := *s
	c.Books.Skipped = maps.Clone(s.Books.Skipped)
	c.Books.Changed = maps.Clone(s.Books.Changed)
	c.Sources = maps.Clone(s.Sources)
	return c
}

// finished is a shard that is complete.
type finished struct {
	shard.FileInfo
	Captions int64 `json:"captions"`
}

// journal is what a killed build leaves behind: its finished shards, and the state from which to read again. Rows of
// a split before DoneTo[split] are in finished shards already.
type journal struct {
	Fingerprint string           `json:"fingerprint"`
	Labels      []string         `json:"labels"`
	Files       []finished       `json:"files"`
	DoneTo      map[string]int64 `json:"done_to"` // by split: sequence number
	State       state            `json:"state"`

	dir     string // "" for a dry run
	lock    *flock.Flock
	skipped *os.File
	dedup   *dedup
}

// fingerprint covers what the bytes of the shards depend on.
func fingerprint(o *Options, inputs []ingest.Input) string {
	h := sha256.New()
	h.Write(encodeOptions(o))
	for _, in := range inputs {
		info := in.Info()
		fmt.Fprintf(h, "\n%s %s %s", info.Name, info.Kind, info.Location)
		for _, p := range in.Parts() {
			fmt.Fprintf(h, "\n  %s %s", p.Name, p.Stamp)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// openJournal prepares the output directory: a new one, or one where a build was killed.
func openJournal(ctx context.Context, o *Options, inputs []ingest.Input) (*journal, error) {
	j := &journal{Fingerprint: fingerprint(o, inputs), Labels: o.Labels, DoneTo: map[string]int64{}, dedup: newDedup(o)}
	if o.DryRun {
		return j, nil
	}
	j.dir = o.Out
	if err := j.acquire(ctx, o); err != nil {
		return nil, err
	}
	if err := j.prepare(o); err != nil {
		if _, missing := os.Stat(j.path(journalName)); missing != nil { // leave no trace where nothing was begun
			err = errors.Join(err, removeAll(j.path("")))
		}
		j.close()
		return nil, err
	}
	return j, nil
}

// prepare makes the directory ready for the next row.
func (j *journal) prepare(o *Options) (err error) {
	for _, step := range []func() error{func() error { return j.clearWay(o) }, j.load, j.removeStray} {
		if err := step(); err != nil { // nothing is removed from a directory that is not this build's
			return err
		}
	}
	if j.skipped, err = os.OpenFile(filepath.Join(j.dir, SkippedName), os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return err
	}
	err = errors.Join(j.skipped.Truncate(j.State.Skipped), seek(j.skipped, j.State.Skipped), j.dedup.open(j.path(dedupName), j.State.Kept))
	if err != nil {
		return err
	}
	return j.save() // from now on, shards without an entry are known to be this build's
}

// acquire makes the directory and keeps other processes from building in it, or waits until they have finished.
func (j *journal) acquire(ctx context.Context, o *Options) error {
	for said := false; ; {
		if err := os.MkdirAll(filepath.Join(j.dir, journalDir), 0o755); err != nil {
			return fault.User(err)
		}
		lock := flock.New(j.path(lockName))
		got, err := lock.TryLock()
		if got && j.holds(lock) {
			j.lock = lock
			return nil
		}
		lock.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: lock: %w", j.dir, err)
		}
		if got || err != nil {
			continue // the other process has just removed what was locked
		}
		if !said {
			o.Progress.Linef("%s: waiting for another process that builds there", j.dir)
			said = true
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// holds reports whether a locked file is the one that others will try to lock.
func (j *journal) holds(lock *flock.Flock) bool {
	there, err := os.Stat(j.path(lockName))
	if err != nil {
		return false
	}
	locked, err := lock.Stat()
	return err == nil && os.SameFile(there, locked)
}

func (j *journal) path(name string) string { return filepath.Join(j.dir, journalDir, name) }

// clearWay makes the directory, and removes what the options say may go.
func (j *journal) clearWay(o *Options) error {
	manifest := filepath.Join(j.dir, shard.ManifestName)
	_, err := os.Stat(manifest)
	switch {
	case err == nil && !o.Replace && j.begun():
		return nil // killed between the manifest and the end: there is only the rest to do
	case err == nil && !o.Replace:
		return fault.User(fmt.Errorf("%s: %w; choose another directory, or replace them with -replace", j.dir, ErrFinished))
	case err == nil:
		if err := j.removeShards(manifest); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fault.User(err)
	}
	if o.Restart {
		return removeAll(j.path(journalName), j.path(dedupName), filepath.Join(j.dir, SkippedName))
	}
	return nil
}

// begun reports whether the directory holds the journal of this very build.
func (j *journal) begun() bool {
	old := journal{}
	data, err := os.ReadFile(j.path(journalName))
	return err == nil && json.Unmarshal(data, &old) == nil && old.Fingerprint == j.Fingerprint
}

// ErrFinished says that a directory holds finished shards.
var ErrFinished = errors.New("holds finished shards already")

// removeShards deletes a finished set: the manifest first, so that no reader takes the rest for complete.
func (j *journal) removeShards(manifest string) error {
	data, err := os.ReadFile(manifest)
	if err != nil {
		return err
	}
	m, err := shard.ParseManifest(manifest, data)
	if err != nil {
		return err
	}
	paths := []string{manifest, filepath.Join(j.dir, SkippedName), j.path(journalName), j.path(dedupName)}
	for _, f := range m.Files {
		paths = append(paths, filepath.Join(j.dir, f.Name))
	}
	return removeAll(paths...)
}

// load takes up the journal of a killed build, if there is one and it belongs to the same build.
func (j *journal) load() error {
	data, err := os.ReadFile(j.path(journalName))
	if errors.Is(err, fs.ErrNotExist) {
		return j.refuseStrangers()
	}
	if err != nil {
		return fault.User(err)
	}
	old := journal{}
	if err := json.Unmarshal(data, &old); err != nil {
		return fmt.Errorf("%s: %w; start the build anew with -restart", j.path(journalName), err)
	}
	if old.Fingerprint != j.Fingerprint {
		return fault.Userf("%s: holds an unfinished build with other options or sources; give the same to finish it, or start anew with -restart", j.dir)
	}
	j.Labels, j.Files, j.State = old.Labels, old.Files, old.State
	if old.DoneTo != nil {
		j.DoneTo = old.DoneTo
	}
	return j.checkFiles()
}

// refuseStrangers keeps a build from mixing its shards with files that were there before.
func (j *journal) refuseStrangers() error {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, ".") && name != SkippedName {
			return fault.Userf("%s: holds %s, which no build put there; choose an empty or new directory", j.dir, name)
		}
	}
	return nil
}

// checkFiles makes sure that the finished shards are still there.
func (j *journal) checkFiles() error {
	for _, f := range j.Files {
		info, err := os.Stat(filepath.Join(j.dir, f.Name))
		if err != nil || info.Size() != f.Bytes {
			return fmt.Errorf("%s: shard %s of the unfinished build is gone or changed; start anew with -restart", j.dir, f.Name)
		}
	}
	return nil
}

// shardName matches the names of shards.
var shardName = regexp.MustCompile(`^[\w.-]+-\d{5,}\.parquet$`)

// removeStray deletes temporary files and shards that were renamed but not yet in the journal.
func (j *journal) removeStray() error {
	known := map[string]bool{}
	for _, f := range j.Files {
		known[f.Name] = true
	}
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".tmp-") || (shardName.MatchString(name) && !known[name]) {
			if err := os.Remove(filepath.Join(j.dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// skip appends a row to the list of skipped ones.
func (j *journal) skip(s *ingest.Skip, source string) (int64, error) {
	line := struct {
		Reason ingest.Reason `json:"reason"`
		Source string        `json:"source"`
		ingest.Place
		Key   string `json:"key,omitempty"`
		Rows  int64  `json:"rows,omitempty"`
		Error string `json:"error,omitempty"`
	}{s.Reason, source, s.At, s.Key, s.Rows, ""}
	if s.Err != nil {
		line.Error = s.Err.Error()
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(line); err != nil {
		return 0, err
	}
	if j.skipped == nil {
		return int64(b.Len()), nil
	}
	n, err := j.skipped.Write(b.Bytes())
	return int64(n), err
}

// save makes a finished shard and the state to resume from durable.
func (j *journal) save() error {
	if j.dir == "" {
		return nil
	}
	if err := errors.Join(j.skipped.Sync(), j.dedup.sync()); err != nil {
		return err
	}
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(j.path(journalName), data, 0o644)
}

func (j *journal) close() {
	if j.skipped != nil {
		j.skipped.Close()
	}
	j.dedup.close()
	if j.lock != nil {
		j.lock.Close()
	}
}

// done removes what only an unfinished build needs. A list without entries goes too.
func (j *journal) done(skipped int64) error {
	defer j.close() // unlocked last: who waits finds the manifest
	paths := []string{filepath.Join(j.dir, journalDir)}
	if skipped == 0 {
		paths = append(paths, filepath.Join(j.dir, SkippedName))
	}
	return removeAll(paths...)
}
