package imaging

import "golang.org/x/sys/cpu"

// useAVX2 and useVNNI choose the vector kernels; tests switch them off to compare.
var (
	useAVX2 = cpu.X86.HasAVX2
	useVNNI = cpu.X86.HasAVX512VNNI && cpu.X86.HasAVX512VL
)

// columnsRGBAVX2 computes n pixels of four rows. offsets holds the byte at which each pixel's taps start, weights the
// taps in groups of four: their low 15 bits and then the bits above, as 16-bit numbers. It writes one byte more
// than the pixels take and reads four bytes behind the last tap.
//
//go:noescape
func columnsRGBAVX2(dst *byte, dstStride int, src *byte, srcStride int, offsets *int32, weights *int16, groups, n int)

//go:noescape
func columnsRGBVNNI(dst *byte, dstStride int, src *byte, srcStride int, offsets *int32, weights *int16, groups, n int)

// rowsAVX2 computes n bytes, at least 32, of one row: the sum of 2·pairs rows of src.
//
//go:noescape
func rowsAVX2(dst, src *byte, stride int, weights *int16, pairs, n int)

//go:noescape
func rowsVNNI(dst, src *byte, stride int, weights *int16, pairs, n int)

// splitBits is how many bits of a weight go into its low part. Both parts fit 16 bits with their sign, so that
// products with bytes can be summed exactly by VPMADDWD.
const splitBits = 15

func split(w int32) (low, high int16) { return int16(w & (1<<splitBits - 1)), int16(w >> splitBits) }

// prepareVector lays the weights out for the kernels: those of the pass along the rows in groups of four taps, moved
// so that no group reaches behind the last pixel, and those of the other pass in pairs.
func (a *axis) prepareVector() {
	most := 1
	for _, c := range a.count {
		most = max(most, int(c))
	}
	a.groups, a.pairs = (most+3)/4, (most+1)/2
	a.offsets = growTo(a.offsets, len(a.first))
	a.grouped = growTo(a.grouped, len(a.first)*a.groups*8)
	a.paired = growTo(a.paired, len(a.first)*a.pairs*4)
	clear(a.grouped)
	clear(a.paired)
	for i, first := range a.first {
		w := a.fixed[i*a.taps : i*a.taps+int(a.count[i])]
		start := max(min(int(first), a.key.in-4*a.groups), 0)
		a.offsets[i] = int32(3 * start)
		group, pair := a.grouped[i*a.groups*8:], a.paired[i*a.pairs*4:]
		for k, v := range w {
			low, high := split(v)
			g := k + int(first) - start
			group[g/4*8+g%4], group[g/4*8+4+g%4] = low, high
			pair[k/2*4+k%2], pair[k/2*4+2+k%2] = low, high
		}
	}
}

// columns8 is the pass along the rows.
func (a *axis) columns8(dst, src plane) {
	done := 0
	if useAVX2 && src.n == 3 && src.w >= 4*a.groups && dst.stride > dst.w*3 {
		// The kernel reads a few bytes behind each row: the last rows may have to do without.
		for done+4 <= src.h && (done+3)*src.stride+src.w*3+4 <= cap(src.pix) {
			out, in := &dst.pix[done*dst.stride], &src.pix[done*src.stride]
			if useVNNI {
				columnsRGBVNNI(out, dst.stride, in, src.stride, &a.offsets[0], &a.grouped[0], a.groups, dst.w)
			} else {
				columnsRGBAVX2(out, dst.stride, in, src.stride, &a.offsets[0], &a.grouped[0], a.groups, dst.w)
			}
			done += 4
		}
	}
	if done < src.h {
		a.columns8Go(dst.sub(0, done, dst.w, src.h-done), src.sub(0, done, src.w, src.h-done))
	}
}

// rows8 is the pass across the rows; src starts at row y0 of the picture that the coefficients speak of.
func (a *axis) rows8(dst []byte, src plane, y0 int) {
	n := src.w * src.n
	if !useAVX2 || n < 32 {
		a.rows8Go(dst, src, y0)
		return
	}
	for i, first := range a.first {
		pairs := (int(a.count[i]) + 1) / 2
		top := int(first) - y0
		// An odd count has a row of weight 0 at the end, which must exist all the same.
		if (top+2*pairs-1)*src.stride+n > cap(src.pix) {
			a.row8Go(dst[i*n:(i+1)*n], src, i, top)
			continue
		}
		_ = dst[(i+1)*n-1]
		if useVNNI {
			rowsVNNI(&dst[i*n], &src.pix[top*src.stride], src.stride, &a.paired[i*a.pairs*4], pairs, n)
		} else {
			rowsAVX2(&dst[i*n], &src.pix[top*src.stride], src.stride, &a.paired[i*a.pairs*4], pairs, n)
		}
	}
}
