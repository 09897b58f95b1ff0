//go:build slow

package foreign

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/checkpoints"
	"tandem/model"
)

// childEnv makes the test binary do one thing and report its own time and peak memory: "load DIR" or "convert DIR FORMAT DST".
const childEnv = "TANDEM_MEMORY_CHILD"

func TestMain(m *testing.M) {
	if job := os.Getenv(childEnv); job != "" {
		if err := child(strings.Split(job, "\n")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(job []string) error {
	start := time.Now()
	c, err := Open(job[1], Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	if job[0] == "load" {
		if _, err := c.LoadStore(); err != nil {
			return err
		}
	} else {
		m, err := c.Model(nil)
		if err != nil {
			return err
		}
		if _, err := Export(job[3], Format(job[2]), m); err != nil {
			return err
		}
	}
	fmt.Printf("%d %d\n", time.Since(start).Milliseconds(), peakMemory())
	return nil
}

// inChild runs a job in a process of its own.
func inChild(t *testing.T, job ...string) (milliseconds, peak int64) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(job, "\n"))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err == nil {
		_, err = fmt.Sscan(string(out), &milliseconds, &peak)
	}
	if err != nil || peak == 0 {
		t.Fatalf("%v: %q, peak %d (%v)", job, out, peak, err)
	}
	return milliseconds, peak
}

// TestMemory loads and converts a ViT-B-32 of random weights, 577 MiB, each in a process of its own. Loading may take the
// model and 256 MiB; converting streams and may take 256 MiB alone.
//
//	go test -tags slow -run TestMemory -v ./checkpoints/foreign
func TestMemory(t *testing.T) {
	const extra = 256 << 20
	c, err := model.ByName("ViT-B-32-quickgelu")
	if err != nil {
		t.Fatal(err)
	}
	size := 4 * int64(c.NumParams())
	dirs := map[Format]string{}
	for _, format := range []Format{FormatOpenCLIP, FormatHF, FormatTandem} {
		dirs[format] = filepath.Join(t.TempDir(), string(format))
		store, err := c.NewStore(1)
		if err != nil {
			t.Fatal(err)
		}
		m := Model{Model: checkpoints.Model{Config: c, Preprocess: checkpoints.Preprocess{}.WithDefaults()}, Params: StoreParameters(store)}
		if _, err := Export(dirs[format], format, m); err != nil {
			t.Fatal(err)
		}
		store.Finalize()
	}
	for _, format := range []Format{FormatOpenCLIP, FormatHF, FormatTandem} {
		milliseconds, peak := inChild(t, "load", dirs[format])
		t.Logf("load %-9s  %5d ms, peak %d MiB of which the model %d", format, milliseconds, peak>>20, size>>20)
		if peak > size+extra {
			t.Errorf("loading %s takes %d MiB, may take %d", format, peak>>20, (size+extra)>>20)
		}
		for _, to := range []Format{FormatOpenCLIP, FormatHF, FormatTandem} {
			milliseconds, peak := inChild(t, "convert", dirs[format], string(to), filepath.Join(t.TempDir(), "out"))
			t.Logf("convert %s to %s  %d ms, peak %d MiB", format, to, milliseconds, peak>>20)
			if peak > extra {
				t.Errorf("converting %s to %s takes %d MiB, may take %d", format, to, peak>>20, extra>>20)
			}
		}
	}
}
