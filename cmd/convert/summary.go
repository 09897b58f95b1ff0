package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"tandem/checkpoints/foreign"
	"tandem/internal/progress"
)

// summarise lists what was written, the weights with their sha256.
func summarise(w io.Writer, dst string, to foreign.Format) error {
	var total int64
	files := 0
	err := filepath.WalkDir(dst, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		info, err := entry.Info()
		if err != nil {
			return err
		}
		total += info.Size()
		if !strings.HasSuffix(path, ".safetensors") || filepath.Dir(path) != filepath.Clean(dst) {
			return nil
		}
		sum, err := hash(path)
		if err == nil {
			fmt.Fprintf(w, "%-11s %s  %s\n", "sha256", sum, entry.Name())
		}
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%-11s %s: %s, %d files, %s\n", "wrote", dst, to, files, progress.FormatBytes(total))
	return nil
}

func hash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return fmt.Sprintf("%x", h.Sum(nil)), err
}
