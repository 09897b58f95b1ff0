package build

import (
	"bytes"
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
	SkippedName = "skipped.jsonl" // every row that was not used: reason, file, row, key
)

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
func openJournal(o *Options, inputs []ingest.Input) (*journal, error) {
	j := &journal{Fingerprint: fingerprint(o, inputs), Labels: o.Labels, DoneTo: map[string]int64{}, dedup: newDedup(o)}
	if o.DryRun {
		return j, nil
	}
	j.dir = o.Out
	if err := j.clearWay(o); err != nil {
		return nil, err
	}
	if err := j.load(); err != nil {
		return nil, err
	}
	if err := j.removeStray(); err != nil {
		return nil, err
	}
	var err error
	if j.skipped, err = os.OpenFile(filepath.Join(j.dir, SkippedName), os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return nil, err
	}
	err = errors.Join(j.skipped.Truncate(j.State.Skipped), seek(j.skipped, j.State.Skipped), j.dedup.open(j.path(dedupName), j.State.Kept))
	if err == nil {
		err = j.save() // from now on, shards without an entry are known to be this build's
	}
	if err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

func (j *journal) path(name string) string { return filepath.Join(j.dir, journalDir, name) }

// clearWay makes the directory, and removes what the options say may go.
func (j *journal) clearWay(o *Options) error {
	manifest := filepath.Join(j.dir, shard.ManifestName)
	_, err := os.Stat(manifest)
	switch {
	case err == nil && !o.Replace:
		return fault.Userf("%s: holds finished shards already; choose another directory, or replace them with -replace", j.dir)
	case err == nil:
		if err := j.removeShards(manifest); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fault.User(err)
	}
	if o.Restart {
		if err := removeAll(filepath.Join(j.dir, journalDir), filepath.Join(j.dir, SkippedName)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(j.dir, journalDir), 0o755); err != nil {
		return fault.User(err)
	}
	return nil
}

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
	paths := []string{manifest, filepath.Join(j.dir, SkippedName), filepath.Join(j.dir, journalDir)}
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
}

// done removes what only an unfinished build needs. A list without entries goes too.
func (j *journal) done(skipped int64) error {
	j.close()
	paths := []string{filepath.Join(j.dir, journalDir)}
	if skipped == 0 {
		paths = append(paths, filepath.Join(j.dir, SkippedName))
	}
	return removeAll(paths...)
}
