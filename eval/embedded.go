package eval

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"

	"tandem/internal/atomicfile"
)

var errNoShortcut = errors.New("the data set cannot read single images")

// Embedded is a data set as rows.
type Embedded struct {
	Examples []Example   // without images
	Rows     [][]float32 // of length 1; nil where the image could not be decoded
	Reasons  []string    // why not; "" where it could
	// Data is a hash of what was embedded.
	Data string
	// Cached says that no image was encoded for it.
	Cached bool
}

// Skipped counts the images that could not be decoded, by reason.
func (e *Embedded) Skipped() map[string]int {
	counts := map[string]int{}
	for _, r := range e.Reasons {
		if r != "" {
			counts["image: "+r]++
		}
	}
	return counts
}

// embedAll encodes a data set. The hash is of the set's fingerprint, or, of a set without one, of every byte.
func embedAll(ctx context.Context, enc Encoder, set Dataset) (*Embedded, error) {
	out := &Embedded{}
	h := sha256.New()
	mark := fingerprint(set)
	files := func(yield func([]byte, error) bool) {
		for example, err := range set.Examples(ctx) {
			if err == nil {
				if mark == "" {
					hashExample(h, example)
				}
				image := example.Image
				example.Image = nil
				out.Examples = append(out.Examples, example) // encoders read ahead: rows come later
				if !yield(image, nil) {
					return
				}
				continue
			}
			yield(nil, err)
			return
		}
	}
	for row, err := range enc.EncodeImageSeq(ctx, files) {
		reason := ""
		if err != nil {
			var bad ImageError
			if !errors.As(err, &bad) {
				return nil, err
			}
			reason, row = bad.ImageReason(), nil
		}
		out.Rows, out.Reasons = append(out.Rows, slices.Clone(row)), append(out.Reasons, reason)
	}
	if err := checkRows(len(out.Rows), len(out.Examples), "images"); err != nil {
		return nil, err
	}
	if mark != "" {
		io.WriteString(h, mark)
	}
	out.Data = hex.EncodeToString(h.Sum(nil))
	return out, nil
}

func hashExample(w io.Writer, e Example) {
	fmt.Fprintf(w, "%q %q %q ", e.ID, e.Captions, e.Wrong)
	for _, column := range sortedKeys(e.Labels) {
		fmt.Fprintf(w, "%q=%q ", column, e.Labels[column])
	}
	fmt.Fprintln(w, len(e.Image))
	w.Write(e.Image)
}

// cacheHeader begins a file of cached rows.
type cacheHeader struct {
	Format  string   `json:"format"`
	Rows    int      `json:"rows"`
	Dim     int      `json:"dim"`
	Reasons []string `json:"reasons,omitempty"` // empty where all images could be decoded
	Data    string   `json:"data"`
}

const cacheFormat = "tandem-embeddings-1"

// embedCached is embedAll with a file of rows, named by a hash of the model and the set: the next evaluation of the same
// model on the same data encodes nothing. Sets without a fingerprint are not cached. A damaged file is computed again.
func embedCached(ctx context.Context, enc Encoder, set Dataset, dir, model string) (*Embedded, error) {
	mark := fingerprint(set)
	if dir == "" || model == "" || mark == "" {
		return embedAll(ctx, enc, set)
	}
	path := cachePath(dir, "images", model, mark)
	if header, rows, err := readRows(path); err == nil {
		out := &Embedded{Rows: rows, Reasons: header.Reasons, Data: header.Data, Cached: true}
		for example, err := range withoutImages(ctx, set) {
			if err != nil {
				return nil, err
			}
			example.Image = nil
			out.Examples = append(out.Examples, example)
		}
		if len(out.Examples) == len(rows) {
			return out, nil
		}
	}
	out, err := embedAll(ctx, enc, set)
	if err != nil {
		return nil, err
	}
	return out, writeRows(path, cacheHeader{Reasons: out.Reasons, Data: out.Data}, out.Rows)
}

func cachePath(dir string, parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%q ", p)
	}
	name := hex.EncodeToString(h.Sum(nil))
	return filepath.Join(dir, name[:2], name+".emb")
}

// writeRows writes a header line of JSON, the rows as little-endian float32 (a missing row as zeros), and the SHA-256 of
// both.
func writeRows(path string, header cacheHeader, rows [][]float32) error {
	header.Format, header.Rows = cacheFormat, len(rows)
	for _, row := range rows {
		header.Dim = max(header.Dim, len(row))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(path, 0o644, func(file io.Writer) error {
		h := sha256.New()
		w := bufio.NewWriterSize(io.MultiWriter(file, h), 1<<20)
		if err := json.NewEncoder(w).Encode(header); err != nil {
			return err
		}
		zeros := make([]float32, header.Dim)
		buffer := make([]byte, 0, 4*header.Dim)
		for _, row := range rows {
			if row == nil {
				row = zeros
			}
			buffer = buffer[:0]
			for _, x := range row {
				buffer = binary.LittleEndian.AppendUint32(buffer, math.Float32bits(x))
			}
			if _, err := w.Write(buffer); err != nil {
				return err
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
		_, err := file.Write(h.Sum(nil))
		return err
	})
}

func readRows(path string) (cacheHeader, [][]float32, error) {
	var header cacheHeader
	data, err := os.ReadFile(path)
	if err != nil {
		return header, nil, err
	}
	body := len(data) - sha256.Size
	end := bytes.IndexByte(data, '\n') + 1
	if body < end || end == 0 {
		return header, nil, fmt.Errorf("%s is cut off", path)
	}
	if sum := sha256.Sum256(data[:body]); !bytes.Equal(sum[:], data[body:]) {
		return header, nil, fmt.Errorf("%s is damaged", path)
	}
	if err := json.Unmarshal(data[:end], &header); err != nil {
		return header, nil, err
	}
	if header.Format != cacheFormat || header.Rows < 0 || header.Dim < 0 || body-end != 4*header.Rows*header.Dim {
		return header, nil, fmt.Errorf("%s has another format", path)
	}
	if len(header.Reasons) == 0 {
		header.Reasons = make([]string, header.Rows)
	}
	flat := make([]float32, header.Rows*header.Dim)
	for i := range flat {
		flat[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[end+4*i:]))
	}
	rows := make([][]float32, header.Rows)
	for i := range rows {
		if header.Reasons[i] == "" {
			rows[i] = flat[i*header.Dim : (i+1)*header.Dim : (i+1)*header.Dim]
		}
	}
	return header, rows, nil
}

// textCache is a TextEncoder that keeps rows in files, one for each list of texts asked for.
type textCache struct {
	Encoder
	dir, model string
}

// EncodeTexts implements zeroshot.TextEncoder.
func (c textCache) EncodeTexts(ctx context.Context, texts []string) ([][]float32, error) {
	if c.dir == "" || c.model == "" {
		return c.Encoder.EncodeTexts(ctx, texts)
	}
	h := sha256.New()
	for _, t := range texts {
		fmt.Fprintf(h, "%q\n", t)
	}
	path := cachePath(c.dir, "texts", c.model, hex.EncodeToString(h.Sum(nil)))
	if _, rows, err := readRows(path); err == nil && len(rows) == len(texts) {
		return rows, nil
	}
	rows, err := c.Encoder.EncodeTexts(ctx, texts)
	if err != nil {
		return nil, err
	}
	return rows, writeRows(path, cacheHeader{}, rows)
}
