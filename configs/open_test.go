package configs

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/data/prepare"
	"tandem/eval"
	"tandem/internal/fault"
)

// pictures writes n pictures of each of two classes into folders.
func pictures(t *testing.T, n int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pictures")
	for c, class := range []string{"cat", "dog"} {
		if err := os.MkdirAll(filepath.Join(dir, class), 0o755); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			img := image.NewGray(image.Rect(0, 0, 8, 8))
			img.SetGray(i%8, c, color.Gray{uint8(40 * (i + 1))})
			var b bytes.Buffer
			if err := png.Encode(&b, img); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, class, fmt.Sprint(i, ".png")), b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// TestOpener: a directory of pictures is a task; tasks on one split share the data; a training's own data are found by
// the data set's name; files that change make other shards.
func TestOpener(t *testing.T) {
	dir, o := pictures(t, 3), Opener{Options: prepare.Options{Root: t.TempDir(), Offline: true}}
	tasks, err := o.Tasks(t.Context(), dir, dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(tasks) != 2 || tasks[0].Set != tasks[1].Set || tasks[0].Size() != 6 || tasks[0].Task.Kind != eval.Classification {
		t.Fatalf("tasks %+v", tasks)
	}
	o.Own = map[string]string{"emoji": tasks[0].Task.Data}
	set, err := o.Open(t.Context(), "emoji", tasks[0].Task.Split)
	if err != nil || set != eval.Dataset(tasks[0].Set) {
		t.Errorf("the training's own data are %v (%v)", set, err)
	}
	some, err := o.Task(t.Context(), eval.Task{Name: "some", Data: "emoji", Split: "train", Where: map[string]string{"class": "cat"}})
	if err != nil || some.Size() != -1 {
		t.Errorf("a part of the examples: size %d (%v)", some.Size(), err)
	}
	if generated, err := o.Task(t.Context(), eval.Task{Name: "count", Probe: "count"}); err != nil || generated.Set != nil || generated.Size() != -1 {
		t.Errorf("a generated task: %+v (%v)", generated, err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(dir, "cat", "0.png")); err != nil {
		t.Fatal(err)
	}
	if tasks, err = o.Tasks(t.Context(), dir); err != nil || tasks[0].Size() != 5 {
		t.Errorf("after a file went: %d tasks, the first of %d (%v)", len(tasks), tasks[0].Size(), err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenerMistakes(t *testing.T) {
	o := Opener{Options: prepare.Options{Root: t.TempDir(), Offline: true}}
	defer o.Close()
	for want, ref := range map[string]string{"is unknown": "nothing", "offline": "fashion-mnist"} {
		if _, err := o.Tasks(t.Context(), ref); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", ref, err, want)
		}
	}
	if _, err := o.Tasks(t.Context(), t.TempDir()); err == nil || !fault.IsUser(err) {
		t.Errorf("an empty directory: error %v", err)
	}
}
