package imaging

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"tandem/internal/npy"
)

// goldenFile reads a file beside its arrays; a missing one fails the test.
func goldenFile(t testing.TB, path string) (data []byte, arrays map[string]npy.Array) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	arrays, err = npy.ReadZip(path + ".npz")
	if err != nil {
		t.Fatal(err)
	}
	return data, arrays
}

// goldenNames lists the files in a directory that have arrays beside them.
func goldenNames(t testing.TB, dir string, atLeast int) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*.*.npz"))
	if err != nil || len(found) < atLeast {
		t.Fatalf("%s: %d golden files, want at least %d (%v)", dir, len(found), atLeast, err)
	}
	for i, f := range found {
		found[i] = f[:len(f)-len(".npz")]
	}
	return found
}

// difference is how far two byte arrays are apart.
type difference struct {
	max  int
	mean float64
}

func (d difference) String() string { return fmt.Sprintf("max %d mean %.4f", d.max, d.mean) }

func diff(t testing.TB, got, want []uint8) (d difference) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d bytes, want %d", len(got), len(want))
		return difference{max: 999}
	}
	for i := range got {
		e := int(got[i]) - int(want[i])
		e = max(e, -e)
		d.max = max(d.max, e)
		d.mean += float64(e) / float64(len(got))
	}
	return d
}

// bytesOf returns an array's bytes; 16-bit values, which the files hold as int32, are laid out as Gray16's.
func bytesOf(t testing.TB, a npy.Array) []uint8 {
	t.Helper()
	switch v := a.Data.(type) {
	case []uint8:
		return v
	case []int32:
		out := make([]uint8, 0, 2*len(v))
		for _, x := range v {
			out = append(out, uint8(x), uint8(x>>8))
		}
		return out
	}
	t.Fatalf("array of %T", a.Data)
	return nil
}
