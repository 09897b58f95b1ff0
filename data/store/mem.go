package store

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
	"sync"

	"tandem/internal/fault"
)

func init() {
	Register("file", openFileURL)
	Register("mem", openMem)
}

// openFileURL opens file:///path/to/directory.
func openFileURL(_ context.Context, location string, _ Options) (Store, error) {
	u, err := url.Parse(location)
	if err != nil || (u.Host != "" && u.Host != "localhost") || u.Path == "" {
		return nil, fault.Userf("%s: want file:///path/to/directory", location)
	}
	return Local(filepath.FromSlash(u.Path)), nil
}

// Memory is a bucket in memory, for tests and for data made and used in one process.
type Memory struct {
	name string

	mu      sync.Mutex
	objects map[string][]byte
	writes  map[string]int
}

var memories = struct {
	sync.Mutex
	byName map[string]*Memory
}{byName: map[string]*Memory{}}

// Mem returns the bucket of a name, the one that "mem://name" opens.
func Mem(name string) *Memory {
	memories.Lock()
	defer memories.Unlock()
	m := memories.byName[name]
	if m == nil {
		m = &Memory{name: name, objects: map[string][]byte{}, writes: map[string]int{}}
		memories.byName[name] = m
	}
	return m
}

func openMem(_ context.Context, location string, _ Options) (Store, error) {
	return memStore{Mem(strings.TrimPrefix(location, "mem://"))}, nil
}

func (m *Memory) String() string { return "mem://" + m.name }

// Close does nothing: the objects stay.
func (m *Memory) Close() error { return nil }

func (m *Memory) object(name string) ([]byte, int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.objects[name]
	if !ok {
		return nil, 0, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return data, m.writes[name], nil
}

// Stat implements Remote.
func (m *Memory) Stat(_ context.Context, name string) (Info, error) {
	data, version, err := m.object(name)
	return Info{int64(len(data)), fmt.Sprint(version)}, err
}

// ReadAt implements Remote.
func (m *Memory) ReadAt(_ context.Context, name string, p []byte, off int64) error {
	data, _, err := m.object(name)
	if err != nil {
		return err
	}
	if off < 0 || off+int64(len(p)) > int64(len(data)) {
		return io.ErrUnexpectedEOF
	}
	copy(p, data[off:])
	return nil
}

// Write implements Remote.
func (m *Memory) Write(_ context.Context, name string, fill func(w io.Writer) error) error {
	var b bytes.Buffer
	if err := fill(&b); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.objects[name] = b.Bytes()
	m.writes[name]++
	return nil
}

// memStore is a Memory without retries and cache.
type memStore struct{ *Memory }

func (s memStore) Open(_ context.Context, name string) (Object, error) {
	data, _, err := s.object(name)
	if err != nil {
		return nil, err
	}
	return memObject{bytes.NewReader(data)}, nil
}

type memObject struct{ *bytes.Reader }

func (o memObject) Size() int64 { return o.Reader.Size() }
func (memObject) Close() error  { return nil }
