//go:build unix

package imaging

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// reportCPU adds the processor time of an operation, which a busy machine disturbs less than the wall time.
func reportCPU(b *testing.B, run func()) {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	b.ReportAllocs()
	before := used()
	for b.Loop() {
		run()
	}
	b.ReportMetric(float64(used()-before)/float64(b.N)/1e3, "cpu-µs/op")
}

func benchmarkTrain(b *testing.B, fast bool) {
	data := readFile(b, "testdata/astronaut.jpg")
	c := DefaultTrainConfig(224)
	c.Fast = fast
	t := newTrainer(b, c)
	dst := make([]uint8, 224*224*3)
	out := make([]float32, len(dst))
	norm := NewNormaliser(CLIPMean, CLIPStd)
	pcg := rand.NewPCG(1, 1)
	rng := rand.New(pcg)
	i := uint64(0)
	reportCPU(b, func() {
		i++
		pcg.Seed(i, 1)
		if err := t.Decode(data, rng, dst); err != nil {
			b.Fatal(err)
		}
		norm.Apply(out, dst)
	})
}

// BenchmarkTrain is one 512×512 JPEG to a normalised 224×224 crop.
func BenchmarkTrain(b *testing.B)     { benchmarkTrain(b, false) }
func BenchmarkTrainFast(b *testing.B) { benchmarkTrain(b, true) }

// BenchmarkDecode is the decoding alone.
func BenchmarkDecode(b *testing.B) {
	data := readFile(b, "testdata/astronaut.jpg")
	d := NewDecoder(DefaultLimits())
	reportCPU(b, func() {
		if _, err := d.Decode(data); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkCrop is the random crop of a picture that is decoded already.
func BenchmarkCrop(b *testing.B) {
	p, err := NewDecoder(DefaultLimits()).Decode(readFile(b, "testdata/astronaut.jpg"))
	if err != nil {
		b.Fatal(err)
	}
	t := newTrainer(b, DefaultTrainConfig(224))
	dst := make([]uint8, 224*224*3)
	rng := rand.New(rand.NewPCG(1, 1))
	reportCPU(b, func() {
		if err := t.Apply(p, rng, dst); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkNormalise is 224×224 bytes to float32.
func BenchmarkNormalise(b *testing.B) {
	src, dst := pattern(224), make([]float32, 224*224*3)
	n := NewNormaliser(CLIPMean, CLIPStd)
	reportCPU(b, func() { n.Apply(dst, src) })
}

// BenchmarkFolder decodes the JPEG files of the folder named by IMAGING_BENCH_DIR, each worker all of them in turn, to
// normalised 224×224 crops; scripts/decode_peer.py runs it side by side with torchvision. One operation is one picture.
func BenchmarkFolder(b *testing.B) {
	dir := os.Getenv("IMAGING_BENCH_DIR")
	if dir == "" {
		b.Skip("IMAGING_BENCH_DIR is not set")
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.jpg"))
	if err != nil || len(paths) == 0 {
		b.Fatalf("%s: no *.jpg (%v)", dir, err)
	}
	var files [][]byte
	for _, path := range paths {
		files = append(files, readFile(b, path))
	}
	for _, fast := range []bool{false, true} {
		b.Run(fmt.Sprintf("fast=%v", fast), func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) { decodeFolder(b, pb, files, fast) })
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "images/s")
		})
	}
}

func decodeFolder(b *testing.B, pb *testing.PB, files [][]byte, fast bool) {
	c := DefaultTrainConfig(224)
	c.Fast = fast
	t := newTrainer(b, c)
	dst, out := make([]uint8, 224*224*3), make([]float32, 224*224*3)
	norm := NewNormaliser(CLIPMean, CLIPStd)
	pcg := rand.NewPCG(1, 1)
	rng := rand.New(pcg)
	for i := 0; pb.Next(); i++ {
		if err := t.Decode(files[i%len(files)], rng, dst); err != nil {
			b.Error(err)
			return
		}
		norm.Apply(out, dst)
	}
}
