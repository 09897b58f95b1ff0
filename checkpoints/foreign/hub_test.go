package foreign

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"tandem/internal/fault"
)

// fakeHub serves a directory as the repository org/model with one commit, as far as the hub's protocol is needed, to
// whoever has the token. It counts the bodies it has sent.
func fakeHub(t *testing.T, dir, token string) (sent *atomic.Int64) {
	t.Helper()
	sent = new(atomic.Int64)
	const commit = "0123456789abcdef0123456789abcdef01234567"
	mux := http.NewServeMux()
	mux.HandleFunc("/api/models/org/model/revision/{revision}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("revision") != "main" && r.PathValue("revision") != "v1" {
			http.NotFound(w, r)
			return
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Error(err)
		}
		var siblings []map[string]any
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Error(err)
			}
			siblings = append(siblings, map[string]any{"rfilename": e.Name(), "size": info.Size()})
		}
		json.NewEncoder(w).Encode(map[string]any{"id": "org/model", "sha": commit, "siblings": siblings})
	})
	mux.HandleFunc("/org/model/resolve/"+commit+"/{file}", func(w http.ResponseWriter, r *http.Request) {
		name := path.Base(r.PathValue("file"))
		w.Header().Set("ETag", `"etag-of-`+name+`"`)
		if r.Method == http.MethodGet {
			sent.Add(1)
		}
		http.ServeFile(w, r, filepath.Join(dir, name))
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, `{"error":"no access"}`, http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	t.Setenv("HF_ENDPOINT", server.URL)
	t.Setenv("HF_TOKEN", token)
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	return sent
}

func TestFetch(t *testing.T) {
	src := copyModel(t, "hf_siglip")
	shard(t, src, 2)
	writeFile(t, filepath.Join(src, "tokenizer.json"), []byte("{}"))
	writeFile(t, filepath.Join(src, "README.md"), []byte("not needed"))
	sent := fakeHub(t, src, "secret")
	ctx := context.Background()
	if _, err := Fetch(ctx, "hf://org/model", HubOptions{Offline: true}); !fault.IsUser(err) || !strings.Contains(err.Error(), "is not in the cache") {
		t.Errorf("offline with an empty cache: %v", err)
	}
	dir, err := Fetch(ctx, "hf://org/model", HubOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := mustOpen(t, dir, Options{Name: "hf://org/model"})
	sameParams(t, rawParams(t, c), rawParams(t, mustOpen(t, src, Options{})))
	if c.Origin.Name != "hf://org/model" || c.Source["name"] != "hf://org/model" {
		t.Errorf("origin %q, source %v", c.Origin.Name, c.Source)
	}
	if _, err := os.Stat(filepath.Join(dir, "README.md")); err == nil {
		t.Error("a file was fetched that nothing needs")
	}
	before := sent.Load()
	if again, err := Fetch(ctx, "hf://org/model@v1", HubOptions{}); err != nil || again != dir || sent.Load() != before {
		t.Errorf("the same commit under another name: %s (%v), %d bodies sent", again, err, sent.Load()-before)
	}
	t.Setenv("HF_ENDPOINT", "http://127.0.0.1:1")
	for _, name := range []string{"hf://org/model", "hf://org/model@v1", "hf://org/model@" + filepath.Base(dir)} {
		if offline, err := Fetch(ctx, name, HubOptions{Offline: true}); err != nil || offline != dir {
			t.Errorf("%s offline: %s (%v)", name, offline, err)
		}
	}
	t.Setenv("HF_HUB_OFFLINE", "1")
	if _, err := Fetch(ctx, "hf://org/model", HubOptions{}); err != nil {
		t.Errorf("with HF_HUB_OFFLINE: %v", err)
	}
}

func TestFetchFails(t *testing.T) {
	fakeHub(t, copyModel(t, "vit_gelu"), "secret")
	ctx := context.Background()
	for name, want := range map[string]string{
		"hf://org":           "write hf://org/name",
		"hf://org/model/x":   "write hf://org/name",
		"hf://../model":      "write hf://org/name",
		"org/model":          "write hf://org/name",
		"hf://org/model@v9":  "404",
		"hf://org/other":     "404",
		"hf://org/model@../": "write hf://org/name",
	} {
		if _, err := Fetch(ctx, name, HubOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
	}
	t.Setenv("HF_TOKEN", "wrong")
	if _, err := Fetch(ctx, "hf://org/model", HubOptions{}); err == nil || !strings.Contains(err.Error(), "no access") {
		t.Errorf("without access: %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	t.Setenv("HF_TOKEN", "secret")
	if _, err := Fetch(cancelled, "hf://org/model", HubOptions{}); err == nil {
		t.Error("fetched although cancelled")
	}
}

func TestChoose(t *testing.T) {
	both := map[string]int64{"open_clip_config.json": 1, "open_clip_model.safetensors": 1, "config.json": 1, "model.safetensors": 1, "tokenizer.json": 1}
	for _, c := range []struct {
		files map[string]int64
		from  Format
		want  string
	}{
		{both, "", "open_clip_config.json config.json tokenizer.json open_clip_model.safetensors"},
		{both, FormatHF, "open_clip_config.json config.json tokenizer.json model.safetensors"},
		{map[string]int64{"config.json": 1, "model.safetensors.index.json": 1, "model-1.safetensors": 1}, "", "config.json model.safetensors.index.json"},
		{map[string]int64{"config.json": 1, "pytorch_model.bin": 1}, "", "in Python's format only (pytorch_model.bin)"},
		{map[string]int64{"config.json": 1}, "", "no weights that tandem reads"},
	} {
		got, err := choose(c.files, c.from)
		if joined := strings.Join(got, " "); joined != c.want && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v from %q: %q (%v), want %q", c.files, c.from, joined, err, c.want)
		}
	}
}
