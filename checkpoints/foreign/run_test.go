package foreign

import (
	"os"
	"path/filepath"
	"testing"

	"tandem/checkpoints"
)

// TestLocateRun: a run is a run by its final model alone too, and means that.
func TestLocateRun(t *testing.T) {
	run := t.TempDir()
	final := filepath.Join(run, checkpoints.FinalName)
	err := checkpoints.WriteDir(final, func(tmp string) error {
		return os.WriteFile(filepath.Join(tmp, checkpoints.ModelName), []byte("{}"), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{run, final} {
		if path, err := Locate(t.Context(), name, "", HubOptions{}, nil); err != nil || path != final {
			t.Errorf("%s is %q (%v), want %s", name, path, err, final)
		}
	}
}
