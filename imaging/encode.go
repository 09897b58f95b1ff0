package imaging

import (
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"math/bits"
)

// EncodeJPEG writes p as a JPEG file of a quality from 1 to 100: grey pictures as grey, all others as colour with
// chroma at half size, over white where they are transparent. The orientation is not written: turn the picture first.
func (p *Picture) EncodeJPEG(w io.Writer, quality int) error {
	if quality < 1 || quality > 100 {
		return fmt.Errorf("imaging: JPEG quality must be between 1 and 100, is %d", quality)
	}
	if (p.Mode == Gray || p.Mode == Bilevel) && !p.KeyAlpha {
		return jpeg.Encode(w, &image.Gray{Pix: p.Pix, Stride: p.Width, Rect: image.Rect(0, 0, p.Width, p.Height)}, &jpeg.Options{Quality: quality})
	}
	return jpeg.Encode(w, p.overWhite(), &jpeg.Options{Quality: quality})
}

// EncodePNG writes p as a PNG file: grey, RGB, or RGBA if it is transparent somewhere.
func (p *Picture) EncodePNG(w io.Writer) error {
	return png.Encode(w, p.Image())
}

// Image returns a copy of p as an image of Go's library: Gray, NRGBA if it is transparent somewhere, or opaque RGBA.
func (p *Picture) Image() image.Image {
	r := image.Rect(0, 0, p.Width, p.Height)
	if (p.Mode == Gray || p.Mode == Bilevel) && !p.KeyAlpha {
		return &image.Gray{Pix: append([]byte(nil), p.Pix...), Stride: p.Width, Rect: r}
	}
	if !p.HasAlpha() {
		return p.overWhite()
	}
	img := image.NewNRGBA(r)
	rgb, alpha := make([]byte, 3*p.Width), make([]byte, p.Width)
	for y := range p.Height {
		p.rgbRow(rgb, p.row(y))
		p.alphaRow(alpha, p.row(y))
		spread(img.Pix[y*img.Stride:], rgb, alpha)
	}
	return img
}

func (p *Picture) overWhite() *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, p.Width, p.Height))
	rgb := make([]byte, 3*p.Width*p.Height)
	p.Over(rgb, White)
	spread(img.Pix, rgb, nil)
	return img
}

// spread writes pixels of four bytes; without alpha they are opaque.
func spread(dst, rgb, alpha []byte) {
	for i := range len(rgb) / 3 {
		dst[4*i], dst[4*i+1], dst[4*i+2], dst[4*i+3] = rgb[3*i], rgb[3*i+1], rgb[3*i+2], 255
		if alpha != nil {
			dst[4*i+3] = alpha[i]
		}
	}
}

// FromImage returns a copy of an image of Go's library, for pictures that a program draws: Gray for image.Gray, RGBA
// for all others.
func FromImage(img image.Image) *Picture {
	p := &Picture{Orientation: 1}
	r := img.Bounds()
	switch m := img.(type) {
	case *image.Gray:
		p.pick(Gray, r, m.Pix[m.PixOffset(r.Min.X, r.Min.Y):], m.Stride, 1, 0)
	case *image.NRGBA:
		p.pick(RGBA, r, m.Pix[m.PixOffset(r.Min.X, r.Min.Y):], m.Stride, 4, 0, 1, 2, 3)
	case *image.RGBA:
		p.pick(RGBA, r, m.Pix[m.PixOffset(r.Min.X, r.Min.Y):], m.Stride, 4, 0, 1, 2, 3)
		unpremultiply(p.Pix, 4)
	default:
		p.resize(RGBA, r.Dx(), r.Dy())
		at := 0
		for y := r.Min.Y; y < r.Max.Y; y++ {
			for x := r.Min.X; x < r.Max.X; x++ {
				cr, cg, cb, ca := img.At(x, y).RGBA()
				p.Pix[at], p.Pix[at+1], p.Pix[at+2], p.Pix[at+3] = uint8(cr>>8), uint8(cg>>8), uint8(cb>>8), uint8(ca>>8)
				at += 4
			}
		}
		unpremultiply(p.Pix, 4)
	}
	return p
}

// DHash returns the difference hash of p: 64 bits that say, for a grey picture of 9×8 pixels, whether each is brighter
// than the one on its left. Copies that were scaled or compressed differ in a few bits (HashDistance). It is Python's
// imagehash.dhash, but over white and upright.
func (r *Resizer) DHash(p *Picture) uint64 {
	p = p.Upright()
	r.scratch = grow(r.scratch, 3*p.Width*p.Height)
	p.Over(r.scratch, White)
	grey := &Picture{}
	grey.resize(Gray, p.Width, p.Height)
	for i := range grey.Pix {
		grey.Pix[i] = luma(r.scratch[3*i], r.scratch[3*i+1], r.scratch[3*i+2])
	}
	small := r.Resize(grey, 9, 8, Lanczos)
	var hash uint64
	for y := range 8 {
		row := small.row(y)
		for x := range 8 {
			hash <<= 1
			if row[x+1] > row[x] {
				hash |= 1
			}
		}
	}
	return hash
}

// HashDistance returns in how many bits two hashes differ: 0 for copies, about 32 for strangers.
func HashDistance(a, b uint64) int { return bits.OnesCount64(a ^ b) }
