package ingest

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"tandem/data/shard"
	"tandem/internal/fault"
)

// openTars reads webdataset tars: members of one name in front of the first dot are one row: key.jpg, key.txt, key.json,
// key.cls.
func openTars(location string, o Options) (Input, error) {
	o = o.withDefaults(location)
	files, err := expand(location, ".tar")
	if err != nil {
		return nil, err
	}
	o.classes = namesOf(o.ClassNames)
	b := &basic{info: shard.SourceInfo{Name: o.Name, Kind: "webdataset", Location: location}, labels: o.labelColumns()}
	if hasClasses(files[0]) {
		b.addClasses(o.ClassNames)
	}
	b.estimate = estimateTars(files)
	prefixes := keyPrefixes(files)
	for i, file := range files {
		t := &tars{file: file, prefix: prefixes[i], split: o.splitOf(filepath.Base(file)), o: o}
		b.parts = append(b.parts, Part{Name: file, Stamp: stamp(file), Rows: t.rows})
	}
	return b, nil
}

// addClasses makes the input a labelled one.
func (b *basic) addClasses(names []string) {
	b.labelled = true
	if !slices.Contains(b.labels, classLabel) {
		b.labels = append(b.labels, classLabel)
	}
	if len(names) > 0 {
		b.classes = map[string][]string{classLabel: names}
	}
}

// hasClasses looks for a class number among the first members of a tar.
func hasClasses(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false // the reader reports it
	}
	defer f.Close()
	r, err := untar(f, io.Discard)
	if err != nil {
		return false
	}
	for range 10 {
		h, err := r.Next()
		if err != nil {
			return false
		}
		if strings.HasSuffix(h.Name, ".cls") || strings.HasSuffix(h.Name, ".npy") {
			return true
		}
	}
	return false
}

// untar reads a tar, zipped or not; end is told what is read.
func untar(f io.Reader, end io.Writer) (*tar.Reader, error) {
	b := bufio.NewReaderSize(f, 1<<18)
	if magic, _ := b.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, err
		}
		return tar.NewReader(io.TeeReader(z, end)), nil
	}
	return tar.NewReader(io.TeeReader(b, end)), nil
}

// tail remembers whether the last block written to it is the end marker of a tar, zeros only. Without it, a tar that
// was cut between two members looks complete.
type tail struct{ zeros int }

func (t *tail) Write(p []byte) (int, error) {
	n := len(bytes.TrimRight(p[max(0, len(p)-512):], "\x00"))
	if n == 0 && len(p) < 512 {
		t.zeros += len(p)
	} else {
		t.zeros = min(len(p), 512) - n
	}
	return len(p), nil
}

func (t *tail) isZero() bool { return t.zeros >= 512 }

type tars struct {
	file   string
	prefix string // of keys, which are only unique inside a tar
	split  string
	lines  bool // a .txt holds one caption a line; otherwise it is one caption
	o      Options
}

func (t *tars) rows(ctx context.Context) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		f, err := os.Open(t.file)
		if err != nil {
			yield(Row{}, skip(DamagedFile, Place{t.file, -1}, "", err))
			return
		}
		defer f.Close()
		s := &samples{tars: t, yield: yield}
		r, err := untar(f, &s.end)
		if err != nil {
			yield(Row{}, skip(DamagedFile, Place{t.file, -1}, "", err))
			return
		}
		for s.step(ctx, r) {
		}
	}
}

// samples gathers the members of one key after the other.
type samples struct {
	*tars
	yield func(Row, error) bool
	end   tail    // the last bytes that were read
	n     int64   // rows yielded
	now   *sample // being gathered
}

// sample is the members of one key.
type sample struct {
	key   string
	exts  map[string]bool
	row   Row
	bad   *Skip
	texts map[string][]byte // .txt, .json, .cls, .npy
}

// step takes the next member and reports whether to go on.
func (s *samples) step(ctx context.Context, r *tar.Reader) bool {
	if err := ctx.Err(); err != nil {
		s.yield(Row{}, err)
		return false
	}
	h, err := r.Next()
	switch {
	case errors.Is(err, io.EOF) && s.end.isZero():
		s.flush()
		return false
	case errors.Is(err, io.EOF):
		s.broken(errors.New("it ends without the end marker"), true)
		return false
	case errors.Is(err, tar.ErrInsecurePath): // the header is good, the name is checked below
	case err != nil:
		s.broken(err, true)
		return false
	}
	return s.member(h, r)
}

// broken ends a damaged tar: what was gathered is a row if it is complete and the damage lies behind it.
func (s *samples) broken(err error, behind bool) {
	key := ""
	if behind && s.now != nil && s.now.row.Image != nil && len(s.now.texts) > 0 {
		if !s.flush() {
			return
		}
	} else if s.now != nil {
		key = s.now.key
	}
	s.yield(Row{}, skip(DamagedFile, Place{s.file, s.n}, key, fmt.Errorf("the rest of the tar cannot be read: %w", err)))
}

func (s *samples) member(h *tar.Header, r io.Reader) bool {
	name := strings.TrimPrefix(h.Name, "./")
	base := path.Base(name)
	if !filepath.IsLocal(filepath.FromSlash(name)) || strings.ContainsAny(name, "\\\x00") {
		return s.refuse(skip(UnsafeName, Place{s.file, s.n}, name, nil))
	}
	if h.Typeflag == tar.TypeDir || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "__") {
		return true
	}
	if h.Typeflag != tar.TypeReg {
		return s.refuse(skip(BadRow, Place{s.file, s.n}, name, errors.New("the member is a link or a device")))
	}
	stem, ext, _ := strings.Cut(base, ".")
	key, ext := path.Join(path.Dir(name), stem), strings.ToLower(ext)
	if s.now == nil || s.now.key != key || s.now.exts[ext] {
		if !s.flush() {
			return false
		}
		s.now = &sample{key: key, exts: map[string]bool{}, texts: map[string][]byte{}}
		s.now.row.Key = s.prefix + key
	}
	s.now.exts[ext] = true
	if err := s.take(ext, h.Size, r); err != nil {
		s.broken(err, false)
		return false
	}
	return true
}

// refuse gives a member that is no part of a row.
func (s *samples) refuse(bad *Skip) bool {
	if !s.flush() {
		return false
	}
	bad.At.Row = s.n
	s.n++
	return s.yield(Row{}, bad)
}

// take reads a member into the sample. Its error is one of reading.
func (s *samples) take(ext string, size int64, r io.Reader) (err error) {
	at, now := Place{s.file, s.n}, s.now
	switch {
	case isImageName("x."+ext) && !strings.Contains(ext, "."):
		if size > s.o.MaxImageBytes {
			now.bad = skip(HugeImage, at, now.key, fmt.Errorf("%d bytes, at most %d are read", size, s.o.MaxImageBytes))
			return nil
		}
		var image []byte
		if image, err = readMember(r, size); err == nil {
			now.row.Image = image
		}
	case ext == "txt" || ext == "json" || ext == "cls" || ext == "npy":
		if size > maxSidecar {
			now.bad = skip(BadRow, at, now.key, fmt.Errorf(".%s of %d bytes", ext, size))
			return nil
		}
		now.texts[ext], err = readMember(r, size)
	}
	return err
}

// readMember does not trust the size for its allocation: a sparse or broken header may claim anything below the limit.
func readMember(r io.Reader, size int64) ([]byte, error) {
	data := make([]byte, 0, min(size, 1<<20))
	for int64(len(data)) < size {
		if len(data) == cap(data) {
			data = slices.Grow(data, len(data))
		}
		n, err := r.Read(data[len(data):min(int64(cap(data)), size)])
		data = data[:len(data)+n]
		if errors.Is(err, io.EOF) && int64(len(data)) < size {
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	return data, nil
}

// flush yields the sample that was gathered.
func (s *samples) flush() bool {
	now := s.now
	if now == nil {
		return true
	}
	s.now = nil
	now.row.At, now.row.Split = Place{s.file, s.n}, s.split
	s.n++
	err := s.complete(now)
	if err != nil {
		return s.yield(now.row, err)
	}
	return s.yield(now.row, nil)
}

// complete makes captions and labels of a sample's texts.
func (s *samples) complete(now *sample) error {
	r := &now.row
	if now.bad != nil {
		return now.bad
	}
	if r.Image == nil {
		return skip(MissingImage, r.At, r.Key, fmt.Errorf("the tar has only %s for this key", strings.Join(sortedKeys(now.exts), ", ")))
	}
	if text, ok := now.texts["txt"]; ok && len(s.o.CaptionColumns) == 0 {
		if s.lines {
			readTextSidecar(r, text, &s.o)
		} else {
			r.Captions = append(r.Captions, string(text))
		}
	}
	if text, ok := now.texts["json"]; ok {
		if err := readJSONSidecar(r, text, &s.o); err != nil {
			return err
		}
	}
	return s.readClass(now)
}

// readClass turns a class number into its name.
func (s *samples) readClass(now *sample) error {
	r := &now.row
	if data, ok := now.texts["npy"]; ok {
		names, err := classList(data, s.o.classes.labels)
		if err != nil {
			return skip(BadRow, r.At, r.Key, err)
		}
		r.setLabel(classLabel, names)
	}
	if text, ok := now.texts["cls"]; ok {
		name, err := className(r.At, r.Key, strings.TrimSpace(string(text)), s.o.classes.labels, true)
		if err != nil {
			return err
		}
		r.setLabel(classLabel, name)
	}
	s.o.addTemplates(r, classLabel)
	return nil
}

// className looks a number up; without names it stays a number. What is no class number is a skipped row, -1 (no label in
// many sets) too. A number beyond names that were given for the data is the user's mistake: the wrong list of names would
// cost the set whole classes.
func className(at Place, key, number string, names []string, given bool) (string, error) {
	n, err := strconv.Atoi(number)
	switch {
	case err != nil:
		return "", skip(BadRow, at, key, fmt.Errorf("class %q is not a number", number))
	case len(names) == 0:
		return number, nil
	case n < 0 || n >= len(names) && !given:
		return "", skip(BadRow, at, key, fmt.Errorf("class %d, but there are names for 0 to %d", n, len(names)-1))
	case n >= len(names):
		return "", fault.Userf("%s: class %d, but there are names for 0 to %d only: give all names, one a line (classnames.txt, or -class-names FILE)", at, n, len(names)-1)
	}
	return names[n], nil
}

func sortedKeys(m map[string]bool) []string {
	var keys []string
	for k := range m {
		keys = append(keys, "."+k)
	}
	slices.Sort(keys)
	return keys
}

// openClipBench reads CLIP_benchmark's layout of a labelled set: SPLIT/nshards.txt, SPLIT/0.tar …, classnames.txt,
// zeroshot_classification_templates.txt.
func openClipBench(location string, o Options) (Input, error) {
	o = o.withDefaults(location)
	b := &basic{info: shard.SourceInfo{Name: o.Name, Kind: "clipbench", Location: location}, labels: o.labelColumns()}
	splits, root, err := benchSplits(location)
	if err != nil {
		return nil, err
	}
	if o.ClassNames == nil {
		if o.ClassNames, err = readNames(filepath.Join(root, "classnames.txt")); err != nil {
			return nil, err
		}
	}
	o.classes = namesOf(o.ClassNames)
	templates, err := readLines(filepath.Join(root, "zeroshot_classification_templates.txt"))
	if err != nil {
		return nil, err
	}
	for _, t := range templates {
		b.templates = append(b.templates, strings.ReplaceAll(t, "{c}", "{}"))
	}
	for _, dir := range splits {
		if err := b.addBenchSplit(dir, o); err != nil {
			return nil, err
		}
	}
	if hasClasses(b.parts[0].Name) {
		b.addClasses(o.ClassNames)
	}
	return b, nil
}

// benchSplits finds the directories that hold an nshards.txt: the location itself or those in it.
func benchSplits(location string) (dirs []string, root string, err error) {
	if _, err := os.Stat(filepath.Join(location, "nshards.txt")); err == nil {
		return []string{location}, filepath.Dir(filepath.Clean(location)), nil
	}
	found, err := filepath.Glob(filepath.Join(location, "*", "nshards.txt"))
	if err != nil || len(found) == 0 {
		return nil, "", fault.Userf("%s: no nshards.txt in it or in a directory below: not CLIP_benchmark's layout", location)
	}
	slices.Sort(found)
	for _, f := range found {
		dirs = append(dirs, filepath.Dir(f))
	}
	return dirs, location, nil
}

func (b *basic) addBenchSplit(dir string, o Options) error {
	lines, err := readLines(filepath.Join(dir, "nshards.txt"))
	if err != nil {
		return err
	}
	n := 0
	if len(lines) == 1 {
		n, err = strconv.Atoi(lines[0])
	}
	if err != nil || n < 1 || n > maxFiles {
		return fault.Userf("%s/nshards.txt: want one number of tars", dir)
	}
	split := o.Split
	if split == "" {
		split = filepath.Base(dir)
	}
	for i := range n {
		t := &tars{file: filepath.Join(dir, fmt.Sprintf("%d.tar", i)), prefix: fmt.Sprintf("%s/%d/", filepath.Base(dir), i), split: split, lines: true, o: o}
		if _, err := mustExist(t.file); err != nil {
			return err
		}
		b.parts = append(b.parts, Part{Name: t.file, Stamp: stamp(t.file), Rows: t.rows})
	}
	return nil
}

// readNames returns the lines of a list of class names: a class's number is its line, blank ones in between count.
func readNames(file string) ([]string, error) {
	data, err := readSmall(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	text := strings.TrimRight(string(data), " \t\r\n")
	if err != nil || text == "" {
		return nil, fault.User(err)
	}
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines, nil
}

// readLines returns the lines of a small text file that are not blank; nil if there is no such file.
func readLines(file string) ([]string, error) {
	data, err := readSmall(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.User(err)
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines, nil
}
