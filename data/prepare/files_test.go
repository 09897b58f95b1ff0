package prepare

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/internal/fault"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestChangesSince: files that are gone, new, of another size or of another time are named, the first five of each kind;
// links count by what they lead to.
func TestChangesSince(t *testing.T) {
	root := t.TempDir()
	pictures, shards := filepath.Join(root, "pictures"), filepath.Join(root, "prepared", "pictures")
	for _, name := range []string{"a/1", "a/2", "a/3", "b/4", "b/5"} {
		write(t, filepath.Join(pictures, name), name)
	}
	write(t, filepath.Join(root, "target"), "x")
	if err := os.Symlink(filepath.Join(root, "target"), filepath.Join(pictures, "link")); err != nil {
		t.Fatal(err)
	}
	before, err := filesOf(pictures)
	if err != nil || len(before.list) != 6 {
		t.Fatalf("%+v, %v", before, err)
	}
	if err := before.write(filepath.Join(filepath.Dir(shards), filesName)); err != nil {
		t.Fatal(err)
	}
	if source, err := SourceOf(shards); err != nil || source != pictures {
		t.Errorf("made of %q (%v), want %q", source, err, pictures)
	}
	changes := func() string {
		t.Helper()
		c, err := ChangesSince(shards, pictures)
		if err != nil {
			t.Fatal(err)
		}
		return c.String()
	}
	if got := changes(); got != "" {
		t.Errorf("nothing changed: %q", got)
	}
	if err := os.Chtimes(filepath.Join(pictures, "b/5"), time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(pictures, "a/2")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "target"), "longer")
	for _, name := range strings.Fields("n1 n2 n3 n4 n5 n6") {
		write(t, filepath.Join(pictures, name), "")
	}
	if got, want := changes(), "1 gone (a/2), 6 new (n1, n2, n3, n4, n5, …), 2 of another size or time (b/5, link)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestListsOfFiles: other shards have none; a damaged one is an error.
func TestListsOfFiles(t *testing.T) {
	shards := filepath.Join(t.TempDir(), "shards")
	if source, err := SourceOf(shards); source != "" || err != nil {
		t.Errorf("%q, %v", source, err)
	}
	if c, err := ChangesSince(shards, shards); c.String() != "" || err != nil {
		t.Errorf("%v, %v", c, err)
	}
	path := filepath.Join(filepath.Dir(shards), filesName)
	write(t, path, "no list")
	if _, err := SourceOf(shards); !fault.IsUser(err) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
	if err := (&files{Format: "another"}).write(path); err != nil {
		t.Fatal(err)
	}
	if _, err := ChangesSince(shards, shards); !fault.IsUser(err) || !strings.Contains(err.Error(), `format "another"`) {
		t.Errorf("error %v", err)
	}
}
