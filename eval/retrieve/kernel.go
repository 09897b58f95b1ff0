package retrieve

// The three loops that take all the time. Each similarity is a sum over the dimensions in order, in float32, whatever
// the tile it is in: thresholds and tiles see the same bits, or ties would be decided by rounding. The vector kernels give the same bits too.

// dot is the inner product, dimension after dimension.
func dot(a, b []float32) float32 {
	var s float32
	b = b[:len(a)]
	for d, x := range a {
		s += float32(x * b[d]) // the conversion forbids a fused multiply-add, which would round otherwise
	}
	return s
}

// productGo fills dst with the inner products of a row and n packed ones: four dimensions a pass over dst.
func productGo(dst, row, packed []float32, n int) {
	dst = dst[:n]
	clear(dst)
	d := 0
	for ; d+4 <= len(row); d += 4 {
		x0, x1, x2, x3 := row[d], row[d+1], row[d+2], row[d+3]
		p0, p1 := packed[d*n : (d+1)*n][:len(dst)], packed[(d+1)*n : (d+2)*n][:len(dst)]
		p2, p3 := packed[(d+2)*n : (d+3)*n][:len(dst)], packed[(d+3)*n : (d+4)*n][:len(dst)]
		for j := range dst {
			s := dst[j] + float32(x0*p0[j])
			s += float32(x1 * p1[j])
			s += float32(x2 * p2[j])
			dst[j] = s + float32(x3*p3[j])
		}
	}
	for ; d < len(row); d++ {
		x, p := row[d], packed[d*n : (d+1)*n][:len(dst)]
		for j := range dst {
			dst[j] += float32(x * p[j])
		}
	}
}

// countAtLeastGo is the number of similarities at or above a threshold.
func countAtLeastGo(similarities []float32, threshold float32) int32 {
	var n int32
	for _, s := range similarities {
		if s >= threshold {
			n++
		}
	}
	return n
}

// countEachGo adds 1 to each count whose similarity is at or above its own threshold.
func countEachGo(counts []int32, similarities, values []float32) {
	similarities, values = similarities[:len(counts)], values[:len(counts)]
	for j := range counts {
		if similarities[j] >= values[j] {
			counts[j]++
		}
	}
}
