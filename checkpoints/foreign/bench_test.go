package foreign

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"tandem/checkpoints"
	"tandem/model"
)

// peakMemory returns the largest resident size of the process since resetPeak, in bytes; 0 where the system does not tell.
func peakMemory() int64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), "VmHWM:")
	line, _, _ := strings.Cut(rest, " kB")
	kilobytes, _ := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return kilobytes << 10
}

func resetPeak() {
	debug.FreeOSMemory()
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// writeRandom writes a built-in model with random weights.
func writeRandom(b *testing.B, name string, to Format) (dir string, bytes int64) {
	b.Helper()
	c, err := model.ByName(name)
	if err != nil {
		b.Fatal(err)
	}
	store, err := c.NewStore(1)
	if err != nil {
		b.Fatal(err)
	}
	dir = filepath.Join(b.TempDir(), string(to))
	m := Model{Model: checkpoints.Model{Config: c, Preprocess: checkpoints.Preprocess{}.WithDefaults()}, Params: StoreParameters(store)}
	if _, err := Export(dir, to, m); err != nil {
		b.Fatal(err)
	}
	return dir, 4 * int64(c.NumParams())
}

// BenchmarkLoad reads a ViT-B-32 of each format into a store. peak-MiB is the largest resident size while it does,
// and over-MiB how much of that is more than the model and the process itself.
func BenchmarkLoad(b *testing.B) {
	for _, format := range []Format{FormatOpenCLIP, FormatHF, FormatTandem} {
		b.Run(string(format), func(b *testing.B) {
			dir, size := writeRandom(b, "ViT-B-32-quickgelu", format)
			b.SetBytes(size)
			var peak, over int64
			for b.Loop() {
				resetPeak()
				before := peakMemory()
				c, err := Open(dir, Options{})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := c.LoadStore(); err != nil {
					b.Fatal(err)
				}
				c.Close()
				peak = max(peak, peakMemory())
				over = max(over, peakMemory()-before-size)
			}
			b.ReportMetric(float64(peak>>20), "peak-MiB")
			b.ReportMetric(float64(over>>20), "over-MiB")
		})
	}
}

// BenchmarkConvert writes a ViT-B-32 in another format.
func BenchmarkConvert(b *testing.B) {
	for _, to := range []Format{FormatHF, FormatTandem} {
		b.Run("open_clip to "+string(to), func(b *testing.B) {
			dir, size := writeRandom(b, "ViT-B-32-quickgelu", FormatOpenCLIP)
			b.SetBytes(size)
			var peak int64
			for i := 0; b.Loop(); i++ {
				resetPeak()
				c, err := Open(dir, Options{})
				if err != nil {
					b.Fatal(err)
				}
				m, err := c.Model(nil)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := Export(filepath.Join(b.TempDir(), fmt.Sprint(i)), to, m); err != nil {
					b.Fatal(err)
				}
				c.Close()
				peak = max(peak, peakMemory())
			}
			b.ReportMetric(float64(peak>>20), "peak-MiB")
		})
	}
}
