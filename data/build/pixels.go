package build

import (
	"image"

	"tandem/imaging"
)

// upright converts a picture to 8-bit RGB over white, turned as its EXIF orientation says.
func upright(p *imaging.Picture) *image.NRGBA {
	w, h := p.Width, p.Height
	pix := make([]byte, 4*w*h)
	rgb := make([]byte, 3*w*h)
	p.Over(rgb, imaging.White)
	for i := range w * h {
		copy(pix[4*i:], rgb[3*i:3*i+3])
		pix[4*i+3] = 255
	}
	return turn(&image.NRGBA{Pix: pix, Stride: 4 * w, Rect: image.Rect(0, 0, w, h)}, p.Orientation)
}

// turn applies an EXIF orientation, 1 to 8.
func turn(m *image.NRGBA, orientation int) *image.NRGBA {
	if orientation <= 1 || orientation > 8 {
		return m
	}
	w, h := m.Rect.Dx(), m.Rect.Dy()
	outW, outH := w, h
	if orientation >= 5 {
		outW, outH = h, w
	}
	out := image.NewNRGBA(image.Rect(0, 0, outW, outH))
	for y := range outH {
		for x := range outW {
			sx, sy := sourceOf(orientation, x, y, w, h)
			copy(out.Pix[y*out.Stride+4*x:][:4], m.Pix[sy*m.Stride+4*sx:][:4])
		}
	}
	return out
}

// sourceOf returns the stored pixel that belongs at (x, y) of the upright picture; w and h are the stored size.
func sourceOf(orientation, x, y, w, h int) (int, int) {
	switch orientation {
	case 2:
		return w - 1 - x, y
	case 3:
		return w - 1 - x, h - 1 - y
	case 4:
		return x, h - 1 - y
	case 5:
		return y, x
	case 6:
		return y, h - 1 - x
	case 7:
		return w - 1 - y, h - 1 - x
	default: // 8
		return w - 1 - y, x
	}
}

// dHash size: 9×8 cells give 8×8 comparisons.
const hashW, hashH = 9, 8

// dhash is the difference hash of a picture: one bit for each of 8×8 cells of its grey thumbnail, set where the cell
// to the right is brighter (N. Krawetz, "Kind of like that", 2013).
func dhash(p *imaging.Picture) uint64 {
	m := upright(p)
	var cells [hashH][hashW]float64
	for y := range hashH {
		for x := range hashW {
			cells[y][x] = meanLuma(m, x, y)
		}
	}
	var hash uint64
	for y := range hashH {
		for x := range hashW - 1 {
			hash <<= 1
			if cells[y][x+1] > cells[y][x]+0.5 { // flat areas stay 0 whatever the noise
				hash |= 1
			}
		}
	}
	return hash
}

// meanLuma is the mean brightness of cell (x, y) of the 9×8 grid over m.
func meanLuma(m *image.NRGBA, x, y int) float64 {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	x0, x1 := x*w/hashW, max(x*w/hashW+1, (x+1)*w/hashW)
	y0, y1 := y*h/hashH, max(y*h/hashH+1, (y+1)*h/hashH)
	sum := 0
	for j := y0; j < min(y1, h); j++ {
		row := m.Pix[j*m.Stride:]
		for i := x0; i < min(x1, w); i++ {
			sum += 299*int(row[4*i]) + 587*int(row[4*i+1]) + 114*int(row[4*i+2])
		}
	}
	return float64(sum) / 1000 / float64((min(x1, w)-x0)*(min(y1, h)-y0))
}
