package imaging

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/png"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
)

// This file takes the pictures of Go's libraries over into Pillow's modes.

func (d *Decoder) config(data []byte, f Format) (image.Config, error) {
	d.reader.Reset(data)
	switch f {
	case FormatPNG:
		return png.DecodeConfig(&d.reader)
	case FormatGIF:
		return gif.DecodeConfig(&d.reader)
	case FormatBMP:
		return bmp.DecodeConfig(&d.reader)
	}
	return tiff.DecodeConfig(&d.reader)
}

func (d *Decoder) library(data []byte, f Format) (image.Image, error) {
	d.reader.Reset(data)
	switch f {
	case FormatPNG:
		return png.Decode(&d.reader)
	case FormatGIF:
		return gif.Decode(&d.reader)
	case FormatBMP:
		return bmp.Decode(&d.reader)
	}
	return tiff.Decode(&d.reader)
}

func isUnsupported(err error) bool {
	var p png.UnsupportedError
	var t tiff.UnsupportedError
	return errors.As(err, &p) || errors.As(err, &t) || errors.Is(err, bmp.ErrUnsupported)
}

// pick copies count bytes at the offsets of each pixel of n bytes.
func (p *Picture) pick(mode Mode, r image.Rectangle, pix []byte, stride, n int, offsets ...int) {
	p.resize(mode, r.Dx(), r.Dy())
	out := p.Pix
	for y := range p.Height {
		row := pix[y*stride : y*stride+p.Width*n]
		for ; len(row) > 0; row = row[n:] {
			for k, o := range offsets {
				out[k] = row[o]
			}
			out = out[len(offsets):]
		}
	}
}

func (p *Picture) setPalette(entries color.Palette) {
	for i := range p.Palette {
		p.Palette[i] = [4]uint8{0, 0, 0, 255}
		if i < len(entries) {
			c := color.NRGBAModel.Convert(entries[i]).(color.NRGBA)
			p.Palette[i] = [4]uint8{c.R, c.G, c.B, c.A}
		}
	}
}

// fromPNG keeps Pillow's mode of each colour type and bit depth: 16-bit colour loses its low bytes, 16-bit grey does
// not, and 16-bit grey with alpha becomes RGBA.
func fromPNG(p *Picture, img image.Image, data []byte) error {
	depth, colourType := data[24], data[25]
	gray := Gray
	if depth == 1 {
		gray = Bilevel
	}
	switch m := img.(type) {
	case *image.Gray:
		p.pick(gray, m.Rect, m.Pix, m.Stride, 1, 0)
	case *image.Gray16:
		p.pick(Gray16, m.Rect, m.Pix, m.Stride, 2, 1, 0)
	case *image.Paletted:
		p.pick(Palette, m.Rect, m.Pix, m.Stride, 1, 0)
		p.setPalette(m.Palette)
	case *image.RGBA:
		p.pick(RGB, m.Rect, m.Pix, m.Stride, 4, 0, 1, 2)
	case *image.RGBA64:
		p.pick(RGB, m.Rect, m.Pix, m.Stride, 8, 0, 2, 4)
	case *image.NRGBA:
		return fromNRGBA(p, m, colourType, gray)
	case *image.NRGBA64:
		return fromNRGBA64(p, m, colourType)
	default:
		return fmt.Errorf("%w: %T", ErrUnsupported, img)
	}
	return nil
}

// PNG's colour types.
const (
	pngGray      = 0
	pngTrue      = 2
	pngGrayAlpha = 4
)

func fromNRGBA(p *Picture, m *image.NRGBA, colourType byte, gray Mode) error {
	switch colourType {
	case pngGrayAlpha:
		p.pick(GrayAlpha, m.Rect, m.Pix, m.Stride, 4, 0, 3)
	case pngGray:
		p.pick(gray, m.Rect, m.Pix, m.Stride, 4, 0)
		p.setKey(m)
	case pngTrue:
		p.pick(RGB, m.Rect, m.Pix, m.Stride, 4, 0, 1, 2)
		p.setKey(m)
	default:
		p.pick(RGBA, m.Rect, m.Pix, m.Stride, 4, 0, 1, 2, 3)
	}
	return nil
}

// setKey finds the colour that is transparent.
func (p *Picture) setKey(m *image.NRGBA) {
	for i := 3; i < len(m.Pix); i += 4 {
		if m.Pix[i] == 0 {
			p.KeyAlpha, p.Key = true, [3]uint8(m.Pix[i-3:i])
			return
		}
	}
}

func fromNRGBA64(p *Picture, m *image.NRGBA64, colourType byte) error {
	switch colourType {
	case pngGray:
		p.pick(Gray16, m.Rect, m.Pix, m.Stride, 8, 1, 0)
	case pngTrue:
		p.pick(RGB, m.Rect, m.Pix, m.Stride, 8, 0, 2, 4)
	default:
		p.pick(RGBA, m.Rect, m.Pix, m.Stride, 8, 0, 2, 4, 6)
	}
	return nil
}

// gifFrame is what stands before the first picture of a GIF file.
type gifFrame struct {
	palette     []byte // RGB triples
	transparent int    // index, or -1
}

// readGIFFrame walks the blocks up to the first picture. The library has checked the file already.
func readGIFFrame(data []byte) (f gifFrame, ok bool) {
	table := func(flags byte, at int) []byte {
		if n := 3 << (flags&7 + 1); flags&0x80 != 0 && at+n <= len(data) {
			return data[at : at+n]
		}
		return nil
	}
	f.transparent = -1
	if len(data) < 13 {
		return f, false
	}
	f.palette = table(data[10], 13)
	for at := 13 + len(f.palette); at+10 <= len(data); {
		switch data[at] {
		case 0x2C: // picture
			if local := table(data[at+9], at+10); local != nil {
				f.palette = local
			}
			return f, true
		case 0x21: // extension
			if data[at+1] == 0xF9 && data[at+3]&1 != 0 {
				f.transparent = int(data[at+6])
			}
			for at += 2; at < len(data) && data[at] != 0; at += int(data[at]) + 1 {
			}
			at++
		default:
			return f, false
		}
	}
	return f, false
}

// fromGIF puts the first frame on its canvas. Pillow keeps the colour of the transparent entry, which Go's library
// forgets, and calls a file whose palette is the grey ramp grey.
func fromGIF(p *Picture, img image.Image, info Info, data []byte) error {
	m, isPaletted := img.(*image.Paletted)
	f, ok := readGIFFrame(data)
	if !ok || !isPaletted {
		return fmt.Errorf("%w: no first frame", ErrCorrupt)
	}
	p.resize(Gray, info.Width, info.Height)
	for i := range p.Palette {
		p.Palette[i] = [4]uint8{0, 0, 0, 255}
		if 3*i+3 <= len(f.palette) {
			copy(p.Palette[i][:], f.palette[3*i:3*i+3])
			if c := p.Palette[i]; c != [4]uint8{uint8(i), uint8(i), uint8(i), 255} {
				p.Mode = Palette
			}
		}
	}
	clear(p.Pix)
	if f.transparent >= 0 {
		p.makeTransparent(f.transparent)
	}
	r := m.Rect.Intersect(image.Rect(0, 0, p.Width, p.Height))
	for y := r.Min.Y; y < r.Max.Y; y++ {
		copy(p.row(y)[r.Min.X:r.Max.X], m.Pix[m.PixOffset(r.Min.X, y):])
	}
	return nil
}

// makeTransparent marks a palette entry and fills the canvas with it.
func (p *Picture) makeTransparent(index int) {
	p.Palette[index][3] = 0
	if p.Mode == Gray {
		p.KeyAlpha, p.Key = true, [3]uint8{uint8(index)}
	}
	for i := range p.Pix {
		p.Pix[i] = uint8(index)
	}
}

// fromBMP follows Pillow: a grey ramp as palette makes the picture grey or bilevel, and the fourth byte of 32-bit
// pixels is alpha only where the header has a mask for it.
func fromBMP(p *Picture, img image.Image, data []byte) error {
	switch m := img.(type) {
	case *image.Paletted:
		p.pick(Palette, m.Rect, m.Pix, m.Stride, 1, 0)
		p.setPalette(m.Palette)
		p.grayRamp(len(m.Palette))
	case *image.RGBA:
		p.pick(RGB, m.Rect, m.Pix, m.Stride, 4, 0, 1, 2)
	case *image.NRGBA:
		const compressionAt, bitFields = 30, 3
		if len(data) > compressionAt+4 && data[compressionAt] == bitFields {
			p.pick(RGBA, m.Rect, m.Pix, m.Stride, 4, 0, 1, 2, 3)
		} else {
			p.pick(RGB, m.Rect, m.Pix, m.Stride, 4, 0, 1, 2)
		}
	default:
		return fmt.Errorf("%w: %T", ErrUnsupported, img)
	}
	return nil
}

// grayRamp turns a picture whose palette of n colours is 0, 255 or 0, 1, 2, … into a grey one.
func (p *Picture) grayRamp(n int) {
	for i := range n {
		v := uint8(i)
		if n == 2 {
			v = uint8(255 * i)
		}
		if p.Palette[i] != [4]uint8{v, v, v, 255} {
			return
		}
	}
	p.Mode = Gray
	if n == 2 {
		p.Mode = Bilevel
		for i, v := range p.Pix {
			p.Pix[i] = -v // 0 or 255
		}
	}
}

// fromTIFF also turns the picture upright, as Pillow does with this format alone.
func (d *Decoder) fromTIFF(p *Picture, img image.Image) error {
	samples, bits := d.tiffTag(277, 1), d.tiffTag(258, 1)
	switch m := img.(type) {
	case *image.Gray:
		p.pick(Gray, m.Rect, m.Pix, m.Stride, 1, 0)
		if bits == 1 {
			p.Mode = Bilevel
		}
		if fax := d.tiffTag(259, 1); (fax == 3 || fax == 4) && d.tiffTag(262, 0) == 1 {
			invert(p.Pix) // libtiff takes a fax's white for 0 even where the file says that black is; Go's library does not
		}
	case *image.Gray16:
		p.pick(Gray16, m.Rect, m.Pix, m.Stride, 2, 1, 0)
	case *image.Paletted:
		p.pick(Palette, m.Rect, m.Pix, m.Stride, 1, 0)
		p.setPalette(m.Palette)
	case *image.NRGBA:
		p.pick(RGBA, m.Rect, m.Pix, m.Stride, 4, 0, 1, 2, 3)
	case *image.RGBA:
		p.fromPremultiplied(samples, m.Rect, m.Pix, m.Stride, 4, 0, 1, 2, 3)
	case *image.NRGBA64:
		p.pick(RGBA, m.Rect, m.Pix, m.Stride, 8, 0, 2, 4, 6)
	case *image.RGBA64:
		p.fromPremultiplied(samples, m.Rect, m.Pix, m.Stride, 8, 0, 2, 4, 6)
	default:
		return fmt.Errorf("%w: %T", ErrUnsupported, img)
	}
	if p.Orientation != 1 {
		orient(&d.spare, p)
		d.spare, d.picture = d.picture, d.spare
	}
	return nil
}

func (p *Picture) fromPremultiplied(samples int, r image.Rectangle, pix []byte, stride, n int, offsets ...int) {
	if samples == 3 {
		p.pick(RGB, r, pix, stride, n, offsets[:3]...)
		return
	}
	p.pick(RGBA, r, pix, stride, n, offsets...)
	unpremultiply(p.Pix, 4)
}

// tiffTag returns the first value of a tag in the first directory, or missing.
func (d *Decoder) tiffTag(tag uint16, missing int) int {
	var head [8]byte
	if n, _ := d.reader.ReadAt(head[:], 0); n < len(head) {
		return missing
	}
	var order binary.ByteOrder = binary.LittleEndian
	if bytes.HasPrefix(head[:], []byte("MM")) {
		order = binary.BigEndian
	}
	at := int64(order.Uint32(head[4:]))
	var entry [12]byte
	if n, _ := d.reader.ReadAt(entry[:2], at); n < 2 {
		return missing
	}
	for i := range int64(order.Uint16(entry[:2])) {
		if n, _ := d.reader.ReadAt(entry[:], at+2+12*i); n < len(entry) {
			break
		}
		if order.Uint16(entry[:]) == tag {
			return int(order.Uint16(entry[8:]))
		}
	}
	return missing
}
