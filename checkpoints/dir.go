// Package checkpoints keeps models and training states on disk: directories that appear whole or not at all, whose
// every file is hashed, of which the newest good one is found again after any interruption. docs/format/checkpoint.md
// describes the files.
package checkpoints

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"tandem/internal/atomicfile"
)

// ManifestName is the file that names and hashes every other file of a directory; it is written last.
const ManifestName = "manifest.json"

// WeightsName is the file of a model's weights.
const WeightsName = "model.safetensors"

const manifestFormat = "tandem-manifest/1"

// Manifest lists the files of a directory.
type Manifest struct {
	Format string      `json:"format"`
	Files  []FileEntry `json:"files"`
}

// FileEntry is one file by its slash-separated path below the directory.
type FileEntry struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// tempPrefix marks directories under construction; what a killed process left of them is removed by Clean.
const tempPrefix = ".tmp-"

// WriteDir creates dir with what fill writes into it, all or nothing: fill works in a temporary directory beside it,
// every file is hashed into a manifest and flushed, and a rename makes the directory appear. An existing dir is replaced.
func WriteDir(dir string, fill func(tmp string) error) (err error) {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, tempPrefix+filepath.Base(dir)+"-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := fill(tmp); err != nil {
		return err
	}
	if err := writeManifest(tmp); err != nil {
		return err
	}
	if err := atomicfile.SyncTree(tmp); err != nil {
		return err
	}
	return replaceDir(tmp, dir)
}

// replaceDir moves tmp to dir. A directory cannot be renamed over a full one: the two are exchanged where the system
// can, or the old one steps aside first.
func replaceDir(tmp, dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return atomicfile.Rename(tmp, dir)
	}
	if exchange(tmp, dir) == nil {
		return errors.Join(atomicfile.SyncDir(filepath.Dir(dir)), os.RemoveAll(tmp))
	}
	old := tmp + "-old"
	if err := os.Rename(dir, old); err != nil {
		return err
	}
	if err := atomicfile.Rename(tmp, dir); err != nil {
		return errors.Join(err, os.Rename(old, dir))
	}
	return os.RemoveAll(old)
}

func writeManifest(dir string) error {
	m := Manifest{Format: manifestFormat}
	err := walkFiles(dir, func(name string) error {
		entry, err := hashFile(dir, name)
		m.Files = append(m.Files, entry)
		return err
	})
	if err != nil {
		return err
	}
	return WriteJSON(filepath.Join(dir, ManifestName), m)
}

// walkFiles calls visit for each regular file below dir but the manifest, in lexical order.
func walkFiles(dir string, visit func(name string) error) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == ManifestName {
			return err
		}
		return visit(filepath.ToSlash(rel))
	})
}

func hashFile(dir, name string) (FileEntry, error) {
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		return FileEntry{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return FileEntry{}, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return FileEntry{Name: name, Bytes: n, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

// WriteJSON writes v indented, with a final line break. It is for files inside a directory that WriteDir is filling.
func WriteJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// ReadJSON reads a file that WriteJSON wrote; unknown keys are an error.
func ReadJSON(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	dec := json.NewDecoder(f)
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Verify checks that dir has a manifest and that every file in it is there with the right size and hash.
func Verify(dir string) error {
	var m Manifest
	if err := ReadJSON(filepath.Join(dir, ManifestName), &m); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is not a checkpoint: it has no %s", dir, ManifestName)
		}
		return err
	}
	if m.Format != manifestFormat {
		return fmt.Errorf("%s: format %q is not %q", filepath.Join(dir, ManifestName), m.Format, manifestFormat)
	}
	for _, want := range m.Files {
		got, err := hashFile(dir, want.Name)
		switch {
		case err != nil:
			return err
		case got.Bytes != want.Bytes:
			return fmt.Errorf("%s/%s has %d bytes, its manifest says %d", dir, want.Name, got.Bytes, want.Bytes)
		case got.SHA256 != want.SHA256:
			return fmt.Errorf("%s/%s does not match the sha256 of its manifest", dir, want.Name)
		}
	}
	return nil
}

// latestName is a file that holds the name of the newest step directory. It is a convenience for people and scripts:
// reading goes by the directories themselves.
const latestName = "LATEST"

const stepPrefix = "step-"

// Root is a directory of step directories.
type Root struct {
	Dir string
	// Keep is how many of the newest to keep; 0 keeps all.
	Keep int
	// KeepEvery, if positive, spares every step that it divides.
	KeepEvery int64
	// Protected, if set, spares further steps: the best by some metric, for example.
	Protected func(step int64) bool
}

// StepDir is the directory of a step.
func (r Root) StepDir(step int64) string {
	return filepath.Join(r.Dir, fmt.Sprintf("%s%09d", stepPrefix, step))
}

// Save writes the directory of a step, points LATEST at it, and removes what retention lets go. An error leaves all
// earlier steps as they were.
func (r Root) Save(step int64, fill func(tmp string) error) (dir string, err error) {
	dir = r.StepDir(step)
	if err := WriteDir(dir, fill); err != nil {
		return "", fmt.Errorf("save checkpoint %s: %w", dir, err)
	}
	latest := filepath.Join(r.Dir, latestName)
	if err := atomicfile.WriteFile(latest, []byte(filepath.Base(dir)+"\n"), 0o644); err != nil {
		return "", fmt.Errorf("save checkpoint: %w", err)
	}
	return dir, r.retain()
}

// retain removes steps that nothing keeps, oldest first.
func (r Root) retain() error {
	steps, err := r.Steps()
	if err != nil || r.Keep <= 0 || len(steps) <= r.Keep {
		return err
	}
	for _, step := range steps[:len(steps)-r.Keep] {
		kept := r.KeepEvery > 0 && step%r.KeepEvery == 0 || r.Protected != nil && r.Protected(step)
		if kept {
			continue
		}
		if err := os.RemoveAll(r.StepDir(step)); err != nil {
			return err
		}
	}
	return nil
}

// Steps lists the steps that have a directory, ascending.
func (r Root) Steps() ([]int64, error) {
	entries, err := os.ReadDir(r.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var steps []int64
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), stepPrefix)
		if step, err := strconv.ParseInt(digits, 10, 64); ok && err == nil && e.IsDir() {
			steps = append(steps, step)
		}
	}
	sort.Slice(steps, func(i, j int) bool { return steps[i] < steps[j] })
	return steps, nil
}

// Newest finds the newest step whose directory is whole. skipped says, newest first, what was wrong with the ones
// passed over. Without any good one it returns ok = false.
func (r Root) Newest() (step int64, dir string, skipped []error, ok bool, err error) {
	steps, err := r.Steps()
	if err != nil {
		return 0, "", nil, false, err
	}
	for i := len(steps) - 1; i >= 0; i-- {
		dir := r.StepDir(steps[i])
		if bad := Verify(dir); bad != nil {
			skipped = append(skipped, bad)
			continue
		}
		return steps[i], dir, skipped, true, nil
	}
	return 0, "", skipped, false, nil
}

// Clean removes what an interrupted Save left behind. Call it when no other process writes to the root.
func (r Root) Clean() error {
	leftovers, err := filepath.Glob(filepath.Join(r.Dir, tempPrefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range leftovers {
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}
