// Package atomicfile writes files and directories so that a reader, or a machine that lost power, sees the old
// content or the new one and nothing between: write beside, fsync, rename, fsync the parent.
package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// WriteFile replaces path by data. On error the old file is untouched and the temporary one is gone.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	return Write(path, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// Write replaces path by what fill writes. On error, fill's included, the old file is untouched.
func Write(path string, perm os.FileMode, fill func(w io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".tmp-"+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err = fill(f); err != nil {
		return err
	}
	if err = f.Chmod(perm); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return Rename(f.Name(), path)
}

// Rename moves oldPath over newPath and makes the move durable. Files inside a renamed directory must have been
// synced before (SyncTree).
func Rename(oldPath, newPath string) error {
	if err := os.Rename(oldPath, newPath); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(newPath))
}

// SyncDir flushes a directory's entries.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// SyncTree flushes every regular file and directory under root.
func SyncTree(root string) error {
	return filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir(), entry.Type().IsRegular():
			return SyncDir(path) // fsync works on both through a read-only descriptor
		default:
			return nil
		}
	})
}
