package jpeg

// Channels returns how many bytes a pixel has: 1, 3, or 4 for CMYK.
func (h Header) Channels() int {
	return h.Components
}

// Pixels writes the wanted rectangle of the picture decoded last, row by row without gaps: grey, RGB, or CMYK with
// the polarity of the file (Adobe's files hold it inverted). dst has Dx·Dy·Channels bytes.
func (d *Decoder) Pixels(dst []byte) {
	rowBytes := d.rect.Dx() * d.head.Components
	for y := range d.rect.Dy() {
		d.pixelRow(dst[y*rowBytes:(y+1)*rowBytes], d.rect.Min.Y+y)
	}
}

func (d *Decoder) pixelRow(dst []byte, y int) {
	n := d.rect.Dx()
	var rows [4][]byte
	for i := range d.head.Components {
		rows[i] = d.componentRow(i, y)[:n]
	}
	switch d.head.Space {
	case Gray:
		copy(dst, rows[0])
	case YCbCr:
		convertYCC(dst, rows[0], rows[1], rows[2])
	case RGB:
		interleave3(dst, rows[0], rows[1], rows[2])
	case CMYK:
		interleave4(dst, rows)
	case YCCK:
		convertYCCK(dst, rows)
	}
}

// componentRow returns a row of component i at the output's size, from the rectangle's left edge on.
func (d *Decoder) componentRow(i, y int) []byte {
	c := &d.comps[i]
	x0 := d.rect.Min.X
	near := c.row(y / c.ratioY)
	if c.ratioX == 1 && c.ratioY == 1 {
		return near[margin+x0:]
	}
	// The row is upsampled from an even sample on; out points at its first wanted pixel.
	first := x0 / c.ratioX
	count := (d.rect.Max.X-1)/c.ratioX - first + 1
	out := d.rows[i*d.rowStride : (i+1)*d.rowStride]
	src := near[margin+first-1:]
	fancyX := c.ratioX == 2 && c.width > 2
	switch {
	case c.ratioY == 2 && fancyX:
		upsampleH2V2(out, src, c.row(y/2 + 2*(y&1) - 1)[margin+first-1:], count)
	case c.ratioY == 1 && fancyX:
		upsampleH2V1(out, src, count)
	case c.ratioY == 2 && c.ratioX == 1:
		upsampleH1V2(out, src[1:], c.row(y/2 + 2*(y&1) - 1)[margin+first:], count, int32(1+y&1))
	default:
		upsampleBox(out, src[1:], count, c.ratioX)
	}
	return out[x0-first*c.ratioX:]
}

// row returns a row of the plane; rows above and below the picture repeat the first and the last.
func (c *component) row(y int) []byte {
	y = max(min(y, c.height-1), 0)
	return c.plane[y*c.stride : (y+1)*c.stride]
}

// The triangle filter of libjpeg's "fancy upsampling" (jdsample.c): an output sample is 3/4 of the nearer input and 1/4
// of the further, in each direction, with a rounding that alternates. Rows start one sample before the first.

func upsampleH2V2Go(dst, near, far []byte, count int) {
	near, far, dst = near[:count+2], far[:count+2], dst[:2*count]
	last := int32(near[0])*3 + int32(far[0])
	this := int32(near[1])*3 + int32(far[1])
	for i := range count {
		next := int32(near[i+2])*3 + int32(far[i+2])
		dst[2*i] = byte((this*3 + last + 8) >> 4)
		dst[2*i+1] = byte((this*3 + next + 7) >> 4)
		last, this = this, next
	}
}

func upsampleH2V1(dst, src []byte, count int) {
	src, dst = src[:count+2], dst[:2*count]
	for i := range count {
		this := int32(src[i+1]) * 3
		dst[2*i] = byte((this + int32(src[i]) + 1) >> 2)
		dst[2*i+1] = byte((this + int32(src[i+2]) + 2) >> 2)
	}
}

func upsampleH1V2(dst, near, far []byte, count int, bias int32) {
	for i := range count {
		dst[i] = byte((int32(near[i])*3 + int32(far[i]) + bias) >> 2)
	}
}

func upsampleBox(dst, src []byte, count, ratio int) {
	for i := range count {
		for k := range ratio {
			dst[i*ratio+k] = src[i]
		}
	}
}

// The colour conversion of JFIF (T.871) in libjpeg's 16-bit fixed point.
const (
	crToR = 91881  // 1.40200
	cbToB = 116130 // 1.77200
	crToG = -46802 // -0.71414
	cbToG = -22554 // -0.34414
	half  = 1 << 15
)

func toRGB(y, cb, cr byte) (r, g, b int32) {
	u, v := int32(cb)-128, int32(cr)-128
	r = int32(y) + (crToR*v+half)>>16
	g = int32(y) + (cbToG*u+crToG*v+half)>>16
	b = int32(y) + (cbToB*u+half)>>16
	return r, g, b
}

func convertYCCGo(dst, ys, cbs, crs []byte) {
	cbs, crs = cbs[:len(ys)], crs[:len(ys)]
	dst = dst[:3*len(ys)]
	for i, y := range ys {
		r, g, b := toRGB(y, cbs[i], crs[i])
		dst[3*i], dst[3*i+1], dst[3*i+2] = clamp8(r), clamp8(g), clamp8(b)
	}
}

func convertYCCK(dst []byte, rows [4][]byte) {
	for i, y := range rows[0] {
		r, g, b := toRGB(y, rows[1][i], rows[2][i])
		dst[4*i], dst[4*i+1], dst[4*i+2] = clamp8(255-r), clamp8(255-g), clamp8(255-b)
		dst[4*i+3] = rows[3][i]
	}
}

func interleave3(dst, a, b, c []byte) {
	for i := range a {
		dst[3*i], dst[3*i+1], dst[3*i+2] = a[i], b[i], c[i]
	}
}

func interleave4(dst []byte, rows [4][]byte) {
	for i := range rows[0] {
		dst[4*i], dst[4*i+1], dst[4*i+2], dst[4*i+3] = rows[0][i], rows[1][i], rows[2][i], rows[3][i]
	}
}
