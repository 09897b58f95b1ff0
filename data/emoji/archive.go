package emoji

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"tandem/internal/fault"
)

// maxMember bounds what is read of one file in a package; the largest in use has 25 MB.
const maxMember = 128 << 20

// readPackage returns the files of a cached package that want picks, by their path inside the package.
func readPackage(dir string, p pkg, want func(name string) bool) (map[string][]byte, error) {
	path := filepath.Join(dir, p.file())
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fault.Userf("%s: there is no such file; fetch the emoji packages first (data fetch emoji)", path)
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	files, err := readTar(f, want)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: delete it and fetch it anew", path, err)
	}
	return files, nil
}

func readTar(r io.Reader, want func(name string) bool) (map[string][]byte, error) {
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		} else if err != nil {
			return nil, err
		}
		_, name, _ := strings.Cut(header.Name, "/") // everything lies under "package/"
		if header.Typeflag != tar.TypeReg || !want(name) {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(archive, maxMember+1))
		if err != nil {
			return nil, err
		}
		if len(data) > maxMember {
			return nil, fmt.Errorf("%s has more than %d bytes", header.Name, maxMember)
		}
		files[name] = data
	}
}

// member returns one file of a package.
func member(dir string, p pkg, name string) ([]byte, error) {
	files, err := readPackage(dir, p, func(n string) bool { return n == name })
	if err != nil {
		return nil, err
	}
	data, ok := files[name]
	if !ok {
		return nil, fmt.Errorf("%s holds no %s", p.file(), name)
	}
	return data, nil
}
