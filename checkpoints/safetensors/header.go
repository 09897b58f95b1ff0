package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

const (
	// maxHeader is the reference implementation's bound on the header.
	maxHeader = 100_000_000
	// maxRank bounds the axes of a tensor; no model has more than a handful.
	maxRank = 64
	// metadataKey is the header entry that is no tensor.
	metadataKey = "__metadata__"
)

func readHeader(r io.ReaderAt, size int64) ([]byte, error) {
	var prefix [8]byte
	if _, err := r.ReadAt(prefix[:], 0); err != nil {
		return nil, errors.New("not a safetensors file: shorter than its 8 bytes of header length")
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	if n > maxHeader || int64(n) > size-8 {
		return nil, fmt.Errorf("not a safetensors file: header of %d bytes in a file of %d", n, size)
	}
	header := make([]byte, n)
	if _, err := r.ReadAt(header, 8); err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	return header, nil
}

// ParseHeader reads the JSON of a header that describes dataSize bytes of data. Everything that it can lie about is
// checked before any of it is believed: ranges (in bounds, without gaps or overlaps), shapes, types and duplicate names.
// The tensors come in the order of their data.
func ParseHeader(header []byte, dataSize int64) (tensors []Info, metadata map[string]string, err error) {
	if len(header) == 0 || header[0] != '{' || !utf8.Valid(header) {
		return nil, nil, errors.New("header is not a JSON object")
	}
	p := &headerParser{dec: json.NewDecoder(bytes.NewReader(header)), dataSize: dataSize, names: map[string]bool{}}
	p.dec.UseNumber()
	if err := p.object(p.entry); err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	if rest := bytes.Trim(header[p.dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return nil, nil, fmt.Errorf("header: %d bytes after its end", len(rest))
	}
	if err := checkRanges(p.tensors, dataSize); err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	return p.tensors, p.metadata, nil
}

// headerParser reads token by token: what the format does not allow is refused where it stands, before it takes memory.
type headerParser struct {
	dec      *json.Decoder
	dataSize int64
	tensors  []Info
	metadata map[string]string
	names    map[string]bool
}

// object reads one JSON object and calls field for each of its keys; field reads the value.
func (p *headerParser) object(field func(key string) error) error {
	if err := p.delimiter('{'); err != nil {
		return err
	}
	for p.dec.More() {
		key, err := p.string()
		if err != nil {
			return err
		}
		if err := field(key); err != nil {
			return err
		}
	}
	return p.delimiter('}')
}

func (p *headerParser) delimiter(want json.Delim) error {
	token, err := p.dec.Token()
	if err != nil {
		return fmt.Errorf("broken JSON: %w", err)
	}
	if token != want {
		return fmt.Errorf("%.40q where %q belongs", fmt.Sprint(token), want.String())
	}
	return nil
}

func (p *headerParser) string() (string, error) {
	token, err := p.dec.Token()
	if err != nil {
		return "", fmt.Errorf("broken JSON: %w", err)
	}
	s, ok := token.(string)
	if !ok {
		return "", fmt.Errorf("%.40q where a string belongs", fmt.Sprint(token))
	}
	return s, nil
}

// numbers reads an array of at most limit numbers that are not negative.
func (p *headerParser) numbers(limit int) ([]int64, error) {
	if err := p.delimiter('['); err != nil {
		return nil, err
	}
	list := []int64{}
	for p.dec.More() {
		token, err := p.dec.Token()
		if err != nil {
			return nil, fmt.Errorf("broken JSON: %w", err)
		}
		number, _ := token.(json.Number)
		n, err := strconv.ParseInt(string(number), 10, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%.40q is no length or offset", fmt.Sprint(token))
		}
		if list = append(list, n); len(list) > limit {
			return nil, fmt.Errorf("more than %d numbers", limit)
		}
	}
	return list, p.delimiter(']')
}

func (p *headerParser) entry(name string) error {
	if p.names[name] {
		return fmt.Errorf("%q appears twice", name)
	}
	p.names[name] = true
	if name == metadataKey {
		p.metadata = map[string]string{}
		return p.object(p.metadatum)
	}
	raw := rawInfo{}
	if err := p.object(func(key string) error { return raw.field(p, key) }); err != nil {
		return fmt.Errorf("tensor %.200q: %w", name, err)
	}
	info, err := raw.check(name, p.dataSize)
	if err != nil {
		return fmt.Errorf("tensor %.200q: %w", name, err)
	}
	p.tensors = append(p.tensors, info)
	return nil
}

func (p *headerParser) metadatum(key string) error {
	value, err := p.string()
	if err != nil {
		return fmt.Errorf("metadata %.40q: %w", key, err)
	}
	if _, twice := p.metadata[key]; twice {
		return fmt.Errorf("metadata %.40q appears twice", key)
	}
	p.metadata[key] = value
	return nil
}

// rawInfo is a tensor's entry in the header; nil marks what has not been seen.
type rawInfo struct {
	dtype          *DType
	shape, offsets []int64
}

func (r *rawInfo) field(p *headerParser, key string) (err error) {
	switch {
	case key == "dtype" && r.dtype == nil:
		name, err := p.string()
		dtype := DType(name)
		r.dtype = &dtype
		return err
	case key == "shape" && r.shape == nil:
		r.shape, err = p.numbers(maxRank)
		return err
	case key == "data_offsets" && r.offsets == nil:
		r.offsets, err = p.numbers(2)
		return err
	default:
		return fmt.Errorf("field %.40q is unknown or appears twice", key)
	}
}

func (r *rawInfo) check(name string, dataSize int64) (Info, error) {
	switch {
	case r.dtype == nil || r.shape == nil || len(r.offsets) != 2:
		return Info{}, errors.New("needs dtype, shape and two data_offsets")
	case r.dtype.Size() == 0:
		return Info{}, fmt.Errorf("type %.20q is not read", *r.dtype)
	case r.offsets[0] > r.offsets[1] || r.offsets[1] > dataSize:
		return Info{}, fmt.Errorf("range %v leaves the %d bytes of data", r.offsets, dataSize)
	}
	info := Info{Name: name, DType: *r.dtype, Shape: make([]int, len(r.shape)), begin: r.offsets[0]}
	size := int64(r.dtype.Size())
	for i, d := range r.shape {
		if d > 0 && size > math.MaxInt64/d || d > math.MaxInt {
			return Info{}, fmt.Errorf("impossible shape %v", r.shape)
		}
		info.Shape[i] = int(d)
		size *= d
	}
	if span := r.offsets[1] - r.offsets[0]; span != size {
		return Info{}, fmt.Errorf("shape %v of %s takes %d bytes, its range has %d", r.shape, *r.dtype, size, span)
	}
	return info, nil
}

// checkRanges puts the tensors in the order of their data and refuses overlaps, gaps and leftovers.
func checkRanges(tensors []Info, dataSize int64) error {
	slices.SortStableFunc(tensors, func(a, b Info) int {
		if a.begin != b.begin {
			return int(max(-1, min(1, a.begin-b.begin)))
		}
		return int(max(-1, min(1, a.Bytes()-b.Bytes())))
	})
	var end int64
	for _, t := range tensors {
		if t.begin != end {
			return fmt.Errorf("data of tensor %q begins at %d, want %d: ranges overlap or leave a gap", t.Name, t.begin, end)
		}
		end += t.Bytes()
	}
	if end != dataSize {
		return fmt.Errorf("describes %d bytes of data, the file has %d", end, dataSize)
	}
	return nil
}

// MarshalHeader describes tensors that follow each other in the given order. It fixes the order of the JSON's keys and
// pads with spaces to a multiple of 8, as the reference implementation does. metadata may be nil.
func MarshalHeader(metadata map[string]string, tensors []Info) ([]byte, error) {
	b := []byte{'{'}
	if metadata != nil {
		b = append(appendString(b, metadataKey), ":{"...)
		for i, key := range slices.Sorted(maps.Keys(metadata)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, key), ':')
			b = appendString(b, metadata[key])
		}
		b = append(b, '}')
	}
	var offset int64
	seen := map[string]bool{metadataKey: true}
	for _, t := range tensors {
		if seen[t.Name] || !utf8.ValidString(t.Name) {
			return nil, fmt.Errorf("tensor %q appears twice, has a reserved name or is not UTF-8", t.Name)
		}
		seen[t.Name] = true
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = appendEntry(b, t, offset)
		offset += t.Bytes()
	}
	b = append(b, '}')
	for len(b)%8 != 0 {
		b = append(b, ' ')
	}
	return b, nil
}

func appendEntry(b []byte, t Info, offset int64) []byte {
	b = append(appendString(b, t.Name), `:{"dtype":"`...)
	b = append(append(b, t.DType...), `","shape":[`...)
	for i, d := range t.Shape {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(d), 10)
	}
	return fmt.Appendf(b, `],"data_offsets":[%d,%d]}`, offset, offset+t.Bytes())
}

// appendString encodes a JSON string as the reference implementation does: only quotes, backslashes and control
// characters are escaped.
func appendString(b []byte, s string) []byte {
	const short = "btnvfr" // the letters of \b … \r, of which \v does not exist in JSON
	b = append(b, '"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= '\b' && c <= '\r' && c != '\v':
			b = append(b, '\\', short[c-'\b'])
		case c < ' ':
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
