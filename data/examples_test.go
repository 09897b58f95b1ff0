package data

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"tandem/data/source"
)

var _ source.Source = (*Shards)(nil)

func TestExamples(t *testing.T) {
	rows := testRows(t, 45, nil)
	s, err := OpenShards(context.Background(), writeShards(t, rows, 20), "train")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := 0
	for e, err := range s.Examples(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Key != rows[n].Key || string(e.Image) != string(rows[n].Image) || e.Labels["class"] != rows[n].Labels["class"] || e.Split != "train" {
			t.Fatalf("example %d is %+v", n, e)
		}
		n++
	}
	if n != 45 || s.Rows() != 45 {
		t.Errorf("%d examples of %d", n, s.Rows())
	}
	captions := 0
	for c, err := range s.Captions(context.Background()) {
		if err != nil || c == "" {
			t.Fatalf("caption %q, error %v", c, err)
		}
		captions++
	}
	if captions != 90 {
		t.Errorf("%d captions, want 90", captions)
	}
	for range s.Captions(context.Background()) {
		break
	}
	for range s.Examples(context.Background()) {
		break // stopping early must not yield again
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, err := range s.Examples(ctx) {
		if err == nil {
			t.Error("an example after cancelling")
		}
	}
}

// TestWithoutImages: the same rows less their images, each of which can be had by its place.
func TestValues(t *testing.T) {
	rows := testRows(t, 45, nil)
	s, err := OpenShards(context.Background(), writeShards(t, rows, 20), "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := map[string]bool{}
	for _, r := range rows {
		want[r.Labels["class"]] = true
	}
	got, err := s.Values(context.Background(), "class")
	if err != nil || len(got) < 2 || !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		t.Errorf("values %q (%v), want %v", got, err, want)
	}
	if none, err := s.Values(context.Background(), "klass"); err != nil || len(none) > 0 {
		t.Errorf("values of no column: %q (%v)", none, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Values(ctx, "class"); err == nil {
		t.Error("values after cancelling")
	}
}

func TestWithoutImages(t *testing.T) {
	rows := testRows(t, 45, nil)
	dir := writeShards(t, rows, 20)
	s, err := OpenShards(context.Background(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := 0
	for e, err := range s.WithoutImages(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Image != nil || e.Key != rows[n].Key || !slices.Equal(e.Captions, rows[n].Captions) || !maps.Equal(e.Labels, rows[n].Labels) || e.Split != "train" {
			t.Fatalf("example %d is %+v, want %+v", n, e, rows[n])
		}
		if image, err := s.ImageAt(int64(n)); err != nil || !bytes.Equal(image, rows[n].Image) {
			t.Fatalf("image %d: %d bytes, %v", n, len(image), err)
		}
		n++
	}
	if n != len(rows) {
		t.Errorf("%d examples of %d", n, len(rows))
	}
	for range s.WithoutImages(context.Background()) {
		break // stopping early must not yield again
	}
	for _, row := range []int64{-1, 45} {
		if _, err := s.ImageAt(row); err == nil || !strings.Contains(err.Error(), "of 45") {
			t.Errorf("row %d: error %v", row, err)
		}
	}
	other, err := OpenShards(context.Background(), writeShards(t, rows[:44], 20), "")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if s.Fingerprint() == other.Fingerprint() || len(s.Fingerprint()) != 64 {
		t.Errorf("fingerprints %s and %s", s.Fingerprint(), other.Fingerprint())
	}
}
