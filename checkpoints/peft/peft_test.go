package peft

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/tensors"

	"tandem/checkpoints/foreign"
	"tandem/checkpoints/safetensors"
	"tandem/internal/fault"
	"tandem/model"
)

func openBase(t *testing.T, path string) *foreign.Checkpoint {
	t.Helper()
	c, err := foreign.Open(path, foreign.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestMergeAsPeft: adapters that Python's peft made, for all layers and for queries and values alone with rank-stabilised
// scaling, merge to what peft merges them to, within 1e-6. scripts/peft_golden.py made the files.
func TestMergeAsPeft(t *testing.T) {
	base := openBase(t, "testdata/base")
	for _, name := range []string{"all", "qv"} {
		adapters, err := Read(filepath.Join("testdata", name), base.Config)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for _, file := range []string{"config.json", "model.safetensors"} {
			from := filepath.Join("testdata/base", file)
			if file == "model.safetensors" {
				from = filepath.Join("testdata", name, "merged.safetensors")
			}
			content, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, file), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		merged := openBase(t, dir)
		changed := 0
		for _, p := range base.Config.Params() {
			plain, want := make([]float32, p.Size()), make([]float32, p.Size())
			if err := base.Floats(p, plain); err != nil {
				t.Fatal(err)
			}
			if err := merged.Floats(p, want); err != nil {
				t.Fatal(err)
			}
			got := adapters.Merge(p.Path, plain)
			for i := range want {
				if d := math.Abs(float64(got[i] - want[i])); d > 1e-6 {
					t.Fatalf("%s: %s[%d] is %g, peft has %g", name, p.Path, i, got[i], want[i])
				}
			}
			if !slices.Equal(plain, got) {
				changed++
			}
		}
		if want := map[string]int{"all": 16, "qv": 4}[name]; changed != want {
			t.Errorf("%s: %d weights changed, want %d", name, changed, want)
		}
	}
}

// TestWriteReadsBack: what Write leaves has peft's names and shapes, and what a model in memory takes in, it gives back to
// the last bit.
func TestWriteReadsBack(t *testing.T) {
	base := openBase(t, "testdata/base")
	store, err := base.LoadStore()
	if err != nil {
		t.Fatal(err)
	}
	var weights []string
	for _, p := range base.Config.Params() {
		if model.Adaptable(p.Path) {
			weights = append(weights, p.Path)
		}
	}
	if err := base.Config.AddAdapters(store, weights, 3, 5, 1); err != nil {
		t.Fatal(err)
	}
	adapters, err := Read("testdata/all", base.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := adapters.Load(base.Config.Adapters(store)); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := Write(dir, "base", base.Config, base.Config.Adapters(store), 0); err != nil {
		t.Fatal(err)
	}
	want, got := tensorsOf(t, filepath.Join("testdata/all", WeightsName)), tensorsOf(t, filepath.Join(dir, WeightsName))
	if len(want) != len(got) {
		t.Errorf("%d tensors, peft wrote %d", len(got), len(want))
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s differs from what peft wrote", name)
		}
	}
	again, err := Read(dir, base.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range base.Config.Adapters(store) {
		flat := tensors.MustCopyFlatData[float32](store.GetVariable("/" + a.Weight).MustValue())
		merged, err := a.Merge(flat)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(merged, again.Merge(a.Weight, flat)) {
			t.Errorf("%s: merged from the file it differs from merged in memory", a.Weight)
		}
	}
}

// tensorsOf are the shape and bytes of each tensor of a file.
func tensorsOf(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string]string{}
	for _, info := range f.Tensors() {
		raw := make([]byte, info.Bytes())
		if err := f.Read(info, raw); err != nil {
			t.Fatal(err)
		}
		var shape strings.Builder
		for _, d := range info.Shape {
			shape.WriteByte(byte(d))
		}
		all[info.Name] = shape.String() + ":" + string(raw)
	}
	return all
}

// TestReadRefuses what would be merged wrongly, or left out without a word.
func TestReadRefuses(t *testing.T) {
	base := openBase(t, "testdata/base").Config
	small := base
	small.Text.Layers = 1
	config, err := os.ReadFile(filepath.Join("testdata/all", ConfigName))
	if err != nil {
		t.Fatal(err)
	}
	weights, err := os.ReadFile(filepath.Join("testdata/all", WeightsName))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		old, new, want string
		model          model.Config
	}{
		"not lora":    {`"peft_type": "LORA"`, `"peft_type": "IA3"`, "is not LORA", base},
		"dora":        {`"use_dora": false`, `"use_dora": true`, "use_dora", base},
		"bias":        {`"bias": "none"`, `"bias": "all"`, "bias", base},
		"ranks":       {`"rank_pattern": {}`, `"rank_pattern": {"q_proj": 2}`, "layer to layer", base},
		"modules":     {`"modules_to_save": null`, `"modules_to_save": ["proj"]`, "modules_to_save", base},
		"rank":        {`"r": 3`, `"r": 4`, "wants [4 16]", base},
		"other model": {"", "", "nothing reads", small},
		"no JSON":     {`"r": 3`, `"r": `, ConfigName, base},
	} {
		dir := t.TempDir()
		changed := strings.Replace(string(config), test.old, test.new, 1)
		if test.old != "" && changed == string(config) {
			t.Fatalf("%s: %q is not in the configuration", name, test.old)
		}
		for file, content := range map[string][]byte{ConfigName: []byte(changed), WeightsName: weights} {
			if err := os.WriteFile(filepath.Join(dir, file), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Read(dir, test.model); !fault.IsUser(err) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one about %q", name, err, test.want)
		}
	}
	if _, err := Read(t.TempDir(), base); !fault.IsUser(err) {
		t.Errorf("an empty directory: error %v", err)
	}
}
