package retrieve

import "golang.org/x/sys/cpu"

// chosen is the fastest kernel; tests change it to compare.
var chosen = kernels()[0]

// kernels lists those that this machine can run, the fastest first. The fused ones round once for each dimension where
// the plain one rounds twice.
func kernels() []kernel {
	list := []kernel{plain}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		list = append([]kernel{{"avx2", 4, 24, blockAVX2, dotFused, countAtLeastVector, countEachVector}}, list...)
	}
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		list = append([]kernel{{"avx512", 8, 48, blockAVX512, dotFused, countAtLeastVector, countEachVector}}, list...)
	}
	return list
}

// multiplyAVX2 fills 4 × 24 numbers of a tile whose rows are stride numbers apart.
//
//go:noescape
func multiplyAVX2(tile, rows, panel *float32, dim, stride int)

// multiplyAVX512 fills 8 × 48 numbers of a tile whose rows are stride numbers apart.
//
//go:noescape
func multiplyAVX512(tile, rows, panel *float32, dim, stride int)

// multiplyFused is the inner product of n numbers, one after the other.
//
//go:noescape
func multiplyFused(a, b *float32, n int) float32

// countAtLeastAVX counts in n similarities, a multiple of 8.
//
//go:noescape
func countAtLeastAVX(similarities *float32, n int, threshold float32) int32

// countEachAVX counts n columns, a multiple of 8, of a tile whose rows are stride numbers apart.
//
//go:noescape
func countEachAVX(counts *int32, tile, values *float32, n, rows, stride int)

func blockAVX2(tile, rows, panel []float32, dim int) {
	_, _, _ = tile[3*tileColumns+23], rows[4*dim-1], panel[24*dim-1]
	multiplyAVX2(&tile[0], &rows[0], &panel[0], dim, tileColumns)
}

func blockAVX512(tile, rows, panel []float32, dim int) {
	_, _, _ = tile[7*tileColumns+47], rows[8*dim-1], panel[48*dim-1]
	multiplyAVX512(&tile[0], &rows[0], &panel[0], dim, tileColumns)
}

func dotFused(a, b []float32) float32 {
	b = b[:len(a)]
	return multiplyFused(&a[0], &b[0], len(a))
}

func countAtLeastVector(similarities []float32, threshold float32) int32 {
	n, whole := int32(0), len(similarities)&^7
	if whole > 0 {
		n = countAtLeastAVX(&similarities[0], whole, threshold)
		similarities = similarities[whole:]
	}
	return n + countAtLeastGo(similarities, threshold)
}

func countEachVector(counts []int32, tile, values []float32, rows int) {
	if whole := len(counts) &^ 7; whole > 0 {
		_ = tile[(rows-1)*tileColumns+whole-1]
		countEachAVX(&counts[0], &tile[0], &values[0], whole, rows, tileColumns)
		counts, tile, values = counts[whole:], tile[whole:], values[whole:]
	}
	countEachGo(counts, tile, values, rows)
}
