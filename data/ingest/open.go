package ingest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tandem/internal/fault"
)

// openers make an input of a location, by kind.
var openers = map[string]func(location string, o Options) (Input, error){
	"folder": openFolder,
	"csv":    openList,
	"tsv":    openList,
	"jsonl":  openList,

	"webdataset": openTars,
	"clipbench":  openClipBench,
	"parquet":    openParquet,
	"shards":     openShards,
	"idx":        openIDX,
}

// Open makes an input of a location: a file, a directory, or a list of files written with braces, wildcards and "::".
func Open(location string, o Options) (Input, error) {
	if o.From == "" || o.From == "auto" {
		kind, err := detect(location, o)
		if err != nil {
			return nil, err
		}
		if kind.file != "" {
			location = kind.file
		}
		o.From = kind.name
	}
	open := openers[o.From]
	if open == nil {
		return nil, fault.Userf("unknown kind of source %q: use %s", o.From, strings.Join(Kinds(), ", "))
	}
	in, err := open(location, o)
	if err != nil {
		return nil, err
	}
	if len(in.Parts()) == 0 {
		return nil, fault.Userf("%s: nothing to read", location)
	}
	if err := checkTemplates(o.Templates, in.Labels(), location); err != nil {
		return nil, err
	}
	return in, nil
}

// checkTemplates refuses templates that no row can fill; labels are nil where they are known only after reading.
func checkTemplates(templates, labels []string, location string) error {
	if labels == nil || len(templates) == 0 {
		return nil
	}
	if len(labels) == 0 {
		return fault.Userf("%s has no labels for the template %q: folders have one with -class-dirs, lists have columns", location, templates[0])
	}
	every := map[string]string{"": "any"}
	for _, l := range labels {
		every[l] = "any"
	}
	for _, t := range templates {
		if _, ok := fill(t, every, ""); ok {
			continue
		}
		return fault.Userf("the template %q names what %s has not: its labels are %s", t, location, strings.Join(labels, ", "))
	}
	return nil
}

// Kinds lists what Options.From may be.
func Kinds() []string {
	kinds := []string{"auto"}
	for k := range openers {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds[1:])
	return kinds
}

// kind is what a location turned out to be; file is set where a directory holds one file that is the input.
type kind struct{ name, file string }

// byExtension are the kinds of single files.
var byExtension = map[string]string{
	".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl",
	".tar": "webdataset", ".tgz": "webdataset", ".parquet": "parquet",
}

// detect looks at a location's name and, for a directory, at what lies in it.
func detect(location string, o Options) (kind, error) {
	if k := byExtension[extension(location)]; k != "" {
		return kind{name: k}, nil
	}
	if strings.ContainsAny(location, "{*?") || strings.Contains(location, "::") {
		return kind{}, fault.Userf("%s: cannot tell what kind of files these are; say -from webdataset or -from parquet", location)
	}
	info, err := mustExist(location)
	if err != nil {
		return kind{}, err
	}
	if !info.IsDir() {
		return kind{}, fault.Userf("%s: cannot tell what kind of file this is; say -from %s", location, strings.Join(Kinds()[1:], "|"))
	}
	return detectDirectory(location, o)
}

func extension(name string) string {
	name = strings.ToLower(name)
	if strings.HasSuffix(name, ".tar.gz") {
		return ".tar"
	}
	return filepath.Ext(name)
}

func detectDirectory(dir string, o Options) (kind, error) {
	count := map[string]int{}
	last := map[string]string{}
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // the reader of the folder reports it
		}
		if seen++; seen > 10_000 {
			return filepath.SkipAll
		}
		what := byExtension[extension(d.Name())]
		switch {
		case d.Name() == "manifest.json":
			what = "shards"
		case d.Name() == "nshards.txt":
			what = "clipbench"
		case strings.Contains(d.Name(), "-idx3-ubyte") || strings.Contains(d.Name(), ".idx3-ubyte"):
			what = "idx"
		case isImageName(d.Name()):
			what = "folder"
		}
		count[what]++
		last[what] = path
		return nil
	})
	if err != nil {
		return kind{}, err
	}
	for _, k := range []string{"shards", "clipbench", "idx"} {
		if count[k] > 0 {
			return kind{name: k}, nil
		}
	}
	return detectFiles(dir, o, count, last)
}

// detectFiles decides between a folder of images, one list, and many tars or parquet files.
func detectFiles(dir string, o Options, count map[string]int, last map[string]string) (kind, error) {
	lists := count["csv"] + count["tsv"] + count["jsonl"]
	switch {
	case count["folder"] > 0 && lists == 1 && !o.ClassDirs:
		for _, k := range []string{"csv", "tsv", "jsonl"} {
			if count[k] == 1 {
				return kind{k, last[k]}, nil
			}
		}
	case count["folder"] > 0 && lists > 1 && !o.ClassDirs:
		return kind{}, fault.Userf("%s: %d lists (CSV, TSV, JSONL) beside the images; name the one to read", dir, lists)
	case count["folder"] > 0:
		return kind{name: "folder"}, nil
	case count["webdataset"] > 0:
		return kind{name: "webdataset"}, nil
	case count["parquet"] > 0:
		return kind{name: "parquet"}, nil
	}
	return kind{}, fault.Userf("%s: no images, lists, tars or parquet files in it%s", dir, seenOnly(count))
}

func seenOnly(count map[string]int) string {
	if n := count[""]; n > 0 {
		return fmt.Sprintf(" (only %d files of other kinds)", n)
	}
	return ""
}
