package imaging

// Resizer resizes pictures as Pillow's Image.resize does and keeps its buffers. The zero value is ready. It is not
// safe for concurrent use.
type Resizer struct {
	r       resampler
	out     Picture
	scratch []byte
}

// Resize returns p scaled to w×h pixels in its own mode. Palette and bilevel pictures are resized by Nearest whatever
// f says, and colours are weighed by their alpha, as Pillow does. The result belongs to the resizer and holds until
// the next call.
func (r *Resizer) Resize(p *Picture, w, h int, f Interpolation) *Picture {
	pix := r.out.Pix
	r.out = *p
	r.out.Pix = pix
	r.out.resize(p.Mode, w, h)
	r.resize(r.out.Pix, p, whole(p.plane(), w, h, f))
	return &r.out
}

// resize writes a window of p in p's mode.
func (r *Resizer) resize(dst []byte, p *Picture, win window) {
	src := p.plane()
	same := win.w == p.Width && win.h == p.Height && win.box == [4]float64{0, 0, float64(p.Width), float64(p.Height)}
	if p.Mode == Bilevel || p.Mode == Palette || same {
		win.f = Nearest
	}
	if win.f == Nearest || p.Mode != RGBA && p.Mode != GrayAlpha {
		r.r.resample(dst, src, win, p.Mode == Gray16)
		return
	}
	r.scratch = grow(r.scratch, len(p.Pix))
	premultiply(r.scratch, p.Pix, src.n)
	src.pix = r.scratch
	r.r.resample(dst, src, win, false)
	unpremultiply(dst[:(win.x1-win.x0)*(win.y1-win.y0)*src.n], src.n)
}

// Fit returns p upright and scaled down so that its shortest side (or its longest) is at most size pixels, which is
// how shards are made smaller. What is scaled becomes RGB, over white where it is transparent; grey stays grey. The
// result is p itself if nothing is to be done, or belongs to the resizer until the next call.
func (r *Resizer) Fit(p *Picture, size int, longest bool, f Interpolation) *Picture {
	p = p.Upright()
	side := min(p.Width, p.Height)
	if longest {
		side = max(p.Width, p.Height)
	}
	if side <= size {
		return p
	}
	if p.Mode != Gray && p.Mode != RGB || p.KeyAlpha {
		rgb := p.blankRGB()
		p.Over(rgb.Pix, White)
		p = rgb
	}
	return r.Resize(p, max(1, p.Width*size/side), max(1, p.Height*size/side), f)
}

// FitView is Fit by the shortest side for a picture that c's transform sees next: transparency is forgotten where c forgets
// it, and the picture stays as it is stored where c does not turn it upright.
func (r *Resizer) FitView(p *Picture, size int, c TrainConfig) *Picture {
	if !c.Orient && p.Orientation > 1 {
		stored := *p
		stored.Orientation = 1
		p = &stored
	}
	if c.Alpha == AlphaDrop && p.HasAlpha() {
		rgb := p.blankRGB()
		rgb.Orientation = p.Orientation
		p.RGB(rgb.Pix)
		p = rgb
	}
	return r.Fit(p, size, false, Bicubic)
}

// blankRGB is an upright picture of p's size.
func (p *Picture) blankRGB() *Picture {
	rgb := &Picture{Format: p.Format, Orientation: 1}
	rgb.resize(RGB, p.Width, p.Height)
	return rgb
}

// White is the background that alpha is laid over by default.
var White = [3]uint8{255, 255, 255}
