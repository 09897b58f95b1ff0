package backend

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomlx/go-xla/installer"
	"github.com/google/go-cmp/cmp"

	"tandem/internal/fault"
	"tandem/internal/progress"
)

// fakePip stands in for python3: it copies $FAKE_WHEEL to --dest under the wheel's name and notes each call in
// $FAKE_LOG.
const fakePip = `#!/bin/sh
[ "$1 $2" = "-m pip" ] || exit 9
[ "$3" = --version ] && exit 0
echo call >> "$FAKE_LOG"
[ -n "$FAKE_ERROR" ] && { echo "$FAKE_ERROR" >&2; exit 1; }
while [ "$1" != --dest ]; do shift; done
echo partial > "$TMPDIR/part"
sleep "${FAKE_SLEEP:-0}"
cp "$FAKE_WHEEL" "$2/$FAKE_NAME"
`

const fakeName = "tiny-1-py3-none-any.whl"

func zipOf(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// fixture is a wheel with its pins, a fake pip that serves it and an empty directory to install into.
type fixture struct {
	in    *wheelInstaller
	data  []byte
	calls func() int
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	data := zipOf(t, map[string][]byte{
		"tiny/" + cpuLibrary:                library(t),
		"tiny-1.dist-info/licenses/LICENSE": []byte("do what you like"),
		"tiny-1.dist-info/METADATA":         []byte("Name: tiny"),
	})
	scratch := t.TempDir()
	log := filepath.Join(scratch, "log")
	python := write(t, filepath.Join(scratch, "python3"), []byte(fakePip))
	if err := os.Chmod(python, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"FAKE_WHEEL": write(t, filepath.Join(scratch, "served.whl"), data), "FAKE_LOG": log, "FAKE_NAME": fakeName, "FAKE_ERROR": "", "FAKE_SLEEP": "0"} {
		t.Setenv(name, value)
	}
	in := newWheelInstaller(pins(data), filepath.Join(t.TempDir(), "lib", "go-xla"), nil)
	in.python = python
	in.info = func(string) (*installer.PipPackageInfo, error) { return nil, errors.New("no network") }
	calls := func() int { text, _ := os.ReadFile(log); return bytes.Count(text, []byte("call")) }
	return fixture{in, data, calls}
}

func pins(data []byte) wheel {
	sum := sha256.Sum256(data)
	return wheel{name: "tiny", version: "1", platform: "any", file: fakeName, size: int64(len(data)), sha256: hex.EncodeToString(sum[:])}
}

// names lists everything under dir, directories with a slash, without the lock file, which stays.
func names(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		if err == nil && rel != "." && rel != ".install.lock" {
			if entry.IsDir() {
				rel += "/"
			}
			found = append(found, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var installed = []string{"pjrt_c_api_cpu_plugin.licenses/", "pjrt_c_api_cpu_plugin.licenses/LICENSE", "pjrt_c_api_cpu_plugin.so"}

func TestInstallWithPip(t *testing.T) {
	f := newFixture(t)
	var out strings.Builder
	f.in.report = progress.New(&out)
	write(t, filepath.Join(f.in.dir, tmpPrefix+"killed", "part"), []byte("left by a killed start"))
	for range 2 { // the second run finds it installed
		if err := f.in.run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(installed, names(t, f.in.dir)); diff != "" {
		t.Errorf("installed files differ (-want +got):\n%s", diff)
	}
	if got, _ := os.ReadFile(filepath.Join(f.in.dir, cpuLibrary)); !bytes.Equal(got, library(t)) {
		t.Error("the installed library is not the wheel's")
	}
	if f.calls() != 1 {
		t.Errorf("pip was called %d times, want once", f.calls())
	}
	want := fmt.Sprintf("(tiny 1): %s in ", progress.FormatBytes(f.in.wheel.size))
	if !strings.Contains(out.String(), want) {
		t.Errorf("progress %q does not end in the wheel's full size (%q)", out.String(), want)
	}
}

// TestRefusedDownloads: what is not the pinned wheel is refused with one line and leaves nothing behind.
func TestRefusedDownloads(t *testing.T) {
	good := newFixture(t).data
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	empty := zipOf(t, map[string][]byte{"tiny/README": nil})
	broken := zipOf(t, map[string][]byte{"tiny/" + cpuLibrary: library(t)[:1000]})
	tests := []struct {
		name   string
		served []byte
		wheel  wheel
		want   string
	}{
		{"flipped bit", flipped, pins(good), "the download of " + fakeName + " is corrupt: its sha256 is"},
		{"truncated", good[:len(good)-9], pins(good), fmt.Sprintf("is truncated: %d of %d bytes came", len(good)-9, len(good))},
		{"nothing", nil, pins(good), "is truncated: 0 of"},
		{"longer", append(bytes.Clone(good), 0), pins(good), "is corrupt"},
		{"pinned but no zip", []byte("no zip"), pins([]byte("no zip")), "unpack " + fakeName + ": zip: not a valid zip file"},
		{"pinned but no library", empty, pins(empty), "it holds no " + cpuLibrary},
		{"pinned but damaged library", broken, pins(broken), "damaged XLA plugin (it is truncated"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.in.wheel = test.wheel
			write(t, os.Getenv("FAKE_WHEEL"), test.served)
			err := f.in.run(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one that contains %q", err, test.want)
			}
			var absent *absentError
			if errors.As(err, &absent) {
				t.Error("a damaged download counts as an absent plugin: auto would go on without it")
			}
			if left := names(t, f.in.dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestPipFails(t *testing.T) {
	f := newFixture(t)
	t.Setenv("FAKE_ERROR", "WARNING: Retrying\nERROR: Could not find a version\nERROR: No matching distribution found for tiny==1")
	err := f.in.run(t.Context())
	const want = "the XLA plugin for the CPU could not be fetched: pip download tiny==1: No matching distribution found for tiny==1"
	if err == nil || fault.OneLine(err) != want {
		t.Errorf("error %v, want %q", err, want)
	}
	var absent *absentError
	if !errors.As(err, &absent) {
		t.Error("a failed download does not count as an absent plugin: auto could not go on")
	}
	if left := names(t, f.in.dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestInstallWithoutPip(t *testing.T) {
	good := newFixture(t).data
	short := func(w http.ResponseWriter, _ *http.Request) { // promises all, sends half, hangs up
		w.Header().Set("Content-Length", fmt.Sprint(len(good)))
		w.Write(good[:len(good)/2])
	}
	whole := func(w http.ResponseWriter, _ *http.Request) { w.Write(good) }
	tests := []struct {
		name    string
		handler http.HandlerFunc
		address string // replaces the server's
		file    string
		want    string // "" is success
	}{
		{"whole", whole, "", fakeName, ""},
		{"connection lost", short, "", fakeName, fmt.Sprintf("is truncated: %d of %d bytes", len(good)/2, len(good))},
		{"not found", http.NotFound, "", fakeName, "answered 404 Not Found; with pip it might work (there is no absent-python): install python3-pip"},
		{"relative address", whole, "../files/x.whl", fakeName, `gives "../files/x.whl" as the address`},
		{"other files only", whole, "", "tiny-1.tar.gz", "the package index has no " + fakeName},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(test.handler)
			defer server.Close()
			f := newFixture(t)
			f.in.python = "absent-python"
			address := test.address
			if address == "" {
				address = server.URL
			}
			f.in.info = func(name string) (*installer.PipPackageInfo, error) {
				release := installer.PipReleaseInfo{Filename: test.file, URL: address}
				return &installer.PipPackageInfo{Releases: map[string][]installer.PipReleaseInfo{"1": {release}}}, nil
			}
			err := f.in.run(t.Context())
			switch {
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want == "":
				if diff := cmp.Diff(installed, names(t, f.in.dir)); diff != "" {
					t.Errorf("installed files differ (-want +got):\n%s", diff)
				}
			case err == nil || !strings.Contains(err.Error(), test.want):
				t.Errorf("error %v, want one that contains %q", err, test.want)
			case len(names(t, f.in.dir)) > 0:
				t.Errorf("left behind: %v", names(t, f.in.dir))
			}
		})
	}
}

// TestNoIndexNoPip is a machine with neither: the line says both reasons.
func TestNoIndexNoPip(t *testing.T) {
	f := newFixture(t)
	f.in.python = "absent-python"
	err := f.in.run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no network") || !strings.Contains(err.Error(), "there is no absent-python") {
		t.Errorf("error %v", err)
	}
}

func TestCancelledDownloadLeavesNothing(t *testing.T) {
	f := newFixture(t)
	t.Setenv("FAKE_SLEEP", "0.5")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := f.in.run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the context's", err)
	}
	if left := names(t, f.in.dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// helperEnv makes the test binary a second start: it installs into the directory that the variable names.
const helperEnv = "BACKEND_TEST_INSTALL_INTO"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperEnv); dir != "" {
		data, err := os.ReadFile(os.Getenv("FAKE_WHEEL"))
		if err == nil {
			in := newWheelInstaller(pins(data), dir, nil)
			in.python = os.Getenv("FAKE_PYTHON")
			err = in.run(context.Background())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestStartsAtOnce: processes and goroutines that start together download once, and each finds a whole library.
func TestStartsAtOnce(t *testing.T) {
	f := newFixture(t)
	t.Setenv("FAKE_SLEEP", "0.3")
	t.Setenv("FAKE_PYTHON", f.in.python)
	failures := make(chan error, 6)
	for range 3 {
		go func() { failures <- f.in.run(context.Background()) }()
		go func() {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), helperEnv+"="+f.in.dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			failures <- err
		}()
	}
	for range cap(failures) {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
	if f.calls() != 1 {
		t.Errorf("pip was called %d times, want once", f.calls())
	}
	if diff := cmp.Diff(installed, names(t, f.in.dir)); diff != "" {
		t.Errorf("installed files differ (-want +got):\n%s", diff)
	}
}
