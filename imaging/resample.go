package imaging

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Interpolation is a resampling filter.
type Interpolation string

// Pillow's filters. All but Nearest widen when they reduce ("antialias").
const (
	Bicubic  Interpolation = "bicubic" // a = -0.5
	Bilinear Interpolation = "bilinear"
	Nearest  Interpolation = "nearest"
	Box      Interpolation = "box"
	Hamming  Interpolation = "hamming"
	Lanczos  Interpolation = "lanczos"
)

// kernel is a filter function, zero beyond ±support.
type kernel struct {
	support float64
	at      func(x float64) float64
}

var kernels = map[Interpolation]kernel{
	Box:      {0.5, boxKernel},
	Bilinear: {1, func(x float64) float64 { return max(1-math.Abs(x), 0) }},
	Hamming:  {1, hammingKernel},
	Bicubic:  {2, bicubicKernel},
	Lanczos:  {3, lanczosKernel},
}

func (f Interpolation) validate() error {
	if _, ok := kernels[f]; !ok && f != Nearest {
		return fmt.Errorf("interpolation %q is not one of bicubic, bilinear, nearest, box, hamming, lanczos", string(f))
	}
	return nil
}

func boxKernel(x float64) float64 {
	if x > -0.5 && x <= 0.5 {
		return 1
	}
	return 0
}

func bicubicKernel(x float64) float64 {
	const a = -0.5
	x = math.Abs(x)
	switch {
	case x < 1:
		return ((a+2)*x-(a+3))*x*x + 1
	case x < 2:
		return (((x-5)*x+8)*x - 4) * a
	}
	return 0
}

func hammingKernel(x float64) float64 {
	x = math.Abs(x)
	switch {
	case x == 0:
		return 1
	case x >= 1:
		return 0
	}
	x *= math.Pi
	// The constants are of single precision in Pillow.
	return math.Sin(x) / x * (float64(float32(0.54)) + float64(float32(0.46))*math.Cos(x))
}

func lanczosKernel(x float64) float64 {
	if x < -3 || x >= 3 {
		return 0
	}
	return sinc(x) * sinc(x/3)
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	x *= math.Pi
	return math.Sin(x) / x
}

// precision is the number of bits of fraction of the coefficients for 8-bit samples: 32 bits of accumulator less 8 of
// the sample and 2 for filters with negative lobes.
const precision = 32 - 8 - 2

// axis holds the coefficients of one pass: output i is the sum over k < count[i] of in[first[i]+k]·weight[i·taps+k].
type axis struct {
	key     axisKey
	taps    int
	first   []int32
	count   []int32
	weights []float64
	fixed   []int32
	// What the vector kernels want, see vector_amd64.go.
	offsets         []int32
	grouped, paired []int16
	groups, pairs   int
}

// axisKey is what the coefficients depend on.
type axisKey struct {
	in, out    int
	box0, box1 float64
	from, to   int // the part of the outputs that is wanted
	f          Interpolation
}

// prepare computes the coefficients (Pillow's precompute_coeffs and normalize_coeffs_8bpc), or keeps them if they are
// there already.
func (a *axis) prepare(key axisKey) {
	if a.key == key {
		return
	}
	a.key = key
	k := kernels[key.f]
	scale := (key.box1 - key.box0) / float64(key.out)
	filterScale := max(scale, 1)
	support := k.support * filterScale
	a.taps = int(math.Ceil(support))*2 + 1
	n := key.to - key.from
	a.first, a.count = growTo(a.first, n), growTo(a.count, n)
	a.weights, a.fixed = growTo(a.weights, n*a.taps), growTo(a.fixed, n*a.taps)
	inverse := 1 / filterScale
	for i := range n {
		center := key.box0 + (float64(key.from+i)+0.5)*scale
		first := max(int(center-support+0.5), 0)
		count := min(int(center+support+0.5), key.in) - first
		w := a.weights[i*a.taps : (i+1)*a.taps]
		clear(w)
		sum := 0.0
		for j := range count {
			w[j] = k.at((float64(j+first) - center + 0.5) * inverse)
			sum += w[j]
		}
		if sum != 0 {
			for j := range count {
				w[j] /= sum
			}
		}
		a.first[i], a.count[i] = int32(first), int32(count)
		fix(a.fixed[i*a.taps:(i+1)*a.taps], w)
	}
	a.prepareVector()
}

func fix(dst []int32, weights []float64) {
	for i, w := range weights {
		half := 0.5
		if w < 0 {
			half = -0.5
		}
		dst[i] = int32(half + w*(1<<precision))
	}
}

func growTo[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}

// plane is a rectangle of pixels inside a larger buffer.
type plane struct {
	pix    []byte
	w, h   int
	stride int
	n      int // bytes for a pixel
}

func (p *Picture) plane() plane {
	n := p.Mode.Bytes()
	return plane{p.Pix, p.Width, p.Height, p.Width * n, n}
}

// sub returns a part of the plane.
func (p plane) sub(x, y, w, h int) plane {
	return plane{p.pix[y*p.stride+x*p.n:], w, h, p.stride, p.n}
}

// window says which resampling is wanted: the whole source is scaled to w×h, of which the rectangle from (x0, y0) to
// (x1, y1) is computed. box is the part of the source that is scaled, in Pillow's sense: filters reach beyond it.
type window struct {
	w, h           int
	x0, y0, x1, y1 int
	box            [4]float64
	f              Interpolation
}

// whole returns the window that scales all of src to w×h.
func whole(src plane, w, h int, f Interpolation) window {
	return window{w, h, 0, 0, w, h, [4]float64{0, 0, float64(src.w), float64(src.h)}, f}
}

// resampler resizes as Pillow does: a pass over the columns, rounded to the sample type, then one over the rows. It
// keeps its coefficients and buffers.
type resampler struct {
	x, y  axis
	tmp   []byte
	where []int32
}

// resample writes the window of src to dst, rows without gaps. Samples are bytes, or 16-bit little-endian if wide.
func (r *resampler) resample(dst []byte, src plane, win window, wide bool) {
	if win.f == Nearest {
		r.nearest(dst, src, win)
		return
	}
	ow, oh := win.x1-win.x0, win.y1-win.y0
	needX := win.w != src.w || win.box[0] != 0 || win.box[2] != float64(win.w)
	needY := win.h != src.h || win.box[1] != 0 || win.box[3] != float64(win.h)
	y0, rows := win.y0, oh
	if needY {
		r.y.prepare(axisKey{src.h, win.h, win.box[1], win.box[3], win.y0, win.y1, win.f})
		y0 = int(r.y.first[0])
		rows = int(r.y.first[oh-1]+r.y.count[oh-1]) - y0
	}
	mid := src.sub(0, y0, src.w, rows)
	if needX {
		r.x.prepare(axisKey{src.w, win.w, win.box[0], win.box[2], win.x0, win.x1, win.f})
		mid = r.columns(dst, mid, ow, needY, wide)
	} else {
		mid = mid.sub(win.x0, 0, ow, rows)
	}
	switch {
	case needY && wide:
		r.y.rows16(dst, mid, y0)
	case needY:
		r.y.rows8(dst, mid, y0)
	case !needX:
		for y := range oh {
			copy(dst[y*ow*src.n:(y+1)*ow*src.n], mid.pix[y*mid.stride:])
		}
	}
}

// columns runs the pass along the rows, into dst if it is the only one.
func (r *resampler) columns(dst []byte, src plane, ow int, more, wide bool) plane {
	out := plane{dst, ow, src.h, ow * src.n, src.n}
	if more {
		// A gap behind each row lets vector stores run over its end.
		out.stride = (ow*src.n+31)&^31 + 32
		r.tmp = grow(r.tmp, out.stride*(src.h+1)) // and a row that may be read with weight 0
		out.pix = r.tmp
	}
	if wide {
		r.x.columns16(out, src)
	} else {
		r.x.columns8(out, src)
	}
	return out
}

func clip8(v int32) byte { return byte(max(min(v>>precision, 255), 0)) }

const roundHalf = 1 << (precision - 1)

// columns8Go is the pass along the rows for n samples a pixel.
func (a *axis) columns8Go(dst, src plane) {
	for y := range src.h {
		in, out := src.pix[y*src.stride:], dst.pix[y*dst.stride:]
		for i := range dst.w {
			first, count := int(a.first[i]), int(a.count[i])
			w := a.fixed[i*a.taps : i*a.taps+count]
			if src.n == 3 {
				px := in[first*3 : (first+count)*3]
				s0, s1, s2 := int32(roundHalf), int32(roundHalf), int32(roundHalf)
				for k, c := range w {
					p := px[3*k : 3*k+3]
					s0 += int32(p[0]) * c
					s1 += int32(p[1]) * c
					s2 += int32(p[2]) * c
				}
				out[3*i], out[3*i+1], out[3*i+2] = clip8(s0), clip8(s1), clip8(s2)
				continue
			}
			for b := range src.n {
				sum, at := int32(roundHalf), first*src.n+b
				for _, c := range w {
					sum += int32(in[at]) * c
					at += src.n
				}
				out[i*src.n+b] = clip8(sum)
			}
		}
	}
}

// rows8Go is the pass across the rows; src starts at row y0 of the picture that the coefficients speak of.
func (a *axis) rows8Go(dst []byte, src plane, y0 int) {
	n := src.w * src.n
	for i, first := range a.first {
		a.row8Go(dst[i*n:(i+1)*n], src, i, int(first)-y0)
	}
}

// row8Go computes output row i, whose first tap is row top of src.
func (a *axis) row8Go(dst []byte, src plane, i, top int) {
	w := a.fixed[i*a.taps : i*a.taps+int(a.count[i])]
	var sums [256]int32
	for at := 0; at < len(dst); at += len(sums) {
		part := sums[:min(len(sums), len(dst)-at)]
		for x := range part {
			part[x] = roundHalf
		}
		for k, c := range w {
			in := src.pix[(top+k)*src.stride+at:][:len(part)]
			for x, v := range in {
				part[x] += int32(v) * c
			}
		}
		for x, s := range part {
			dst[at+x] = clip8(s)
		}
	}
}

func (a *axis) columns16(dst, src plane) {
	for y := range src.h {
		in, out := src.pix[y*src.stride:], dst.pix[y*dst.stride:]
		for i := range dst.w {
			sum := 0.0
			for k := range int(a.count[i]) {
				sum += float64(binary.LittleEndian.Uint16(in[2*(int(a.first[i])+k):])) * a.weights[i*a.taps+k]
			}
			put16(out[2*i:], sum)
		}
	}
}

func (a *axis) rows16(dst []byte, src plane, y0 int) {
	for i := range a.first {
		for x := range src.w {
			sum := 0.0
			for k := range int(a.count[i]) {
				at := (int(a.first[i])-y0+k)*src.stride + 2*x
				sum += float64(binary.LittleEndian.Uint16(src.pix[at:])) * a.weights[i*a.taps+k]
			}
			put16(dst[2*(i*src.w+x):], sum)
		}
	}
}

// put16 rounds a sum to 16 bits.
func put16(dst []byte, sum float64) {
	v := max(min(int(sum+math.Copysign(0.5, sum)), 65535), 0)
	binary.LittleEndian.PutUint16(dst, uint16(v))
}

// nearest is Pillow's affine scaling: the position is accumulated, not multiplied, and rounded down.
func (r *resampler) nearest(dst []byte, src plane, win window) {
	r.where = growTo(r.where, win.w)
	positions(r.where, win.box[0], win.box[2], win.w)
	ow := win.x1 - win.x0
	stepY := (win.box[3] - win.box[1]) / float64(win.h)
	y := win.box[1] + stepY*0.5
	for i := range win.y1 {
		if i >= win.y0 {
			in := src.pix[int(y)*src.stride:]
			out := dst[(i-win.y0)*ow*src.n:]
			for k, x := range r.where[win.x0:win.x1] {
				copy(out[k*src.n:(k+1)*src.n], in[int(x)*src.n:])
			}
		}
		y += stepY
	}
}

func positions(where []int32, from, to float64, n int) {
	step := (to - from) / float64(n)
	x := from + step*0.5
	for i := range where {
		where[i] = int32(x)
		x += step
	}
}
