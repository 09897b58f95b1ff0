package main

import (
	"io"
	"strings"
	"testing"

	"tandem/internal/progress"
)

// TestEmbeddingsAreNamedByWhatRan: those of the backend that was found and of the same one by name are the same, with its
// plugin; those of another backend, and of two devices, are others.
func TestEmbeddingsAreNamedByWhatRan(t *testing.T) {
	name := func(backend string, devices int) (embeddings, ran string) {
		t.Helper()
		c := common{checkpoint: "../../embed/testdata/hf", backend: backend, devices: devices}
		m, err := c.open(progress.New(io.Discard))
		if err != nil {
			t.Fatal(err)
		}
		fingerprint, err := m.Fingerprint()
		if err != nil || len(fingerprint) != 64 {
			t.Fatalf("fingerprint %q, %v", fingerprint, err)
		}
		embeddings = c.embeddings(m, fingerprint)
		if rest, ok := strings.CutPrefix(embeddings, fingerprint+" "+m.Backend.Name+" ("); !ok || strings.HasPrefix(m.Backend.Name, "xla:") && !strings.HasPrefix(rest, versions(m)[m.Backend.Name]+")") {
			t.Errorf("%s: %q", backend, embeddings)
		}
		if version := versions(m)["go"]; version != "" && !strings.HasPrefix(version, "go1.") {
			t.Errorf("%s: Go's version is %q", backend, version)
		}
		return embeddings, m.Backend.Name
	}
	found, ran := name("auto", 1)
	if ran == "auto" || ran == "" {
		t.Errorf("backend %q", ran)
	}
	if named, _ := name(ran, 1); named != found {
		t.Errorf("%q by name, %q where it was found", named, found)
	}
	pure, ran := name("go", 1)
	two, _ := name("xla:cpu", 2)
	if ran != "go" || pure == found || two == found || !strings.Contains(two, "xla:cpu (PJRT API ") {
		t.Errorf("%q, %q and %q", found, pure, two)
	}
}
