package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"tandem/internal/fault"
)

// checkOutputs refuses files that could not be written, before anything is computed for them; "" is no file.
func checkOutputs(files ...string) error {
	for _, file := range files {
		if file == "" {
			continue
		}
		if info, err := os.Stat(file); err == nil && info.IsDir() {
			return fault.Userf("%s is a directory: name a file", file)
		}
		if info, err := os.Stat(filepath.Dir(file)); err != nil || !info.IsDir() {
			return fault.Userf("%s cannot be written: there is no directory %s", file, filepath.Dir(file))
		}
	}
	return nil
}

// checkDirectories refuses directories that are something else; they need not be there.
func checkDirectories(dirs ...string) error {
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		switch {
		case dir == "" || errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fault.User(err)
		case !info.IsDir():
			return fault.Userf("%s is a file: name a directory", dir)
		}
	}
	return nil
}
