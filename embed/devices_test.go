package embed

import (
	"fmt"
	"strings"
	"testing"

	"tandem/backend/backendtest"
	"tandem/internal/fault"
)

// TestDevices: two and four devices give the rows that one gives up to rounding, for whole batches, the last part of one,
// and a broken file in the middle.
func TestDevices(t *testing.T) {
	images := func(m *Model) (rows [][]float32) {
		for row, err := range m.EncodeImageSeq(t.Context(), sequence(11, picture(t), nil)) {
			if (err != nil) != (len(rows) == 2) {
				t.Fatalf("file %d: %v", len(rows), err)
			}
			rows = append(rows, row)
		}
		return rows
	}
	captions := []string{"a cat", "", strings.Repeat("a very long caption ", 20)} // padded to four
	one := mustLoad(t, "testdata/hf", WithBackend(backendtest.XLA(t)))
	wantImages := images(one)
	wantTexts, err := one.EncodeTexts(t.Context(), captions)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{2, 4} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			m := mustLoad(t, "testdata/hf", WithBackend(backendtest.Devices(t, n)), WithDevices(n))
			if m.batch%n != 0 || m.batch < 4 {
				t.Errorf("batches of %d on %d devices", m.batch, n)
			}
			texts, err := m.EncodeTexts(t.Context(), captions)
			if err != nil {
				t.Fatal(err)
			}
			got := images(m)
			if len(got) != len(wantImages) || len(texts) != len(captions) {
				t.Fatalf("%d images and %d texts", len(got), len(texts))
			}
			for i, want := range wantImages {
				if !near(got[i], want, 1e-5) {
					t.Errorf("image %d: %v, want %v", i, got[i], want)
				}
			}
			for i, want := range wantTexts {
				if !near(texts[i], want, 1e-5) {
					t.Errorf("text %d: %v, want %v", i, texts[i], want)
				}
			}
		})
	}
}

func TestTooManyDevices(t *testing.T) {
	_, err := Load("testdata/hf", WithBackend(backendtest.Go(t)), WithDevices(2))
	if err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), "the backend has 1") {
		t.Errorf("error %v", err)
	}
	if _, err := Load("testdata/hf", WithBackend(backendtest.Go(t)), WithDevices(0)); err == nil {
		t.Error("no devices at all were accepted")
	}
}
