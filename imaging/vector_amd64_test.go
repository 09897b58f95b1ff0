package imaging

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// compareResample resizes a random picture with and without the vector kernels.
func compareResample(t *testing.T, seed uint64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 4))
	sw, sh := 1+rng.IntN(150), 1+rng.IntN(150)
	w, h := 1+rng.IntN(100), 1+rng.IntN(100)
	if rng.IntN(8) == 0 {
		w = sw
	}
	if rng.IntN(8) == 0 {
		h = sh
	}
	n := 3
	if rng.IntN(4) == 0 {
		n = 1 + rng.IntN(4)
	}
	pix := make([]byte, sw*sh*n)
	for i := range pix {
		pix[i] = byte(rng.Uint32())
		if rng.IntN(2) == 0 {
			pix[i] = byte(255 * rng.IntN(2)) // the extremes overshoot most
		}
	}
	src := plane{pix[:len(pix):len(pix)], sw, sh, sw * n, n}
	filters := []Interpolation{Bicubic, Bilinear, Lanczos, Box}
	win := whole(src, w, h, filters[rng.IntN(len(filters))])
	vnni, avx2 := useVNNI, useAVX2
	defer func() { useVNNI, useAVX2 = vnni, avx2 }()
	var want []byte
	for _, kernels := range []struct{ vnni, avx2 bool }{{false, false}, {false, avx2}, {vnni, avx2}} {
		useVNNI, useAVX2 = kernels.vnni, kernels.avx2
		var r resampler
		guarded := bytes.Repeat([]byte{0xA5}, w*h*n+64)
		r.resample(guarded[:w*h*n], src, win, false)
		if !bytes.Equal(guarded[w*h*n:], bytes.Repeat([]byte{0xA5}, 64)) {
			t.Fatalf("seed %d: bytes behind the destination were written", seed)
		}
		if want == nil {
			want = guarded
		}
		if !bytes.Equal(guarded, want) {
			t.Fatalf("seed %d: %d×%d×%d to %d×%d by %s with %+v differs from the Go functions", seed, sw, sh, n, w, h, win.f, kernels)
		}
	}
}

func TestVectorResample(t *testing.T) {
	for seed := range uint64(150) {
		compareResample(t, seed)
	}
}

func FuzzVectorResample(f *testing.F) {
	f.Add(uint64(1000))
	f.Fuzz(func(t *testing.T, seed uint64) { compareResample(t, seed) })
}
