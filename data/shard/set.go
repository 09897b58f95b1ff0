package shard

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sort"
	"sync"
	"syscall"

	"tandem/data/store"
	"tandem/internal/fault"
)

// maxOpenFiles bounds the files a Set holds open at a time.
const maxOpenFiles = 512

// Set is a directory of shards, or one split of it, seen as one long sequence of rows. Its methods may be called from
// several goroutines.
type Set struct {
	Manifest *Manifest

	ctx   context.Context
	store store.Store
	files []FileInfo
	first []int64 // first[i] is the first row of file i; one entry more than files

	mu     sync.Mutex
	open   map[int]*Handle
	recent *list.List // of *Handle, least recently used first
}

// Handle is an open file in use.
type Handle struct {
	File *File

	close func() error
	index int
	users int
	place *list.Element
	once  sync.Once
	err   error
}

// ReadManifest reads the manifest at the root of a store.
func ReadManifest(ctx context.Context, s store.Store) (*Manifest, error) {
	data, err := store.ReadFile(ctx, s, ManifestName, maxManifestBytes)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) { // missing, or a file in place of the directory
		return nil, fault.Userf("%s: no %s: not a shard directory, or a build that has not finished; `data build` makes one", s, ManifestName)
	}
	if err != nil {
		return nil, err
	}
	return ParseManifest(fmt.Sprintf("%s/%s", s, ManifestName), data)
}

// OpenSet reads the manifest and prepares the rows of one split, or all rows if split is empty. ctx governs later
// reads too.
func OpenSet(ctx context.Context, s store.Store, split string) (*Set, error) {
	m, err := ReadManifest(ctx, s)
	if err != nil {
		return nil, err
	}
	if _, ok := m.Splits[split]; split != "" && !ok {
		return nil, fault.Userf("%s: no split %q; it has %v", s, split, m.SplitNames())
	}
	set := &Set{Manifest: m, ctx: ctx, store: s, files: m.FilesOf(split), first: []int64{0}, open: map[int]*Handle{}, recent: list.New()}
	for i, f := range set.files {
		set.first = append(set.first, set.first[i]+f.Rows)
	}
	if set.NumRows() == 0 {
		return nil, fault.Userf("%s: no rows in split %q; build it again from a source that has some", s, split)
	}
	return set, nil
}

// Location is the directory or URL of the set.
func (s *Set) Location() string { return s.store.String() }

// NumRows returns the number of rows.
func (s *Set) NumRows() int64 { return s.first[len(s.first)-1] }

// Files returns the files in the order of their rows.
func (s *Set) Files() []FileInfo { return s.files }

// Locate returns the file that holds a row of the set, and the row's number in it.
func (s *Set) Locate(row int64) (file int, inFile int64) {
	file = sort.Search(len(s.files), func(i int) bool { return s.first[i+1] > row })
	return file, row - s.first[file]
}

// Use calls f with file i, which stays open during the call.
func (s *Set) Use(i int, f func(*File) error) error {
	h, err := s.Acquire(i)
	if err != nil {
		return err
	}
	defer s.Release(h)
	return f(h.File)
}

// Acquire opens file i, or takes it from those open. The file stays open until Release.
func (s *Set) Acquire(i int) (*Handle, error) {
	h := s.acquire(i)
	h.once.Do(func() { h.err = s.openHandle(h) })
	if h.err != nil {
		s.Release(h)
		return nil, h.err
	}
	return h, nil
}

func (s *Set) acquire(i int) *Handle {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.open[i]
	if h == nil {
		h = &Handle{index: i}
		h.place = s.recent.PushBack(h)
		s.open[i] = h
	} else {
		s.recent.MoveToBack(h.place)
	}
	h.users++
	return h
}

// Release gives back what Acquire returned.
func (s *Set) Release(h *Handle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.users--; h.users > 0 {
		return
	}
	if h.err != nil { // the next user tries again
		s.drop(h)
	} else if len(s.open) > maxOpenFiles {
		s.dropIdle()
	}
}

// dropIdle closes the file that nobody has used for the longest time.
func (s *Set) dropIdle() {
	for e := s.recent.Front(); e != nil; e = e.Next() {
		if h := e.Value.(*Handle); h.users == 0 {
			s.drop(h)
			return
		}
	}
}

func (s *Set) drop(h *Handle) error {
	s.recent.Remove(h.place)
	delete(s.open, h.index)
	if h.close == nil || h.err != nil {
		return nil
	}
	return h.close()
}

func (s *Set) openHandle(h *Handle) error {
	info := s.files[h.index]
	name := fmt.Sprintf("%s/%s", s.store, info.Name)
	o, err := s.store.Open(s.ctx, info.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.Userf("%s: the manifest lists it but it is not there; copy it back or build again", name)
	}
	if err != nil {
		return err
	}
	h.close = o.Close
	if o.Size() != info.Bytes {
		return errors.Join(&DamageError{name, -1, fmt.Errorf("%d bytes, the manifest says %d: it was cut or replaced", o.Size(), info.Bytes)}, o.Close())
	}
	if h.File, err = OpenFile(name, o, o.Size()); err != nil {
		return errors.Join(err, o.Close())
	}
	if n := h.File.NumRows(); n != info.Rows {
		return errors.Join(&DamageError{name, -1, fmt.Errorf("%d rows, the manifest says %d", n, info.Rows)}, o.Close())
	}
	return nil
}

// Close closes the files. No Use may be running.
func (s *Set) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for s.recent.Len() > 0 {
		errs = append(errs, s.drop(s.recent.Front().Value.(*Handle)))
	}
	return errors.Join(errs...)
}

// Rows calls f for every row in order with all columns, until f returns an error. file and row say where it lies.
func (s *Set) Rows(ctx context.Context, f func(file FileInfo, row int64, r *Row) error) error {
	for i, info := range s.files {
		err := s.Use(i, func(file *File) error {
			return file.rows(ctx, func(n int64, r *Row) error { return f(info, n, r) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *File) rows(ctx context.Context, do func(n int64, r *Row) error) error {
	for i := range f.NumGroups() {
		g, err := f.Group(i)
		if err != nil {
			return err
		}
		for row := range g.Rows {
			if err := ctx.Err(); err != nil {
				return err
			}
			r, err := f.ReadRow(g, row)
			if err != nil {
				return err
			}
			if err := do(g.First+int64(row), r); err != nil {
				return err
			}
		}
	}
	return nil
}
