package progress

import (
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestPlainLines(t *testing.T) {
	var out strings.Builder
	r := &Reporter{out: &out, interval: 0}
	task := r.Start("building shards", 4, "rows")
	time.Sleep(2 * time.Millisecond)
	task.Add(1)
	task.Add(3)
	task.Done()
	task.Done()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := []string{
		`^building shards …$`,
		`^building shards: 1 rows of 4 rows, \S+ rows/s, \S+ left$`,
		`^building shards: 4 rows of 4 rows, \S+ rows/s, 0s left$`,
		`^building shards: 4 rows in \S+$`,
	}
	if len(lines) != len(want) {
		t.Fatalf("printed %q, want %d lines", lines, len(want))
	}
	for i, pattern := range want {
		if !regexp.MustCompile(pattern).MatchString(lines[i]) {
			t.Errorf("line %d is %q, want %s", i, lines[i], pattern)
		}
	}
}

func TestSilentAndConcurrent(t *testing.T) {
	var r *Reporter
	r.Linef("nothing")
	task := r.Start("quiet", -1, Bytes)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				task.Add(1)
			}
		})
	}
	wg.Wait()
	task.Done()
	if task.done != 800 {
		t.Fatalf("counted %d, want 800", task.done)
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1500: "1.5 kB", 62_711_338: "62.7 MB", 2_500_000_000: "2.50 GB"} {
		if got := FormatBytes(n); got != want {
			t.Errorf("FormatBytes(%d) = %q, want %q", n, got, want)
		}
	}
}
