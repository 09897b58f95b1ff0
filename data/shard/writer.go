package shard

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/parquet-go/parquet-go"

	"tandem/internal/atomicfile"
	"tandem/internal/fault"
)

// Row is one row of a shard.
type Row struct {
	Key      string
	Image    []byte // the encoded file: JPEG, PNG, …
	Captions []string
	Labels   map[string]string // by column; a missing entry is a null
	Width    int               // pixels, after EXIF orientation
	Height   int
	Source   string
}

// The fixed columns. Label columns must not take their names.
const (
	ColKey      = "key"
	ColImage    = "image"
	ColCaptions = "captions"
	ColWidth    = "width"
	ColHeight   = "height"
	ColSplit    = "split"
	ColSource   = "source"
)

var fixedColumns = []string{ColKey, ColImage, ColCaptions, ColWidth, ColHeight, ColSplit, ColSource}

// Limits of a row group: small, so that one row is read without decoding its neighbours' captions by the thousand.
const (
	groupRows  = 256
	groupBytes = 16 << 20
)

// schemaOf returns the parquet schema with the label columns added, and the manifest's view of it in file order.
func schemaOf(labels []string) (*parquet.Schema, []Column, error) {
	text := func() parquet.Node { return parquet.Encoded(parquet.String(), &parquet.Plain) }
	dict := func() parquet.Node { return parquet.Encoded(parquet.String(), &parquet.RLEDictionary) }
	number := func() parquet.Node { return parquet.Encoded(parquet.Leaf(parquet.Int32Type), &parquet.Plain) }
	group := parquet.Group{
		ColKey: text(), ColCaptions: parquet.List(text()), ColWidth: number(), ColHeight: number(),
		ColImage: parquet.Encoded(parquet.Leaf(parquet.ByteArrayType), &parquet.Plain),
		ColSplit: dict(), ColSource: dict(),
	}
	for _, name := range labels {
		if err := checkLabelName(name); err != nil {
			return nil, nil, err
		}
		if group[name] != nil {
			return nil, nil, fault.Userf("label column %q is named twice", name)
		}
		group[name] = parquet.Optional(dict())
	}
	schema := parquet.NewSchema("tandem", group)
	var columns []Column
	for _, f := range schema.Fields() {
		columns = append(columns, describe(f.Name()))
	}
	return schema, columns, nil
}

func checkLabelName(name string) error {
	if name == "" {
		return fault.Userf("a label column has no name")
	}
	if slices.Contains(fixedColumns, name) {
		return fault.Userf("label column %q has the name of a fixed column; rename it", name)
	}
	return nil
}

func describe(name string) Column {
	switch name {
	case ColImage:
		return Column{name, "bytes", RoleImage}
	case ColCaptions:
		return Column{name, "list<string>", RoleCaption}
	case ColWidth, ColHeight:
		return Column{name, "int32", RoleBook}
	case ColKey, ColSplit, ColSource:
		return Column{name, "string", RoleBook}
	default:
		return Column{name, "string", RoleLabel}
	}
}

// hubFeatures is the metadata by which Hugging Face's datasets decodes the image column as pictures.
func hubFeatures(columns []Column) string {
	type feature map[string]any
	value := func(dtype string) feature { return feature{"dtype": dtype, "_type": "Value"} }
	features := map[string]any{}
	for _, c := range columns {
		switch c.Type {
		case "bytes":
			features[c.Name] = feature{"_type": "Image"}
		case "list<string>":
			features[c.Name] = feature{"feature": value("string"), "_type": "Sequence"}
		default:
			features[c.Name] = value(c.Type)
		}
	}
	data, err := json.Marshal(map[string]any{"info": map[string]any{"features": features}})
	if err != nil {
		panic(err) // strings and maps always encode
	}
	return string(data)
}

// Writer writes one shard. The file appears under its name when Close succeeds, complete and synced; until then, and
// after an error or Abort, there is at most a temporary file beside it.
type Writer struct {
	path    string
	split   string
	file    *os.File
	count   *countingHash
	parquet *parquet.GenericWriter[any]
	columns []*parquet.ColumnWriter
	labels  []string // in column order, parallel to labelAt
	labelAt []int
	at      map[string]int

	rows, groupFilled int
	bytesInGroup      int64
	groups            int
	captions          int64
	values            []parquet.Value
	err               error
}

// NewWriter starts the shard dir/name for a split, with the given label columns.
func NewWriter(dir, name, split string, labels []string) (*Writer, error) {
	schema, columns, err := schemaOf(labels)
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, ".tmp-"+name+"-*")
	if err != nil {
		return nil, fmt.Errorf("start shard %s: %w", filepath.Join(dir, name), err)
	}
	w := &Writer{path: filepath.Join(dir, name), split: split, file: f, at: map[string]int{}}
	w.count = &countingHash{to: f, sum: sha256.New()}
	w.parquet = parquet.NewGenericWriter[any](w.count, append(writerOptions(columns), schema)...)
	w.columns = w.parquet.ColumnWriters()
	for _, c := range columns {
		leaf, _ := schema.Lookup(leafPath(c)...)
		w.at[c.Name] = leaf.ColumnIndex
		if c.Role == RoleLabel {
			w.labels, w.labelAt = append(w.labels, c.Name), append(w.labelAt, leaf.ColumnIndex)
		}
	}
	return w, nil
}

func leafPath(c Column) []string {
	if c.Type == "list<string>" {
		return []string{c.Name, "list", "element"}
	}
	return []string{c.Name}
}

func writerOptions(columns []Column) []parquet.WriterOption {
	options := []parquet.WriterOption{
		parquet.CreatedBy("tandem", "1", ""),
		parquet.Compression(&parquet.Uncompressed), // JPEG and PNG do not compress, captions are small beside them
		parquet.DataPageVersion(1),                 // what every reader knows
		parquet.DataPageStatistics(false),
		parquet.DeprecatedDataPageStatistics(false),
		parquet.MaxRowsPerRowGroup(1 << 40), // groups are cut by Writer.flush
		parquet.KeyValueMetadata("tandem.format", fmt.Sprint(FormatVersion)),
		parquet.KeyValueMetadata("huggingface", hubFeatures(columns)),
	}
	for _, c := range columns {
		// Bounds would repeat whole images in headers and index.
		options = append(options, parquet.SkipPageBounds(leafPath(c)...), parquet.SkipPageStatistics(leafPath(c)...))
	}
	return options
}

// Write adds a row. After an error every further call returns it.
func (w *Writer) Write(row *Row) error {
	if w.err != nil {
		return w.err
	}
	w.err = w.write(row)
	if w.err != nil {
		w.err = fmt.Errorf("write row %d (key %q) of %s: %w", w.rows, row.Key, w.path, w.err)
	}
	return w.err
}

func (w *Writer) write(row *Row) error {
	for name := range row.Labels {
		if !slices.Contains(w.labels, name) {
			return fmt.Errorf("label %q has no column in this shard", name)
		}
	}
	size := int64(len(row.Image))
	if w.groupFilled == groupRows || (w.groupFilled > 0 && w.bytesInGroup+size > groupBytes) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if err := w.putColumns(row); err != nil {
		return err
	}
	// A page of its own: one read fetches one image, and the page's checksum is the image's.
	if err := w.columns[w.at[ColImage]].Flush(); err != nil {
		return err
	}
	w.rows++
	w.groupFilled++
	w.bytesInGroup += size
	w.captions += int64(len(row.Captions))
	return nil
}

func (w *Writer) putColumns(row *Row) error {
	text := func(s string) parquet.Value { return parquet.ByteArrayValue([]byte(s)) }
	err := errors.Join(
		w.put(ColImage, parquet.ByteArrayValue(row.Image)),
		w.put(ColKey, text(row.Key)),
		w.put(ColSplit, text(w.split)),
		w.put(ColSource, text(row.Source)),
		w.put(ColWidth, parquet.Int32Value(int32(row.Width))),
		w.put(ColHeight, parquet.Int32Value(int32(row.Height))),
		w.putList(row.Captions),
	)
	for i, name := range w.labels {
		v, definition := parquet.Value{}, 0
		if s, ok := row.Labels[name]; ok {
			v, definition = text(s), 1
		}
		_, e := w.columns[w.labelAt[i]].WriteRowValues([]parquet.Value{v.Level(0, definition, w.labelAt[i])})
		err = errors.Join(err, e)
	}
	return err
}

func (w *Writer) put(column string, v parquet.Value) error {
	at := w.at[column]
	w.values = append(w.values[:0], v.Level(0, 0, at))
	_, err := w.columns[at].WriteRowValues(w.values)
	return err
}

func (w *Writer) putList(texts []string) error {
	at := w.at[ColCaptions]
	w.values = w.values[:0]
	for i, s := range texts {
		w.values = append(w.values, parquet.ByteArrayValue([]byte(s)).Level(min(i, 1), 1, at))
	}
	if len(texts) == 0 {
		w.values = append(w.values, parquet.Value{}.Level(0, 0, at))
	}
	_, err := w.columns[at].WriteRowValues(w.values)
	return err
}

func (w *Writer) flush() error {
	w.groups++
	w.groupFilled, w.bytesInGroup = 0, 0
	return w.parquet.Flush()
}

// Rows returns the number of rows written so far.
func (w *Writer) Rows() int64 { return int64(w.rows) }

// Captions returns the number of captions written so far.
func (w *Writer) Captions() int64 { return w.captions }

// Size returns about how many bytes the file would have if it were closed now.
func (w *Writer) Size() int64 { return w.count.n + w.bytesInGroup }

// Close finishes the file, syncs it, moves it to its name and returns its manifest entry.
func (w *Writer) Close() (FileInfo, error) {
	if w.err == nil {
		w.err = w.finish()
	}
	if w.err != nil {
		w.Abort()
		return FileInfo{}, w.err
	}
	return FileInfo{
		Name: filepath.Base(w.path), Split: w.split, Rows: int64(w.rows), RowGroups: w.groups,
		Bytes: w.count.n, SHA256: hex.EncodeToString(w.count.sum.Sum(nil)),
	}, nil
}

func (w *Writer) finish() error {
	if w.rows == 0 {
		return fmt.Errorf("shard %s would be empty", w.path)
	}
	if w.groupFilled > 0 {
		w.groups++
	}
	if err := errors.Join(w.parquet.Close(), w.file.Chmod(0o644), w.file.Sync(), w.file.Close()); err != nil {
		return fmt.Errorf("finish shard %s: %w", w.path, err)
	}
	return atomicfile.Rename(w.file.Name(), w.path)
}

// Abort gives the shard up and removes the temporary file. It does nothing after a successful Close.
func (w *Writer) Abort() {
	w.file.Close()
	os.Remove(w.file.Name())
	if w.err == nil {
		w.err = errors.New("writer was aborted")
	}
}

// countingHash passes bytes on while counting and hashing them.
type countingHash struct {
	to  io.Writer
	sum hash.Hash
	n   int64
}

func (c *countingHash) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.sum.Write(p[:n])
	c.n += int64(n)
	return n, err
}

// Schema returns the columns of shards with the given label columns, as a manifest lists them.
func Schema(labels []string) ([]Column, error) {
	_, columns, err := schemaOf(labels)
	return columns, err
}
