package backend

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"tandem/internal/fault"
	"tandem/internal/progress"
)

// tinyPlugin is a real shared library that exports GetPjrtApi and nothing of use, built by the C compiler that cgo
// needs anyway.
var tinyPlugin = sync.OnceValues(func() ([]byte, error) {
	return compile("void *GetPjrtApi(void) { return 0; }")
})

func compile(source string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "plugin")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "plugin.so")
	cmd := exec.Command("cc", "-shared", "-fPIC", "-nostdlib", "-x", "c", "-", "-o", out)
	cmd.Stdin = strings.NewReader(source)
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.New(string(text))
	}
	return os.ReadFile(out)
}

func library(t *testing.T) []byte {
	t.Helper()
	data, err := tinyPlugin()
	if err != nil {
		t.Fatalf("the C compiler that cgo needs: %v", err)
	}
	return data
}

func write(t *testing.T, path string, data []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindPlugin(t *testing.T) {
	lib := library(t)
	tests := []struct {
		name, platform string
		files          []string
		want           string
	}{
		{"nothing", "cpu", nil, ""},
		{"other platform", "cpu", []string{"a/pjrt_c_api_cuda_plugin.so"}, ""},
		{"plain name", "cpu", []string{"a/pjrt_c_api_cpu_plugin.so"}, "a/pjrt_c_api_cpu_plugin.so"},
		{"first directory wins", "cpu", []string{"b/pjrt_c_api_cpu_plugin.so", "a/pjrt-plugin-cpu.so"}, "a/pjrt-plugin-cpu.so"},
		{"plain before versioned", "cpu", []string{"a/pjrt_c_api_cpu_v0.9_plugin.so", "a/pjrt_c_api_cpu_plugin.so"}, "a/pjrt_c_api_cpu_plugin.so"},
		{"newest version", "cpu", []string{"a/pjrt_c_api_cpu_v0.83.1_plugin.so", "a/pjrt_c_api_cpu_v0.90.0_plugin.so"}, "a/pjrt_c_api_cpu_v0.90.0_plugin.so"},
		{"CUDA's own directory", "cuda", []string{"a/nvidia/pjrt_c_api_cuda_plugin.so"}, "a/nvidia/pjrt_c_api_cuda_plugin.so"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "odd [name]")
			for _, name := range test.files {
				write(t, filepath.Join(root, name), lib)
			}
			got, err := findPlugin([]string{filepath.Join(root, "a"), filepath.Join(root, "b"), filepath.Join(root, "absent")}, test.platform)
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			if test.want != "" {
				want = filepath.Join(root, test.want)
			}
			if got != want {
				t.Errorf("found %q, want %q", got, want)
			}
		})
	}
}

func TestSearchPath(t *testing.T) {
	tests := map[string]string{
		"":          "/home/u/lib /usr/local/lib/go-xla",
		"/p":        "/p /home/u/lib",
		":/p::/q/.": "/p /q /home/u/lib",
	}
	for env, want := range tests {
		if got := strings.Join(searchPath(env, "/home/u/lib"), " "); got != want {
			t.Errorf("PJRT_PLUGIN_LIBRARY_PATH=%q searches %s, want %s", env, got, want)
		}
	}
}

// TestDamagedLibraryIsNamed guards against the loader's SIGBUS: whatever is wrong with a library must show before it is
// loaded.
func TestDamagedLibraryIsNamed(t *testing.T) {
	lib := library(t)
	noSymbol, err := compile("int f(void) { return 0; }")
	if err != nil {
		t.Fatal(err)
	}
	foreign := bytes.Clone(lib)
	foreign[18], foreign[19] = 8, 0 // e_machine: MIPS
	tests := map[string]struct {
		data []byte
		want string
	}{
		"empty":         {nil, "truncated at 0 B"},
		"header only":   {lib[:64], "truncated at 64 B"},
		"half":          {lib[:len(lib)/2], "truncated at"},
		"last byte off": {lib[:len(lib)-1], "truncated at"},
		"page of HTML":  {[]byte(strings.Repeat("<html>not found</html>", 99)), "bad magic number"},
		"no entry":      {noSymbol, "exports no GetPjrtApi"},
		"other machine": {foreign, "built for EM_MIPS"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := write(t, filepath.Join(dir, cpuLibrary), test.data)
			_, err := openAuto(t.Context(), Options{}, &finder{dirs: []string{dir}}, []string{"cpu"})
			if err == nil {
				t.Fatal("the library was accepted")
			}
			line := fault.OneLine(err)
			for _, want := range []string{path + ": damaged XLA plugin (", test.want, "delete this file and start again"} {
				if !strings.Contains(line, want) {
					t.Errorf("error %q does not say %q", line, want)
				}
			}
		})
	}
}

func TestOffline(t *testing.T) {
	dir := t.TempDir()
	forbidden := func(context.Context, string, string, *progress.Reporter) error {
		t.Error("offline, but an installer was called")
		return nil
	}
	f := &finder{dirs: []string{dir}, home: dir, offline: true, install: forbidden}
	const want = "no XLA plugin for cpu in DIR, and -offline forbids to fetch it: start once without -offline, or put it there"
	_, err := f.plugin(t.Context(), "cpu")
	if err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != want || !fault.IsUser(err) {
		t.Errorf("error %v, want the user error %q", err, want)
	}
	var out strings.Builder
	b, err := openAuto(t.Context(), Options{Progress: progress.New(&out)}, f, []string{"cpu"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Info.Name != Go || !strings.Contains(b.Info.Warning, "for tiny models only: no XLA plugin for cpu") {
		t.Errorf("auto without a plugin opened %s with warning %q", b.Info.Name, b.Info.Warning)
	}
	if out.String() != "warning: "+b.Info.Warning+"\n" {
		t.Errorf("printed %q, want the warning", out.String())
	}
}

// TestAutoStopsWhereTheUserMustAct: a damaged download must not end in a silent change to a slow backend.
func TestAutoStopsWhereTheUserMustAct(t *testing.T) {
	damaged := errors.New("the download is corrupt")
	f := &finder{home: t.TempDir(), install: func(context.Context, string, string, *progress.Reporter) error { return damaged }}
	if _, err := openAuto(t.Context(), Options{}, f, []string{"cpu"}); !errors.Is(err, damaged) {
		t.Errorf("error %v, want the installer's", err)
	}
	silent := &finder{home: t.TempDir(), install: func(context.Context, string, string, *progress.Reporter) error { return nil }}
	_, err := openXLA(t.Context(), Options{}, silent, "tpu")
	if err == nil || !strings.HasPrefix(err.Error(), "backend xla:tpu: no such device") || !fault.IsUser(err) {
		t.Errorf("an installer that installs nothing gives %v", err)
	}
}

func TestPluginPathWithComma(t *testing.T) {
	if _, err := openPlugin("/a,b/plugin.so", "cpu", 0); err == nil || !strings.Contains(err.Error(), "comma") {
		t.Errorf("error %v", err)
	}
}
