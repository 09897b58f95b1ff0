package imaging

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Augment describes what is done to the square after the crop, in the order of the fields. A probability of 0, as in
// the zero value, turns a part off; it then draws no random number.
type Augment struct {
	Flip    float64 `yaml:"flip"`    // probability of a mirror image
	Affine  Affine  `yaml:"affine"`  // turn, shift, scale, shear
	Jitter  Jitter  `yaml:"jitter"`  // brightness, contrast, saturation, hue
	Gray    float64 `yaml:"gray"`    // probability of losing all colour
	Invert  float64 `yaml:"invert"`  // probability of the negative
	Outline float64 `yaml:"outline"` // probability of keeping only the edges, dark on white: drawings without fill
	Blur    Blur    `yaml:"blur"`
	Erase   Erase   `yaml:"erase"`
}

// Affine is a random linear map about the centre, sampled bilinearly. Outside, a picture with alpha shows its
// background and any other repeats its edge.
type Affine struct {
	Prob      float64    `yaml:"prob"`
	Rotate    float64    `yaml:"rotate"`    // up to so many degrees either way
	Translate float64    `yaml:"translate"` // up to this part of the side either way
	Scale     [2]float64 `yaml:"scale"`     // between the two, log-uniform; [0, 0] is [1, 1]
	Shear     float64    `yaml:"shear"`     // up to so many degrees either way
}

// Jitter is torchvision's ColorJitter: each factor uniform within ±, around 1 (hue: around 0, a full turn being 1), in
// random order.
type Jitter struct {
	Prob       float64 `yaml:"prob"`
	Brightness float64 `yaml:"brightness"`
	Contrast   float64 `yaml:"contrast"`
	Saturation float64 `yaml:"saturation"`
	Hue        float64 `yaml:"hue"`
}

// Blur is a Gaussian blur.
type Blur struct {
	Prob  float64    `yaml:"prob"`
	Sigma [2]float64 `yaml:"sigma"` // standard deviation in pixels, between the two
}

// Erase covers a rectangle with one random colour.
type Erase struct {
	Prob  float64    `yaml:"prob"`
	Area  [2]float64 `yaml:"area"`  // part of the picture, between the two
	Ratio [2]float64 `yaml:"ratio"` // height by width, log-uniform; [0, 0] is [0.3, 3.3]
}

// Validate reports the first field that cannot be used.
func (a Augment) Validate() error {
	for _, p := range []struct {
		name string
		v    float64
	}{{"flip", a.Flip}, {"affine.prob", a.Affine.Prob}, {"jitter.prob", a.Jitter.Prob}, {"gray", a.Gray}, {"invert", a.Invert},
		{"outline", a.Outline}, {"blur.prob", a.Blur.Prob}, {"erase.prob", a.Erase.Prob}, {"affine.translate", a.Affine.Translate},
		{"jitter.brightness", a.Jitter.Brightness}, {"jitter.contrast", a.Jitter.Contrast}, {"jitter.saturation", a.Jitter.Saturation}} {
		if !(p.v >= 0 && p.v <= 1) {
			return fmt.Errorf("%s must be between 0 and 1, is %v", p.name, p.v)
		}
	}
	return a.validateRanges()
}

func (a Augment) validateRanges() error {
	if f := a.Affine; !(f.Rotate >= 0 && f.Rotate <= 180) || !(f.Shear >= 0 && f.Shear < 90) {
		return fmt.Errorf("affine.rotate must be between 0 and 180 degrees and affine.shear under 90, are %v and %v", f.Rotate, f.Shear)
	}
	if !(a.Jitter.Hue >= 0 && a.Jitter.Hue <= 0.5) {
		return fmt.Errorf("jitter.hue must be between 0 and 0.5, is %v", a.Jitter.Hue)
	}
	if s := a.Affine.Scale; s != [2]float64{} && !(s[0] > 0.01 && s[0] <= s[1] && s[1] <= 100) {
		return fmt.Errorf("affine.scale must be two numbers 0.01 < a ≤ b ≤ 100, is %v", s)
	}
	if s := a.Blur.Sigma; (a.Blur.Prob > 0 || s != [2]float64{}) && !(s[0] > 0 && s[0] <= s[1] && s[1] <= 20) {
		return fmt.Errorf("blur.sigma must be two numbers 0 < a ≤ b ≤ 20 where blur.prob is above 0, is %v", s)
	}
	if s := a.Erase.Area; (a.Erase.Prob > 0 || s != [2]float64{}) && !(s[0] > 0 && s[0] <= s[1] && s[1] <= 1) {
		return fmt.Errorf("erase.area must be two numbers 0 < a ≤ b ≤ 1 where erase.prob is above 0, is %v", s)
	}
	if s := a.Erase.Ratio; s != [2]float64{} && !(s[0] > 0 && s[0] <= s[1] && s[1] <= maxRatio) {
		return fmt.Errorf("erase.ratio must be two numbers 0 < a ≤ b ≤ %d, is %v", maxRatio, s)
	}
	return nil
}

// augmenter keeps the buffers.
type augmenter struct {
	copy    []byte
	grey    []byte
	weights []int32
}

// apply changes the square pix of n×n RGB pixels in place.
func (g *augmenter) apply(a *Augment, pix []uint8, n int, background *[3]uint8, rng *rand.Rand) {
	if a.Flip > 0 && rng.Float64() < a.Flip {
		flip(pix, n)
	}
	if a.Affine.Prob > 0 && rng.Float64() < a.Affine.Prob {
		g.affine(a.Affine.draw(n, rng), pix, n, background)
	}
	if a.Jitter.Prob > 0 && rng.Float64() < a.Jitter.Prob {
		a.Jitter.apply(pix, rng)
	}
	if a.Gray > 0 && rng.Float64() < a.Gray {
		desaturate(pix)
	}
	if a.Invert > 0 && rng.Float64() < a.Invert {
		invert(pix)
	}
	if a.Outline > 0 && rng.Float64() < a.Outline {
		g.outline(pix, n)
	}
	if a.Blur.Prob > 0 && rng.Float64() < a.Blur.Prob {
		g.blur(pix, n, uniform(rng, a.Blur.Sigma[0], a.Blur.Sigma[1]))
	}
	if a.Erase.Prob > 0 && rng.Float64() < a.Erase.Prob {
		a.Erase.apply(pix, n, rng)
	}
}

func flip(pix []uint8, n int) {
	for y := range n {
		row := pix[y*n*3 : (y+1)*n*3]
		for l, r := 0, 3*(n-1); l < r; l, r = l+3, r-3 {
			row[l], row[l+1], row[l+2], row[r], row[r+1], row[r+2] = row[r], row[r+1], row[r+2], row[l], row[l+1], row[l+2]
		}
	}
}

// draw returns the map from output to input coordinates, in pixels: x' = m[0]x + m[1]y + m[2], y' = m[3]x + m[4]y + m[5].
func (f Affine) draw(n int, rng *rand.Rand) (m [6]float64) {
	angle := uniform(rng, -f.Rotate, f.Rotate) * math.Pi / 180
	shear := math.Tan(uniform(rng, -f.Shear, f.Shear) * math.Pi / 180)
	dx, dy := uniform(rng, -f.Translate, f.Translate)*float64(n), uniform(rng, -f.Translate, f.Translate)*float64(n)
	scale := 1.0
	if f.Scale != [2]float64{} {
		scale = math.Exp(uniform(rng, math.Log(f.Scale[0]), math.Log(f.Scale[1])))
	}
	// Forward: centre → shear → turn → scale → shift. This is its inverse.
	sin, cos := math.Sincos(angle)
	m[0], m[1] = (cos+shear*sin)/scale, (sin-shear*cos)/scale
	m[3], m[4] = -sin/scale, cos/scale
	c := float64(n-1) / 2
	m[2] = c - m[0]*(c+dx) - m[1]*(c+dy)
	m[5] = c - m[3]*(c+dx) - m[4]*(c+dy)
	return m
}

// affine samples pix bilinearly under m, in 16 bits of fraction.
func (g *augmenter) affine(m [6]float64, pix []uint8, n int, background *[3]uint8) {
	g.copy = append(g.copy[:0], pix...)
	const one = 1 << 16
	limit := n << 16
	for y := range n {
		x0 := int(math.Round((m[1]*float64(y) + m[2]) * one))
		y0 := int(math.Round((m[4]*float64(y) + m[5]) * one))
		dx, dy := int(math.Round(m[0]*one)), int(math.Round(m[3]*one))
		for x := range n {
			out := pix[(y*n+x)*3:][:3]
			if background != nil && (x0 <= -one || y0 <= -one || x0 >= limit || y0 >= limit) {
				copy(out, background[:])
			} else {
				g.sample(out, x0, y0, n, background)
			}
			x0, y0 = x0+dx, y0+dy
		}
	}
}

// sample blends the four pixels around (x, y).
func (g *augmenter) sample(out []uint8, x, y, n int, background *[3]uint8) {
	fx, fy := uint32(x>>8)&255, uint32(y>>8)&255
	x, y = x>>16, y>>16
	p00, p01 := g.pixel(x, y, n, background), g.pixel(x+1, y, n, background)
	p10, p11 := g.pixel(x, y+1, n, background), g.pixel(x+1, y+1, n, background)
	for k := range 3 {
		top := uint32(p00[k])*(256-fx) + uint32(p01[k])*fx
		low := uint32(p10[k])*(256-fx) + uint32(p11[k])*fx
		out[k] = uint8((top*(256-fy) + low*fy + 1<<15) >> 16)
	}
}

func (g *augmenter) pixel(x, y, n int, background *[3]uint8) []uint8 {
	if background != nil && (uint(x) >= uint(n) || uint(y) >= uint(n)) {
		return background[:]
	}
	x, y = max(min(x, n-1), 0), max(min(y, n-1), 0)
	return g.copy[(y*n+x)*3:][:3]
}

// apply draws the factors and applies them in random order.
func (j Jitter) apply(pix []uint8, rng *rand.Rand) {
	order := [4]int{0, 1, 2, 3}
	for i := 3; i > 0; i-- {
		k := rng.IntN(i + 1)
		order[i], order[k] = order[k], order[i]
	}
	for _, what := range order {
		switch {
		case what == 0 && j.Brightness > 0:
			brightness(pix, float32(uniform(rng, 1-j.Brightness, 1+j.Brightness)))
		case what == 1 && j.Contrast > 0:
			contrast(pix, float32(uniform(rng, 1-j.Contrast, 1+j.Contrast)))
		case what == 2 && j.Saturation > 0:
			saturation(pix, float32(uniform(rng, 1-j.Saturation, 1+j.Saturation)))
		case what == 3 && j.Hue > 0:
			shiftHue(pix, uniform(rng, -j.Hue, j.Hue))
		}
	}
}

// blend is Pillow's Image.blend of one sample: from a towards b and beyond, cut off after the point.
func blend(a, b uint8, factor float32) uint8 {
	v := float32(a) + factor*(float32(b)-float32(a))
	return uint8(max(min(v, 255), 0))
}

// blendWith blends every sample of pix with one value, by table.
func blendWith(pix []uint8, a uint8, factor float32) {
	var table [256]uint8
	for i := range table {
		table[i] = blend(a, uint8(i), factor)
	}
	for i, v := range pix {
		pix[i] = table[v]
	}
}

func brightness(pix []uint8, factor float32) { blendWith(pix, 0, factor) }

// contrast blends with the mean grey.
func contrast(pix []uint8, factor float32) {
	sum := 0
	for i := 0; i+3 <= len(pix); i += 3 {
		sum += int(luma(pix[i], pix[i+1], pix[i+2]))
	}
	blendWith(pix, uint8(float64(sum)/float64(max(len(pix)/3, 1))+0.5), factor)
}

// saturation blends with the grey picture.
func saturation(pix []uint8, factor float32) {
	for i := 0; i+3 <= len(pix); i += 3 {
		l := luma(pix[i], pix[i+1], pix[i+2])
		for k := range 3 {
			pix[i+k] = blend(l, pix[i+k], factor)
		}
	}
}

func desaturate(pix []uint8) {
	for i := 0; i+3 <= len(pix); i += 3 {
		l := luma(pix[i], pix[i+1], pix[i+2])
		pix[i], pix[i+1], pix[i+2] = l, l, l
	}
}

// shiftHue turns the hue by a part of the circle in Pillow's 8-bit HSV.
func shiftHue(pix []uint8, shift float64) {
	by := uint8(int32(shift * 255))
	for i := 0; i+3 <= len(pix); i += 3 {
		h, s, v := toHSV(pix[i], pix[i+1], pix[i+2])
		pix[i], pix[i+1], pix[i+2] = fromHSV(h+by, s, v)
	}
}

// toHSV is Pillow's rgb2hsv_row.
func toHSV(r, g, b uint8) (h, s, v uint8) {
	high, low := max(r, g, b), min(r, g, b)
	if high == low {
		return 0, 0, high
	}
	span := float32(high - low)
	rc, gc, bc := float32(high-r)/span, float32(high-g)/span, float32(high-b)/span
	var hue float32
	switch high {
	case r:
		hue = bc - gc
	case g:
		hue = 2 + rc - bc
	default:
		hue = 4 + gc - rc
	}
	turn := math.Mod(float64(hue)/6+1, 1)
	return uint8(float32(turn) * 255), uint8(span / float32(high) * 255), high
}

// fromHSV is Pillow's hsv2rgb.
func fromHSV(h, s, v uint8) (r, g, b uint8) {
	if s == 0 {
		return v, v, v
	}
	fs, fv := float64(s)/255, float64(v)
	sector := math.Floor(float64(h) * 6 / 255)
	f := float64(h)*6/255 - sector
	p := uint8(math.Round(fv * (1 - fs)))
	q := uint8(math.Round(fv * (1 - fs*f)))
	t := uint8(math.Round(fv * (1 - fs*(1-f))))
	switch int(sector) % 6 {
	case 0:
		return v, t, p
	case 1:
		return q, v, p
	case 2:
		return p, v, t
	case 3:
		return p, q, v
	case 4:
		return t, p, v
	}
	return v, p, q
}

// outline replaces the picture by the strength of its edges (Sobel's operator on the grey), dark on white.
func (g *augmenter) outline(pix []uint8, n int) {
	g.grey = growTo(g.grey, n*n)
	for i := range g.grey {
		g.grey[i] = luma(pix[3*i], pix[3*i+1], pix[3*i+2])
	}
	for y := range n {
		up, here, down := g.grey[max(y-1, 0)*n:], g.grey[y*n:], g.grey[min(y+1, n-1)*n:]
		for x := range n {
			l, r := max(x-1, 0), min(x+1, n-1)
			dx := int(up[r]) + 2*int(here[r]) + int(down[r]) - int(up[l]) - 2*int(here[l]) - int(down[l])
			dy := int(down[l]) + 2*int(down[x]) + int(down[r]) - int(up[l]) - 2*int(up[x]) - int(up[r])
			v := uint8(255 - min(max(dx, -dx)+max(dy, -dy), 255))
			i := (y*n + x) * 3
			pix[i], pix[i+1], pix[i+2] = v, v, v
		}
	}
}

// blur convolves with a Gaussian cut off at three standard deviations, first along the rows, then across; edges repeat.
func (g *augmenter) blur(pix []uint8, n int, sigma float64) {
	radius := max(int(math.Ceil(3*sigma)), 1)
	g.weights = growTo(g.weights, 2*radius+1)
	sum := 0.0
	for i := range g.weights {
		x := float64(i-radius) / sigma
		sum += math.Exp(-x * x / 2)
	}
	for i := range g.weights {
		x := float64(i-radius) / sigma
		g.weights[i] = int32(math.Round(math.Exp(-x*x/2) / sum * (1 << 16)))
	}
	g.copy = growTo(g.copy, len(pix))
	for y := range n {
		g.convolve(g.copy[y*n*3:], pix[y*n*3:], n, radius, 3)
	}
	for x := range n {
		g.convolve(pix[x*3:], g.copy[x*3:], n, radius, 3*n)
	}
}

// convolve filters one line of n pixels that are step bytes apart.
func (g *augmenter) convolve(dst, src []uint8, n, radius, step int) {
	for i := range n {
		r, gr, b := int32(1<<15), int32(1<<15), int32(1<<15)
		for k, w := range g.weights {
			at := max(min(i+k-radius, n-1), 0) * step
			r += int32(src[at]) * w
			gr += int32(src[at+1]) * w
			b += int32(src[at+2]) * w
		}
		at := i * step
		dst[at], dst[at+1], dst[at+2] = uint8(min(r>>16, 255)), uint8(min(gr>>16, 255)), uint8(min(b>>16, 255))
	}
}

// apply covers a rectangle.
func (e Erase) apply(pix []uint8, n int, rng *rand.Rand) {
	ratio := e.Ratio
	if ratio == [2]float64{} {
		ratio = [2]float64{0.3, 3.3}
	}
	area := uniform(rng, e.Area[0], e.Area[1]) * float64(n*n)
	r := math.Exp(uniform(rng, math.Log(ratio[0]), math.Log(ratio[1])))
	h := max(min(int(math.Round(math.Sqrt(area*r))), n), 1)
	w := max(min(int(math.Round(math.Sqrt(area/r))), n), 1)
	y0, x0 := rng.IntN(n-h+1), rng.IntN(n-w+1)
	v := rng.Uint32()
	for y := y0; y < y0+h; y++ {
		row := pix[(y*n+x0)*3 : (y*n+x0+w)*3]
		for i := 0; i < len(row); i += 3 {
			row[i], row[i+1], row[i+2] = uint8(v), uint8(v>>8), uint8(v>>16)
		}
	}
}
