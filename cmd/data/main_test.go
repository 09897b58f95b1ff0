package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"tandem/internal/prng"
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

// TestKilledBuild kills `data build` at random moments until it gets through, and compares the shards with those of a
// build that was left alone.
func TestKilledBuild(t *testing.T) {
	program := filepath.Join(t.TempDir(), "data")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	source := t.TempDir()
	var list strings.Builder
	list.WriteString("image,caption,split\n")
	for i := range 40 {
		var b bytes.Buffer
		if err := png.Encode(&b, noise(60, uint64(i))); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(source, strconv.Itoa(i)+".png"), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1500 {
		fmt.Fprintf(&list, "%d.png,caption %d,%s\n", (i*7)%43, i, []string{"train", "val"}[i%5/4]) // some images are missing
	}
	if err := os.WriteFile(filepath.Join(source, "list.csv"), []byte(list.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	build := func(out string) *exec.Cmd {
		return exec.Command(program, "build", "-shard-size", "400kB", "-out", out, filepath.Join(source, "list.csv"))
	}
	whole, killed := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "out")
	began := time.Now()
	if out, err := build(whole).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	took := time.Since(began)
	kills := 0
	for i := 0; ; i++ {
		cmd := build(killed)
		var said strings.Builder
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Later and later, so that the build gets through on a busy machine too.
		timer := time.AfterFunc(took/3+took*time.Duration(i)/8, func() { cmd.Process.Kill() })
		err := cmd.Wait()
		timer.Stop()
		if err == nil || strings.Contains(said.String(), "holds finished shards already") { // killed on its way out
			break
		}
		if kills++; kills > 200 {
			t.Fatalf("the build does not get through: %v: %s", err, said.String())
		}
	}
	if kills == 0 {
		t.Error("the build was not killed once")
	}
	t.Logf("killed %d times", kills)
	if out, err := exec.Command("diff", "-r", whole, killed).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func noise(side int, seed uint64) image.Image {
	m := image.NewGray(image.Rect(0, 0, side, side))
	rng := prng.New(seed)
	for i := range m.Pix {
		m.Pix[i] = uint8(rng.Uint32())
	}
	return m
}
