package tokenizer

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
)

// readJSON fails the test where the file is missing: golden data is never skipped.
func readJSON(t testing.TB, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// clipCase is a text and what open_clip 3.3.0 with ftfy 6.3.1 makes of it.
type clipCase struct {
	Text, Clean, Decode string
	Encode, IDs         []int32
}

func (c *clipCase) check(t *testing.T) {
	t.Helper()
	if got := Clean(c.Text); got != c.Clean {
		t.Errorf("Clean(%+q)\n got %+q\nwant %+q", c.Text, got, c.Clean)
	}
	if got := CLIP().AppendIDs(nil, c.Text); !slices.Equal(got, c.Encode) {
		t.Errorf("ids of %+q\n got %v\nwant %v", c.Text, got, c.Encode)
	}
}

// TestGoldenCLIP holds every case of the shared golden file.
func TestGoldenCLIP(t *testing.T) {
	var golden struct{ Rows []clipCase }
	readJSON(t, "testdata/clip_golden.json", &golden)
	if len(golden.Rows) != 69 {
		t.Fatalf("%d cases, want 69", len(golden.Rows))
	}
	for _, c := range golden.Rows {
		name := c.Text
		if len(name) > 40 {
			name = name[:40]
		}
		t.Run(name, func(t *testing.T) {
			c.check(t)
			got := make([]int32, 77)
			n := CLIP().Encode(got, c.Text)
			if !slices.Equal(got, c.IDs) {
				t.Errorf("Encode(%+q)\n got %v\nwant %v", c.Text, got, c.IDs)
			}
			if want := min(len(c.Encode)+2, 77); n != want {
				t.Errorf("Encode returned %d, want %d", n, want)
			}
			if got := CLIP().Decode(c.Encode); got != c.Decode {
				t.Errorf("Decode\n got %+q\nwant %+q", got, c.Decode)
			}
		})
	}
}

// TestHardCLIP compares generated texts with open_clip; testdata/make/clip.py writes any number of them.
func TestHardCLIP(t *testing.T) {
	var cases []clipCase
	readJSON(t, "testdata/clip_hard.json", &cases)
	if len(cases) < 400 {
		t.Fatalf("%d cases, want 400 at least", len(cases))
	}
	for _, c := range cases {
		c.check(t)
	}
}
