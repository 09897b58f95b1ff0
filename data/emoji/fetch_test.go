package emoji

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tandem/internal/fault"
	"tandem/internal/progress"
)

// fakeNPM stands in for npm: "pack NAME@VERSION" copies the tarball of that name from $FAKE_SERVED to the current
// directory and notes the call in $FAKE_LOG.
const fakeNPM = `#!/bin/sh
[ "$1" = pack ] || exit 9
echo "$2" >> "$FAKE_LOG"
[ -n "$FAKE_ERROR" ] && { echo "$FAKE_ERROR" >&2; exit 1; }
sleep "${FAKE_SLEEP:-0}"
name=$(echo "$2" | sed 's/^@//; s/@/-/; s|/|-|')
cp "$FAKE_SERVED/$name.tgz" .
`

type fetching struct {
	fixture
	*fetcher
	needed []pkg
	out    *strings.Builder
}

func newFetching(t *testing.T) fetching {
	t.Helper()
	f := newFixture(t)
	scratch := t.TempDir()
	npm := filepath.Join(scratch, "npm")
	if err := os.WriteFile(npm, []byte(fakeNPM), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FAKE_SERVED", f.served)
	t.Setenv("FAKE_LOG", filepath.Join(scratch, "log"))
	out := &strings.Builder{}
	fetch := &fetcher{dir: filepath.Join(scratch, "cache", "emoji"), npm: npm, opts: FetchOptions{Progress: progress.New(out)}}
	return fetching{f, fetch, neededPackages(Config{Vendors: []string{"noto", "fluent-3d"}}, f.table), out}
}

// calls returns what npm was asked for since the last time.
func (f fetching) calls(t *testing.T) int {
	t.Helper()
	log := os.Getenv("FAKE_LOG")
	text, _ := os.ReadFile(log)
	os.Remove(log)
	return bytes.Count(text, []byte("\n"))
}

func (f fetching) cached(t *testing.T) []string {
	t.Helper()
	entries, _ := os.ReadDir(f.fetcher.dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestFetch(t *testing.T) {
	f := newFetching(t)
	all := []string{"emojibase-data-1.0.0.tgz", "iconify-json-noto-1.0.0.tgz", "lobehub-fluent-emoji-3d-1.0.0.tgz"}
	damage := func() { os.WriteFile(filepath.Join(f.fetcher.dir, all[1]), []byte("damaged"), 0o644) }
	for _, step := range []struct {
		name    string
		prepare func()
		calls   int
	}{
		{"from nothing", func() {}, 3},
		{"again", func() {}, 0},
		{"one file damaged", damage, 1},
		{"offline with everything there", func() { f.fetcher.opts.Offline = true }, 0},
	} {
		step.prepare()
		if err := f.fetch(t.Context(), f.needed); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if n := f.calls(t); n != step.calls {
			t.Errorf("%s: npm was called %d times, want %d", step.name, n, step.calls)
		}
		if diff := cmp.Diff(all, f.cached(t)); diff != "" {
			t.Errorf("%s: the cache differs (-want +got):\n%s", step.name, diff)
		}
	}
	if !strings.Contains(f.out.String(), "downloading 3 packages of emoji: ") {
		t.Errorf("progress printed %q", f.out)
	}
	if _, err := open(f.fetcher.dir, Config{Vendors: []string{"noto", "fluent-3d"}}, f.table); err != nil {
		t.Errorf("what was fetched does not open: %v", err)
	}
}

// TestFetchFails: each failure is one line that says what to do, and leaves no half download behind.
func TestFetchFails(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(t *testing.T, f fetching)
		user    bool
		want    string
	}{
		{"no npm", func(_ *testing.T, f fetching) { f.fetcher.npm = "absent-npm" }, true,
			"there is no absent-npm: install it (Debian: apt-get install npm), or use -config shapes, which needs nothing"},
		{"offline", func(_ *testing.T, f fetching) { f.fetcher.opts.Offline = true }, true,
			"emojibase-data-1.0.0.tgz is missing or damaged, and -offline forbids to fetch it"},
		{"npm fails", func(t *testing.T, _ fetching) {
			t.Setenv("FAKE_ERROR", "npm error code E404\nnpm error 404 Not Found - GET somewhere\nnpm error 404 more")
		}, false, "1.0.0: 404 Not Found - GET somewhere; try again, or use -config shapes, which needs no download"},
		{"npm fails in silence", func(t *testing.T, _ fetching) { t.Setenv("FAKE_ERROR", "oops") }, false, "1.0.0: exit status 1; try again"},
		{"other bytes", func(_ *testing.T, f fetching) {
			os.WriteFile(filepath.Join(f.served, "emojibase-data-1.0.0.tgz"), []byte("other"), 0o644)
		}, false, "emojibase-data-1.0.0.tgz is refused: its 5 bytes have the sha512 "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFetching(t)
			test.prepare(t, f)
			err := f.fetch(t.Context(), f.needed[:1])
			if err == nil || !strings.Contains(fault.OneLine(err), test.want) || fault.IsUser(err) != test.user {
				t.Errorf("error %v (the user's: %v), want one that contains %q", err, fault.IsUser(err), test.want)
			}
			if left := f.cached(t); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestFetchCancelled(t *testing.T) {
	f := newFetching(t)
	t.Setenv("FAKE_SLEEP", "0.5")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := f.fetch(ctx, f.needed); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the context's", err)
	}
	if left := f.cached(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
