package ingest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"tandem/internal/fault"
)

// write makes files below a new directory; an image is any text here, for nothing in this package decodes.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// read returns one line for each row or skip: "key split image=… captions labels", or "! reason".
func read(t testing.TB, in Input) []string {
	t.Helper()
	var lines []string
	for _, p := range in.Parts() {
		for r, err := range p.Rows(context.Background()) {
			if err == nil && r.Load != nil {
				err = r.Load(&r)
			}
			lines = append(lines, lineFor(t, r, err))
		}
	}
	return lines
}

func lineFor(t testing.TB, r Row, err error) string {
	t.Helper()
	var s *Skip
	if errors.As(err, &s) {
		line := "! " + string(s.Reason)
		if s.Key != "" {
			line += " " + s.Key
		}
		if s.Count() > 1 {
			line += fmt.Sprintf(" ×%d", s.Count())
		}
		return line
	}
	if err != nil {
		return "error: " + err.Error()
	}
	line := fmt.Sprintf("%s %s %s %q", r.Key, r.Split, r.Image, r.Captions)
	for _, name := range slices.Sorted(maps.Keys(r.Labels)) {
		line += fmt.Sprintf(" %s=%s", name, r.Labels[name])
	}
	return line
}

func mustOpen(t testing.TB, location string, o Options) Input {
	t.Helper()
	in, err := Open(location, o)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func check(t *testing.T, in Input, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, read(t, in)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, read(t, in)); diff != "" {
		t.Error("second reading: ", diff)
	}
}

func TestFolder(t *testing.T) {
	dir := write(t, map[string]string{
		"b.jpg": "B", "b.txt": "\ufeffa bee\n\n the same bee \n",
		"a/x.PNG": "X", "a/x.json": `{"caption": "an x", "width": 3}`,
		"a/mute.webp": "M", "a/wrong.png": "W", "a/wrong.json": `{"caption": 7}`, "a/latin.png": "L", "a/latin.json": "{\"caption\": \"caf\xe9\"}",
		"val/v.gif": "V", "val/v.txt": "held out", "empty.jpg": "", ".hidden/h.jpg": "H", "notes.md": "n",
	})
	check(t, mustOpen(t, dir, Options{}),
		`! invalid utf-8 a/latin`,
		`a/mute train M []`,
		`! malformed row a/wrong`,
		`a/x train X ["an x"]`,
		`b train B ["a bee" "the same bee"]`,
		`! empty image empty`,
		`val/v val V ["held out"]`,
	)
}

func TestFolderLinks(t *testing.T) {
	dir := write(t, map[string]string{"sub/a.jpg": "A", "sub/a.txt": "a"})
	other := write(t, map[string]string{"z.jpg": "Z", "z.txt": "z"})
	for link, target := range map[string]string{"sub/loop": "..", "gone.jpg": "nowhere.jpg", "other": other} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.jpg"), 0o644); err != nil {
		t.Fatal(err)
	}
	check(t, mustOpen(t, dir, Options{From: "folder"}),
		`! missing image gone`, `other/z train Z ["z"]`, `! unreadable image pipe`, `sub/a train A ["a"]`, `! symlink loop`)
}

func TestClassDirectories(t *testing.T) {
	dir := write(t, map[string]string{"train/red cat/1.jpg": "A", "train/dog/2.jpg": "B", "test/dog/3.jpg": "C"})
	in := mustOpen(t, dir, Options{ClassDirs: true, Templates: []string{"a photo of a {class}"}})
	check(t, in,
		`test/dog/3 test C ["a photo of a dog"] class=dog`,
		`train/dog/2 train B ["a photo of a dog"] class=dog`,
		`train/red cat/1 train A ["a photo of a red cat"] class=red cat`)
	if !in.Labelled() || !slices.Equal(in.Labels(), []string{"class"}) {
		t.Errorf("labelled %v, labels %v", in.Labelled(), in.Labels())
	}
}

// TestUnreadable runs itself as a user without rights, since root reads everything.
func TestUnreadable(t *testing.T) {
	const mark = "TANDEM_TEST_UNREADABLE"
	if dir := os.Getenv(mark); dir != "" {
		for _, line := range read(t, mustOpen(t, dir, Options{From: "folder"})) {
			fmt.Println(line)
		}
		return
	}
	dir := write(t, map[string]string{"a.jpg": "A", "a.txt": "a", "locked.jpg": "L", "deep/d.jpg": "D"})
	for name, mode := range map[string]fs.FileMode{"": 0o755, "locked.jpg": 0, "deep": 0} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "deep"), 0o755) })
	var out bytes.Buffer
	cmd := exec.Command(os.Args[0], "-test.run=^TestUnreadable$")
	cmd.Env = append(os.Environ(), mark+"="+dir)
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, "/"
	if os.Getuid() == 0 { // the test's directories and program must be reachable
		for d := dir; d != "/" && d != "/tmp"; d = filepath.Dir(d) {
			os.Chmod(d, 0o755)
		}
		program := filepath.Join(filepath.Dir(dir), "program")
		data, err := os.ReadFile(os.Args[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(program, data, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd.Path = program
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := []string{`a train A ["a"]`, `! unreadable image`, `! unreadable image locked`, "PASS"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestCSV(t *testing.T) {
	dir := write(t, map[string]string{
		"i/1.jpg": "1", "i/2.jpg": "2", "i/3.jpg": "3",
		"list.csv": "\ufeffimage,caption,colour,split\n" +
			"i/1.jpg,\"one, quoted\",red,\n" +
			"i/1.jpg,one again,red,\n" +
			"i/2.jpg,two\n" +
			"i/2.jpg,two,,val\n" +
			"i/9.jpg,nine,x,\n" +
			",nothing,x,\n" +
			"i/3.jpg,th\"ree,x,\n" +
			"i/1.jpg,one later,red,\n",
	})
	in := mustOpen(t, dir, Options{})
	check(t, in,
		`i/1.jpg train 1 ["one, quoted" "one again"] colour=red`,
		`! malformed row`,
		`i/2.jpg val 2 ["two"] colour=`,
		`! missing image i/9.jpg`,
		`! missing image`,
		`! malformed row`,
		`i/1.jpg train 1 ["one later"] colour=red`,
	)
	if in.Info().Kind != "csv" || !slices.Equal(in.Labels(), []string{"colour"}) {
		t.Errorf("info %+v, labels %v", in.Info(), in.Labels())
	}
	for r := range in.Parts()[0].Rows(context.Background()) {
		if want := fmt.Sprintf("%s#%d", r.Key, r.At.Row); r.Key != "" && r.SpareKey != want {
			t.Errorf("spare key %q, want %q", r.SpareKey, want)
		}
	}
}

// TestEmptyLabels: an empty cell is a label of its own, not the lack of one, and fills no template.
func TestEmptyLabels(t *testing.T) {
	type row struct {
		Image []byte  `parquet:"image"`
		Tags  *string `parquet:"tags,optional"`
	}
	dog, empty := "dog", ""
	dir := write(t, map[string]string{
		"1.jpg": "1", "2.jpg": "2", "3.jpg": "3",
		"l.csv":     "image,tags\n1.jpg,dog\n2.jpg,\n",
		"l.tsv":     "image\ttags\n1.jpg\tdog\n2.jpg\t\n",
		"l.jsonl":   `{"image": "1.jpg", "tags": "dog"}` + "\n" + `{"image": "2.jpg", "tags": ""}` + "\n" + `{"image": "3.jpg", "tags": null}`,
		"l.parquet": parquetOf(t, []row{{[]byte("1"), &dog}, {[]byte("2"), &empty}, {[]byte("3"), nil}}),
	})
	for name, want := range map[string][]string{
		"l.csv": {"dog", ""}, "l.tsv": {"dog", ""}, "l.jsonl": {"dog", "", "none"}, "l.parquet": {"dog", "", "none"},
	} {
		var got []string
		for r, err := range mustOpen(t, filepath.Join(dir, name), Options{LabelColumns: []string{"tags"}, Templates: []string{"a {tags}"}}).Parts()[0].Rows(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			value, ok := r.Labels["tags"]
			if !ok {
				value = "none"
			}
			if got = append(got, value); (len(r.Captions) > 0) != (value == "dog") {
				t.Errorf("%s: tags %q make the captions %q", name, value, r.Captions)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestStrayQuote holds that lines swallowed by an open quotation mark are accounted for.
func TestStrayQuote(t *testing.T) {
	dir := write(t, map[string]string{"a.jpg": "A", "l.csv": "image,caption\na.jpg,\"open\na.jpg,lost\na.jpg,\"shut\na.jpg,fine\n"})
	check(t, mustOpen(t, dir, Options{}), `! malformed row ×3`, `a.jpg train A ["fine"]`)
}

func TestTSV(t *testing.T) {
	dir := write(t, map[string]string{
		"a.jpg": "A", "l.tsv": "an \"odd\" one\ta.jpg\r\n\"all \"\"quoted\"\"\"\ta.jpg\nthree\tfields\there\n\nlast\tb.jpg",
	})
	check(t, mustOpen(t, filepath.Join(dir, "l.tsv"), Options{NoHeader: []string{"caption", "image"}, LabelColumns: []string{"none"}}),
		`a.jpg train A ["an \"odd\" one" "all \"quoted\""]`, `! malformed row`, `! missing image b.jpg`)
}

func TestJSONL(t *testing.T) {
	dir := write(t, map[string]string{
		"a.jpg": "A",
		"l.jsonl": `{"file_name": "a.jpg", "captions": ["one", "two"], "score": 0.50, "id": 12, "tags": ["x"]}` + "\n\n" +
			`{"file_name": "a.jpg", "captions": "three", "id": 13, "extra": true}` + "\n" +
			`{"file_name": "a.jpg", "captions": 5, "id": 14}` + "\n" +
			`{"file_name": "a.jpg"` + "\n" + `[1]` + "\n" + "{\"file_name\": \"\xff\"}\n" +
			`{"captions": "no image"}`,
	})
	check(t, mustOpen(t, dir, Options{}),
		`12 train A ["one" "two" "three"] score=0.50`,
		`! malformed row 14`, `! malformed row`, `! malformed row`, `! invalid utf-8`, `! missing image`)
}

func TestLongLine(t *testing.T) {
	dir := write(t, map[string]string{"a.jpg": "A", "l.jsonl": `{"image": "a.jpg", "caption": "x"}` + "\n" + strings.Repeat("x", maxLine+5) + "\n" + `{"image": "a.jpg", "caption": "y"}` + "\n" + strings.Repeat("z", maxLine+5)})
	check(t, mustOpen(t, dir, Options{}), `a.jpg train A ["x"]`, `! malformed row`, `a.jpg train A ["y"]`, `! malformed row`)
}

func TestURLs(t *testing.T) {
	dir := write(t, map[string]string{
		"img/host.example/p/a.jpg": "mirrored", "img/b.jpg": "base name",
		"l.csv": "url,caption\nhttps://host.example/p/a.jpg?w=1,a\nhttps://other.example/q/b.jpg,b\nhttps://host.example/../../../etc/passwd,c\n",
	})
	abs := write(t, map[string]string{"c.jpg": "file"})
	f, err := os.OpenFile(filepath.Join(dir, "l.csv"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, "file://%s/c.jpg,d\n%s/c.jpg,e\n", abs, abs)
	f.Close()
	got := read(t, mustOpen(t, filepath.Join(dir, "l.csv"), Options{ImageRoot: filepath.Join(dir, "img"), LabelColumns: []string{"none"}}))
	for i, want := range []string{" mirrored ", " base name ", "! missing image", " file ", " file "} {
		if !strings.Contains(got[i], want) {
			t.Errorf("row %d: %s, want %s", i, got[i], want)
		}
	}
}

// member is a file of a tar.
type member struct {
	name, text string
	kind       byte
}

func tarOf(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Mode: 0o644, Size: int64(len(m.text)), Typeflag: m.kind, Linkname: "x"}
		if m.kind == 0 {
			h.Typeflag, h.Linkname = tar.TypeReg, ""
		} else {
			h.Size = 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte(m.text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func goodTar(t testing.TB) []byte {
	return tarOf(t,
		member{name: "000.jpg", text: "A"}, member{name: "000.txt", text: "first\nline"}, member{name: "000.json", text: `{"caption": "not this", "lang": "en"}`},
		member{name: "sub/", kind: tar.TypeDir}, member{name: "sub/001.v2.webp", text: "ignored"}, member{name: "sub/001.PNG", text: "B"}, member{name: "sub/001.txt", text: "second"},
	)
}

func TestTar(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(goodTar(t))
	z.Close()
	dir := write(t, map[string]string{"train-000.tar": string(goodTar(t)), "val-001.tar": zipped.String(), "x/2.tar.gz": zipped.String()})
	check(t, mustOpen(t, filepath.Join(dir, "train-000.tar"), Options{LabelColumns: []string{"lang"}}),
		`000 train A ["first\nline"] lang=en`, `sub/001 train B ["second"]`)
	in := mustOpen(t, dir, Options{})
	check(t, in,
		`train-000/000 train A ["first\nline"]`, `train-000/sub/001 train B ["second"]`,
		`val-001/000 val A ["first\nline"]`, `val-001/sub/001 val B ["second"]`,
		`2/000 train A ["first\nline"]`, `2/sub/001 train B ["second"]`)
	both := mustOpen(t, filepath.Join(dir, "{train-000,val-001}.tar")+"::"+filepath.Join(dir, "x/{2..2}.tar.gz"), Options{From: "webdataset"})
	if n := len(both.Parts()); n != 3 {
		t.Errorf("braces and :: give %d parts, want 3", n)
	}
}

func TestBadTars(t *testing.T) {
	good := goodTar(t)
	broken := bytes.Clone(good)
	broken[2*512+5] ^= 0x55 // in the header of the second member
	tests := []struct {
		name string
		tar  []byte
		want []string
	}{
		{"missing pair", tarOf(t, member{name: "a.txt", text: "a"}, member{name: "b.jpg", text: "B"}, member{name: "c.jpg", text: "C"}, member{name: "c.txt", text: "c"}),
			[]string{`! missing image a`, `b train B []`, `c train C ["c"]`}},
		{"traversal", tarOf(t, member{name: "../../etc/a.jpg", text: "A"}, member{name: "/abs.jpg", text: "A"}, member{name: `..\win.jpg`, text: "A"}, member{name: "ok.jpg", text: "O"}, member{name: "ok.txt", text: "o"}),
			[]string{`! unsafe name ../../etc/a.jpg`, `! unsafe name /abs.jpg`, `! unsafe name ..\win.jpg`, `ok train O ["o"]`}},
		{"links", tarOf(t, member{name: "a.jpg", kind: tar.TypeSymlink}, member{name: "b.jpg", kind: tar.TypeFifo}, member{name: "c.jpg", text: "C"}),
			[]string{`! malformed row a.jpg`, `! malformed row b.jpg`, `c train C []`}},
		{"zero bytes", tarOf(t, member{name: "a.jpg"}, member{name: "a.txt", text: "a"}), []string{`a train  ["a"]`}},
		{"truncated in a member", good[:5*512+3], []string{`! damaged file 000`}},
		{"truncated after a row", good[:7*512], []string{`000 train A ["first\nline"]`, `! damaged file`}},
		{"truncated in a member that is not read", good[:8*512+200], []string{`000 train A ["first\nline"]`, `! damaged file sub/001`}},
		{"broken header", broken, []string{`! damaged file 000`}},
		{"not a tar", []byte(strings.Repeat("no tar", 500)), []string{`! damaged file`}},
		{"bad gzip", []byte("\x1f\x8bnothing"), []string{`! damaged file`}},
		{"same key twice", tarOf(t, member{name: "a.jpg", text: "1"}, member{name: "a.txt", text: "x"}, member{name: "a.jpg", text: "2"}, member{name: "a.txt", text: "y"}),
			[]string{`a train 1 ["x"]`, `a train 2 ["y"]`}},
		{"bad json", tarOf(t, member{name: "a.jpg", text: "1"}, member{name: "a.json", text: "{"}), []string{`! malformed row a`}},
		{"huge image", tarOf(t, member{name: "a.jpg", text: strings.Repeat("x", 2000)}, member{name: "b.jpg", text: "B"}), []string{`! image too large a`, `b train B []`}},
		{"empty", tarOf(t), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := write(t, map[string]string{"0.tar": string(test.tar)})
			check(t, mustOpen(t, dir, Options{MaxImageBytes: 1000}), test.want...)
		})
	}
}

func TestClipBench(t *testing.T) {
	var marks bytes.Buffer
	marks.WriteString("\x93NUMPY\x01\x00")
	header := fmt.Sprintf("%-117s\n", "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }")
	binary.Write(&marks, binary.LittleEndian, uint16(len(header)))
	marks.WriteString(header)
	binary.Write(&marks, binary.LittleEndian, []int32{1, 1})
	dir := write(t, map[string]string{
		"test/nshards.txt": "2\n", "classnames.txt": "red cat\ndog\n", "zeroshot_classification_templates.txt": "a photo of {c}.\na {c}\n",
		"test/0.tar": string(tarOf(t, member{name: "s0.cls", text: "1"}, member{name: "s0.webp", text: "A"}, member{name: "s1.cls", text: "-1"}, member{name: "s1.webp", text: "B"})),
		"test/1.tar": string(tarOf(t, member{name: "s0.webp", text: "C"}, member{name: "s0.npy", text: marks.String()}, member{name: "s9.webp", text: "D"}, member{name: "s9.txt", text: "one\ntwo\n"})),
	})
	for _, location := range []string{dir, filepath.Join(dir, "test")} {
		in := mustOpen(t, location, Options{})
		check(t, in, `test/0/s0 test A [] class=dog`, `! malformed row test/0/s1`, `test/1/s0 test C [] class=["red cat","dog"]`, `test/1/s9 test D ["one" "two"]`)
		if !in.Labelled() || !slices.Equal(in.Classes()["class"], []string{"red cat", "dog"}) || !slices.Equal(in.Templates(), []string{"a photo of {}.", "a {}"}) {
			t.Errorf("labelled %v, classes %v, templates %q", in.Labelled(), in.Classes(), in.Templates())
		}
	}
}

// TestClassesOfOneName: classes that a list names alike have labels of their own, and captions with the name.
func TestClassesOfOneName(t *testing.T) {
	row := func(key, class string) []member {
		return []member{{name: key + ".cls", text: class}, {name: key + ".webp", text: key}}
	}
	tarred := string(tarOf(t, slices.Concat(row("a", "0"), row("b", "1"), row("c", "2"))...))
	names := []string{"missile", "dog", "missile"}
	o := Options{ClassNames: names, Templates: []string{"a {}"}}
	check(t, mustOpen(t, write(t, map[string]string{"0.tar": tarred}), o),
		`a train a ["a missile"] class=missile (0)`, `b train b ["a dog"] class=dog`, `c train c ["a missile"] class=missile (2)`)
	bench := mustOpen(t, write(t, map[string]string{"test/nshards.txt": "1\n", "classnames.txt": "missile\ndog\nmissile\n", "test/0.tar": tarred}), Options{})
	check(t, bench, `test/0/a test a [] class=missile (0)`, `test/0/b test b [] class=dog`, `test/0/c test c [] class=missile (2)`)
	blank := mustOpen(t, write(t, map[string]string{"test/nshards.txt": "1\n", "classnames.txt": "near\n\nfar\n\n", "test/0.tar": tarred}), Options{})
	check(t, blank, `test/0/a test a [] class=near`, `test/0/b test b [] class=(1)`, `test/0/c test c [] class=far`)
	type labelled struct {
		Image []byte `parquet:"image"`
		Label int64  `parquet:"label"`
	}
	table := mustOpen(t, write(t, map[string]string{"a.parquet": parquetOf(t, []labelled{{[]byte("A"), 0}, {[]byte("B"), 2}})}), o)
	check(t, table, `0 train A ["a missile"] label=missile (0)`, `1 train B ["a missile"] label=missile (2)`)
	for _, in := range []Input{bench, table} {
		for column, list := range in.Classes() {
			if !slices.Equal(list, names) {
				t.Errorf("the source's names of %s are %q", column, list)
			}
		}
	}
	digits := mustOpen(t, write(t, map[string]string{
		"train-images-idx3-ubyte": string(idxBytes([]int{1, 2, 2}, make([]byte, 4))), "train-labels-idx1-ubyte": string(idxBytes([]int{1}, []byte{2})),
	}), o)
	if got := read(t, digits); len(got) != 1 || !strings.HasSuffix(got[0], `["a missile"] class=missile (2)`) {
		t.Errorf("IDX: %q", got)
	}
}

func idxBytes(dims []int, data []byte) []byte {
	b := []byte{0, 0, 8, byte(len(dims))}
	for _, d := range dims {
		b = binary.BigEndian.AppendUint32(b, uint32(d))
	}
	return append(b, data...)
}

// TestClassBeyondNames: a wrong list of names ends the reading, instead of leaving out whole classes.
func TestClassBeyondNames(t *testing.T) {
	idx := write(t, map[string]string{
		"train-images-idx3-ubyte": string(idxBytes([]int{3, 2, 2}, make([]byte, 12))), "train-labels-idx1-ubyte": string(idxBytes([]int{3}, []byte{1, 0, 2})),
	})
	bench := write(t, map[string]string{
		"test/nshards.txt": "1", "classnames.txt": "cat\ndog\n",
		"test/0.tar": string(tarOf(t, member{name: "s0.cls", text: "1"}, member{name: "s0.webp", text: "A"}, member{name: "s1.cls", text: "2"}, member{name: "s1.webp", text: "B"})),
	})
	for _, in := range []Input{mustOpen(t, idx, Options{ClassNames: []string{"zero", "one"}}), mustOpen(t, bench, Options{})} {
		var last error
		for _, err := range in.Parts()[0].Rows(context.Background()) {
			last = err
		}
		if _, skipped := errors.AsType[*Skip](last); skipped || !fault.IsUser(last) || !strings.Contains(fmt.Sprint(last), "class 2, but there are names for 0 to 1 only") {
			t.Errorf("%s: %v", in.Info().Kind, last)
		}
	}
}

func TestIDX(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(idxBytes([]int{3, 2, 2}, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}))
	z.Close()
	dir := write(t, map[string]string{
		"train-images-idx3-ubyte.gz": zipped.String(), "train-labels-idx1-ubyte": string(idxBytes([]int{3}, []byte{1, 0, 1})),
		"t10k-images-idx3-ubyte": string(idxBytes([]int{5, 2, 2}, make([]byte, 9))), "t10k-labels-idx1-ubyte": string(idxBytes([]int{5}, make([]byte, 5))),
	})
	in := mustOpen(t, dir, Options{ClassNames: []string{"zero", "one"}, Templates: []string{"the digit {}"}})
	got := read(t, in)
	want := []string{`train/0 train `, `train/1 train `, `train/2 train `, `t10k/0 test `, `t10k/1 test `, `! damaged file ×3`}
	if len(got) != len(want) {
		t.Fatalf("%d lines: %q", len(got), got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("row %d: %q, want %q", i, got[i], want[i])
		}
	}
	if !strings.HasSuffix(got[0], `["the digit one"] class=one`) || !strings.Contains(got[0], "PNG") {
		t.Errorf("first row %q", got[0])
	}
	if _, err := Open(write(t, map[string]string{"train-images-idx3-ubyte": "x"}), Options{}); err == nil || !fault.IsUser(err) {
		t.Errorf("images without labels: %v", err)
	}
}

type hubImage struct {
	Bytes []byte `parquet:"bytes,optional"`
	Path  string `parquet:"path,optional"`
}

type hubRow struct {
	Image hubImage `parquet:"image,optional"`
	Texts []string `parquet:"texts,list"`
	Alt   string   `parquet:"alt,optional"`
	Label int64    `parquet:"label"`
}

func hubRows(n int) []hubRow {
	rows := make([]hubRow, n)
	for i := range rows {
		rows[i] = hubRow{hubImage{[]byte(fmt.Sprint("image ", i)), "x.jpg"}, []string{fmt.Sprint("text ", i), "more"}, fmt.Sprint("alt ", i), int64(i % 2)}
	}
	return rows
}

func parquetOf[T any](t testing.TB, rows []T, options ...parquet.WriterOption) string {
	t.Helper()
	var b bytes.Buffer
	if err := parquet.Write(&b, rows, options...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestParquet(t *testing.T) {
	rows := hubRows(4)
	rows[1].Image = hubImage{Path: "a.jpg"}
	rows[2].Image = hubImage{}
	rows[3].Label = 5
	features, err := json.Marshal(map[string]any{"info": map[string]any{"features": map[string]any{"label": map[string]any{"names": []string{"cat", "dog"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	dir := write(t, map[string]string{
		"data/train-00000-of-00001.parquet": parquetOf(t, rows, parquet.KeyValueMetadata("huggingface", string(features))),
		"data/test-00000-of-00001.parquet":  parquetOf(t, hubRows(1)), "data/a.jpg": "a file", "README.md": "x",
	})
	os.Remove(filepath.Join(dir, "data/a.jpg")) // else the directory is a folder of images
	in := mustOpen(t, dir, Options{CaptionColumns: []string{"texts", "alt"}})
	os.WriteFile(filepath.Join(dir, "data/a.jpg"), []byte("a file"), 0o644)
	check(t, in,
		`test-00000-of-00001/0 test image 0 ["text 0" "more" "alt 0"] label=0`,
		`train-00000-of-00001/0 train image 0 ["text 0" "more" "alt 0"] label=cat`,
		`train-00000-of-00001/1 train a file ["text 1" "more" "alt 1"] label=dog`,
		`! missing image train-00000-of-00001/2`,
		`! malformed row train-00000-of-00001/3`,
	)
}

func TestParquetTypes(t *testing.T) {
	type plain struct {
		Picture []byte  `parquet:"picture"`
		Caption string  `parquet:"caption"`
		Score   float32 `parquet:"score"`
		OK      bool    `parquet:"ok"`
		Key     string  `parquet:"key"`
	}
	good := write(t, map[string]string{"a.parquet": parquetOf(t, []plain{{[]byte("P"), "c", 0.5, true, "k1"}})})
	check(t, mustOpen(t, good, Options{}), `k1 train P ["c"] ok=true score=0.5`)
	tests := []struct {
		name string
		o    Options
		file string
		want string
	}{
		{"no such column", Options{ImageColumn: "img"}, "", `no column "img"; it has caption, key, ok, picture, score`},
		{"image of the wrong type", Options{ImageColumn: "score"}, "", `column "score" is float, want bytes, a struct of bytes and path, or paths`},
		{"caption of the wrong type", Options{CaptionColumns: []string{"ok"}}, "", `column "ok" is boolean, want text or a list of text`},
		{"image as label", Options{LabelColumns: []string{"picture"}}, "", `column "picture" is bytes, which cannot be a label`},
		{"no image at all", Options{}, parquetOf(t, []struct{ A, B int64 }{{1, 2}}), "which column names the image? It has A, B"},
		{"no caption", Options{LabelColumns: []string{"none"}}, parquetOf(t, []struct {
			Image []byte `parquet:"image"`
			N     int64  `parquet:"n"`
		}{{}}), "which column holds the captions?"},
	}
	for _, test := range tests {
		dir := good
		if test.file != "" {
			dir = write(t, map[string]string{"a.parquet": test.file})
		}
		if _, err := Open(dir, test.o); err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want the user's %q", test.name, err, test.want)
		}
	}
}

// TestDamagedParquet damages a file of several row groups everywhere: no panic, and every row accounted for as long as
// the footer can be read.
func TestDamagedParquet(t *testing.T) {
	good := []byte(parquetOf(t, hubRows(30), parquet.MaxRowsPerRowGroup(10)))
	damagedRows := 0
	for at := 4; at < len(good)-8; at += 37 {
		bad := bytes.Clone(good)
		for i := range 8 {
			bad[at+i] ^= 0x5a
		}
		dir := write(t, map[string]string{"a.parquet": string(bad)})
		in, err := Open(dir, Options{LabelColumns: []string{"none"}})
		if err != nil {
			continue // the footer
		}
		rows, skipped := 0, 0
		for r, err := range in.Parts()[0].Rows(context.Background()) {
			var s *Skip
			switch {
			case err == nil:
				rows++
			case errors.As(err, &s):
				skipped += int(s.Count())
				damagedRows++
			default:
				t.Fatalf("byte %d: %+v: %v", at, r.At, err)
			}
		}
		if rows+skipped != 30 && skipped != 1 {
			t.Errorf("byte %d: %d rows and %d skipped of 30", at, rows, skipped)
		}
	}
	if damagedRows < 5 {
		t.Errorf("only %d damaged places were noticed", damagedRows)
	}
	dir := write(t, map[string]string{"a.parquet": string(good), "b.parquet": string(good[:len(good)/2])})
	got := read(t, mustOpen(t, dir, Options{}))
	if len(got) != 31 || got[30] != "! damaged file" {
		t.Errorf("with a truncated second file: %d lines, the last %q", len(got), got[len(got)-1])
	}
}

func TestDetect(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		kind  string
		want  string // of the error
	}{
		{"folder", map[string]string{"a/b.jpg": "x"}, "folder", ""},
		{"list beside images", map[string]string{"a/b.jpg": "x", "l.csv": "image,caption\na/b.jpg,x\n"}, "csv", ""},
		{"two lists", map[string]string{"b.jpg": "x", "l.csv": "x", "m.jsonl": "x"}, "", "2 lists (CSV, TSV, JSONL) beside the images"},
		{"tars", map[string]string{"0.tar": "x", "stats.json": "x", "0.parquet": "x"}, "webdataset", ""},
		{"nothing", map[string]string{"a.md": "x"}, "", "no images, lists, tars or parquet files in it (only 1 files of other kinds)"},
	}
	for _, test := range tests {
		in, err := Open(write(t, test.files), Options{})
		switch {
		case test.want != "" && (err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		case test.want == "" && (err != nil || in.Info().Kind != test.kind):
			t.Errorf("%s: %v, error %v", test.name, in, err)
		}
	}
	for location, want := range map[string]string{
		"nowhere": "nowhere: no such file or directory", "{1..3}.x": "cannot tell what kind", "list.csv": "no such file",
		"{0..2}.tar": "0.tar: no such file", "{2..1}.tar": "{2..1} is not a range", "{1..99999999}.tar": "is not a range", "{1.tar": "{ without }", "*.tar": "no file matches",
	} {
		if _, err := Open(location, Options{}); err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", location, err, want)
		}
	}
	if _, err := Open(".", Options{From: "floppy"}); err == nil || !strings.Contains(err.Error(), `unknown kind of source "floppy"`) {
		t.Errorf("unknown kind: %v", err)
	}
}

func TestBraces(t *testing.T) {
	got, err := braces("a{08..11}-{x,y}.tar")
	want := []string{"a08-x.tar", "a08-y.tar", "a09-x.tar", "a09-y.tar", "a10-x.tar", "a10-y.tar", "a11-x.tar", "a11-y.tar"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestBaseName(t *testing.T) {
	for location, want := range map[string]string{
		"/data/cc3m/": "cc3m", "x/{00..10}.tar": "00..10", "flickr.csv": "flickr", "a/*.parquet": "source", "/": "source",
	} {
		if got := baseName(location); got != want && !(want == "00..10" && got == "00") {
			t.Errorf("baseName(%q) = %q, want %q", location, got, want)
		}
	}
}

// TestTemplatesNobodyFills: a misspelt column is found before anything is read.
func TestTemplatesNobodyFills(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "list.csv")
	if err := os.WriteFile(file, []byte("image,colour\na.png,red\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for template, want := range map[string]string{
		"a {colour} picture": "", "a {} picture": "", "no label": "",
		"a {color} picture": "the template \"a {color} picture\" names what " + file + " has not: its labels are colour",
		"a {colour picture": "names what",
	} {
		_, err := Open(file, Options{Templates: []string{template}})
		if got := fmt.Sprint(err); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(got, want) || !fault.IsUser(err)) {
			t.Errorf("%q: %v, want %q", template, err, want)
		}
	}
}

func TestFillTemplates(t *testing.T) {
	labels := map[string]string{"class": "cat", "colour": "red"}
	for template, want := range map[string]string{"a {}": "a cat", "a {colour} {class}": "a red cat", "no label": "no label", "a {size} one": "", "open {": ""} {
		if got, ok := fill(template, labels, "class"); got != want || ok != (want != "") {
			t.Errorf("fill(%q) = %q, %v", template, got, ok)
		}
	}
}

func TestCancelled(t *testing.T) {
	dir := write(t, map[string]string{"a.jpg": "x", "b.tar": string(goodTar(t)), "c.csv": "image,caption\na.jpg,x\n", "d.parquet": parquetOf(t, hubRows(3))})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for location, o := range map[string]Options{dir: {From: "folder"}, dir + "/b.tar": {}, dir + "/c.csv": {}, dir + "/d.parquet": {}} {
		n := 0
		for _, err := range mustOpen(t, location, o).Parts()[0].Rows(ctx) {
			if n++; !errors.Is(err, context.Canceled) {
				t.Errorf("%s: error %v, want cancelled", location, err)
			}
		}
		if n != 1 {
			t.Errorf("%s: %d rows after cancelling", location, n)
		}
	}
}

func FuzzTar(f *testing.F) {
	f.Add(goodTar(f))
	f.Add(goodTar(f)[:2000])
	f.Add(tarOf(f, member{name: "../a.jpg", text: "x"}, member{name: "a.cls", text: "-1"}, member{name: "a.npy", text: "\x93NUMPY"}))
	f.Add([]byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "x.tar")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		in, err := Open(path, Options{ClassNames: []string{"a"}, MaxImageBytes: 1 << 20})
		if err != nil {
			return
		}
		for _, line := range read(t, in) {
			if strings.HasPrefix(line, "error: ") && !strings.Contains(line, "there are names for 0 to 0 only") {
				t.Fatal(line)
			}
		}
	})
}

func FuzzParquetRows(f *testing.F) {
	good := parquetOf(f, hubRows(5))
	f.Add([]byte(good))
	f.Add([]byte(good[:len(good)-9] + "PAR1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "x.parquet")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		in, err := Open(path, Options{})
		if err != nil {
			return
		}
		n := 0
		for range in.Parts()[0].Rows(context.Background()) {
			if n++; n > 1000 {
				return
			}
		}
	})
}

func FuzzLists(f *testing.F) {
	f.Add("csv", "image,caption\na.jpg,x\n\"")
	f.Add("tsv", "image\tcaption\na.jpg\t\"x\"\n")
	f.Add("jsonl", `{"image": "a", "caption": {"raw": "x"}}`)
	f.Fuzz(func(t *testing.T, kind, text string) {
		path := filepath.Join(t.TempDir(), "x."+kind)
		if os.WriteFile(path, []byte(text), 0o644) != nil {
			return
		}
		in, err := Open(path, Options{})
		if err != nil {
			return
		}
		for _, line := range read(t, in) {
			if strings.HasPrefix(line, "error: ") {
				t.Fatal(line)
			}
		}
	})
}

func FuzzIDX(f *testing.F) {
	f.Add(idxBytes([]int{2, 2, 2}, make([]byte, 8)), idxBytes([]int{2}, []byte{0, 1}))
	f.Add(idxBytes([]int{1 << 31, 1 << 12, 1 << 12}, nil), idxBytes([]int{1 << 31}, nil))
	f.Fuzz(func(t *testing.T, images, labels []byte) {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, "train-images-idx3-ubyte"), images, 0o644)
		os.WriteFile(filepath.Join(dir, "train-labels-idx1-ubyte"), labels, 0o644)
		in, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range in.Parts()[0].Rows(context.Background()) {
		}
	})
}

// TestEstimate compares estimates with what is read.
func TestEstimate(t *testing.T) {
	files := map[string]string{"list.csv": "image,caption\na.jpg,x\nb.jpg,y\n", "rows.jsonl": `{"image":"a.jpg","caption":"x"}` + "\n"}
	for _, name := range []string{"a", "b", "deep/c"} {
		files["folder/"+name+".jpg"], files["folder/"+name+".txt"] = "J", "text"
	}
	dir := write(t, files)
	for name, want := range map[string]int64{"folder": 3, "list.csv": 2, "rows.jsonl": 1} {
		if got := Estimate(mustOpen(t, filepath.Join(dir, name), Options{})); got != want {
			t.Errorf("%s: about %d rows, want %d", name, got, want)
		}
	}
	if got := Estimate(FromRows("mem", Row{}, Row{})); got != 2 {
		t.Errorf("rows in memory: %d", got)
	}
}
