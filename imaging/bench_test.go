package imaging

import (
	"math/rand/v2"
	"testing"
)

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
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		pcg.Seed(uint64(i), 1)
		if err := t.Decode(data, rng, dst); err != nil {
			b.Fatal(err)
		}
		norm.Apply(out, dst)
	}
}

// BenchmarkTrain is one 512×512 JPEG to a normalised 224×224 crop.
func BenchmarkTrain(b *testing.B)     { benchmarkTrain(b, false) }
func BenchmarkTrainFast(b *testing.B) { benchmarkTrain(b, true) }

// BenchmarkDecode is the decoding alone.
func BenchmarkDecode(b *testing.B) {
	data := readFile(b, "testdata/astronaut.jpg")
	d := NewDecoder(DefaultLimits())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
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
	b.ReportAllocs()
	for b.Loop() {
		if err := t.Apply(p, rng, dst); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNormalise is 224×224 bytes to float32.
func BenchmarkNormalise(b *testing.B) {
	src, dst := pattern(224), make([]float32, 224*224*3)
	n := NewNormaliser(CLIPMean, CLIPStd)
	for b.Loop() {
		n.Apply(dst, src)
	}
}
