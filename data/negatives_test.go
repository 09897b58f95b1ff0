package data

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// TestNegatives: every pair comes with its row's wrong captions, missing ones marked, whoever the worker is; what is drawn
// besides stays the same.
func TestNegatives(t *testing.T) {
	dir := writeShards(t, testRows(t, 24, nil), 10)
	plain := take(t, open(t, testConfig(8, dir), Options{}), 3)
	var want string
	for _, workers := range []int{1, 5} {
		c := testConfig(8, dir)
		c.Workers, c.Negatives = workers, &NegativesConfig{Column: "alt", Count: 2}
		l := open(t, c, Options{})
		var got strings.Builder
		for n := range 3 {
			b, err := l.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(b.Tokens) != plain[n].Tokens {
				t.Error("negatives change the captions")
			}
			for i, id := range b.Rows {
				mask := fmt.Sprint(b.NegativeMask[2*i : 2*i+2])
				if has := map[bool]string{true: "[1 0]", false: "[0 0]"}[id.Row%2 == 0]; mask != has {
					t.Errorf("row %d has the mask %s, want %s", id.Row, mask, has)
				}
				tokens := make([]int32, b.Context)
				if letters.Encode(letters{}, tokens, fmt.Sprintf("alt %d", id.Row)); id.Row%2 == 0 && fmt.Sprint(tokens) != fmt.Sprint(b.Negatives[2*i*b.Context:(2*i+1)*b.Context]) {
					t.Errorf("row %d has the negative %v, want %v", id.Row, b.Negatives[2*i*b.Context:(2*i+1)*b.Context], tokens)
				}
			}
			fmt.Fprintln(&got, b.Negatives, b.NegativeMask, b.Longest)
			l.Recycle(b)
		}
		if want == "" {
			want = got.String()
		} else if got.String() != want {
			t.Errorf("%d workers give other negatives", workers)
		}
	}
}

func TestNegativesConfig(t *testing.T) {
	dir := writeShards(t, testRows(t, 4, nil), 4)
	for want, n := range map[string]NegativesConfig{
		"data.negatives.column is not set": {},
		"data.negatives.count must lie in 1 … 4096, is -1":                {Column: "alt", Count: -1},
		`no caption or label column "no"`:  {Column: "no"},
	} {
		c := testConfig(2, dir)
		c.Negatives = &n
		_, err := Open(context.Background(), c, Options{Tokenizer: letters{}, Context: testContext})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", n, err, want)
		}
	}
}
