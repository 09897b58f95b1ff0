//go:build !amd64

package retrieve

var useAVX2 = false

func product(dst, row, packed []float32, stride int) { productGo(dst, row, packed, stride) }

func countAtLeast(similarities []float32, threshold float32) int32 {
	return countAtLeastGo(similarities, threshold)
}

func countEach(counts []int32, similarities, values []float32) {
	countEachGo(counts, similarities, values)
}
