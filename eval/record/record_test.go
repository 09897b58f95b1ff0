package record

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/fault"
)

func TestRoundTrip(t *testing.T) {
	records := []Record{
		{Set: "test", ID: "a", Label: "red", Prediction: "blue", Known: true, Probability: 0.4, Similarity: 0.2, Entropy: 1.1,
			TopClasses: []string{"blue", "red"}, TopProbabilities: []float64{0.4, 0.3}, TopSimilarities: []float64{0.2, 0.1},
			Metadata: map[string]string{"vendor": "x", "tone": "dark"}},
		{Set: "text_to_image", ID: "a red thing", Rank: 3, AveragePrecision: 1.0 / 3, Skipped: "image: truncated"},
	}
	path := filepath.Join(t.TempDir(), "r.parquet")
	if err := Write(path, records); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got { // parquet knows no difference between nil and empty
		if len(got[i].TopClasses) == 0 {
			got[i].TopClasses, got[i].TopProbabilities, got[i].TopSimilarities = nil, nil, nil
		}
		if len(got[i].Metadata) == 0 {
			got[i].Metadata = nil
		}
	}
	if diff := cmp.Diff(records, got); diff != "" {
		t.Error(diff)
	}
}

func TestDamagedFilesAreErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.parquet")
	if err := Write(path, []Record{{ID: "a"}, {ID: "b"}}); err != nil {
		t.Fatal(err)
	}
	whole, _ := os.ReadFile(path)
	for _, n := range []int{0, 3, len(whole) / 2, len(whole) - 5} {
		os.WriteFile(path, whole[:n], 0o644)
		if _, err := Read(path); err == nil || !fault.IsUser(err) {
			t.Errorf("%d of %d bytes: error %v", n, len(whole), err)
		}
	}
	if _, err := Read(path + "x"); !fault.IsUser(err) {
		t.Errorf("missing file: %v", err)
	}
}
