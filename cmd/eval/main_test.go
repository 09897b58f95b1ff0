package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/rogpeppe/go-internal/testscript"

	"tandem/data/prepare"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"eval": main})
}

func TestScripts(t *testing.T) {
	model, err := filepath.Abs("../../embed/testdata/hf")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv(prepare.RootEnv, filepath.Join(env.WorkDir, "prepared"))
			env.Setenv("MODEL", model)
			if err := pictures(filepath.Join(env.WorkDir, "pictures")); err != nil {
				return err
			}
			return sources(filepath.Join(env.WorkDir, "sources"), filepath.Join(env.WorkDir, "pictures"))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": code},
	})
}

// code N ARGS… runs eval with ARGS and checks its exit code.
func code(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec("eval", args[1:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if want := args[0]; want != strconv.Itoa(got) {
		ts.Fatalf("exit code %d, want %s", got, want)
	}
}

// pictures writes folders of classes: red and blue squares of different size, 24 of each.
func pictures(dir string) error {
	for class, c := range map[string]color.Color{"red": color.NRGBA{220, 30, 30, 255}, "blue": color.NRGBA{30, 30, 220, 255}} {
		if err := os.MkdirAll(filepath.Join(dir, class), 0o755); err != nil {
			return err
		}
		for i := range 24 {
			img := image.NewNRGBA(image.Rect(0, 0, 32, 32))
			for p := range 32 * 32 {
				img.Set(p%32, p/32, color.White)
				if p%32 < 4+i && p/32 < 4+i {
					img.Set(p%32, p/32, c)
				}
			}
			f, err := os.Create(filepath.Join(dir, class, string(rune('a'+i))+".png"))
			if err != nil {
				return err
			}
			if err := png.Encode(f, img); err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// sources writes six of the pictures, red (0) and blue (1) in turn, in the other forms that data come in.
func sources(dir, from string) error {
	type row struct {
		Image []byte `parquet:"image"`
		Label int64  `parquet:"label"`
	}
	var rows []row
	for i := range 6 {
		file, err := os.ReadFile(filepath.Join(from, []string{"red", "blue"}[i%2], string(rune('a'+i))+".png"))
		if err != nil {
			return err
		}
		rows = append(rows, row{file, int64(i % 2)})
	}
	files := map[string][]byte{
		"wds/classnames.txt":                        []byte("red\nblue\n"),
		"wds/zeroshot_classification_templates.txt": []byte("a {c}.\na fine {c}.\n"),
		"wds/test/nshards.txt":                      []byte("1\n"),
		"idx/test-images-idx3-ubyte":                {0, 0, 8, 3, 0, 0, 0, 6, 0, 0, 0, 4, 0, 0, 0, 4},
		"idx/test-labels-idx1-ubyte":                {0, 0, 8, 1, 0, 0, 0, 6},
	}
	var packed bytes.Buffer
	archive := tar.NewWriter(&packed)
	for i, r := range rows {
		files["idx/test-images-idx3-ubyte"] = append(files["idx/test-images-idx3-ubyte"], bytes.Repeat([]byte{byte(40 * i)}, 16)...)
		files["idx/test-labels-idx1-ubyte"] = append(files["idx/test-labels-idx1-ubyte"], byte(r.Label))
		for suffix, content := range map[string][]byte{".png": r.Image, ".cls": []byte(strconv.FormatInt(r.Label, 10))} {
			if err := archive.WriteHeader(&tar.Header{Name: "s" + strconv.Itoa(i) + suffix, Mode: 0o644, Size: int64(len(content))}); err != nil {
				return err
			}
			if _, err := archive.Write(content); err != nil {
				return err
			}
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	files["wds/test/0.tar"] = packed.Bytes()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return parquet.WriteFile(filepath.Join(dir, "pictures.parquet"), rows)
}
