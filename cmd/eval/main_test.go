package main

import (
	"errors"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

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
			return pictures(filepath.Join(env.WorkDir, "pictures"))
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
