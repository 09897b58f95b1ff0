package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// ranks is the picture in docs/design/design.md: a package imports only packages of a lower rank. Within one entry
// (a package and the packages below it) imports are free. A new package needs a line here, which is the moment to
// ask which room it belongs to.
var ranks = map[string]int{
	"internal":    0,
	"tokenizer":   1,
	"imaging":     1,
	"backend":     1,
	"model":       2,
	"loss":        2,
	"data":        3,
	"optim":       3,
	"checkpoints": 3,
	"embed":       4,
	"train":       5,
	"eval":        5,
	"configs":     6,
	"cmd":         7,
}

// exclusive lists modules that only one room may import, with the reason.
var exclusive = map[string]struct{ room, why string }{
	"github.com/gomlx/go-xla": {"backend", "the rest of the code must run on any GoMLX backend"},
}

// forbidden lists what a room must never import, with the reason.
var forbidden = map[string]struct{ module, why string }{
	"eval":      {"github.com/gomlx/gomlx", "evaluators see two plain methods and are tested with a fake"},
	"tokenizer": {"github.com/gomlx/gomlx", "tokenising is pure Go"},
	"imaging":   {"github.com/gomlx/gomlx", "decoding and resizing is pure Go"},
}

type listedPackage struct {
	ImportPath                         string
	Name, Doc                          string
	Imports, TestImports, XTestImports []string
	GoFiles, CgoFiles                  []string
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Imports,TestImports,XTestImports,GoFiles,CgoFiles", "tandem/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listedPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < len(ranks)/2 {
		t.Fatalf("go list found only %d packages", len(packages))
	}
	return packages
}

// room is the first element of a path inside the module: "data" for tandem/data/shard.
func room(importPath string) (string, bool) {
	rest, ok := strings.CutPrefix(importPath, "tandem/")
	if !ok {
		return "", false
	}
	first, _, _ := strings.Cut(rest, "/")
	return first, true
}

func TestImportsPointDownwards(t *testing.T) {
	for _, p := range listPackages(t) {
		from, ok := room(p.ImportPath)
		if !ok {
			continue
		}
		rank, known := ranks[from]
		if !known {
			t.Errorf("%s: no rank for room %q; decide where it belongs and add it to ranks and to docs/design/design.md", p.ImportPath, from)
			continue
		}
		for _, imported := range p.Imports {
			checkImport(t, p.ImportPath, from, rank, imported)
		}
		// Tests may use helpers, but nothing of a higher rank: a package is understood with what lies below it.
		for _, imported := range append(p.TestImports, p.XTestImports...) {
			if to, ours := room(imported); ours && to != from && ranks[to] > rank {
				t.Errorf("tests of %s (rank %d) import %s (rank %d)", p.ImportPath, rank, imported, ranks[to])
			}
		}
	}
}

func checkImport(t *testing.T, path, from string, rank int, imported string) {
	t.Helper()
	if to, ours := room(imported); ours {
		if to != from && ranks[to] >= rank {
			t.Errorf("%s (rank %d) imports %s (rank %d): a package imports only packages of lower rank (docs/design/design.md)",
				path, rank, imported, ranks[to])
		}
		return
	}
	for module, rule := range exclusive {
		if strings.HasPrefix(imported, module) && from != rule.room {
			t.Errorf("%s imports %s, which only %s may: %s", path, imported, rule.room, rule.why)
		}
	}
	if rule, ok := forbidden[from]; ok && strings.HasPrefix(imported, rule.module) {
		t.Errorf("%s imports %s: %s", path, imported, rule.why)
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range listPackages(t) {
		if len(p.GoFiles)+len(p.CgoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// TestPinnedTogether holds the set of versions that was tried together. Patch releases of GoMLX break API: change
// the four in one commit, with this table.
func TestPinnedTogether(t *testing.T) {
	pinned := map[string]string{
		"github.com/gomlx/gomlx":            "v0.28.8",
		"github.com/gomlx/compute":          "v0.1.6",
		"github.com/gomlx/go-xla":           "v0.4.5",
		"github.com/gomlx/go-huggingface":   "v0.4.3",
		"github.com/parquet-go/parquet-go":  "v0.32.0",
		"github.com/schollz/progressbar/v3": "v3.19.1",
		"github.com/janpfeifer/must":        "v0.2.0",
		"github.com/goccy/go-yaml":          "v1.19.2",
	}
	for module, want := range pinned {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", module).Output()
		if err != nil {
			t.Errorf("%s: %v", module, err)
			continue
		}
		if got := strings.TrimSpace(string(out)); got != want {
			t.Errorf("%s is at %s, want %s", module, got, want)
		}
	}
}
