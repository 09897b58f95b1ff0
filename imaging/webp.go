package imaging

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"

	"golang.org/x/image/vp8l"
	"golang.org/x/image/webp"
)

// webpFile is what the chunks of a WebP file say of its first picture.
type webpFile struct {
	canvas    image.Point
	frame     image.Rectangle // where the first picture lies on the canvas
	alpha     bool
	animated  bool
	lossless  bool
	alphaPart []byte // ALPH chunk
	picture   []byte // VP8 or VP8L chunk
	exif      []byte
}

func webpInfo(data []byte, info *Info) error {
	f, err := readWebP(data)
	if err != nil {
		return err
	}
	info.Width, info.Height = f.canvas.X, f.canvas.Y
	info.Orientation = exifOrientation(f.exif)
	info.Memory = 12 * int64(info.Width) * int64(info.Height)
	return nil
}

func u24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

// readWebP walks the chunks (RFC 9649, section 2).
func readWebP(data []byte) (f webpFile, err error) {
	if len(data) < 20 {
		return f, fmt.Errorf("%w: no chunk", ErrTruncated)
	}
	extended := false
	for data = data[12:]; len(data) >= 8; {
		id, body := string(data[:4]), data[8:]
		n := int(binary.LittleEndian.Uint32(data[4:]))
		if n < 0 || n > len(body) {
			if f.picture != nil {
				break // metadata cut off behind a whole picture
			}
			return f, fmt.Errorf("%w: chunk %q", ErrTruncated, id)
		}
		data, body = body[min(n+n&1, len(body)):], body[:n]
		switch {
		case id == "VP8X" && n >= 10:
			extended = true
			f.alpha = body[0]&0x10 != 0
			f.canvas = image.Pt(u24(body[4:])+1, u24(body[7:])+1)
			f.frame = image.Rectangle{Max: f.canvas}
		case id == "ANMF" && n >= 16 && f.picture == nil:
			f.animated = true
			at := image.Pt(2*u24(body), 2*u24(body[3:]))
			f.frame = image.Rectangle{Min: at, Max: at.Add(image.Pt(u24(body[6:])+1, u24(body[9:])+1))}
			f.frameChunks(body[16:])
		case id == "EXIF":
			f.exif = bytes.TrimPrefix(body, []byte("Exif\x00\x00"))
		default:
			f.chunk(id, body)
		}
	}
	return f, f.check(extended)
}

// frameChunks reads the chunks inside a frame of an animation.
func (f *webpFile) frameChunks(data []byte) {
	for len(data) >= 8 {
		n := int(binary.LittleEndian.Uint32(data[4:]))
		if n < 0 || n > len(data)-8 {
			return
		}
		f.chunk(string(data[:4]), data[8:8+n])
		data = data[min(8+n+n&1, len(data)):]
	}
}

func (f *webpFile) chunk(id string, body []byte) {
	switch {
	case f.picture != nil:
	case id == "ALPH":
		f.alphaPart = body
	case id == "VP8 " || id == "VP8L":
		f.picture, f.lossless = body, id == "VP8L"
	}
}

// check finds the size of a file that has no VP8X chunk and compares the sizes of one that has.
func (f *webpFile) check(extended bool) error {
	size, alpha, err := f.pictureSize()
	if err != nil {
		return err
	}
	if !extended {
		f.canvas, f.frame, f.alpha = size, image.Rectangle{Max: size}, alpha
	}
	if f.frame.Size() != size || !f.frame.In(image.Rectangle{Max: f.canvas}) {
		return fmt.Errorf("%w: picture of %v in a frame %v on a canvas of %v", ErrCorrupt, size, f.frame, f.canvas)
	}
	return nil
}

func (f *webpFile) pictureSize() (size image.Point, alpha bool, err error) {
	b := f.picture
	if f.lossless {
		if len(b) < 5 || b[0] != 0x2F {
			return size, false, fmt.Errorf("%w: lossless picture without header", ErrCorrupt)
		}
		v := binary.LittleEndian.Uint32(b[1:])
		return image.Pt(int(v&0x3FFF)+1, int(v>>14&0x3FFF)+1), v>>28&1 != 0, nil
	}
	if len(b) < 10 || b[3] != 0x9D || b[4] != 0x01 || b[5] != 0x2A {
		return size, false, fmt.Errorf("%w: no key frame", ErrCorrupt)
	}
	w, h := binary.LittleEndian.Uint16(b[6:]), binary.LittleEndian.Uint16(b[8:])
	return image.Pt(int(w&0x3FFF), int(h&0x3FFF)), false, nil
}

// decodeWebP puts the first picture on its canvas, transparent around it.
func decodeWebP(p *Picture, data []byte) error {
	f, err := readWebP(data)
	if err != nil {
		return err
	}
	img, err := f.decode()
	if err != nil {
		return err
	}
	mode := RGB
	if f.alpha {
		mode = RGBA
	}
	p.resize(mode, f.canvas.X, f.canvas.Y)
	if f.frame.Size() != f.canvas {
		clear(p.Pix)
	}
	switch m := img.(type) {
	case *image.NRGBA:
		p.placeNRGBA(m, f.frame)
	case *image.YCbCr:
		p.placeYUV(m, nil, 0, f.frame)
	case *image.NYCbCrA:
		p.placeYUV(&m.YCbCr, m.A, m.AStride, f.frame)
	default:
		return fmt.Errorf("%w: %T", ErrUnsupported, img)
	}
	return nil
}

// decode hands the first picture to the library, as a file with that picture alone.
func (f *webpFile) decode() (image.Image, error) {
	if f.lossless {
		return vp8l.Decode(bytes.NewReader(f.picture))
	}
	var b []byte
	chunk := func(id string, body []byte) {
		b = append(b, id...)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
		b = append(b, body...)
		if len(body)%2 != 0 {
			b = append(b, 0)
		}
	}
	b = append(b, "RIFF\x00\x00\x00\x00WEBP"...)
	if f.alphaPart != nil {
		w, h := f.frame.Dx()-1, f.frame.Dy()-1
		chunk("VP8X", []byte{0x10, 0, 0, 0, byte(w), byte(w >> 8), byte(w >> 16), byte(h), byte(h >> 8), byte(h >> 16)})
		chunk("ALPH", f.alphaPart)
	}
	chunk("VP8 ", f.picture)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-8))
	return webp.Decode(bytes.NewReader(b))
}

func (p *Picture) placeNRGBA(m *image.NRGBA, frame image.Rectangle) {
	n := p.Mode.Bytes()
	for y := range frame.Dy() {
		row := p.row(frame.Min.Y + y)[frame.Min.X*n:]
		src := m.Pix[y*m.Stride:]
		for x := range frame.Dx() {
			copy(row[x*n:(x+1)*n], src[4*x:])
		}
	}
}

// placeYUV upsamples the chroma and converts as libwebp does: its "fancy" upsampling (upsampling.c) weighs the four
// nearest samples 9:3:3:1 with a rounding of its own, and its conversion is ITU-R BT.601 with studio swing.
func (p *Picture) placeYUV(m *image.YCbCr, alpha []byte, alphaStride int, frame image.Rectangle) {
	n := p.Mode.Bytes()
	w, h := frame.Dx(), frame.Dy()
	cw, ch := (w+1)/2, (h+1)/2
	for y := range h {
		near := y / 2
		far := max(min(near+2*(y&1)-1, ch-1), 0)
		row := p.row(frame.Min.Y + y)[frame.Min.X*n:]
		u0, u1 := m.Cb[near*m.CStride:], m.Cb[far*m.CStride:]
		v0, v1 := m.Cr[near*m.CStride:], m.Cr[far*m.CStride:]
		luma := m.Y[y*m.YStride:]
		for x := range w {
			a := x / 2
			b := max(min(a+2*(x&1)-1, cw-1), 0)
			u := webpBlend(int(u0[a]), int(u0[b]), int(u1[a]), int(u1[b]))
			v := webpBlend(int(v0[a]), int(v0[b]), int(v1[a]), int(v1[b]))
			px := row[x*n : x*n+n]
			px[0], px[1], px[2] = webpRGB(int(luma[x]), u, v)
			if n == 4 {
				px[3] = 255
				if alpha != nil {
					px[3] = alpha[y*alphaStride+x]
				}
			}
		}
	}
}

// webpBlend mixes the nearest sample a with its neighbours beside (b), above or below (c), and across (d).
func webpBlend(a, b, c, d int) int { return (a + (a+b+c+d+8+2*(b+c))>>3) >> 1 }

func webpRGB(y, u, v int) (r, g, b byte) {
	y = y * 19077 >> 8
	clip := func(v int) byte { return byte(max(min(v>>6, 255), 0)) }
	return clip(y + v*26149>>8 - 14234), clip(y - u*6419>>8 - v*13320>>8 + 8708), clip(y + u*33050>>8 - 17685)
}
