package imaging

// Pillow's conversions between modes (libImaging/Convert.c), integer for integer.

// mulDiv255 is a·b/255, rounded.
func mulDiv255(a, b uint8) uint8 {
	t := uint32(a)*uint32(b) + 128
	return uint8((t>>8 + t) >> 8)
}

// premultiply multiplies the colours of pixels of n bytes by their last byte.
func premultiply(dst, src []byte, n int) {
	for i := 0; i+n <= len(src); i += n {
		a := src[i+n-1]
		for k := range n - 1 {
			dst[i+k] = mulDiv255(src[i+k], a)
		}
		dst[i+n-1] = a
	}
}

// unpremultiply divides the colours of pixels of n bytes by their last byte, in place.
func unpremultiply(pix []byte, n int) {
	for i := 0; i+n <= len(pix); i += n {
		a := uint32(pix[i+n-1])
		if a == 0 || a == 255 {
			continue
		}
		for k := range n - 1 {
			pix[i+k] = uint8(min(255*uint32(pix[i+k])/a, 255))
		}
	}
}

// luma is Pillow's grey of a colour (ITU-R 601-2).
func luma(r, g, b uint8) uint8 {
	return uint8((uint32(r)*19595 + uint32(g)*38470 + uint32(b)*7471 + 0x8000) >> 16)
}

// rgbRow converts the pixels src of p's mode to RGB, dropping alpha, as Pillow's convert("RGB").
func (p *Picture) rgbRow(dst, src []byte) {
	switch p.Mode {
	case Bilevel, Gray:
		for i, v := range src {
			dst[3*i], dst[3*i+1], dst[3*i+2] = v, v, v
		}
	case GrayAlpha:
		for i := range len(src) / 2 {
			v := src[2*i]
			dst[3*i], dst[3*i+1], dst[3*i+2] = v, v, v
		}
	case Gray16: // Pillow clips at 255
		for i := range len(src) / 2 {
			v := src[2*i]
			if src[2*i+1] != 0 {
				v = 255
			}
			dst[3*i], dst[3*i+1], dst[3*i+2] = v, v, v
		}
	case Palette:
		for i, v := range src {
			c := &p.Palette[v]
			dst[3*i], dst[3*i+1], dst[3*i+2] = c[0], c[1], c[2]
		}
	case RGB:
		copy(dst, src)
	case RGBA:
		for i := range len(src) / 4 {
			dst[3*i], dst[3*i+1], dst[3*i+2] = src[4*i], src[4*i+1], src[4*i+2]
		}
	case CMYK:
		cmykRow(dst, src)
	}
}

func cmykRow(dst, src []byte) {
	for i := range len(src) / 4 {
		white := 255 - src[4*i+3]
		for k := range 3 {
			dst[3*i+k] = white - mulDiv255(src[4*i+k], white)
		}
	}
}

// alphaRow writes the opacity of the pixels src of p's mode.
func (p *Picture) alphaRow(dst, src []byte) {
	n := p.Mode.Bytes()
	for i := range dst {
		px := src[i*n : i*n+n]
		dst[i] = 255
		switch {
		case p.Mode == GrayAlpha || p.Mode == RGBA:
			dst[i] = px[n-1]
		case p.Mode == Palette:
			dst[i] = p.Palette[px[0]][3]
		case p.KeyAlpha && (px[0] == p.Key[0] && (n == 1 || p.Mode == RGB && px[1] == p.Key[1] && px[2] == p.Key[2])):
			dst[i] = 0
		}
	}
}

// composite lays the RGB pixels over a background by their opacity, in place.
func composite(rgb, alpha []byte, background [3]uint8) {
	for i, a := range alpha {
		if a == 255 {
			continue
		}
		px := rgb[3*i : 3*i+3]
		for k := range px {
			px[k] = uint8((uint32(px[k])*uint32(a) + uint32(background[k])*uint32(255-a) + 127) / 255)
		}
	}
}

// RGB writes p as RGB to dst (3·Width·Height bytes), dropping alpha as Pillow's convert("RGB") does.
func (p *Picture) RGB(dst []byte) {
	for y := range p.Height {
		p.rgbRow(dst[3*y*p.Width:3*(y+1)*p.Width], p.row(y))
	}
}

// Over writes p as RGB to dst (3·Width·Height bytes), laid over a background where it is transparent.
func (p *Picture) Over(dst []byte, background [3]uint8) {
	p.RGB(dst)
	if !p.HasAlpha() {
		return
	}
	var alpha [1024]byte
	n := p.Mode.Bytes()
	for at := 0; at < p.Width*p.Height; at += len(alpha) {
		part := alpha[:min(len(alpha), p.Width*p.Height-at)]
		p.alphaRow(part, p.Pix[at*n:])
		composite(dst[3*at:], part, background)
	}
}
