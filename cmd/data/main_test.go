package main

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"data": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"picture": picture, "cut": cut, "code": code},
	})
}

// picture FILE SEED [WIDTH HEIGHT] draws a picture; the extension says in which format.
func picture(ts *testscript.TestScript, neg bool, args []string) {
	number := func(i, otherwise int) int {
		if i >= len(args) {
			return otherwise
		}
		n, err := strconv.Atoi(args[i])
		ts.Check(err)
		return n
	}
	w, h, seed := number(2, 20), number(3, 16), number(1, 0)
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.SetNRGBA(x, y, color.NRGBA{uint8(x*8 + seed*37), uint8(y*8 + seed*11), uint8(seed * 5), 255})
		}
	}
	var b bytes.Buffer
	if strings.HasSuffix(args[0], ".png") {
		ts.Check(png.Encode(&b, m))
	} else {
		ts.Check(jpeg.Encode(&b, m, nil))
	}
	path := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
	ts.Check(os.WriteFile(path, b.Bytes(), 0o644))
}

// cut FILE N leaves the first N bytes of a file.
func cut(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), n))
}

// code N ARGS… runs data with ARGS and checks its exit code.
func code(ts *testscript.TestScript, neg bool, args []string) {
	want := args[0]
	err := ts.Exec("data", args[1:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != want {
		ts.Fatalf("data %s: exit code %s, want %s", strings.Join(args[1:], " "), got, want)
	}
}
