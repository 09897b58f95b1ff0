package safetensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// IndexSuffix ends the name of the file that says which shard holds which tensor.
const IndexSuffix = ".index.json"

// maxIndex bounds the size of an index.
const maxIndex = 100_000_000

// Set is one model's tensors in one file or in the shards of an index. It may be read by many goroutines at once.
type Set struct {
	path    string
	files   []*File
	tensors []Info
	byName  map[string]int
}

// OpenSet opens a safetensors file, or all shards of an index (a path that ends in IndexSuffix). Shards lie beside the
// index; a tensor that the index places wrongly, and one that it does not know, is an error.
func OpenSet(path string) (*Set, error) {
	if !strings.HasSuffix(path, IndexSuffix) {
		file, err := Open(path)
		if err != nil {
			return nil, err
		}
		return newSet(path, []*File{file})
	}
	weightMap, err := readIndex(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var files []*File
	for _, name := range slices.Sorted(maps.Keys(shardNames(weightMap))) {
		file, err := Open(filepath.Join(filepath.Dir(path), name))
		if err != nil {
			closeAll(files)
			return nil, err
		}
		files = append(files, file)
	}
	set, err := newSet(path, files)
	if err != nil {
		return nil, err
	}
	if err := set.checkIndex(weightMap); err != nil {
		set.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return set, nil
}

// readIndex returns which shard holds which tensor. Shards must be plain names: an index must not reach out of its
// directory.
func readIndex(path string) (map[string]string, error) {
	if stat, err := os.Stat(path); err == nil && stat.Size() > maxIndex {
		return nil, fmt.Errorf("index of %d bytes", stat.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	if len(index.WeightMap) == 0 {
		return nil, errors.New("index: weight_map is missing or empty")
	}
	for _, tensor := range slices.Sorted(maps.Keys(index.WeightMap)) {
		shard := index.WeightMap[tensor]
		if !filepath.IsLocal(shard) || filepath.Base(shard) != shard {
			return nil, fmt.Errorf("index: tensor %q lies in %q, which is no file beside the index", tensor, shard)
		}
	}
	return index.WeightMap, nil
}

func shardNames(weightMap map[string]string) map[string]bool {
	names := map[string]bool{}
	for _, shard := range weightMap {
		names[shard] = true
	}
	return names
}

func newSet(path string, files []*File) (*Set, error) {
	s := &Set{path: path, files: files, byName: map[string]int{}}
	for i, file := range files {
		for _, t := range file.Tensors() {
			if other, twice := s.byName[t.Name]; twice {
				closeAll(files)
				return nil, fmt.Errorf("%s: tensor %q lies in %s and in %s", path, t.Name,
					filepath.Base(files[s.tensors[other].file].Path()), filepath.Base(file.Path()))
			}
			t.file = i
			s.byName[t.Name] = len(s.tensors)
			s.tensors = append(s.tensors, t)
		}
	}
	return s, nil
}

func (s *Set) checkIndex(weightMap map[string]string) error {
	for _, t := range s.tensors {
		if shard := filepath.Base(s.files[t.file].Path()); weightMap[t.Name] != shard {
			return fmt.Errorf("index places tensor %q in %q, it lies in %s", t.Name, weightMap[t.Name], shard)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(weightMap)) {
		if _, ok := s.byName[name]; !ok {
			return fmt.Errorf("index places tensor %q in %s, where it is not", name, weightMap[name])
		}
	}
	return nil
}

// Path is the path the set was opened by.
func (s *Set) Path() string { return s.path }

// Files are the set's files in the order of their names.
func (s *Set) Files() []*File { return s.files }

// Tensors lists the tensors, file by file, in the order of their data.
func (s *Set) Tensors() []Info { return s.tensors }

// Lookup finds a tensor by name.
func (s *Set) Lookup(name string) (Info, bool) {
	i, ok := s.byName[name]
	if !ok {
		return Info{}, false
	}
	return s.tensors[i], true
}

// ReadPart fills dst with a tensor's raw data from an offset in bytes on.
func (s *Set) ReadPart(info Info, offset int64, dst []byte) error {
	return s.files[info.file].ReadPart(info, offset, dst)
}

// Read fills dst, whose length must be info.Bytes(), with a tensor's raw little-endian data.
func (s *Set) Read(info Info, dst []byte) error { return s.files[info.file].Read(info, dst) }

// Close closes all files.
func (s *Set) Close() error { return closeAll(s.files) }

func closeAll(files []*File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
