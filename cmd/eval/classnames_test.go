package main

import (
	"archive/zip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writeWheel writes a zip archive of files.
func writeWheel(t *testing.T, path string, files map[string]string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	for name, content := range files {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
}

// numbered is n quoted strings like "class 7", with commas between.
func numbered(quote, format string, n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = quote + fmt.Sprintf(format, i) + quote
	}
	return strings.Join(list, ", ")
}

// wheelsOf writes both packages in the form that theirs have.
func wheelsOf(t *testing.T, wordnet int) string {
	t.Helper()
	dir := t.TempDir()
	writeWheel(t, filepath.Join(dir, "clip_benchmark-1.6.2-py2.py3-none-any.whl"), map[string]string{
		"clip_benchmark/datasets/en_classnames.json":                        `{"imagenet1k": [` + numbered(`"`, "class %d", 1000) + `], "mnist": ["0", "1"]}`,
		"clip_benchmark/datasets/en_zeroshot_classification_templates.json": `{"imagenet1k": ["a {c}."], "mnist": ["the number {c}"], "cars": ["a {c}, a car"], "dummy": ["{c}"]}`,
		"clip_benchmark/datasets/jp_classnames.json":                        `{"imagenet1k": ["一"]}`,
		"clip_benchmark/datasets/babel_imagenet.json":                       `{"DE": [[3, 5], ["Hund", "Käfer"]]}`,
		"clip_benchmark/datasets/nllb_dist13b_prompts.json":                 `{"DE": ["ein {}."]}`,
		"clip_benchmark/datasets/builder.py": "if True:\n    imagenet_a_wnids = [" + numbered("'", "n%d", 200) + "]\n    imagenet_r_wnids = {" + numbered("'", "n%d", 200) +
			"}\n    imagenet_o_wnids = [" + numbered("'", "n%d", 200) + "]\nall_imagenet_wordnet_ids = [" + numbered("'", "n%d", wordnet) + "]\n",
		"clip_benchmark/cli.py": "print('no list')",
	})
	names := strings.Replace(numbered(`"`, "class %d", 1000), `"class 1"`, `'jack-o\'-lantern'`, 1)
	writeWheel(t, filepath.Join(dir, "open_clip_torch-3.3.0-py3-none-any.whl"), map[string]string{
		"open_clip/zero_shot_metadata.py": "OPENAI_IMAGENET_TEMPLATES = (\n" + strings.ReplaceAll(numbered("'", "a %d photo of a {c}.", 80), ", ", ",\n") + ",\n)\n\nIMAGENET_CLASSNAMES = (\n" + names + ",\n)\n",
	})
	return dir
}

// TestClassnames: every list of the packages, those that CLIP_benchmark derives in its code too, in order. The real
// packages are compared by scripts/classnames_peer.py.
func TestClassnames(t *testing.T) {
	lists, err := readWheels(wheelsOf(t, 1000))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"mnist.classes": {"0", "1"}, "cars.templates": {"a {c}, a car"}, "jp-imagenet1k.classes": {"一"},
		"babel_imagenet-de.classes": {"Hund", "Käfer"}, "babel_imagenet-de.imagenet": {"3", "5"}, "babel_imagenet-de.templates": {"ein {}."},
		"imagenetv2.templates": {"a {c}."}, "objectnet.templates": {"a {c}."},
	} {
		if !slices.Equal(lists[name], want) {
			t.Errorf("%s: %q, want %q", name, lists[name], want)
		}
	}
	for name, n := range map[string]int{"imagenet.classes": 1000, "imagenet.templates": 80, "imagenet-a.classes": 200, "imagenet-r.classes": 200, "imagenet-w.classes": 1000} {
		if len(lists[name]) != n {
			t.Errorf("%s has %d lines, want %d", name, len(lists[name]), n)
		}
	}
	if got := lists["imagenet.classes"][1]; got != "jack-o'-lantern" {
		t.Errorf("an escaped name is %q", got)
	}
	if tasks, named := englishTasks(lists); tasks != 12 || named != 10 {
		t.Errorf("%d tasks, %d with class names; want 12 and 10", tasks, named)
	}
}

// TestClassnamesOfAnotherVersion: a package whose source has changed is an error, not a shorter list.
func TestClassnamesOfAnotherVersion(t *testing.T) {
	if _, err := readWheels(wheelsOf(t, 999)); err == nil || !strings.Contains(err.Error(), "not 1000") {
		t.Errorf("error %v", err)
	}
	if _, err := readWheels(t.TempDir()); err == nil || !strings.Contains(err.Error(), "0 wheels of clip-benchmark") {
		t.Errorf("error %v", err)
	}
}
