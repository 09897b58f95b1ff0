//go:build !amd64

package jpeg

func inverse(dst []byte, stride int, block *[64]int16, quant *[64]uint16) {
	idct8(dst, stride, block, quant)
}

func upsampleH2V2(dst, near, far []byte, count int) { upsampleH2V2Go(dst, near, far, count) }

func convertYCC(dst, ys, cbs, crs []byte) { convertYCCGo(dst, ys, cbs, crs) }
