package jpeg

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// compareVector runs every kernel on bytes made from a seed, with and without vectors.
func compareVector(t *testing.T, seed uint64, amplitude uint16) {
	t.Helper()
	if !useAVX2 {
		t.Log("no AVX2 here: the Go functions are compared with themselves")
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	var block [64]int16
	var quant [64]uint16
	for i := range block {
		block[i] = int16(rng.IntN(2*int(amplitude)+1) - int(amplitude))
		if rng.IntN(3) == 0 {
			block[i] = 0
		}
		quant[i] = uint16(rng.IntN(int(amplitude) + 1))
	}
	got, want := make([]byte, 128), make([]byte, 128)
	inverse(got, 16, &block, &quant)
	idct8(want, 16, &block, &quant)
	if !bytes.Equal(got, want) {
		t.Fatalf("inverse transform of %v × %v:\n%v\nwant\n%v", block, quant, got, want)
	}
	n := 1 + rng.IntN(100)
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	near, far := random(n+2+lanes), random(n+2+lanes)
	got, want = make([]byte, 2*n+2*lanes), make([]byte, 2*n)
	upsampleH2V2(got, near, far, n)
	upsampleH2V2Go(want, near, far, n)
	if !bytes.Equal(got[:2*n], want) {
		t.Fatalf("upsampling of %v, %v", near, far)
	}
	y, cb, cr := random(n), random(n), random(n)
	got, want = make([]byte, 3*n), make([]byte, 3*n)
	convertYCC(got, y, cb, cr)
	convertYCCGo(want, y, cb, cr)
	if !bytes.Equal(got, want) {
		t.Fatalf("conversion of %v, %v, %v", y, cb, cr)
	}
}

func TestVector(t *testing.T) {
	for _, amplitude := range []uint16{1, 20, 200, 2000, 32767} {
		for seed := range uint64(200) {
			compareVector(t, seed, amplitude)
		}
	}
}

func FuzzVector(f *testing.F) {
	f.Add(uint64(1), uint16(100))
	f.Fuzz(func(t *testing.T, seed uint64, amplitude uint16) { compareVector(t, seed, min(amplitude, 32767)) })
}
