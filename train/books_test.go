package train

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestBooksAreLogged holds that the metrics log says of each step what became of the data.
func TestBooksAreLogged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	l, err := OpenLogger(path, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	books := map[string]any{"read": 12.0, "skipped": map[string]any{"damaged image": 2.0}}
	if err := l.Step(Record{Step: 1, Total: 1, Data: books}, true); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var line struct {
		Data struct {
			Read    int
			Skipped map[string]int
		}
	}
	if err := json.Unmarshal(text, &line); err != nil || line.Data.Read != 12 || line.Data.Skipped["damaged image"] != 2 {
		t.Errorf("line %s: %+v, error %v", text, line, err)
	}
}
