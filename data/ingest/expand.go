package ingest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"tandem/internal/fault"
)

// maxFiles bounds what braces may expand to.
const maxFiles = 1 << 20

// expand turns a location into files: parts joined by "::", braces ({00..12}, {a,b}), wildcards, and directories, which
// stand for the files below them with the given extension.
func expand(location, ext string) ([]string, error) {
	var files []string
	for part := range strings.SplitSeq(location, "::") {
		names, err := braces(part)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			found, err := expandOne(name, ext)
			if err != nil {
				return nil, err
			}
			files = append(files, found...)
		}
	}
	if len(files) == 0 {
		return nil, fault.Userf("%s: no %s files", location, ext)
	}
	return files, nil
}

func expandOne(name, ext string) ([]string, error) {
	if strings.ContainsAny(name, "*?[") {
		if _, err := os.Stat(name); err != nil {
			found, err := filepath.Glob(name)
			if err != nil || len(found) == 0 {
				return nil, fault.Userf("%s: no file matches", name)
			}
			slices.Sort(found)
			return found, nil
		}
	}
	info, err := mustExist(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	var found []string
	err = filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fault.User(err)
		}
		if hidden := strings.HasPrefix(d.Name(), ".") && path != name; hidden && d.IsDir() {
			return filepath.SkipDir
		} else if !hidden && !d.IsDir() && extension(path) == ext {
			found = append(found, path)
		}
		return nil
	})
	return found, err
}

// braces expands the first pair of braces and then what comes out, as a shell does.
func braces(s string) ([]string, error) {
	open := strings.IndexByte(s, '{')
	if open < 0 {
		return []string{s}, nil
	}
	length := strings.IndexByte(s[open:], '}')
	if length < 0 {
		return nil, fault.Userf("%s: { without }", s)
	}
	choices, err := choices(s, s[open+1:open+length])
	if err != nil {
		return nil, err
	}
	rest, err := braces(s[open+length+1:])
	if err != nil {
		return nil, err
	}
	if len(choices)*len(rest) > maxFiles {
		return nil, fault.Userf("%s: more than %d files", s, maxFiles)
	}
	var all []string
	for _, c := range choices {
		for _, r := range rest {
			all = append(all, s[:open]+c+r)
		}
	}
	return all, nil
}

// choices reads what stands between braces: "a,b,c" or "from..to" with leading zeros kept.
func choices(whole, inner string) ([]string, error) {
	first, last, isRange := strings.Cut(inner, "..")
	if !isRange {
		return strings.Split(inner, ","), nil
	}
	from, err1 := strconv.Atoi(first)
	to, err2 := strconv.Atoi(last)
	if err1 != nil || err2 != nil || from < 0 || to < from || to-from >= maxFiles {
		return nil, fault.Userf("%s: {%s} is not a range of numbers", whole, inner)
	}
	var all []string
	for n := from; n <= to; n++ {
		s := strconv.Itoa(n)
		all = append(all, strings.Repeat("0", max(0, len(first)-len(s)))+s)
	}
	return all, nil
}
