package jpeg

import "golang.org/x/sys/cpu"

// useAVX2 chooses the vector kernels; tests switch it off to compare.
var useAVX2 = cpu.X86.HasAVX2

//go:noescape
func idct8AVX2(dst *byte, stride int, block *[64]int16, quant *[64]uint16)

//go:noescape
func upsampleH2V2AVX2(dst, near, far *byte, count int)

//go:noescape
func convertYCCAVX2(dst, y, cb, cr *byte, n int)

// inverse multiplies by the quantisation table, transforms and writes 8 rows of 8 samples.
func inverse(dst []byte, stride int, block *[64]int16, quant *[64]uint16) {
	if !useAVX2 {
		idct8(dst, stride, block, quant)
		return
	}
	_ = dst[7*stride+7]
	idct8AVX2(&dst[0], stride, block, quant)
}

// lanes is how many samples a vector kernel takes at once; it reads and writes whole groups.
const lanes = 16

func upsampleH2V2(dst, near, far []byte, count int) {
	n := (count + lanes - 1) &^ (lanes - 1)
	if !useAVX2 || len(dst) < 2*n || len(near) < n+2 || len(far) < n+2 {
		upsampleH2V2Go(dst, near, far, count)
		return
	}
	upsampleH2V2AVX2(&dst[0], &near[0], &far[0], n)
}

func convertYCC(dst, ys, cbs, crs []byte) {
	n := 0
	if useAVX2 && len(ys) >= lanes {
		n = len(ys) &^ (lanes - 1)
		_, _, _ = dst[3*n-1], cbs[n-1], crs[n-1]
		convertYCCAVX2(&dst[0], &ys[0], &cbs[0], &crs[0], n)
	}
	convertYCCGo(dst[3*n:], ys[n:], cbs[n:], crs[n:])
}
