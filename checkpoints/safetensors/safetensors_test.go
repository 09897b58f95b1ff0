package safetensors

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// file makes the bytes of a file: length, header, dataSize zeros.
func file(header string, dataSize int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, dataSize)...)
}

func writeTemp(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// entriesOf copies the tensors of an open file.
func entriesOf(t testing.TB, f *File) []Entry {
	t.Helper()
	var entries []Entry
	for _, info := range f.Tensors() {
		raw := make([]byte, info.Bytes())
		if err := f.Read(info, raw); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, Entry{info, func(w io.Writer) error { _, err := w.Write(raw); return err }})
	}
	return entries
}

// TestBytesOfTheReference rewrites a file that the reference implementation wrote (safetensors 0.8.0 from Python, one
// tensor of each type and names that need escapes): every byte must come back.
func TestBytesOfTheReference(t *testing.T) {
	const path = "testdata/types.safetensors"
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n := len(f.Tensors()); n != 20 {
		t.Fatalf("%d tensors, want 20", n)
	}
	entries := entriesOf(t, f)
	slices.Reverse(entries)
	var fresh, same bytes.Buffer
	if err := Write(&fresh, f.Metadata(), entries); err != nil {
		t.Fatal(err)
	}
	if err := WriteWithHeader(&same, f.Header(), entries); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(fresh.Bytes(), want) {
		t.Errorf("Write:\n%q\nwant\n%q", fresh.Bytes(), want)
	}
	if !bytes.Equal(same.Bytes(), want) {
		t.Errorf("WriteWithHeader:\n%q\nwant\n%q", same.Bytes(), want)
	}
}

func TestValues(t *testing.T) {
	f, err := Open("testdata/types.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, want := range map[string][]float32{
		"f64": {1.5, -2.25}, "f32": {0, 1, 2, 3, 4, 5}, "scalar": {3.25}, "f16": {1, 65504, 5.9604645e-08},
		"bf16": {1, 3.0040553e38, -9.183549615799121e-41}, "empty": {},
		"na\u00efve/\u2028\"quote\\<&>\t\x01\x7f\U0001F600": {9},
	} {
		info, ok := f.Lookup(name)
		if !ok {
			t.Errorf("%q is missing", name)
			continue
		}
		raw, got := make([]byte, info.Bytes()), make([]float32, info.Elements())
		if err := f.Read(info, raw); err != nil {
			t.Error(err)
		}
		if err := Float32s(info.DType, raw, got); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v (%v), want %v", name, got, err, want)
		}
	}
	if _, ok := f.Lookup("nobody"); ok {
		t.Error("found a tensor that is not there")
	}
}

func TestReadPart(t *testing.T) {
	f, err := Open("testdata/types.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, _ := f.Lookup("f32")
	part, got := make([]byte, 8), make([]float32, 2)
	if err := f.ReadPart(info, 12, part); err != nil {
		t.Fatal(err)
	}
	if err := Float32s(F32, part, got); err != nil || !slices.Equal(got, []float32{3, 4}) {
		t.Errorf("%v %v, want [3 4]", got, err)
	}
	for _, offset := range []int64{-1, 17, 1 << 62} {
		if err := f.ReadPart(info, offset, part); err == nil {
			t.Errorf("offset %d was read", offset)
		}
	}
	if err := f.Read(info, part); err == nil {
		t.Error("a buffer of the wrong size was filled")
	}
}

// hostile are headers that must be refused, with what the refusal has to say.
var hostile = []struct {
	name, header string
	data         int
	want         string
}{
	{"nothing", ``, 0, "not a JSON object"},
	{"no object", `[]`, 0, "not a JSON object"},
	{"space first", ` {}`, 0, "not a JSON object"},
	{"not UTF-8", "{\"\xff\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "not a JSON object"},
	{"cut off", `{"a":{"dtype":"U8","shape":[1],"data_offs`, 1, "broken JSON"},
	{"never closed", `{`, 0, "broken JSON"},
	{"text behind", `{}x`, 0, "after its end"},
	{"second object", `{}{}`, 0, "after its end"},
	{"twice", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2, `"a" appears twice`},
	{"metadata twice", `{"__metadata__":{},"__metadata__":{}}`, 0, "appears twice"},
	{"metadata key twice", `{"__metadata__":{"k":"v","k":"w"}}`, 0, `metadata "k" appears twice`},
	{"metadata of numbers", `{"__metadata__":{"k":1}}`, 0, "where a string belongs"},
	{"metadata nested", `{"__metadata__":{"k":{"l":"m"}}}`, 0, "where a string belongs"},
	{"metadata null", `{"__metadata__":null}`, 0, "where"},
	{"range over the end", `{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}`, 8, "leaves the 8 bytes"},
	{"range backwards", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[2,1]}}`, 8, "leaves the 8 bytes"},
	{"overlap", `{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}`, 6, "overlap or leave a gap"},
	{"same range", `{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 4, "overlap or leave a gap"},
	{"gap", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, 3, "overlap or leave a gap"},
	{"gap at the start", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2, "overlap or leave a gap"},
	{"data nobody owns", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 5, "describes 1 bytes of data, the file has 5"},
	{"negative length", `{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}`, 1, "no length or offset"},
	{"fraction", `{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}`, 1, "no length or offset"},
	{"exponent", `{"a":{"dtype":"U8","shape":[1e9],"data_offsets":[0,1]}}`, 1, "no length or offset"},
	{"string length", `{"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}}`, 1, "no length or offset"},
	{"product overflows", `{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}`, 0, "impossible shape"},
	{"product wraps to the right size", `{"a":{"dtype":"U8","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,0]}}`, 0, "impossible shape"},
	{"offset over 64 bits", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551617]}}`, 1, "no length or offset"},
	{"too many axes", `{"a":{"dtype":"U8","shape":[` + strings.Repeat("1,", 64) + `1],"data_offsets":[0,1]}}`, 1, "more than 64 numbers"},
	{"too many offsets", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}`, 1, "more than 2 numbers"},
	{"one offset", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}`, 1, "two data_offsets"},
	{"no shape", `{"a":{"dtype":"U8","data_offsets":[0,1]}}`, 1, "needs dtype, shape"},
	{"shape is no list", `{"a":{"dtype":"U8","shape":{},"data_offsets":[0,1]}}`, 1, "where \"[\" belongs"},
	{"deep", `{"a":{"dtype":"U8","shape":[` + strings.Repeat("[", 100000) + `],"data_offsets":[0,1]}}`, 1, "no length or offset"},
	{"unknown type", `{"a":{"dtype":"F128","shape":[1],"data_offsets":[0,16]}}`, 16, `type "F128" is not read`},
	{"unknown field", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}`, 1, `field "x"`},
	{"field twice", `{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, `field "dtype"`},
	{"tensor is a number", `{"a":1}`, 0, "where \"{\" belongs"},
	{"wrong size", `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 4, "takes 8 bytes, its range has 4"},
}

func TestHostileHeaders(t *testing.T) {
	for _, c := range hostile {
		_, err := Open(writeTemp(t, "x.safetensors", file(c.header, c.data)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
		if err != nil && (len(err.Error()) > 600 || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: error is no short line: %.700s", c.name, err)
		}
	}
}

func TestHostileLengths(t *testing.T) {
	length := func(n uint64, rest string) []byte { return append(binary.LittleEndian.AppendUint64(nil, n), rest...) }
	for name, data := range map[string][]byte{
		"empty":                   {},
		"seven bytes":             make([]byte, 7),
		"over the file":           length(3, "{}"),
		"over the format's limit": length(maxHeader+1, "{}"),
		"over 63 bits":            length(1<<63+2, "{}"),
		"all ones":                length(1<<64-1, "{}"),
	} {
		if _, err := Open(writeTemp(t, "x.safetensors", data)); err == nil || !strings.Contains(err.Error(), "not a safetensors file") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a directory was opened")
	}
	if f, err := Open(writeTemp(t, "x.safetensors", file("{}      ", 0))); err != nil || len(f.Tensors()) != 0 {
		t.Errorf("the empty file with padding: %v", err)
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, c := range hostile {
		f.Add([]byte(c.header), int64(c.data))
	}
	good, err := os.ReadFile("testdata/types.safetensors")
	if err != nil {
		f.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(good)
	f.Add(good[8:8+n], int64(len(good))-8-int64(n))
	f.Fuzz(func(t *testing.T, header []byte, size int64) {
		tensors, metadata, err := ParseHeader(header, size)
		if err != nil {
			return
		}
		var end int64
		for _, info := range tensors {
			if info.begin != end || info.Bytes() < 0 {
				t.Fatalf("%q begins at %d, want %d", info.Name, info.begin, end)
			}
			end += info.Bytes()
		}
		if end != size {
			t.Fatalf("tensors end at %d of %d", end, size)
		}
		// What was accepted can be written again and means the same.
		again, err := MarshalHeader(metadata, tensors)
		if err != nil {
			t.Fatal(err)
		}
		back, backMetadata, err := ParseHeader(again, size)
		if err != nil || fmt.Sprint(back, backMetadata) != fmt.Sprint(tensors, metadata) {
			t.Fatalf("%s: %v", again, err)
		}
	})
}

func TestWriteRefuses(t *testing.T) {
	entry := func(name string, dtype DType, shape []int, n int) Entry {
		return Entry{Info{Name: name, DType: dtype, Shape: shape}, func(w io.Writer) error { _, err := w.Write(make([]byte, n)); return err }}
	}
	for name, entries := range map[string][]Entry{
		"name twice":   {entry("a", U8, []int{1}, 1), entry("a", U8, []int{1}, 1)},
		"reserved":     {entry("__metadata__", U8, []int{1}, 1)},
		"not UTF-8":    {entry("\xff", U8, []int{1}, 1)},
		"unknown type": {entry("a", "F8", []int{1}, 1)},
		"too short":    {entry("a", F32, []int{2}, 7)},
		"too long":     {entry("a", F32, []int{2}, 9)},
	} {
		path := filepath.Join(t.TempDir(), "x.safetensors")
		if err := WriteFile(path, nil, entries); err == nil {
			t.Errorf("%s: written", name)
		}
		if left, _ := filepath.Glob(filepath.Dir(path) + "/*"); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
	header := []byte(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`)
	for name, entries := range map[string][]Entry{
		"missing":    {entry("b", U8, []int{2}, 2)},
		"other type": {entry("a", F16, []int{1}, 2)},
		"other size": {entry("a", U8, []int{3}, 3)},
		"one more":   {entry("a", U8, []int{2}, 2), entry("b", U8, []int{1}, 1)},
	} {
		if err := WriteWithHeader(io.Discard, header, entries); err == nil {
			t.Errorf("header with %s: written", name)
		}
	}
}

func TestWriteFileReplaces(t *testing.T) {
	path := writeTemp(t, "x.safetensors", []byte("old"))
	entry := Entry{Info{Name: "a", DType: U8, Shape: []int{1}}, func(w io.Writer) error { _, err := w.Write([]byte{7}); return err }}
	if err := WriteFile(path, map[string]string{"format": "pt"}, []Entry{entry}); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Metadata()["format"] != "pt" {
		t.Errorf("metadata %v", f.Metadata())
	}
}

func TestShards(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, tensors ...string) {
		var entries []Entry
		for _, n := range tensors {
			entries = append(entries, Entry{Info{Name: n, DType: U8, Shape: []int{1}}, func(w io.Writer) error { _, err := w.Write([]byte(n)); return err }})
		}
		if err := WriteFile(filepath.Join(dir, name), nil, entries); err != nil {
			t.Fatal(err)
		}
	}
	put("m-1.safetensors", "a", "b")
	put("m-2.safetensors", "c")
	put("again.safetensors", "a")
	index := func(weightMap string) string {
		path := filepath.Join(dir, "m.safetensors.index.json")
		if err := os.WriteFile(path, []byte(weightMap), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	set, err := OpenSet(index(`{"metadata":{"total_size":3},"weight_map":{"a":"m-1.safetensors","b":"m-1.safetensors","c":"m-2.safetensors"}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	for _, name := range []string{"a", "b", "c"} {
		info, ok := set.Lookup(name)
		raw := make([]byte, 1)
		if err := set.Read(info, raw); !ok || err != nil || string(raw) != name {
			t.Errorf("%s: %q %v", name, raw, err)
		}
	}
	for want, weightMap := range map[string]string{
		"weight_map is missing":     `{}`,
		"no file beside the index":  `{"weight_map":{"a":"../m-1.safetensors"}}`,
		"no such file":              `{"weight_map":{"a":"m-9.safetensors"}}`,
		`places tensor "b" in ""`:   `{"weight_map":{"a":"m-1.safetensors"}}`,
		"where it is not":           `{"weight_map":{"a":"m-1.safetensors","b":"m-1.safetensors","d":"m-1.safetensors"}}`,
		`"a" lies in`:               `{"weight_map":{"a":"m-1.safetensors","b":"again.safetensors"}}`,
		"index: invalid character":  `{"weight_map":x}`,
		"index: json: cannot unmar": `{"weight_map":[1]}`,
	} {
		if _, err := OpenSet(index(weightMap)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", weightMap, err, want)
		}
	}
}
