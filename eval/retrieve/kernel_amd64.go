package retrieve

import "golang.org/x/sys/cpu"

// useAVX2 chooses the vector kernels; tests switch it off to compare.
var useAVX2 = cpu.X86.HasAVX2

// productAVX fills dst with the inner products of a row of dim numbers and packed columns, a multiple of 64.
//
//go:noescape
func productAVX(dst, row, packed *float32, columns, dim int)

// countAtLeastAVX counts in n similarities, a multiple of 8.
//
//go:noescape
func countAtLeastAVX(similarities *float32, n int, threshold float32) int32

// countEachAVX counts n columns, a multiple of 8.
//
//go:noescape
func countEachAVX(counts *int32, similarities, values *float32, n int)

func product(dst, row, packed []float32, stride int) {
	if !useAVX2 || len(row) == 0 {
		productGo(dst, row, packed, stride)
		return
	}
	productAVX(&dst[0], &row[0], &packed[0], stride, len(row))
}

func countAtLeast(similarities []float32, threshold float32) int32 {
	n, whole := int32(0), len(similarities)&^7
	if useAVX2 && whole > 0 {
		n = countAtLeastAVX(&similarities[0], whole, threshold)
		similarities = similarities[whole:]
	}
	return n + countAtLeastGo(similarities, threshold)
}

func countEach(counts []int32, similarities, values []float32) {
	if whole := len(counts) &^ 7; useAVX2 && whole > 0 {
		countEachAVX(&counts[0], &similarities[0], &values[0], whole)
		counts, similarities, values = counts[whole:], similarities[whole:], values[whole:]
	}
	countEachGo(counts, similarities, values)
}
