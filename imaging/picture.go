package imaging

import "slices"

// Mode is how the pixels of a Picture are stored, under Pillow's names.
type Mode uint8

// The modes. Bytes for a pixel in brackets.
const (
	Bilevel   Mode = iota + 1 // "1": 0 or 255 [1]
	Gray                      // "L" [1]
	GrayAlpha                 // "LA" [2]
	Palette                   // "P": index into Picture.Palette [1]
	RGB                       // "RGB" [3]
	RGBA                      // "RGBA", not premultiplied [4]
	Gray16                    // "I;16", little-endian [2]
	CMYK                      // "CMYK", 255 is full ink [4]
)

var modeNames = [...]string{"?", "1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"}

var modeBytes = [...]int{0, 1, 1, 2, 1, 3, 4, 2, 4}

// String returns Pillow's name of the mode.
func (m Mode) String() string {
	if int(m) >= len(modeNames) {
		m = 0
	}
	return modeNames[m]
}

// Bytes returns how many bytes one pixel takes.
func (m Mode) Bytes() int { return modeBytes[m] }

// Picture is a decoded image. Pix holds the rows from the top without gaps, Width·Mode.Bytes() bytes each.
type Picture struct {
	Mode          Mode
	Width, Height int
	Pix           []byte
	Palette       [256][4]uint8 // RGBA, not premultiplied; of mode Palette only
	Format        Format
	// Orientation is EXIF's (1 to 8, 1 upright); the pixels are as stored.
	Orientation int
	// KeyAlpha says that pixels of colour Key (grey in Key[0] for Gray and Bilevel) are transparent, as a PNG without
	// an alpha channel can ask for.
	KeyAlpha bool
	Key      [3]uint8
}

// HasAlpha reports whether some pixel may be transparent.
func (p *Picture) HasAlpha() bool {
	switch p.Mode {
	case GrayAlpha, RGBA:
		return true
	case Palette:
		for i := range p.Palette {
			if p.Palette[i][3] != 255 {
				return true
			}
		}
	}
	return p.KeyAlpha
}

// Clone returns a copy that the decoder does not own.
func (p *Picture) Clone() *Picture {
	c := *p
	c.Pix = slices.Clone(p.Pix)
	return &c
}

// resize gives p a mode and size, and bytes for its pixels, which it does not clear.
func (p *Picture) resize(mode Mode, w, h int) {
	p.Mode, p.Width, p.Height = mode, w, h
	p.Pix = grow(p.Pix, w*h*mode.Bytes())
}

// slack is how far vector loads may read behind the last pixel.
const slack = 64

// grow returns a slice of n bytes with slack behind it, s itself if it is large enough. What one huge picture needed is
// given back when a small one follows.
func grow(s []byte, n int) []byte {
	const keep = 16 << 20
	if cap(s) < n+slack || cap(s) > keep && cap(s)/16 > n {
		return make([]byte, n, n+slack)
	}
	return s[:n]
}

// row returns the bytes of row y.
func (p *Picture) row(y int) []byte {
	n := p.Width * p.Mode.Bytes()
	return p.Pix[y*n : (y+1)*n]
}

// Upright returns p turned as its orientation asks: p itself if it is upright already, or else a new picture.
func (p *Picture) Upright() *Picture {
	if p.Orientation <= 1 {
		return p
	}
	turned := &Picture{}
	orient(turned, p)
	return turned
}

// orient turns src upright into dst, which must be another picture.
func orient(dst, src *Picture) {
	pix := dst.Pix
	*dst = *src
	dst.Pix, dst.Orientation = pix, 1
	w, h := src.Width, src.Height
	if src.Orientation >= 5 {
		w, h = h, w
	}
	dst.resize(src.Mode, w, h)
	n := src.Mode.Bytes()
	for y := range h {
		row := dst.row(y)
		at, step := orientedRow(src, y)
		for x := 0; x < w*n; x += n {
			copy(row[x:x+n], src.Pix[at*n:])
			at += step
		}
	}
}

// orientedRow returns the index of the source pixel that comes first in row y of the upright picture, and the step
// from one pixel of the row to the next.
func orientedRow(src *Picture, y int) (at, step int) {
	w, h := src.Width, src.Height
	switch src.Orientation {
	case 2: // mirrored
		return y*w + w - 1, -1
	case 3: // upside down
		return (h-1-y)*w + w - 1, -1
	case 4: // mirrored upside down
		return (h - 1 - y) * w, 1
	case 5: // transposed
		return y, w
	case 6: // to be turned clockwise
		return (h-1)*w + y, -w
	case 7: // transposed over the other diagonal
		return (h-1)*w + w - 1 - y, -w
	case 8: // to be turned anticlockwise
		return w - 1 - y, w
	}
	return y * w, 1
}
