package foreign

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gomlx/go-huggingface/hub"

	"tandem/checkpoints/safetensors"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

// HubPrefix begins the name of a model on the Hugging Face hub: hf://org/name or hf://org/name@revision.
const HubPrefix = "hf://"

// HubOptions say how to fetch a model.
type HubOptions struct {
	// Offline uses what is in the cache and nothing else; so does the environment variable HF_HUB_OFFLINE=1.
	Offline bool
	// From prefers one of the formats that a repository may hold; empty takes open_clip's before transformers'.
	From Format
	// Progress shows downloads; nil is silent.
	Progress *progress.Reporter
}

// hubName is what HubPrefix introduces.
var hubName = regexp.MustCompile(`^([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?$`)

// IsHub reports whether a path names a model on the hub.
func IsHub(path string) bool { return strings.HasPrefix(path, HubPrefix) }

// Fetch brings a model of the hub into the cache that Hugging Face's own tools use, and returns its directory there. The
// token is that of the environment (HF_TOKEN), the cache HF_HUB_CACHE, HF_HOME/hub or ~/.cache/huggingface/hub.
func Fetch(ctx context.Context, name string, o HubOptions) (dir string, err error) {
	match := hubName.FindStringSubmatch(strings.TrimPrefix(name, HubPrefix))
	if match == nil || !IsHub(name) || !filepath.IsLocal(cmp.Or(match[2], "main")) {
		return "", fault.Userf("%q is not a model on the hub: write hf://org/name or hf://org/name@revision", name)
	}
	id, revision := match[1], cmp.Or(match[2], "main")
	repo := hub.New(id).WithRevision(revision).WithAuth(cmp.Or(os.Getenv("HF_TOKEN"), os.Getenv("HUGGING_FACE_HUB_TOKEN"))).WithProgressBar(false)
	repo.Verbosity = 0
	cache := cacheDir()
	repo = repo.WithCacheDir(cache)
	if o.Offline || os.Getenv("HF_HUB_OFFLINE") == "1" {
		return cached(cache, id, revision)
	}
	dir, err = download(ctx, repo, o)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return dir, nil
}

func cacheDir() string {
	if dir := os.Getenv("HF_HUB_CACHE"); dir != "" {
		return dir
	}
	if home := os.Getenv("HF_HOME"); home != "" {
		return filepath.Join(home, "hub")
	}
	return hub.DefaultCacheDir()
}

// cached finds the directory of a revision in the cache. Which commit a branch stood for is in refs (Python's tools) or
// in info (go-huggingface).
func cached(cache, id, revision string) (string, error) {
	repo := filepath.Join(cache, "models--"+strings.ReplaceAll(id, "/", "--"))
	commit := revision
	if data, err := os.ReadFile(filepath.Join(repo, "refs", revision)); err == nil {
		commit = strings.TrimSpace(string(data))
	} else if data, err := os.ReadFile(filepath.Join(repo, "info", revision)); err == nil {
		var info struct {
			SHA string `json:"sha"`
		}
		if json.Unmarshal(data, &info) == nil && info.SHA != "" {
			commit = info.SHA
		}
	}
	dir := filepath.Join(repo, "snapshots", commit)
	if !filepath.IsLocal(commit) {
		return "", fault.Userf("%s: commit %q is no directory", repo, commit)
	}
	if _, err := os.Stat(dir); err != nil {
		return "", fault.Userf("%s%s@%s is not in the cache %s: fetch it once without -offline", HubPrefix, id, revision, cache)
	}
	return dir, nil
}

// download fetches the configurations, the tokenizer and the weights of one format.
func download(ctx context.Context, repo *hub.Repo, o HubOptions) (dir string, err error) {
	sizes := map[string]int64{}
	for info, err := range repo.IterFileInfos() {
		if err != nil {
			return "", err
		}
		sizes[info.Name] = info.Size
	}
	wanted, err := choose(sizes, o.From)
	if err != nil {
		return "", fault.User(err)
	}
	dir, err = fetchFiles(ctx, repo, wanted, sizes, o.Progress)
	if err != nil || !strings.HasSuffix(wanted[len(wanted)-1], safetensors.IndexSuffix) {
		return dir, err
	}
	weightMap, err := readIndex(filepath.Join(dir, wanted[len(wanted)-1]))
	if err != nil {
		return "", err
	}
	return fetchFiles(ctx, repo, weightMap, sizes, o.Progress)
}

// readIndex lists the shards of an index.
func readIndex(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var shards []string
	for _, name := range index.WeightMap {
		if !slices.Contains(shards, name) {
			shards = append(shards, name)
		}
	}
	slices.Sort(shards)
	return shards, nil
}

// choose picks the files of a repository that a model needs; the weights, or their index, come last.
func choose(files map[string]int64, from Format) ([]string, error) {
	has := func(name string) bool { _, ok := files[name]; return ok }
	var wanted []string
	configs := []string{"open_clip_config.json", "config.json", "preprocessor_config.json", "processor_config.json", "model.json"}
	for _, name := range append(configs, tokenizerFiles...) {
		if has(name) {
			wanted = append(wanted, name)
		}
	}
	if has("open_clip_config.json") && from != FormatHF {
		for _, name := range openCLIPNames[:2] {
			if has(name) {
				return append(wanted, name), nil
			}
		}
	}
	for _, name := range hfNames {
		if has(name) {
			return append(wanted, name), nil
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		switch filepath.Ext(name) {
		case ".bin", ".pt", ".pth":
			return nil, fmt.Errorf("the repository has its weights in Python's format only (%s): tandem reads safetensors", name)
		}
	}
	return nil, errors.New("the repository has no weights that tandem reads (open_clip_model.safetensors or model.safetensors)")
}

// fetchFiles downloads what is not in the cache, shows how far it is, and checks the sizes.
func fetchFiles(ctx context.Context, repo *hub.Repo, names []string, sizes map[string]int64, report *progress.Reporter) (dir string, err error) {
	var total int64
	for _, name := range names {
		total += sizes[name]
	}
	stop := watch(repo, total, report)
	defer func() { stop(err) }()
	for _, name := range names { // one by one: go-huggingface counts several at a time without a lock
		path, err := repo.DownloadFileCtx(ctx, name)
		if err != nil {
			return "", cmp.Or(ctx.Err(), err)
		}
		stat, err := os.Stat(path)
		if err != nil {
			return "", err
		}
		if want := sizes[name]; want != 0 && stat.Size() != want {
			return "", fmt.Errorf("%s has %d bytes in the cache, the hub says %d: remove it and fetch again", path, stat.Size(), want)
		}
		dir = filepath.Dir(path)
	}
	return dir, nil
}

// watch shows how the files of a repository's cache grow. Nothing is shown if they are there within a second.
func watch(repo *hub.Repo, total int64, report *progress.Reporter) (stop func(err error)) {
	cache, err := repo.CacheDir()
	if err != nil {
		return func(error) {}
	}
	blobs := filepath.Join(cache, "blobs")
	before := sizeOf(blobs)
	done, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		var task *progress.Task
		var shown int64
		for tick := time.NewTicker(time.Second); ; {
			select {
			case err := <-done:
				tick.Stop()
				if task != nil && err == nil {
					task.Done()
				} else if task != nil {
					task.Fail()
				}
				return
			case <-tick.C:
				if task == nil {
					task = report.Start("download "+repo.ID, total, progress.Bytes)
				}
				now := sizeOf(blobs) - before
				task.Add(now - shown)
				shown = now
			}
		}
	}()
	return func(err error) { done <- err; <-ended }
}

func sizeOf(dir string) (total int64) {
	filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil
		}
		if info, err := entry.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	return total
}
