package ingest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"tandem/data/shard"
	"tandem/internal/fault"
)

// Column names that mean the same everywhere, best first. Captions' are captionNames.
var (
	imageNames = []string{"image", "image_path", "filepath", "file_path", "path", "file_name", "filename", "file", "image_file", "img", "url"}
	keyNames   = []string{"key", "id", "image_id", "uid"}
	splitCols  = []string{"split"}
)

// columns says which columns of a list or parquet file mean what.
type columns struct {
	image, key, split string
	captions, labels  []string
}

// isKey reports whether a key column surely holds keys: it was asked for, or is called so. Others, like image_id, may
// stand in several rows of one image.
func (o *Options) isKey(column string) bool { return o.KeyColumn != "" || column == "key" }

// resolve finds the columns among names. rest are those that may be labels if none were asked for.
func (o *Options) resolve(where string, names, rest []string) (c columns, err error) {
	for _, want := range slices.Concat([]string{o.ImageColumn, o.KeyColumn, o.SplitColumn}, o.CaptionColumns, o.labelColumns()) {
		if want != "" && !slices.Contains(names, want) {
			return c, fault.Userf("%s: no column %q; it has %s", where, want, strings.Join(names, ", "))
		}
	}
	pick := func(asked string, known []string) string {
		if asked != "" {
			return asked
		}
		for _, k := range known {
			if i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, k) }); i >= 0 {
				return names[i]
			}
		}
		return ""
	}
	c.image, c.key, c.split = pick(o.ImageColumn, imageNames), pick(o.KeyColumn, keyNames), pick(o.SplitColumn, splitCols)
	if c.captions = o.CaptionColumns; c.captions == nil {
		if name := pick("", captionNames); name != "" {
			c.captions = []string{name}
		}
	}
	if c.image == "" {
		return c, fault.Userf("%s: which column names the image? It has %s; say -image-column NAME", where, strings.Join(names, ", "))
	}
	c.labels = o.labelColumns()
	if len(o.LabelColumns) == 0 {
		taken := append([]string{c.image, c.key, c.split}, c.captions...)
		for _, n := range rest {
			if !slices.Contains(taken, n) {
				c.labels = append(c.labels, n)
			}
		}
	}
	if len(c.captions) == 0 && len(c.labels) == 0 {
		return c, fault.Userf("%s: which column holds the captions? It has %s; say -caption-columns NAME", where, strings.Join(names, ", "))
	}
	return c, nil
}

// openList reads a CSV, TSV or JSONL file with a path and captions in each row. Consecutive rows of one image are one
// row with several captions.
func openList(location string, o Options) (Input, error) {
	o = o.withDefaults(location)
	if o.ImageRoot == "" {
		o.ImageRoot = filepath.Dir(location)
	}
	l := &list{file: location, o: o}
	if err := l.open(); err != nil {
		return nil, err
	}
	b := &basic{info: shard.SourceInfo{Name: o.Name, Kind: o.From, Location: location}, labels: l.cols.labels}
	b.labelled = len(l.cols.captions) == 0 && len(o.Templates) == 0
	header := int64(1)
	if o.From == "jsonl" || len(o.NoHeader) > 0 {
		header = 0
	}
	b.estimate = estimateLines(location, header)
	b.parts = []Part{{Name: location, Stamp: stamp(location), Rows: l.rows}}
	return b, nil
}

type list struct {
	file string
	o    Options
	cols columns
}

// record is one line: fields by column, or why it cannot be read.
type record struct {
	line   int64
	fields map[string]any
	err    *Skip
}

func (l *list) open() error {
	f, err := os.Open(l.file)
	if err != nil {
		return fault.User(err)
	}
	defer f.Close()
	var names []string
	switch l.o.From {
	case "jsonl":
		names, err = l.firstObject(f)
	case "tsv":
		names, err = l.tabHeader(bufio.NewReaderSize(f, 1<<16))
	default:
		names, err = l.header(l.csvReader(f))
	}
	if err != nil {
		return err
	}
	l.cols, err = l.o.resolve(l.file, names, names)
	return err
}

func (l *list) csvReader(r io.Reader) *csv.Reader {
	b := bufio.NewReaderSize(r, 1<<16)
	if start, _ := b.Peek(3); bytes.Equal(start, []byte("\ufeff")) {
		b.Discard(3)
	}
	c := csv.NewReader(b)
	c.ReuseRecord = true
	return c
}

func (l *list) header(c *csv.Reader) ([]string, error) {
	if len(l.o.NoHeader) > 0 {
		c.FieldsPerRecord = len(l.o.NoHeader)
		return l.o.NoHeader, nil
	}
	names, err := c.Read()
	if errors.Is(err, io.EOF) {
		return nil, fault.Userf("%s: the file is empty; it wants a header line with the names of its columns", l.file)
	}
	if err != nil {
		return nil, fault.Userf("%s: header line: %w", l.file, err)
	}
	names = slices.Clone(names)
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	return names, nil
}

// firstObject takes the columns of a JSONL file from its first good line.
func (l *list) firstObject(r io.Reader) ([]string, error) {
	for rec := range l.objects(r) {
		if rec.err == nil {
			var names []string
			for name, v := range rec.fields {
				if _, ok := scalar(v); ok || slices.Contains(captionNames, name) || slices.Contains(l.o.CaptionColumns, name) {
					names = append(names, name)
				}
			}
			slices.Sort(names)
			return names, nil
		}
	}
	return nil, fault.Userf("%s: no line holds a JSON object", l.file)
}

func (l *list) rows(ctx context.Context) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		f, err := os.Open(l.file)
		if err != nil {
			yield(Row{}, err)
			return
		}
		defer f.Close()
		records := map[string]func(io.Reader) iter.Seq[record]{"jsonl": l.objects, "tsv": l.tabLines}[l.o.From]
		if records == nil {
			records = l.lines
		}
		m := merger{yield: yield}
		for rec := range records(f) {
			if ctx.Err() != nil {
				m.yield(Row{}, ctx.Err())
				return
			}
			if !m.add(l.row(rec)) {
				return
			}
		}
		m.flush()
	}
}

// merger joins consecutive rows of one image.
type merger struct {
	yield   func(Row, error) bool
	pending *Row
	image   string
}

func (m *merger) add(r Row, image string, err error) bool {
	if err == nil && m.pending != nil && image == m.image {
		m.pending.Captions = append(m.pending.Captions, r.Captions...)
		return true
	}
	if !m.flush() {
		return false
	}
	if err != nil {
		return m.yield(r, err)
	}
	m.pending, m.image = &r, image
	return true
}

func (m *merger) flush() bool {
	if m.pending == nil {
		return true
	}
	r := *m.pending
	m.pending = nil
	return m.yield(r, nil)
}

func (l *list) row(rec record) (r Row, image string, err error) {
	r.At = Place{l.file, rec.line}
	if rec.err != nil {
		return r, "", rec.err
	}
	image, ok := scalar(rec.fields[l.cols.image])
	if image = strings.TrimSpace(image); !ok || image == "" {
		return r, "", skip(MissingImage, r.At, "", fmt.Errorf("column %q is empty", l.cols.image))
	}
	r.Key, r.SpareKey = image, fmt.Sprintf("%s#%d", image, rec.line)
	if s, ok := scalar(rec.fields[l.cols.key]); ok && s != "" {
		r.Key, r.SpareKey = s, fmt.Sprintf("%s#%d", s, rec.line)
		if l.o.isKey(l.cols.key) {
			r.SpareKey = ""
		}
	}
	r.Split = l.o.splitOf("")
	if s, ok := scalar(rec.fields[l.cols.split]); ok && s != "" && l.o.Split == "" {
		r.Split = s
	}
	for _, name := range l.cols.captions {
		texts, err := textsOf(rec.fields[name])
		if err != nil {
			return r, "", skip(BadRow, r.At, r.Key, fmt.Errorf("column %q: %w", name, err))
		}
		r.Captions = append(r.Captions, texts...)
	}
	for _, name := range l.cols.labels {
		if s, ok := scalar(rec.fields[name]); ok { // an empty cell, too: of several labels an image it says that none applies
			r.setLabel(name, s)
		}
	}
	if len(l.cols.labels) > 0 {
		l.o.addTemplates(&r, l.cols.labels[0])
	}
	path, limit := l.locate(image), l.o.MaxImageBytes
	r.Load = func(r *Row) (err error) {
		r.Image, err = loadFile(path, limit, r.At, r.Key)
		return err
	}
	return r, image, nil
}

// locate turns what a list says into a path. Nothing is ever downloaded: a URL stands for the file that a download
// left under the image root, at host/path as mirroring tools write it or under its base name.
func (l *list) locate(image string) string {
	scheme, _, isURL := strings.Cut(image, "://")
	if !isURL {
		if filepath.IsAbs(image) {
			return image
		}
		return filepath.Join(l.o.ImageRoot, filepath.FromSlash(image))
	}
	u, err := url.Parse(image)
	if err != nil {
		return filepath.Join(l.o.ImageRoot, filepath.Base(image))
	}
	if scheme == "file" {
		return filepath.FromSlash(u.Path)
	}
	mirrored := filepath.Join(l.o.ImageRoot, u.Host, filepath.FromSlash(filepath.Clean("/"+u.Path)))
	if _, err := os.Stat(mirrored); err == nil {
		return mirrored
	}
	return filepath.Join(l.o.ImageRoot, filepath.Base(filepath.Clean("/"+u.Path)))
}

// lines reads CSV and TSV. Lines are counted from 1, the header's included, as editors do.
func (l *list) lines(f io.Reader) iter.Seq[record] {
	return func(yield func(record) bool) {
		c := l.csvReader(f)
		names, err := l.header(c)
		if err != nil {
			yield(record{line: 1, err: skip(BadRow, Place{l.file, 1}, "", err)})
			return
		}
		for {
			fields, err := c.Read()
			if errors.Is(err, io.EOF) {
				return
			}
			line := lineOf(c, fields, err)
			rec := record{line: line}
			var parse *csv.ParseError
			if errors.As(err, &parse) {
				rec.err = skip(BadRow, Place{l.file, line}, "", err)
				rec.err.Rows = int64(parse.Line - parse.StartLine + 1) // a stray quote swallows lines
			} else if err != nil {
				rec.err = skip(DamagedFile, Place{l.file, line}, "", err)
			} else {
				rec.fields = fieldsOf(names, fields)
			}
			if !yield(rec) || (err != nil && parse == nil) {
				return
			}
		}
	}
}

func fieldsOf(names, values []string) map[string]any {
	fields := make(map[string]any, len(names))
	for i, v := range values {
		fields[names[i]] = v
	}
	return fields
}

func lineOf(c *csv.Reader, fields []string, err error) int64 {
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		return int64(parse.StartLine)
	}
	if len(fields) == 0 {
		return -1
	}
	line, _ := c.FieldPos(0)
	return int64(line)
}

// tabLines reads TSV: no field holds a tab or a line break, and a field in quotes is unquoted.
func (l *list) tabLines(f io.Reader) iter.Seq[record] {
	return func(yield func(record) bool) {
		b := bufio.NewReaderSize(f, 1<<16)
		names, err := l.tabHeader(b)
		if err != nil {
			yield(record{line: 1, err: skip(BadRow, Place{l.file, 1}, "", err)})
			return
		}
		line := int64(2)
		if len(l.o.NoHeader) > 0 {
			line = 1
		}
		for ; ; line++ {
			data, err := readLine(b)
			if errors.Is(err, io.EOF) && len(data) == 0 {
				return
			}
			rec := record{line: line}
			at := Place{l.file, line}
			values := splitTabs(data)
			switch {
			case err != nil && !errors.Is(err, io.EOF):
				rec.err = skip(BadRow, at, "", err)
			case len(values) == 1 && values[0] == "":
				continue
			case len(values) != len(names):
				rec.err = skip(BadRow, at, "", fmt.Errorf("%d fields, the header has %d", len(values), len(names)))
			default:
				rec.fields = fieldsOf(names, values)
			}
			if !yield(rec) || (err != nil && !errors.Is(err, errLongLine)) {
				return
			}
		}
	}
}

func (l *list) tabHeader(b *bufio.Reader) ([]string, error) {
	if len(l.o.NoHeader) > 0 {
		return l.o.NoHeader, nil
	}
	line, err := readLine(b)
	if err != nil && !errors.Is(err, io.EOF) || len(line) == 0 {
		return nil, fault.Userf("%s: no header line with the names of its columns", l.file)
	}
	names := splitTabs(bytes.TrimPrefix(line, []byte("\ufeff")))
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	return names, nil
}

func splitTabs(line []byte) []string {
	fields := strings.Split(strings.TrimRight(string(line), "\r\n"), "\t")
	for i, f := range fields {
		if len(f) >= 2 && f[0] == '"' && f[len(f)-1] == '"' {
			fields[i] = strings.ReplaceAll(f[1:len(f)-1], `""`, `"`)
		}
	}
	return fields
}

// maxLine bounds a line of JSONL; what is longer is one malformed row.
const maxLine = 16 << 20

// objects reads JSONL. Lines are counted from 1; blank ones are passed over.
func (l *list) objects(f io.Reader) iter.Seq[record] {
	return func(yield func(record) bool) {
		b := bufio.NewReaderSize(f, 1<<16)
		for line := int64(1); ; line++ {
			data, err := readLine(b)
			if errors.Is(err, io.EOF) && len(data) == 0 {
				return
			}
			rec := record{line: line}
			at := Place{l.file, line}
			text := bytes.TrimSpace(data)
			switch {
			case err != nil && !errors.Is(err, io.EOF):
				rec.err = skip(BadRow, at, "", err)
			case len(text) == 0:
				continue
			case !utf8.Valid(text):
				rec.err = skip(BadText, at, "", nil)
			default:
				var e error
				if rec.fields, e = parseObject(text); e != nil {
					rec.err = skip(BadRow, at, "", e)
				}
			}
			if !yield(rec) || (err != nil && !errors.Is(err, errLongLine)) {
				return
			}
		}
	}
}

var errLongLine = fmt.Errorf("line longer than %d bytes", maxLine)

// readLine returns the next line; one over maxLine is read to its end and dropped.
func readLine(b *bufio.Reader) ([]byte, error) {
	var line []byte
	for long := false; ; {
		part, err := b.ReadSlice('\n')
		if long = long || len(line)+len(part) > maxLine; long {
			line = line[:0]
		} else {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if long && (err == nil || errors.Is(err, io.EOF)) {
			return nil, errLongLine
		}
		return line, err
	}
}
