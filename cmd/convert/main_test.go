package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/checkpoints"
	"tandem/internal/fault"
)

const (
	models     = "../../checkpoints/foreign/testdata/golden"
	tokenizers = "../../tokenizer/testdata"
)

func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(context.Background(), args, nil, &out, &errs)
	return code, out.String(), errs.String()
}

func must(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	code, stdout, stderr := command(t, args...)
	if code != fault.ExitOK {
		t.Fatalf("convert %v: exit code %d\n%s%s", args, code, stdout, stderr)
	}
	return stdout, stderr
}

func sameFile(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(x, y) {
		t.Errorf("%s and %s differ", a, b)
	}
}

func contains(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %q:\n%s", what, want, text)
		}
	}
}

// TestThereAndBack goes from each format to tandem and back with the command alone.
func TestThereAndBack(t *testing.T) {
	for name, to := range map[string]string{"rn": "open_clip", "siglip_timm": "open_clip", "hf_siglip": "hf"} {
		dir := t.TempDir()
		tandem, back := filepath.Join(dir, "tandem"), filepath.Join(dir, "back")
		out, errs := must(t, "-to", "tandem", filepath.Join(models, name), tandem)
		contains(t, "output", out, "found       "+to, "parameters", "activation", "wrote       "+tandem+": tandem")
		contains(t, "warnings", errs, "convert: warning: no tokenizer")
		if err := checkpoints.Verify(tandem); err != nil {
			t.Error(err)
		}
		out, _ = must(t, "-to", to, tandem, back)
		contains(t, "output", out, "found       tandem", "origin      "+to+", "+filepath.Join(models, name))
		weights := map[string]string{"open_clip": "open_clip_model.safetensors", "hf": "model.safetensors"}[to]
		sameFile(t, filepath.Join(back, weights), filepath.Join(models, name, weights))
		contains(t, "output", out, "sha256", weights)
	}
}

// withTokenizer copies a golden Hugging Face model and the tokenizer files of another directory.
func withTokenizer(t *testing.T, name, tokenizerDir string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(models, name))); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"} {
		data, err := os.ReadFile(filepath.Join(tokenizerDir, file))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestTokenizerTooLarge: a tokenizer that gives ids which the model does not have is not carried along in silence.
func TestTokenizerTooLarge(t *testing.T) {
	src := withTokenizer(t, "hf_clip", filepath.Join(tokenizers, "hf_tiny"))
	out, errs := must(t, "-to", "tandem", src, filepath.Join(t.TempDir(), "tandem"))
	contains(t, "output", out, "tokenizer   none: ", "the tokenizer has 1514 ids, the model's vocabulary only 64")
	contains(t, "warnings", errs, "no tokenizer")
}

// TestDescribe: without -to nothing is written.
func TestDescribe(t *testing.T) {
	out, errs := must(t, filepath.Join(models, "hf_clip_gelu"))
	contains(t, "output", out,
		"found       hf in ", "images      vision transformer, 16 pixels in patches of 4, width 16, 2 layers, 4 heads, MLP 40, pooling class",
		"texts       transformer, 10 tokens of 64, width 16, 2 layers, 2 heads, MLP 24, pooling argmax", "embedding   12 numbers\n",
		"activation  gelu_tanh (images), gelu (texts)", "parameters  11,617, F32", "pixels      resize shortest, bicubic, mean [0.48145 0.45783 0.40821]",
		"note        text_config.eos_token_id is 2", "note        no preprocessor_config.json",
	)
	if strings.Contains(out, "wrote") || errs != "" {
		t.Errorf("output %q, errors %q", out, errs)
	}
	out, _ = must(t, filepath.Join(models, "rn"))
	contains(t, "output", out, "images      modified ResNet, 64 pixels, width 4, blocks [1 2 1 1], 4 heads", "activation  relu (images), gelu (texts)")
}

// TestTrapsAreShown: the name tells OpenAI's origin, the configuration says GELU.
func TestTrapsAreShown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "openai-vit")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(models, "vit_gelu"))); err != nil {
		t.Fatal(err)
	}
	_, errs := must(t, dir)
	contains(t, "warnings", errs, "convert: warning: weights called", "were trained with quick_gelu as far as open_clip knows; here the image tower has gelu")
}

func TestResize(t *testing.T) {
	dst := filepath.Join(t.TempDir(), "resized")
	out, _ := must(t, "-to", "open_clip", "-image-size", "24", "-context", "12", filepath.Join(models, "vit_gelu"), dst)
	contains(t, "output", out, "image position embeddings resized from 4×4 to 6×6, bicubic", "text position embeddings resized from 10 to 12, linear")
	out, _ = must(t, dst)
	contains(t, "output", out, "24 pixels", "12 tokens")
}

// TestOffline takes a model from a cache as Python's tools leave it.
func TestOffline(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	t.Setenv("HF_ENDPOINT", "http://127.0.0.1:1")
	repo := filepath.Join(cache, "models--org--model")
	if err := os.CopyFS(filepath.Join(repo, "snapshots", "abc"), os.DirFS(filepath.Join(models, "hf_clip"))); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(repo, "refs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(repo, "refs", "main"), []byte("abc"), 0o644); err != nil {
		t.Fatal(err)
	}
	dst := filepath.Join(t.TempDir(), "out")
	must(t, "-offline", "-to", "tandem", "hf://org/model", dst)
	out, _ := must(t, dst)
	contains(t, "output", out, "origin      hf, hf://org/model")
	if code, _, errs := command(t, "-offline", "hf://org/other"); code != fault.ExitUsage || !strings.Contains(errs, "is not in the cache") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	if code, _, errs := command(t, "hf://org/model"); code != fault.ExitFailure || strings.Count(errs, "\n") != 1 {
		t.Errorf("without a connection: exit code %d, %s", code, errs)
	}
}

// TestFromRun takes the newest good checkpoint of a run.
func TestFromRun(t *testing.T) {
	dir := t.TempDir()
	tandem := filepath.Join(dir, "model")
	must(t, "-to", "tandem", filepath.Join(models, "vit_gelu"), tandem)
	root := checkpoints.Root{Dir: filepath.Join(dir, "run", checkpoints.CheckpointsName)}
	for _, step := range []int64{1, 2} {
		if _, err := root.Save(step, func(tmp string) error { return os.CopyFS(tmp, os.DirFS(without(t, tandem, checkpoints.ManifestName))) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(filepath.Join(root.StepDir(2), checkpoints.WeightsName), 100); err != nil {
		t.Fatal(err)
	}
	out, errs := must(t, "-to", "open_clip", filepath.Join(dir, "run"), filepath.Join(dir, "out"))
	contains(t, "output", out, "step-000000001")
	contains(t, "warnings", errs, "convert: warning: ", "step-000000002/model.safetensors has 100 bytes")
	if code, _, errs := command(t, root.StepDir(2)); code != fault.ExitUsage || !strings.Contains(errs, "has 100 bytes") {
		t.Errorf("a torn checkpoint: exit code %d, %s", code, errs)
	}
}

// without copies a directory but for one file.
func without(t *testing.T, dir, name string) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(copied, name)); err != nil {
		t.Fatal(err)
	}
	return copied
}

// TestInterrupted: an export that is stopped leaves nothing behind.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, to := range []string{"tandem", "hf"} {
		dir := t.TempDir()
		code := run(ctx, []string{"-to", to, filepath.Join(models, "vit_gelu"), filepath.Join(dir, "out")}, nil, io.Discard, io.Discard)
		if left, err := os.ReadDir(dir); code != fault.ExitInterrupted || err != nil || len(left) > 0 {
			t.Errorf("to %s: exit code %d, left %v (%v)", to, code, left, err)
		}
	}
}

func TestMistakes(t *testing.T) {
	vit := filepath.Join(models, "vit_gelu")
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(t.TempDir(), "fresh")
	bare := filepath.Join(t.TempDir(), "bare.safetensors")
	data, err := os.ReadFile(filepath.Join(vit, "open_clip_model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bare, data, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "name a model"},
		{[]string{"-to", "hf", vit}, "needs a new directory DST"},
		{[]string{vit, fresh}, "say with -to"},
		{[]string{"-nonsense"}, "flag provided but not defined"},
		{[]string{"-to", "onnx", vit, fresh}, "-to onnx is not known"},
		{[]string{"-to", "openai", vit, fresh}, "-to openai is not known"},
		{[]string{"-from", "keras", "-to", "hf", vit, fresh}, "-from keras is not known"},
		{[]string{"-from", "hf", "-to", "tandem", vit, fresh}, "there is no config.json"},
		{[]string{"-to", "hf", "-model", "ViT-X", vit, fresh}, `model "ViT-X" is unknown`},
		{[]string{"-to", "hf", "-image-size", "-3", vit, fresh}, "must not be negative"},
		{[]string{"-to", "hf", vit, full}, "exists and is not empty"},
		{[]string{"-to", "hf", "nowhere", fresh}, "nowhere: no such file"},
		{[]string{"-to", "hf", filepath.Join(models, "rn"), fresh}, "transformers cannot express this model"},
		{[]string{"-to", "tandem", bare, fresh}, "nothing tells GELU from QuickGELU"},
		{[]string{"-to", "tandem", "hf://nonsense", fresh}, "write hf://org/name"},
	} {
		code, _, errs := command(t, c.args...)
		if code != fault.ExitUsage || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exit code %d, %q, want %d and %q", c.args, code, errs, fault.ExitUsage, c.want)
		}
		if _, err := os.Stat(fresh); err == nil {
			t.Errorf("%v left %s", c.args, fresh)
		}
	}
	if code, _, _ := command(t, "-h"); code != fault.ExitOK {
		t.Errorf("-h: exit code %d", code)
	}
}
