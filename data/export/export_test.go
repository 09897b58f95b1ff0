package export

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tandem/data/build"
	"tandem/data/ingest"
	"tandem/data/shard"
	"tandem/data/source"
	"tandem/data/store"
	"tandem/internal/fault"
)

// shards builds a small set with two splits, labels, and classes.
func shards(t *testing.T) (dir string, rows []*shard.Row) {
	t.Helper()
	var in []ingest.Row
	for i := range 25 {
		m := image.NewGray(image.Rect(0, 0, 8+i, 9))
		m.Pix[3] = uint8(i * 9)
		var b bytes.Buffer
		if i%2 == 0 {
			png.Encode(&b, m)
		} else {
			jpeg.Encode(&b, m, nil)
		}
		e := source.Example{Key: fmt.Sprintf("dir.v1/key %d", i), Image: b.Bytes(), Captions: []string{fmt.Sprint("first ", i), "second"}, Split: "train"}
		if i%3 == 0 {
			e.Labels = map[string]string{"class": []string{"cat", "dog"}[i%2]}
		}
		if i > 20 {
			e.Split = "val"
		}
		in = append(in, ingest.Row{Example: e})
	}
	dir = t.TempDir()
	if _, err := build.Build(context.Background(), []ingest.Input{withClasses{ingest.FromRows("mem", in...)}}, build.Options{Out: dir}); err != nil {
		t.Fatal(err)
	}
	return dir, read(t, dir)
}

type withClasses struct{ ingest.Input }

func (withClasses) Classes() map[string][]string {
	return map[string][]string{"class": {"cat", "dog"}}
}

func read(t *testing.T, dir string) (rows []*shard.Row) {
	t.Helper()
	set, err := shard.OpenSet(context.Background(), store.Local(dir), "")
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	if err := set.Rows(context.Background(), func(_ shard.FileInfo, _ int64, r *shard.Row) error {
		rows = append(rows, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestClassNumbers: a class whose name the list has twice keeps its number on the way out.
func TestClassNumbers(t *testing.T) {
	var b bytes.Buffer
	f := newTar(&b, 0, &shard.Manifest{Classes: map[string][]string{"class": {"missile", "dog", "missile"}}})
	if err := f.add(&shard.Row{Key: "k", Image: []byte("x"), Labels: map[string]string{"class": "missile (2)"}}); err != nil {
		t.Fatal(err)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("no .cls: %v", err)
		}
		if content, _ := io.ReadAll(r); strings.HasSuffix(h.Name, ".cls") {
			if string(content) != "2" {
				t.Errorf("%s is %q, want 2", h.Name, content)
			}
			return
		}
	}
}

// TestThereAndBack exports, builds shards of the export, and compares the rows.
func TestThereAndBack(t *testing.T) {
	dir, want := shards(t)
	for format, o := range map[string]ingest.Options{
		"webdataset":  {CaptionColumns: []string{"captions"}, LabelColumns: []string{"class"}, KeyColumn: "key"},
		"huggingface": {LabelColumns: []string{"class"}},
	} {
		t.Run(format, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			report, err := Export(context.Background(), store.Local(dir), Options{Format: format, Out: out, FileBytes: 4000})
			if err != nil {
				t.Fatal(err)
			}
			if report.Rows != 25 || report.Files < 3 {
				t.Errorf("report %+v", report)
			}
			in, err := ingest.Open(out, o)
			if err != nil {
				t.Fatal(err)
			}
			again := t.TempDir()
			books, err := build.Build(context.Background(), []ingest.Input{in}, build.Options{Out: again})
			if err != nil || len(books.Skipped) > 0 || len(books.Splits) != 2 {
				t.Fatalf("%+v, error %v", books, err)
			}
			got := read(t, again)
			for i := range got {
				got[i].Source = "mem"
				if got[i].Labels["class"] == "0" || got[i].Labels["class"] == "1" {
					got[i].Labels["class"] = []string{"cat", "dog"}[got[i].Labels["class"][0]-'0']
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	dir, _ := shards(t)
	full := t.TempDir()
	os.WriteFile(filepath.Join(full, "x"), nil, 0o644)
	for _, test := range []struct {
		o    Options
		want string
	}{
		{Options{Format: "zip", Out: "x"}, `unknown format "zip"`},
		{Options{Format: "webdataset"}, "no output directory given"},
		{Options{Format: "webdataset", Out: full}, "is not empty"},
	} {
		if _, err := Export(context.Background(), store.Local(dir), test.o); err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, want %q", err, test.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	out := filepath.Join(t.TempDir(), "new")
	if _, err := Export(ctx, store.Local(dir), Options{Format: "webdataset", Out: out}); err == nil {
		t.Error("exported after cancelling")
	}
	if entries, _ := os.ReadDir(out); len(entries) > 0 {
		t.Errorf("a cancelled export left %v", entries)
	}
}
