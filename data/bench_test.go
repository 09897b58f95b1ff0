package data

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/jpeg"
	"math"
	"testing"

	"tandem/imaging"
	"tandem/internal/prng"
	"tandem/tokenizer"
)

// photo is a JPEG of 640×480 with about as much detail as a photograph: 40 to 60 kB.
func photo(t testing.TB, seed uint64) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, 640, 480))
	rng := prng.New(seed)
	var waves [12][4]float64
	for i := range waves {
		scale := 0.01 * math.Pow(1.6, float64(i))
		waves[i] = [4]float64{rng.NormFloat64() * scale, rng.NormFloat64() * scale, rng.Float64() * 6, 60 / math.Pow(1.35, float64(i))}
	}
	for y := range 480 {
		for x := range 640 {
			v := 128.0
			for _, w := range waves {
				v += w[3] * math.Sin(w[0]*float64(x)+w[1]*float64(y)+w[2])
			}
			noise := float64(rng.IntN(16))
			i := m.PixOffset(x, y)
			for c := range 3 {
				m.Pix[i+c] = uint8(max(0, min(255, v+noise+float64(20*c))))
			}
			m.Pix[i+3] = 255
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, &jpeg.Options{Quality: 85}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// BenchmarkLoader measures images/s from shards on disk to finished batches of 224 pixels, tokenised by CLIP's
// tokenizer: with the exact decoder, with the fast one, and from the cache of decoded pictures.
//
//	go test -run ^$ -bench Loader -benchmem ./data
func BenchmarkLoader(b *testing.B) {
	rows := testRows(b, 256, nil)
	photos := make([][]byte, 16)
	for i := range photos {
		photos[i] = photo(b, uint64(i))
	}
	for i, r := range rows {
		r.Image, r.Width, r.Height = photos[i%len(photos)], 640, 480
		r.Captions = []string{fmt.Sprintf("a photograph of waves, number %d, with some noise over it", i)}
	}
	dir := writeShards(b, rows, 256)
	for _, bench := range []struct {
		name  string
		fast  bool
		cache CacheConfig
	}{{"exact", false, CacheConfig{}}, {"fast", true, CacheConfig{}}, {"cached-256", false, CacheConfig{Bytes: 1 << 30, Fit: 256}}} {
		for _, workers := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/workers=%d", bench.name, workers), func(b *testing.B) {
				c := Config{Sources: []SourceConfig{{Shards: dir}}, Batch: 64, Image: imaging.DefaultTrainConfig(224), Workers: workers, Cache: bench.cache}
				c.Image.Fast = bench.fast
				l, err := Open(context.Background(), c, Options{Tokenizer: tokenizer.CLIP(), Context: 77})
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				for range 5 { // one epoch and more: fills caches
					take(b, l, 1)
				}
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					batch, err := l.Next(context.Background())
					if err != nil {
						b.Fatal(err)
					}
					l.Recycle(batch)
				}
				b.ReportMetric(float64(b.N*64)/b.Elapsed().Seconds(), "images/s")
				b.ReportMetric(float64(len(photos[0]))/1000, "kB/image")
			})
		}
	}
}

// BenchmarkReading measures what the loader does besides decoding: finding a row, reading and checking its bytes,
// choosing and tokenising a caption.
func BenchmarkReading(b *testing.B) {
	rows := testRows(b, 4096, nil)
	data := photo(b, 1)
	for _, r := range rows {
		r.Image = data
	}
	dir := writeShards(b, rows, 4096)
	l := open(b, testConfig(64, dir), Options{})
	l.tokenizer, l.context = tokenizer.CLIP(), 77
	w, err := l.newWorker()
	if err != nil {
		b.Fatal(err)
	}
	batch := newBatch(64, 8, 77, 0)
	src := &l.sources[0]
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for g := int64(0); b.Loop(); g++ {
		at := l.order.at(g)
		file, inFile := src.set.Locate(at.row)
		h, err := src.set.Acquire(file)
		if err != nil {
			b.Fatal(err)
		}
		group, row, err := l.group(h.File, 0, file, inFile)
		if err == nil {
			err = w.text(batch, int(g%64), g, src, group, row)
		}
		if err == nil {
			_, err = w.images.Read(h.File, group, row)
		}
		if err != nil {
			b.Fatal(err)
		}
		src.set.Release(h)
	}
}

// BenchmarkOrder is the price of the order alone, for a set of twelve million rows.
func BenchmarkOrder(b *testing.B) {
	for _, kind := range []string{shuffleRows, shuffleWindows} {
		b.Run(kind, func(b *testing.B) {
			s := sourceOrder{rows: 12_000_000, kind: kind, block: 256, window: 64}
			for p := int64(0); b.Loop(); p++ {
				s.at(1, 0, 0, p%s.rows)
			}
		})
	}
}
