package packaged

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"tandem/data/shard"
	"tandem/data/source"
	"tandem/data/store"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

// picture is a small PNG, a different one for each number.
func picture(t *testing.T, n int) []byte {
	t.Helper()
	m := image.NewGray(image.Rect(0, 0, 16, 16))
	m.SetGray(n%16, n/16, color.Gray{Y: uint8(255 - n)})
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// textileFiles are a wheel with ten pictures a class.
func textileFiles(t *testing.T) map[string][]byte {
	files := map[string][]byte{"conformal_clip_data/__init__.py": []byte("# nothing")}
	for c, class := range textileClasses {
		for i := range 10 {
			name := fmt.Sprintf("conformal_clip_data/data/textile_images/simulated/%s/textile_%04d.jpg", class.dir, i+1)
			files[name] = picture(t, 10*c+i)
		}
	}
	return files
}

func writeZip(t *testing.T, path string, files map[string][]byte) (sum string) {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, data := range files {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(data)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	h := sha256.Sum256(b.Bytes())
	return hex.EncodeToString(h[:])
}

func mapFS(files map[string][]byte) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, data := range files {
		fsys[name] = &fstest.MapFile{Data: data}
	}
	return fsys
}

// buildSet builds a set of files at hand and returns its rows by split and key.
func buildSet(t *testing.T, s set, from ...unpacked) (*shard.Manifest, map[string]map[string]shard.Row) {
	t.Helper()
	dst := filepath.Join(t.TempDir(), "set")
	if err := s.build(context.Background(), "set", dst, from, Options{}); err != nil {
		t.Fatal(err)
	}
	all, err := shard.OpenSet(context.Background(), store.Local(dst), "")
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	bySplit := map[string]map[string]shard.Row{}
	err = all.Rows(context.Background(), func(file shard.FileInfo, _ int64, r *shard.Row) error {
		if bySplit[file.Split] == nil {
			bySplit[file.Split] = map[string]shard.Row{}
		}
		bySplit[file.Split][r.Key] = *r
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.Manifest, bySplit
}

func sizes(bySplit map[string]map[string]shard.Row) map[string]int {
	n := map[string]int{}
	for split, rows := range bySplit {
		n[split] = len(rows)
	}
	return n
}

// TestTextile holds that every class has the same share in each split.
func TestTextile(t *testing.T) {
	m, got := buildSet(t, textile, unpacked{FS: mapFS(textileFiles(t)), licence: source.Licence{Work: "a wheel", SPDX: "MIT"}})
	if diff := cmp.Diff(map[string]int{train: 18, val: 6, test: 6}, sizes(got)); diff != "" {
		t.Error(diff)
	}
	perClass := map[string]int{}
	for _, r := range got[test] {
		perClass[r.Labels[classLabel]]++
		if want := []string{"a photo of a textile with " + r.Labels[classLabel]}; !cmp.Equal(r.Captions, want) {
			t.Errorf("captions %q, want %q", r.Captions, want)
		}
	}
	if diff := cmp.Diff(map[string]int{"no defect": 2, "a local defect": 2, "a global defect": 2}, perClass); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"no defect", "a local defect", "a global defect"}, m.Classes[classLabel]); diff != "" {
		t.Error(diff)
	}
	if got := m.Sources[0].Licences; len(got) != 1 || got[0].Work != "a wheel" {
		t.Errorf("licences %v", got)
	}
}

// idxFile is an IDX file of bytes.
func idxFile(dims []int, data []byte) []byte {
	b := []byte{0, 0, 8, byte(len(dims))}
	for _, d := range dims {
		b = binary.BigEndian.AppendUint32(b, uint32(d))
	}
	return append(b, data...)
}

func TestFashion(t *testing.T) {
	dir := t.TempDir()
	for prefix, n := range map[string]int{"train": 120, "t10k": 20} {
		pixels, labels := make([]byte, 4*n), make([]byte, n)
		for i := range n {
			pixels[4*i], labels[i] = byte(i), byte(i%10)
		}
		for name, data := range map[string][]byte{
			"-images-idx3-ubyte": idxFile([]int{n, 2, 2}, pixels), "-labels-idx1-ubyte": idxFile([]int{n}, labels),
		} {
			if err := os.WriteFile(filepath.Join(dir, prefix+name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	m, got := buildSet(t, fashion, unpacked{FS: os.DirFS(dir), dir: dir})
	n := sizes(got)
	if n[test] != 20 || n[train]+n[val] != 120 || n[val] < 3 || n[val] > 25 {
		t.Errorf("splits %v", n)
	}
	if r := got[test]["t10k/9"]; r.Labels[classLabel] != "Ankle boot" || r.Captions[0] != "a photo of a Ankle boot" {
		t.Errorf("row %v", r)
	}
	if len(m.Classes[classLabel]) != 10 || !cmp.Equal(m.Templates, []string{fashionTemplate}) {
		t.Errorf("classes %v, templates %v", m.Classes, m.Templates)
	}
}

func TestStamps(t *testing.T) {
	files := map[string][]byte{
		"animals/fox.png": picture(t, 1), "animals/fox.txt": []byte("A fox.\nde.utf8=Ein Fuchs.\n"), "animals/fox_mirror.png": picture(t, 2),
		"town/mute.png": picture(t, 3), "town/mute.txt": []byte("\n"),
		"animals/drawn.svg": []byte("<svg/>"), "animals/drawn.txt": []byte("Drawn."),
	}
	for i := range 40 { // pairs of pictures share a caption
		files[fmt.Sprintf("food/%d.png", i)] = picture(t, 50+i)
		files[fmt.Sprintf("food/%d.txt", i)] = fmt.Appendf(nil, "Meal %d.\nfr.utf8=Repas.", i/2)
	}
	m, got := buildSet(t, stamps, unpacked{FS: mapFS(files)})
	if m.Books.RowsOut != 41 || m.Books.Skipped["no caption"] != 1 {
		t.Errorf("books %+v", m.Books)
	}
	splitOf := map[string]string{}
	for split, rows := range got {
		for key, r := range rows {
			if other, ok := splitOf[r.Captions[0]]; ok && other != split {
				t.Errorf("%s: caption %q is in splits %s and %s", key, r.Captions[0], split, other)
			}
			splitOf[r.Captions[0]] = split
		}
	}
	fox := got[splitOf["A fox."]]["animals/fox"]
	if fox.Labels[categoryLabel] != "animals" || !cmp.Equal(fox.Captions, []string{"A fox."}) {
		t.Errorf("row %v", fox)
	}
	if len(got[train]) < 20 || len(got[test]) == 0 {
		t.Errorf("splits %v", sizes(got))
	}
}

// drawn is an SVG file with metadata.
func drawn(title, description string, keywords ...string) []byte {
	return fmt.Appendf(nil, `<?xml version="1.0" encoding="iso-8859-1"?><svg xmlns:dc="d" xmlns:rdf="r" xmlns:cc="c"><title>own</title>
<metadata><rdf:RDF><cc:Work><dc:title>%s</dc:title><dc:description>%s</dc:description><dc:creator><cc:Agent><dc:title>Jane</dc:title></cc:Agent></dc:creator>
<dc:subject><rdf:Bag><rdf:li>%s</rdf:li></rdf:Bag></dc:subject></cc:Work></rdf:RDF></metadata><path d="z"/></svg>`, title, description, strings.Join(keywords, "</rdf:li><rdf:li>"))
}

func TestOpenclipart(t *testing.T) {
	pictures, texts := map[string][]byte{}, map[string][]byte{}
	add := func(name string, svg []byte) {
		pictures[name+".png"] = picture(t, len(pictures))
		if svg != nil {
			texts[name+".svg"] = svg
		}
	}
	add("animals/fox", drawn("Red_fox", "A fox &amp; its hole", "fox", "HASH(0x8a0a540)", "red"))
	add("animals/gull", drawn("Clipart by Nicu Buculei - gull", "HASH(0x1)"))
	add("food/own", []byte("<svg><title>Bread</title><unclosed>"))
	add("food/nothing", nil)
	add("special/pattern", drawn("A pattern", ""))
	for i := range 4 {
		add(fmt.Sprintf("icons/%d", i), drawn("Lemon SVG theme", ""))
	}
	m, got := buildSet(t, openclipart, unpacked{FS: mapFS(pictures)}, unpacked{FS: mapFS(texts)})
	type row struct {
		Caption string
		Labels  map[string]string
	}
	found := map[string]row{}
	for _, rows := range got {
		for key, r := range rows {
			found[key] = row{r.Captions[0], r.Labels}
		}
	}
	want := map[string]row{
		"animals/fox":  {"Red fox", map[string]string{"category": "animals", "description": "A fox & its hole", "keywords": "fox, red"}},
		"animals/gull": {"gull", map[string]string{"category": "animals"}},
		"food/own":     {"Bread", map[string]string{"category": "food"}},
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Error(diff)
	}
	if m.Books.RowsIn != 3 {
		t.Errorf("books %+v", m.Books)
	}
}

// TestSplitsStay holds the splits of builds that people have already.
func TestSplitsStay(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	if got, want := shareOut(names, 0.2, 0.2), []string{train, train, train, val, test}; !cmp.Equal(got, want) {
		t.Errorf("shareOut: %v, want %v", got, want)
	}
	var got []string
	for _, n := range names {
		got = append(got, splitBy(n, 0.3, 0.3))
	}
	if want := []string{train, train, train, train, test}; !cmp.Equal(got, want) {
		t.Errorf("splitBy: %v, want %v", got, want)
	}
}

func TestUnknownSet(t *testing.T) {
	err := Build(context.Background(), "textiles", t.TempDir(), Options{})
	if !fault.IsUser(err) || !strings.Contains(err.Error(), "fashion-mnist, openclipart, stamps, textile") {
		t.Errorf("error %v", err)
	}
}

// script writes a program and returns its path.
func script(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWheel(t *testing.T) {
	served := filepath.Join(t.TempDir(), "w-1.whl")
	w := wheel{Licence: source.Licence{Work: "w", Version: "1"}, file: "w-1.whl", sha256: writeZip(t, served, textileFiles(t))}
	pip := script(t, "python3", `[ "$1 $2 $3" = "-m pip download" ] || exit 9
for last; do :; done
[ "$last" = w==1 ] && cp `+served+" .\n")
	refuse := script(t, "python3", "echo 'ERROR: Could not find a version' >&2; exit 1\n")
	other := script(t, "python3", "echo other > w-1.whl\n")
	for _, c := range []struct {
		name    string
		python  string
		offline bool
		want    string // part of the error
		user    bool
	}{
		{"offline", pip, true, "-offline forbids to download", true},
		{"no python", "no-such-python", false, "apt-get install python3-pip", true},
		{"pip fails", refuse, false, "pip download w==1: Could not find a version", false},
		{"another wheel", other, false, "as pinned", false},
		{"downloaded", pip, false, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			out := &strings.Builder{}
			o := Options{Packages: dir, Offline: c.offline, Progress: progress.New(out), tools: tools{python: c.python}}
			u, err := w.open(context.Background(), o)
			checkError(t, err, c.want, c.user)
			if c.want != "" {
				return
			}
			if err := u.close.Close(); err != nil {
				t.Error(err)
			}
			if !strings.Contains(out.String(), "downloading w==1") {
				t.Errorf("said %q", out)
			}
			o.Offline = true // the second time it is there
			if u, err = w.open(context.Background(), o); err != nil {
				t.Fatal(err)
			}
			u.close.Close()
			if entries, _ := os.ReadDir(dir); len(entries) != 1 {
				t.Errorf("left in the directory: %v", entries)
			}
		})
	}
}

func checkError(t *testing.T, err error, want string, user bool) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Fatal(err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want) || fault.IsUser(err) != user):
		t.Fatalf("error %v (the user's: %v), want %q (%v)", err, fault.IsUser(err), want, user)
	}
}

func TestDeb(t *testing.T) {
	d := deb{Licence: source.Licence{Work: "some-data"}, dir: "usr/share/some"}
	apt := script(t, "apt-get", `[ "$1" = download ] && touch some-data_1.2_all.deb`+"\n")
	missing := script(t, "apt-get", "echo 'E: Unable to locate package some-data' >&2; exit 100\n")
	dpkg := script(t, "dpkg-deb", `case $1 in
-f) echo 1.2;;
-x) mkdir -p "$3/usr/share/some" && echo hello > "$3/usr/share/some/file";;
esac
`)
	empty := script(t, "dpkg-deb", `case $1 in -f) echo 1.2;; -x) mkdir -p "$3";; esac`+"\n")
	for _, c := range []struct {
		name    string
		tools   tools
		offline bool
		want    string
		user    bool
	}{
		{"offline", tools{apt: apt, dpkgDeb: dpkg}, true, "apt-get install some-data", true},
		{"no apt", tools{apt: "no-such-apt", dpkgDeb: dpkg}, false, "apt-get install some-data", true},
		{"unknown package", tools{apt: missing, dpkgDeb: dpkg}, false, "Unable to locate package some-data: if the package is not found, run apt-get update", false},
		{"not in it", tools{apt: apt, dpkgDeb: empty}, false, "some-data 1.2 has no usr/share/some", false},
		{"downloaded", tools{apt: apt, dpkgDeb: dpkg}, false, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.tools.root = t.TempDir()
			o := Options{Packages: t.TempDir(), Offline: c.offline, tools: c.tools}
			u, err := d.open(context.Background(), o)
			checkError(t, err, c.want, c.user)
			if c.want != "" {
				return
			}
			o.Offline = true
			if u, err = d.open(context.Background(), o); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(u.dir, "file"))
			if string(text) != "hello\n" || err != nil || u.licence.Version != "1.2" {
				t.Errorf("file %q (%v), version %q", text, err, u.licence.Version)
			}
		})
	}
}

// TestInstalledDeb takes the files of an installed package, and never downloads.
func TestInstalledDeb(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "usr/share/some"), 0o755); err != nil {
		t.Fatal(err)
	}
	query := script(t, "dpkg-query", "printf 3.4\n")
	u, err := deb{dir: "usr/share/some"}.open(context.Background(), Options{tools: tools{root: root, apt: "none", dpkgQuery: query}})
	if err != nil || u.dir != filepath.Join(root, "usr/share/some") || u.licence.Version != "3.4" {
		t.Errorf("%+v, error %v", u, err)
	}
}
