// Package jpeg decodes JPEG files to the very pixels that libjpeg-turbo makes of them (its accurate integer IDCT, its
// triangle-filter chroma upsampling, its integer colour conversion), which is what Pillow and so the peers see. The
// standard library's decoder differs in all three. It reads 8-bit baseline, extended sequential and progressive
// files with Huffman coding and 1, 3 or 4 components, keeps its memory from file to file, and can decode at 1/2, 1/4
// or 1/8 of the size from the lowest frequencies of each block.
//
// Source of the formats: ITU-T T.81, T.871 (JFIF) and Adobe's technical note 5116 (the APP14 marker).
package jpeg

import (
	"errors"
	"fmt"
	"image"
)

// ErrTruncated is wrapped by the error for a file that ends before its picture does.
var ErrTruncated = errors.New("the file ends before the picture does")

// ErrUnsupported is wrapped by the error for a kind of JPEG that is not read.
var ErrUnsupported = errors.New("not supported")

// Space is the colour space that the components are stored in.
type Space uint8

// The colour spaces, as libjpeg guesses them from the markers.
const (
	Gray Space = iota
	YCbCr
	RGB
	CMYK
	YCCK
)

// Header is what a file says of itself before its first scan.
type Header struct {
	Width, Height int
	Components    int
	Space         Space
	Progressive   bool
	Exif          []byte // the TIFF structure inside the Exif marker, or nil; a part of the data given
}

// Options say how much of a picture is wanted.
type Options struct {
	Reduce int             // 1, 2, 4 or 8: one pixel out for Reduce×Reduce pixels in; 0 is 1
	Rect   image.Rectangle // in reduced pixels; the zero rectangle is the whole picture
}

// Decoder decodes one file after the other and keeps its buffers. The zero value is ready. It is not safe for
// concurrent use.
type Decoder struct {
	data []byte
	pos  int

	head     Header
	jfif     bool
	adobe    bool
	adobeFlg byte

	comps           [4]component
	hmax, vmax      int
	mcusX, mcusY    int
	restartInterval int
	scans           int
	scanHead        []byte
	scanState       scanState

	quant     [4][64]uint16 // in natural order
	quantSet  [4]bool
	dcTables  [4]table
	acTables  [4]table
	bits      bitReader
	block     [64]int16
	eobRun    int32
	coefs     []int16
	planes    []byte
	rows      []byte // upsampled rows, one for each component
	rowStride int
	reduce    int
	rect      image.Rectangle
}

// component is one colour plane. Sizes with "real" leave out the padding to whole blocks.
type component struct {
	id             byte
	h, v           int // sampling factors
	quantIndex     byte
	blocksX        int // blocks in memory: whole MCUs
	blocksY        int
	realBlocksX    int // blocks of a scan with this component alone
	realBlocksY    int
	coefs          []int16 // progressive only
	quant          [64]uint16
	dc             int32
	dcTable        *table
	acTable        *table
	seen           bool
	ratioX, ratioY int // upsampling that is left after the reduced IDCT
	reduce         int
	width, height  int // real samples of the reduced plane
	plane          []byte
	stride         int
	bx0, bx1       int // blocks that the wanted rectangle needs
	by0, by1       int
}

// Limits of the format and of patience.
const (
	maxScans  = 200 // a progressive picture has about ten; thousands of empty scans would only burn time
	maxBlocks = 10  // blocks in one MCU, T.81 B.2.3
	margin    = 32  // bytes on both sides of each row of a plane, so that vector loads stay inside
)

// Markers of T.81 table B.1.
const (
	mSOF0  = 0xC0
	mSOF1  = 0xC1
	mSOF2  = 0xC2
	mDHT   = 0xC4
	mRST0  = 0xD0
	mSOI   = 0xD8
	mEOI   = 0xD9
	mSOS   = 0xDA
	mDQT   = 0xDB
	mDRI   = 0xDD
	mAPP0  = 0xE0
	mAPP1  = 0xE1
	mAPP14 = 0xEE
	mTEM   = 0x01
)

func corrupt(format string, args ...any) error { return fmt.Errorf("JPEG: "+format, args...) }

func truncated() error { return fmt.Errorf("JPEG: %w", ErrTruncated) }

func unsupported(format string, args ...any) error {
	return fmt.Errorf("JPEG: %s: %w", fmt.Sprintf(format, args...), ErrUnsupported)
}

// Header reads the markers up to the first scan and decodes nothing.
func (d *Decoder) Header(data []byte) (Header, error) {
	d.reset(data)
	marker, err := d.markersToScan()
	if err == nil && marker == mEOI {
		err = corrupt("no picture in the file")
	}
	return d.head, err
}

// Memory returns about how many bytes decoding and taking the pixels of a picture with header h needs.
func (h Header) Memory() int64 {
	n := int64(h.Width+16) * int64(h.Height+16) * int64(h.Components)
	if h.Progressive {
		return 4 * n // coefficients of two bytes, planes, pixels
	}
	return 2 * n
}

// Decode decodes data. The pixels are then taken with Pixels.
func (d *Decoder) Decode(data []byte, o Options) error {
	d.reset(data)
	for {
		marker, err := d.markersToScan()
		if err != nil {
			return err
		}
		if marker == mEOI {
			break
		}
		if d.scans == 0 {
			if err := d.prepare(o); err != nil {
				return err
			}
		}
		done, err := d.scan()
		if err != nil {
			return err
		}
		if done {
			break // as libjpeg: what follows the last sequential scan does not matter
		}
	}
	return d.finish()
}

// Size returns the size of the reduced picture in pixels.
func (d *Decoder) Size() (w, h int) {
	return ceilDiv(d.head.Width, d.reduce), ceilDiv(d.head.Height, d.reduce)
}

// LastHeader returns the header of the file decoded last.
func (d *Decoder) LastHeader() Header { return d.head }

func (d *Decoder) reset(data []byte) {
	d.data, d.pos = data, 0
	d.head = Header{}
	d.jfif, d.adobe, d.adobeFlg = false, false, 0
	d.restartInterval, d.scans, d.eobRun = 0, 0, 0
	d.quantSet = [4]bool{}
	d.block = [64]int16{}
	for i := range d.dcTables {
		d.dcTables[i].set, d.acTables[i].set = false, false
	}
}

// finish checks that every component has arrived and turns a progressive picture's coefficients into samples.
func (d *Decoder) finish() error {
	if d.scans == 0 {
		return corrupt("no picture in the file")
	}
	for i := range d.head.Components {
		c := &d.comps[i]
		if !c.seen {
			return truncated()
		}
		if d.head.Progressive {
			d.transformAll(c)
		}
		c.extend()
	}
	return nil
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// resize returns a slice of n elements, s itself if it is large enough. What one huge picture needed is given back
// when a small one follows.
func resize[T any](s []T, n int) []T {
	const keep = 16 << 20
	if cap(s) < n || cap(s) > keep && cap(s)/16 > n {
		return make([]T, n)
	}
	return s[:n]
}

// prepare lays out the planes (and the coefficients of a progressive picture) for the frame.
func (d *Decoder) prepare(o Options) error {
	d.reduce = max(o.Reduce, 1)
	if d.reduce != 1 && d.reduce != 2 && d.reduce != 4 && d.reduce != 8 {
		return corrupt("cannot reduce by %d", d.reduce)
	}
	w, h := d.Size()
	whole := image.Rect(0, 0, w, h)
	if d.rect = o.Rect; d.rect == (image.Rectangle{}) {
		d.rect = whole
	}
	if d.rect.Empty() || !d.rect.In(whole) {
		return corrupt("rectangle %v is outside the picture %v", d.rect, whole)
	}
	d.layout()
	d.allocate()
	return nil
}

// layout computes the sizes of the planes. A subsampled component is reduced less, as in libjpeg, so that 4:2:0 at
// half size needs no upsampling at all.
func (d *Decoder) layout() {
	for i := range d.head.Components {
		c := &d.comps[i]
		ratioX, ratioY := d.hmax/c.h, d.vmax/c.v
		c.reduce = d.reduce
		for c.reduce > 1 && ratioX%2 == 0 && ratioY%2 == 0 {
			c.reduce, ratioX, ratioY = c.reduce/2, ratioX/2, ratioY/2
		}
		c.ratioX, c.ratioY = ratioX, ratioY
		c.width = ceilDiv(d.head.Width*c.h, d.hmax*c.reduce)
		c.height = ceilDiv(d.head.Height*c.v, d.vmax*c.reduce)
		size := 8 / c.reduce
		c.stride = (c.blocksX*size + 2*margin + 31) &^ 31
		// One sample of context around the rectangle, because upsampling looks at the neighbours.
		c.bx0 = max(d.rect.Min.X/ratioX-1, 0) / size
		c.by0 = max(d.rect.Min.Y/ratioY-1, 0) / size
		c.bx1 = min(((d.rect.Max.X-1)/ratioX+1)/size+1, c.blocksX)
		c.by1 = min(((d.rect.Max.Y-1)/ratioY+1)/size+1, c.blocksY)
	}
}

// allocate cuts the planes and coefficients out of two buffers that are kept from file to file.
func (d *Decoder) allocate() {
	samples, coefs := 0, 0
	for i := range d.head.Components {
		c := &d.comps[i]
		samples += c.stride * c.blocksY * 8 / c.reduce
		coefs += c.blocksX * c.blocksY * 64
	}
	d.planes = resize(d.planes, samples+margin)
	if d.head.Progressive {
		d.coefs = resize(d.coefs, coefs)
		clear(d.coefs)
	}
	samples, coefs = 0, 0
	for i := range d.head.Components {
		c := &d.comps[i]
		n := c.stride * c.blocksY * 8 / c.reduce
		c.plane = d.planes[samples : samples+n]
		samples += n
		c.coefs = nil
		if d.head.Progressive {
			n := c.blocksX * c.blocksY * 64
			c.coefs = d.coefs[coefs : coefs+n]
			coefs += n
		}
	}
	d.rowStride = (d.rect.Dx()+2*margin+31)&^31 + 64
	d.rows = resize(d.rows, d.rowStride*4)
}
