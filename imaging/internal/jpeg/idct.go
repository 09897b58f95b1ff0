package jpeg

import "encoding/binary"

// The constants of libjpeg's accurate integer inverse DCT (jidctint.c, after Loeffler, Ligtenberg and Moschytz 1989),
// 13 bits of fraction, with the sums of the flow graph multiplied out: each output of the even and odd halves is one
// linear combination of four inputs, which gives the same integers and is the form that vector units like.
const (
	constBits = 13
	pass1Bits = 2

	evenA = 4433   // √2·c6
	evenB = 10703  // √2·c2
	evenC = -10704 // -√2·c2, as the rounded constants of the flow graph add up

	odd07 = -11363
	odd01 = 2260
	odd03 = -6436
	odd05 = 9633

	odd15 = 2261
	odd13 = -11362
	odd11 = 6437

	odd23 = -2259
)

// idct1 is one 8-point inverse DCT, scaled up by √8·2^13 and without rounding.
func idct1(x0, x1, x2, x3, x4, x5, x6, x7 int32) (y0, y1, y2, y3, y4, y5, y6, y7 int32) {
	a, b := (x0+x4)<<constBits, (x0-x4)<<constBits
	c, e := x2*evenB+x6*evenA, x2*evenA+x6*evenC
	e0, e1, e2, e3 := a+c, b+e, b-e, a-c
	o0 := x7*odd07 + x1*odd01 + x3*odd03 + x5*odd05
	o1 := x5*odd15 + x3*odd13 + x1*odd11 + x7*odd05
	o2 := x3*odd23 + x5*odd13 + x7*odd03 + x1*odd05
	o3 := -x1*odd07 + x7*odd01 + x5*odd11 + x3*odd05
	return e0 + o3, e1 + o2, e2 + o1, e3 + o0, e3 - o0, e2 - o1, e1 - o2, e0 - o3
}

func saturate16(v int32) int32 { return max(min(v, 32767), -32768) }

func clamp8(v int32) byte { return byte(max(min(v, 255), 0)) }

// idct8 multiplies the coefficients by the quantisation table (modulo 2^16), transforms the block and writes 8 rows of
// 8 samples. The pass over the rows takes 16-bit inputs, saturated, as the vector versions do.
func idct8(dst []byte, stride int, block *[64]int16, quant *[64]uint16) {
	var work [64]int32
	for x := range 8 {
		dequant := func(y int) int32 { return int32(block[y*8+x] * int16(quant[y*8+x])) }
		column(&work, x, dequant(0), dequant(1), dequant(2), dequant(3), dequant(4), dequant(5), dequant(6), dequant(7))
	}
	for y := range 8 {
		row(dst[y*stride:y*stride+8], (*[8]int32)(work[y*8:]))
	}
}

func column(work *[64]int32, x int, x0, x1, x2, x3, x4, x5, x6, x7 int32) {
	if x1|x2|x3|x4|x5|x6|x7 == 0 {
		dc := saturate16(x0 << pass1Bits)
		for y := range 8 {
			work[y*8+x] = dc
		}
		return
	}
	y0, y1, y2, y3, y4, y5, y6, y7 := idct1(x0, x1, x2, x3, x4, x5, x6, x7)
	const shift, round = constBits - pass1Bits, 1 << (constBits - pass1Bits - 1)
	work[x] = saturate16((y0 + round) >> shift)
	work[8+x] = saturate16((y1 + round) >> shift)
	work[16+x] = saturate16((y2 + round) >> shift)
	work[24+x] = saturate16((y3 + round) >> shift)
	work[32+x] = saturate16((y4 + round) >> shift)
	work[40+x] = saturate16((y5 + round) >> shift)
	work[48+x] = saturate16((y6 + round) >> shift)
	work[56+x] = saturate16((y7 + round) >> shift)
}

func row(dst []byte, w *[8]int32) {
	y0, y1, y2, y3, y4, y5, y6, y7 := idct1(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7])
	const shift, round = constBits + pass1Bits + 3, 1<<(constBits+pass1Bits+2) + 128<<(constBits+pass1Bits+3)
	_ = dst[7]
	dst[0] = clamp8((y0 + round) >> shift)
	dst[1] = clamp8((y1 + round) >> shift)
	dst[2] = clamp8((y2 + round) >> shift)
	dst[3] = clamp8((y3 + round) >> shift)
	dst[4] = clamp8((y4 + round) >> shift)
	dst[5] = clamp8((y5 + round) >> shift)
	dst[6] = clamp8((y6 + round) >> shift)
	dst[7] = clamp8((y7 + round) >> shift)
}

// transform turns a block of coefficients into samples of the plane.
func (c *component) transform(block *[64]int16, bx, by int, dcOnly bool) {
	size := 8 / c.reduce
	dst := c.plane[by*size*c.stride+margin+bx*size:]
	switch {
	case dcOnly || size == 1:
		dc := int32(block[0] * int16(c.quant[0]))
		fill(dst, c.stride, size, clamp8((dc+4)>>3+128))
	case size == 8:
		inverse(dst, c.stride, block, &c.quant)
	case size == 4:
		idct4(dst, c.stride, block, &c.quant)
	default:
		idct2(dst, c.stride, block, &c.quant)
	}
}

// fill writes a square of one value.
func fill(dst []byte, stride, size int, v byte) {
	if size == 8 {
		wide := uint64(v) * 0x0101010101010101
		for y := range 8 {
			binary.LittleEndian.PutUint64(dst[y*stride:], wide)
		}
		return
	}
	for y := range size {
		row := dst[y*stride : y*stride+size]
		for x := range row {
			row[x] = v
		}
	}
}

// dequantised returns the coefficient at an index, as idct8 sees it.
func dequantised(block *[64]int16, quant *[64]uint16, i int) int32 {
	return int32(block[i] * int16(quant[i]))
}

// idct4 is the 4-point inverse transform of the 4×4 lowest frequencies: the picture at half size, cut off at its own
// highest frequency.
func idct4(dst []byte, stride int, block *[64]int16, quant *[64]uint16) {
	var work [16]int32
	for x := range 4 {
		f0, f1 := dequantised(block, quant, x), dequantised(block, quant, 8+x)
		f2, f3 := dequantised(block, quant, 16+x), dequantised(block, quant, 24+x)
		const shift, round = constBits - pass1Bits, 1 << (constBits - pass1Bits - 1)
		a, b, c, e := idct1of4(f0, f1, f2, f3)
		work[x], work[4+x], work[8+x], work[12+x] = (a+round)>>shift, (b+round)>>shift, (c+round)>>shift, (e+round)>>shift
	}
	for y := range 4 {
		w, out := work[y*4:y*4+4], dst[y*stride:y*stride+4]
		const shift, round = constBits + pass1Bits + 3, 1<<(constBits+pass1Bits+2) + 128<<(constBits+pass1Bits+3)
		a, b, c, e := idct1of4(saturate16(w[0]), saturate16(w[1]), saturate16(w[2]), saturate16(w[3]))
		out[0], out[1], out[2], out[3] = clamp8((a+round)>>shift), clamp8((b+round)>>shift), clamp8((c+round)>>shift), clamp8((e+round)>>shift)
	}
}

// idct1of4 is one 4-point inverse DCT, scaled up by 2·2^13.
func idct1of4(x0, x1, x2, x3 int32) (y0, y1, y2, y3 int32) {
	a, b := (x0+x2)<<constBits, (x0-x2)<<constBits
	c, e := x1*evenB+x3*evenA, x1*evenA-x3*evenB
	return a + c, b + e, b - e, a - c
}

// idct2 is the 2-point inverse transform of the 2×2 lowest frequencies.
func idct2(dst []byte, stride int, block *[64]int16, quant *[64]uint16) {
	f00, f01 := dequantised(block, quant, 0), dequantised(block, quant, 1)
	f10, f11 := dequantised(block, quant, 8), dequantised(block, quant, 9)
	const round = 4 + 128<<3
	dst[0], dst[1] = clamp8((f00+f01+f10+f11+round)>>3), clamp8((f00-f01+f10-f11+round)>>3)
	dst[stride], dst[stride+1] = clamp8((f00+f01-f10-f11+round)>>3), clamp8((f00-f01-f10+f11+round)>>3)
}

// transformAll transforms the wanted blocks of a progressive picture.
func (d *Decoder) transformAll(c *component) {
	for by := c.by0; by < c.by1; by++ {
		for bx := c.bx0; bx < c.bx1; bx++ {
			c.transform((*[64]int16)(c.coefs[(by*c.blocksX+bx)*64:]), bx, by, false)
		}
	}
}

// extend repeats the first and the last real sample of each row outwards, which is what upsampling at the edges needs.
func (c *component) extend() {
	size := 8 / c.reduce
	for y := c.by0 * size; y < min(c.by1*size, c.height); y++ {
		row := c.plane[y*c.stride : (y+1)*c.stride]
		row[margin-1] = row[margin]
		row[margin+c.width] = row[margin+c.width-1]
	}
}
