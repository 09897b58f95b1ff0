package data

import (
	"context"
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
