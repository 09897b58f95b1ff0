package embed

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"tandem/backend"
	"tandem/backend/backendtest"
	"tandem/checkpoints"
	"tandem/checkpoints/foreign"
	"tandem/internal/fault"
	"tandem/model"
)

// expected is what the peer that made a model answers about the picture (scripts/embed_golden.py).
type expected struct {
	Labels        []string    `json:"labels"`
	Image         []float64   `json:"image_features"`
	Texts         [][]float64 `json:"text_features"`
	Logits        []float64   `json:"logits"`
	Probabilities []float64   `json:"probabilities"`
}

func readExpected(t *testing.T, dir string) (want expected) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err == nil {
		err = json.Unmarshal(data, &want)
	}
	if err != nil || len(want.Labels) != 4 {
		t.Fatalf("%s: %d labels (%v)", dir, len(want.Labels), err)
	}
	return want
}

func picture(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("../imaging/testdata/astronaut.jpg")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func mustLoad(t testing.TB, name string, opts ...Option) *Model {
	t.Helper()
	m, err := Load(name, append([]Option{WithBackend(backendtest.Go(t)), WithBatch(4), WithWorkers(2)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// near compares with a peer's numbers.
func near[A, B float32 | float64](a []A, b []B, tolerance float64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !(math.Abs(float64(a[i])-float64(b[i])) <= tolerance) {
			return false
		}
	}
	return true
}

// TestAnswersAreThePeers: from a file and strings to features, logits and probabilities.
func TestAnswersAreThePeers(t *testing.T) {
	for _, name := range []string{"open_clip", "hf"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join("testdata", name)
			want, m := readExpected(t, dir), mustLoad(t, dir)
			images, err := m.EncodeImages(t.Context(), picture(t))
			if err != nil {
				t.Fatal(err)
			}
			texts, err := m.EncodeTexts(t.Context(), want.Labels)
			if err != nil {
				t.Fatal(err)
			}
			if !near(images[0], want.Image, 1e-5) || len(images[0]) != m.Dim() {
				t.Errorf("image %v, want %v", images[0], want.Image)
			}
			for i, row := range texts {
				if !near(row, want.Texts[i], 1e-5) {
					t.Errorf("%q: %v, want %v", want.Labels[i], row, want.Texts[i])
				}
			}
			logits := m.Logits(images, texts)
			if !near(logits[0], want.Logits, 1e-4) || !near(Softmax(logits[0]), want.Probabilities, 1e-4) {
				t.Errorf("logits %v, want %v", logits[0], want.Logits)
			}
			checkClassified(t, m, want)
		})
	}
}

func checkClassified(t *testing.T, m *Model, want expected) {
	t.Helper()
	answers, err := m.Classify(t.Context(), picture(t), want.Labels, WithTemplates("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range answers {
		j := slices.Index(want.Labels, a.Label)
		if j < 0 || math.Abs(a.Probability-want.Probabilities[j]) > 1e-4 || math.Abs(a.Similarity*m.Scale()-want.Logits[j]) > 1e-4 || !a.Known {
			t.Errorf("%+v, want probability %g", a, want.Probabilities[j])
		}
		if i > 0 && a.Probability > answers[i-1].Probability {
			t.Errorf("the answers are not in order: %+v", answers)
		}
	}
}

// export writes a testdata model in another format.
func export(t *testing.T, name string, to foreign.Format) (dir string) {
	t.Helper()
	c, err := foreign.Open(filepath.Join("testdata", name), foreign.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tok, err := c.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Model(tok)
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), string(to))
	if _, err := foreign.Export(dir, to, m); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestLoadEveryFormat: one model, however it is kept, gives the same answers.
func TestLoadEveryFormat(t *testing.T) {
	want := readExpected(t, "testdata/hf")
	run := filepath.Join(t.TempDir(), "run")
	step := checkpoints.Root{Dir: filepath.Join(run, checkpoints.CheckpointsName)}.StepDir(7)
	if err := os.MkdirAll(filepath.Dir(step), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(export(t, "hf", foreign.FormatTandem), step); err != nil {
		t.Fatal(err)
	}
	for what, path := range map[string]string{
		"a file": "testdata/hf/model.safetensors", "open_clip": export(t, "hf", foreign.FormatOpenCLIP), "tandem": export(t, "hf", foreign.FormatTandem),
		"a run": run, "a checkpoint": step, "hub": cachedModel(t),
	} {
		t.Run(what, func(t *testing.T) {
			m := mustLoad(t, path, WithBackendOptions(backend.Options{Offline: true}))
			checkClassified(t, m, want)
			if what == "a run" && m.Dir != step || what == "hub" && m.Source["name"] != path {
				t.Errorf("loaded from %s, source %v", m.Dir, m.Source)
			}
		})
	}
}

// cachedModel puts testdata/hf into a cache of the hub, and returns its name there.
func cachedModel(t *testing.T) string {
	t.Helper()
	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	repo, commit := filepath.Join(cache, "models--org--tiny"), strings.Repeat("a1", 20)
	if err := os.CopyFS(filepath.Join(repo, "snapshots", commit), os.DirFS("testdata/hf")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(repo, "refs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(repo, "refs", "main"), []byte(commit), 0o644); err != nil {
		t.Fatal(err)
	}
	return "hf://org/tiny"
}

// TestLoadMistakes: what cannot be loaded is the user's mistake, in one line that says what and where.
func TestLoadMistakes(t *testing.T) {
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	unknown := copyOf(t, "open_clip")
	rewrite(t, filepath.Join(unknown, "open_clip_config.json"), `"patch_size": 16`, `"patch_size": 16, "ls_init_value": 0.1`)
	noTokenizer := copyOf(t, "hf")
	if err := os.Remove(filepath.Join(noTokenizer, "tokenizer.json")); err != nil {
		t.Fatal(err)
	}
	for want, path := range map[string]string{
		"no such file":          "nowhere",
		"no model found":        t.TempDir(),
		"vision_cfg.ls_init":    unknown,
		"tokenizer":             noTokenizer,
		"is not in the cache":   "hf://org/missing",
		"write hf://org/name":   "hf://no-slash",
		"is not a model direct": "",
	} {
		_, err := Load(path, WithBackend(backendtest.Go(t)), WithBackendOptions(backend.Options{Offline: true}))
		if path == "" {
			want = "no such file"
		}
		if err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error %v, want one line of the user's with %q", path, err, want)
		}
	}
	for _, opts := range [][]Option{{WithBatch(0)}, {WithWorkers(0)}} {
		if _, err := Load("testdata/hf", append(opts, WithBackend(backendtest.Go(t)))...); err == nil || !strings.Contains(err.Error(), "must be positive") {
			t.Errorf("error %v", err)
		}
	}
	if _, err := New(checkpoints.Model{}, nil); err == nil {
		t.Error("a model without a backend was made")
	}
}

func copyOf(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name))); err != nil {
		t.Fatal(err)
	}
	return dir
}

func rewrite(t *testing.T, path, old, new string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(data), old) {
		t.Fatalf("%s has no %s (%v)", path, old, err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(data), old, new, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestWarnings: what goes wrong silently is said when a model is loaded.
func TestWarnings(t *testing.T) {
	dir := copyOf(t, "hf")
	rewrite(t, filepath.Join(dir, "config.json"), `"eos_token_id": 1513`, `"eos_token_id": 9`)
	if err := os.Remove(filepath.Join(dir, "preprocessor_config.json")); err != nil {
		t.Fatal(err)
	}
	var lines []string
	mustLoad(t, dir, WithWarnings(func(line string) { lines = append(lines, line) }))
	said := strings.Join(lines, "\n")
	for _, want := range []string{"pooled at token 9, but the tokenizer ends texts with 1513", "no preprocessor_config.json"} {
		if !strings.Contains(said, want) {
			t.Errorf("warnings lack %q:\n%s", want, said)
		}
	}
}

// TestResizedOnRequest: another picture size is an error of the caller's options or resizes the positions.
func TestResizedOnRequest(t *testing.T) {
	m := mustLoad(t, "testdata/hf", WithSource(foreign.Options{ImageSize: 80}))
	rows, err := m.EncodeImages(t.Context(), picture(t))
	if err != nil || m.Config.Vision.ImageSize != 80 || near(rows[0], readExpected(t, "testdata/hf").Image, 1e-3) {
		t.Errorf("image size %d, rows %v (%v)", m.Config.Vision.ImageSize, rows, err)
	}
}

// TestTextsAreCutExactly: a text alone, where a short graph will do, gives the row that it gives beside a long one.
func TestTextsAreCutExactly(t *testing.T) {
	m := mustLoad(t, "testdata/open_clip")
	long := strings.Repeat("a very long caption ", 40)
	together, err := m.EncodeTexts(t.Context(), []string{"a cat", long, ""})
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{"a cat", long, ""} {
		alone, err := m.EncodeTexts(t.Context(), []string{text})
		if err != nil || !near(alone[0], together[i], 1e-6) {
			t.Errorf("%.20q: %v alone, %v together (%v)", text, alone, together[i], err)
		}
	}
	if rows, err := m.EncodeTexts(t.Context(), nil); err != nil || len(rows) != 0 {
		t.Errorf("no texts: %v (%v)", rows, err)
	}
}

// TestImageSequence: any number of files in any batches, a broken one in its place.
func TestImageSequence(t *testing.T) {
	good := picture(t)
	m := mustLoad(t, "testdata/hf")
	want := readExpected(t, "testdata/hf").Image
	for _, n := range []int{0, 1, 3, 4, 5, 9} {
		index := 0
		for row, err := range m.EncodeImageSeq(t.Context(), sequence(n, good, nil)) {
			var bad *ImageError
			if index == 2 {
				if !errors.As(err, &bad) || bad.ImageReason() == "" || row != nil {
					t.Errorf("%d files: file 2 gives %v, %v", n, row, err)
				}
			} else if err != nil || !near(row, want, 1e-5) {
				t.Errorf("%d files: file %d gives %v, %v", n, index, row, err)
			}
			index++
		}
		if index != n {
			t.Errorf("%d results of %d files", index, n)
		}
	}
}

// sequence is n copies of a file, of which the third is broken; then fatal, if that is not nil.
func sequence(n int, file []byte, fatal error) func(yield func([]byte, error) bool) {
	return func(yield func([]byte, error) bool) {
		for i := range n {
			this := file
			if i == 2 {
				this = file[:100]
			}
			if !yield(this, nil) {
				return
			}
		}
		if fatal != nil {
			yield(nil, fatal)
		}
	}
}

// TestSequenceEnds: by the consumer, by an error of the sequence, by cancellation. None leaves goroutines that write.
func TestSequenceEnds(t *testing.T) {
	m, good := mustLoad(t, "testdata/hf"), picture(t)
	seen := 0
	for range m.EncodeImageSeq(t.Context(), sequence(20, good, nil)) {
		if seen++; seen == 5 {
			break
		}
	}
	fatal := errors.New("the disk is gone")
	var last error
	count := 0
	for _, err := range m.EncodeImageSeq(t.Context(), sequence(6, good, fatal)) {
		count, last = count+1, err
	}
	if count != 7 || !errors.Is(last, fatal) {
		t.Errorf("%d results, the last with %v", count, last)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	count = 0
	for _, err := range m.EncodeImageSeq(ctx, sequence(1000, good, nil)) {
		if count++; count == 1 {
			cancel()
		}
		last = err
	}
	if !errors.Is(last, context.Canceled) || count > 100 {
		t.Errorf("%d results after cancelling, the last with %v", count, last)
	}
	if _, err := m.EncodeTexts(ctx, []string{"a"}); !errors.Is(err, context.Canceled) {
		t.Errorf("texts: %v", err)
	}
	if _, err := m.EncodeImages(t.Context(), good, []byte("no image")); err == nil {
		t.Error("a broken file among others is no error")
	}
}

// TestConcurrentUse runs with -race.
func TestConcurrentUse(t *testing.T) {
	m, want := mustLoad(t, "testdata/hf"), readExpected(t, "testdata/hf")
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() { checkClassified(t, m, want) })
	}
	group.Wait()
}

// TestClassifierOptions: templates are averaged on the sphere; a minimum similarity marks what fits nothing.
func TestClassifierOptions(t *testing.T) {
	m := mustLoad(t, "testdata/hf")
	labels := []string{"cat", "dog"}
	c, err := m.NewClassifier(t.Context(), labels, WithTemplates("a {}", "{} twice"), WithMinSimilarity(0.999))
	if err != nil {
		t.Fatal(err)
	}
	answers, err := c.Classify(t.Context(), picture(t))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := m.EncodeTexts(t.Context(), []string{"a cat", "cat twice"})
	if err != nil {
		t.Fatal(err)
	}
	image, err := m.EncodeImages(t.Context(), picture(t))
	if err != nil {
		t.Fatal(err)
	}
	var dot, norm float64
	for i := range rows[0] {
		mean := float64(rows[0][i]) + float64(rows[1][i])
		dot, norm = dot+mean*float64(image[0][i]), norm+mean*mean
	}
	for _, a := range answers {
		if a.Known || a.Label == "cat" && math.Abs(a.Similarity-dot/math.Sqrt(norm)) > 1e-5 {
			t.Errorf("%+v, want similarity %g and not known", a, dot/math.Sqrt(norm))
		}
	}
	for want, labels := range map[string][]string{"no labels": nil, `label "cat" appears twice`: {"cat", "dog", "cat"}} {
		if _, err := m.Classify(t.Context(), picture(t), labels); err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if _, err := m.Classify(t.Context(), picture(t), labels, WithTemplates("a photo")); err == nil {
		t.Error("a template without a hole was taken")
	}
}

// TestModelInTraining: weights in memory, which may change between calls; and the bias of SigLIP's kind in the logits.
func TestModelInTraining(t *testing.T) {
	loaded := mustLoad(t, "testdata/hf")
	bias := -3.0
	loaded.Config.LogitBiasInit = &bias
	loaded.Config.LogitScaleInit = 1
	store, err := loaded.Config.NewStore(1)
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(checkpoints.Model{Config: loaded.Config, Preprocess: loaded.Preprocess, Tokenizer: loaded.Tokenizer}, store, WithBackend(backendtest.Go(t)))
	if err != nil {
		t.Fatal(err)
	}
	row := []float32{1, 0}
	if logits := m.Logits([][]float32{row}, [][]float32{row}); math.Abs(logits[0][0]-(math.E-3)) > 1e-6 {
		t.Errorf("logits %v, want e−3", logits)
	}
	before, err := m.EncodeTexts(t.Context(), []string{"a cat"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := loaded.Config.NewStore(2)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range loaded.Config.Params() {
		value := other.GetVariable("/" + p.Path).MustValue()
		if err := store.GetVariable("/" + p.Path).SetValue(value); err != nil {
			t.Fatal(err)
		}
	}
	after, err := m.EncodeTexts(t.Context(), []string{"a cat"})
	if err != nil || near(after[0], before[0], 1e-4) {
		t.Errorf("new weights give %v, the old ones gave %v (%v)", after, before, err)
	}
}

// TestInferenceLengths: short captions have short graphs, within the context.
func TestInferenceLengths(t *testing.T) {
	for context, want := range map[int][]int{77: {16, 24, 32}, 20: {16}, 16: nil} {
		t.Run("", func(t *testing.T) {
			given := model.TextConfig{Context: context}
			if context == 77 {
				given.Lengths = []int{24, 32}
			}
			if got := inferenceLengths(given); !slices.Equal(got, want) {
				t.Errorf("context %d: %v, want %v", context, got, want)
			}
		})
	}
}
