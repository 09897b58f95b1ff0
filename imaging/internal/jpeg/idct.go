package jpeg

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
	at := by*size*c.stride + margin + bx*size
	if dcOnly || c.reduce == 8 {
		dc := int32(block[0] * int16(c.quant[0]))
		fill(c.plane[at:], c.stride, size, clamp8((dc+4)>>3+128))
		return
	}
	if c.reduce == 1 {
		inverse(c.plane[at:], c.stride, block, &c.quant)
		return
	}
	var full [64]byte
	inverse(full[:], 8, block, &c.quant)
	if c.reduce == 2 {
		halve(c.plane[at:], c.stride, &full)
	} else {
		quarter(c.plane[at:], c.stride, &full)
	}
}

// fill writes a square of one value.
func fill(dst []byte, stride, size int, v byte) {
	for y := range size {
		row := dst[y*stride : y*stride+size]
		for x := range row {
			row[x] = v
		}
	}
}

// halve writes the means of 2×2 samples.
func halve(dst []byte, stride int, full *[64]byte) {
	for y := range 4 {
		for x := range 4 {
			i := y*16 + x*2
			sum := int(full[i]) + int(full[i+1]) + int(full[i+8]) + int(full[i+9])
			dst[y*stride+x] = byte((sum + 2) >> 2)
		}
	}
}

// quarter writes the means of 4×4 samples.
func quarter(dst []byte, stride int, full *[64]byte) {
	for y := range 2 {
		for x := range 2 {
			sum := 8
			for i := range 16 {
				sum += int(full[(y*4+i>>2)*8+x*4+i&3])
			}
			dst[y*stride+x] = byte(sum >> 4)
		}
	}
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
