package retrieve

// The loops that take all the time. Each similarity is a sum over the dimensions in order, in float32, whatever the tile
// it is in and whichever of the two it is a row of: thresholds and tiles see the same bits, or ties would be decided by
// rounding.

// kernel multiplies blocks of a fixed shape.
type kernel struct {
	name          string
	rows, columns int // of a block
	// block fills a tile's first rows and columns with the inner products of rows, one after the other, and a panel of
	// candidates, dimension by dimension.
	block func(tile, rows, panel []float32, dim int)
	// dot is one inner product with the bits that block gives.
	dot func(a, b []float32) float32
	// countAtLeast is the number of similarities at or above a threshold.
	countAtLeast func(similarities []float32, threshold float32) int32
	// countEach adds to each count the rows of a tile whose similarity is at or above the column's own threshold.
	countEach func(counts []int32, tile, values []float32, rows int)
}

const plainRows, plainColumns = 8, 48

// plain is the kernel of every machine.
var plain = kernel{"plain", plainRows, plainColumns, blockGo, dotGo, countAtLeastGo, countEachGo}

// dotGo is the inner product, dimension after dimension.
func dotGo(a, b []float32) float32 {
	var s float32
	b = b[:len(a)]
	for d, x := range a {
		s += float32(x * b[d]) // the conversion forbids a fused multiply-add, which would round otherwise
	}
	return s
}

func blockGo(tile, rows, panel []float32, dim int) {
	for i := range plainRows {
		productGo(tile[i*tileColumns:][:plainColumns], rows[i*dim:][:dim], panel)
	}
}

// productGo fills dst with the inner products of a row and packed ones: four dimensions a pass over dst.
func productGo(dst, row, packed []float32) {
	n := len(dst)
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

func countAtLeastGo(similarities []float32, threshold float32) int32 {
	var n int32
	for _, s := range similarities {
		if s >= threshold {
			n++
		}
	}
	return n
}

func countEachGo(counts []int32, tile, values []float32, rows int) {
	for i := range rows {
		similarities, values := tile[i*tileColumns:][:len(counts)], values[:len(counts)]
		for j := range counts {
			if similarities[j] >= values[j] {
				counts[j]++
			}
		}
	}
}
