package npy

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var samples = map[string]Array{
	"f4":     {[]int{2, 3}, []float32{1, -2, 3.5, 0, 1e-30, 6}},
	"f8":     {[]int{2}, []float64{1.25, -1e300}},
	"i8":     {[]int{1, 2, 1}, []int64{-1 << 62, 7}},
	"i4":     {[]int{3}, []int32{-5, 0, 1 << 30}},
	"u1":     {[]int{4}, []uint8{0, 1, 254, 255}},
	"scalar": {nil, []float32{4}},
	"empty":  {[]int{0, 5}, []float32{}},
}

func TestRoundTrip(t *testing.T) {
	for name, want := range samples {
		var file bytes.Buffer
		if err := Write(&file, want); err != nil {
			t.Fatal(name, err)
		}
		if start := bytes.IndexByte(file.Bytes(), '\n') + 1; start%64 != 0 {
			t.Errorf("%s: data start at %d, not a multiple of 64", name, start)
		}
		got, err := Read(&file)
		if err != nil {
			t.Fatal(name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestZipRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.npz")
	var file bytes.Buffer
	if err := WriteZip(&file, samples); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := ReadZip(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(samples, got); diff != "" {
		t.Error(diff)
	}
}

// TestNumPyWroteIt reads a file that NumPy 2.4.6 wrote:
// np.savez_compressed(f, a=np.arange(6, dtype="<f4").reshape(2, 3) / 2, b=np.array([1, -2]), c=np.uint8(200))
func TestNumPyWroteIt(t *testing.T) {
	got, err := ReadZip("testdata/numpy.npz")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Array{
		"a": {[]int{2, 3}, []float32{0, .5, 1, 1.5, 2, 2.5}},
		"b": {[]int{2}, []int64{1, -2}},
		"c": {nil, []uint8{200}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBadFiles(t *testing.T) {
	file := func(dict string) string {
		return magic + "\x01\x00" + string([]byte{byte(len(dict)), 0}) + dict
	}
	for _, test := range []struct{ name, file, want string }{
		{"nothing", "", "magic number missing"},
		{"another format", "PK\x03\x04....", "magic number missing"},
		{"header cut", magic + "\x01\x00\xff\x00{", "header"},
		{"no dictionary", file("hello"), "not understood"},
		{"unknown type", file("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }"), `"<c8"`},
		{"Fortran order", file("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }"), "C order"},
		{"huge shape", file("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999, 99999999), }"), "too large"},
		{"negative shape", file("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"), "too large"},
		{"data cut", file("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }") + "1234", "ends after"},
	} {
		if _, err := Read(strings.NewReader(test.file)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
		}
	}
	if err := Write(&bytes.Buffer{}, Array{[]int{2}, []float32{1}}); err == nil {
		t.Error("a shape that does not fit its data was written")
	}
	if err := Write(&bytes.Buffer{}, Array{[]int{1}, []int16{1}}); err == nil {
		t.Error("an unknown element type was written")
	}
	if _, err := As[float64](samples["f4"]); err == nil {
		t.Error("As gave float64 for float32")
	}
}

func FuzzRead(f *testing.F) {
	for _, a := range samples {
		var file bytes.Buffer
		if err := Write(&file, a); err != nil {
			f.Fatal(err)
		}
		f.Add(file.Bytes())
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		a, err := Read(bytes.NewReader(file))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := Write(&again, a); err != nil {
			t.Fatalf("read %v but cannot write it: %v", a.Shape, err)
		}
	})
}
