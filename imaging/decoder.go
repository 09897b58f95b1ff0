package imaging

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"tandem/imaging/internal/jpeg"
)

// Format is a file format.
type Format string

// The formats that are read.
const (
	FormatJPEG Format = "jpeg"
	FormatPNG  Format = "png"
	FormatWebP Format = "webp"
	FormatGIF  Format = "gif"
	FormatBMP  Format = "bmp"
	FormatTIFF Format = "tiff"
)

// The reasons why a file is not decoded; every error of this package wraps one of them. Reason gives each a short
// name for statistics.
var (
	ErrFormat      = errors.New("not an image file that is read (JPEG, PNG, WebP, GIF, BMP, TIFF)")
	ErrTooLarge    = errors.New("picture is larger than the limit")
	ErrTruncated   = errors.New("file ends before its picture does")
	ErrCorrupt     = errors.New("file is damaged")
	ErrUnsupported = errors.New("this variant of the format is not read")
)

// Reason returns "format", "too_large", "truncated", "corrupt" or "unsupported" for an error of this package, and
// "other" for any other.
func Reason(err error) string {
	for _, r := range []struct {
		err  error
		name string
	}{{ErrFormat, "format"}, {ErrTooLarge, "too_large"}, {ErrTruncated, "truncated"}, {ErrUnsupported, "unsupported"}, {ErrCorrupt, "corrupt"}} {
		if errors.Is(err, r.err) {
			return r.name
		}
	}
	return "other"
}

// Limits bound what one picture may cost. They are checked on the header, before decoding.
type Limits struct {
	MaxBytes  int64 `yaml:"max_bytes"`  // size of the file
	MaxPixels int64 `yaml:"max_pixels"` // width × height
	MaxMemory int64 `yaml:"max_memory"` // estimate of the bytes that decoding takes
}

// DefaultLimits returns limits that let every honest photograph through: 256 MiB of file, 89,478,485 pixels (where
// Pillow starts to warn of a decompression bomb) and 1 GiB of memory for a worker.
func DefaultLimits() Limits {
	return Limits{MaxBytes: 256 << 20, MaxPixels: 89_478_485, MaxMemory: 1 << 30}
}

// WithDefaults fills the limits that zero leaves open.
func (l Limits) WithDefaults() Limits {
	d := DefaultLimits()
	return Limits{MaxBytes: cmp.Or(l.MaxBytes, d.MaxBytes), MaxPixels: cmp.Or(l.MaxPixels, d.MaxPixels), MaxMemory: cmp.Or(l.MaxMemory, d.MaxMemory)}
}

// Validate reports limits that nothing can meet.
func (l Limits) Validate() error {
	if l.MaxBytes <= 0 || l.MaxPixels <= 0 || l.MaxMemory <= 0 {
		return fmt.Errorf("limits.max_bytes, limits.max_pixels and limits.max_memory must be positive, are %d, %d, %d", l.MaxBytes, l.MaxPixels, l.MaxMemory)
	}
	return nil
}

// Info is what a file's header says.
type Info struct {
	Format        Format
	Width, Height int // as stored, before the orientation is applied
	Orientation   int // EXIF's, 1 to 8
	Memory        int64
}

// Decoder decodes one file after the other. The zero value has DefaultLimits. It is not safe for concurrent use.
type Decoder struct {
	Limits  Limits
	jpeg    jpeg.Decoder
	reader  bytes.Reader
	picture Picture
	spare   Picture
}

// NewDecoder returns a decoder with limits.
func NewDecoder(limits Limits) *Decoder { return &Decoder{Limits: limits} }

// Sniff tells the format by the first bytes.
func Sniff(data []byte) (Format, bool) {
	for _, s := range []struct {
		at    int
		magic string
		f     Format
	}{
		{0, "\xff\xd8\xff", FormatJPEG}, {0, "\x89PNG\r\n\x1a\n", FormatPNG}, {8, "WEBP", FormatWebP}, {0, "GIF87a", FormatGIF},
		{0, "GIF89a", FormatGIF}, {0, "BM", FormatBMP}, {0, "II*\x00", FormatTIFF}, {0, "MM\x00*", FormatTIFF},
	} {
		if len(data) >= s.at+len(s.magic) && string(data[s.at:s.at+len(s.magic)]) == s.magic {
			return s.f, true
		}
	}
	return "", false
}

// notAnImage says what data seems to be instead.
func notAnImage(data []byte) error {
	head := bytes.ToLower(bytes.TrimSpace(data[:min(len(data), 512)]))
	what := fmt.Sprintf("starts with % x", data[:min(len(data), 8)])
	switch {
	case len(data) == 0:
		what = "empty file"
	case bytes.HasPrefix(head, []byte("<!doctype html")), bytes.HasPrefix(head, []byte("<html")):
		what = "an HTML page"
	case bytes.Contains(head, []byte("<svg")):
		what = "an SVG drawing"
	case len(data) >= 12 && string(data[4:8]) == "ftyp":
		what = fmt.Sprintf("an ISO media file (%.4s)", data[8:12])
	}
	return fmt.Errorf("%w: %s", ErrFormat, what)
}

// Info reads the header and checks the limits.
func (d *Decoder) Info(data []byte) (info Info, err error) {
	defer rescue(&err)
	if d.Limits == (Limits{}) {
		d.Limits = DefaultLimits()
	}
	if int64(len(data)) > d.Limits.MaxBytes {
		return Info{}, fmt.Errorf("%w: file of %d bytes, limit %d", ErrTooLarge, len(data), d.Limits.MaxBytes)
	}
	format, ok := Sniff(data)
	if !ok {
		return Info{}, notAnImage(data)
	}
	info = Info{Format: format, Orientation: 1}
	if err := d.readInfo(data, &info); err != nil {
		return info, classify(format, err)
	}
	return info, d.checkLimits(info)
}

func (d *Decoder) checkLimits(i Info) error {
	if i.Width <= 0 || i.Height <= 0 {
		return fmt.Errorf("%s: %w: %d×%d pixels", i.Format, ErrCorrupt, i.Width, i.Height)
	}
	if int64(i.Width) > d.Limits.MaxPixels/int64(i.Height) {
		return fmt.Errorf("%s: %w: %d×%d pixels, limit %d", i.Format, ErrTooLarge, i.Width, i.Height, d.Limits.MaxPixels)
	}
	if i.Memory > d.Limits.MaxMemory {
		return fmt.Errorf("%s: %w: decoding %d×%d pixels takes about %d MiB, limit %d MiB", i.Format, ErrTooLarge,
			i.Width, i.Height, i.Memory>>20, d.Limits.MaxMemory>>20)
	}
	return nil
}

func (d *Decoder) readInfo(data []byte, info *Info) error {
	switch info.Format {
	case FormatJPEG:
		h, err := d.jpeg.Header(data)
		info.Width, info.Height, info.Memory = h.Width, h.Height, h.Memory()
		info.Orientation = exifOrientation(h.Exif)
		return err
	case FormatWebP:
		return webpInfo(data, info)
	}
	c, err := d.config(data, info.Format)
	info.Width, info.Height = c.Width, c.Height
	// The libraries allocate a picture of their own, of 4 bytes a pixel or 8 with 16 bits, beside ours of up to 4.
	info.Memory = 12 * int64(c.Width) * int64(c.Height)
	switch info.Format {
	case FormatPNG:
		info.Orientation = pngOrientation(data)
	case FormatTIFF:
		info.Orientation = exifOrientation(data)
	}
	return err
}

// Decode decodes data. The picture belongs to the decoder and holds until the next call; Clone keeps it.
func (d *Decoder) Decode(data []byte) (p *Picture, err error) {
	info, err := d.Info(data)
	if err != nil {
		return nil, err
	}
	defer rescue(&err)
	d.picture.Format, d.picture.Orientation, d.picture.KeyAlpha = info.Format, info.Orientation, false
	if err := d.decode(data, info); err != nil {
		return nil, classify(info.Format, err)
	}
	return &d.picture, nil
}

func (d *Decoder) decode(data []byte, info Info) error {
	p := &d.picture
	switch info.Format {
	case FormatJPEG:
		return d.decodeJPEG(p, data)
	case FormatWebP:
		return decodeWebP(p, data)
	}
	img, err := d.library(data, info.Format)
	if err != nil {
		return err
	}
	switch info.Format {
	case FormatPNG:
		return fromPNG(p, img, data)
	case FormatGIF:
		return fromGIF(p, img, info, data)
	case FormatBMP:
		return fromBMP(p, img, data)
	}
	return d.fromTIFF(p, img)
}

func (d *Decoder) decodeJPEG(p *Picture, data []byte) error {
	if err := d.jpeg.Decode(data, jpeg.Options{}); err != nil {
		return err
	}
	h := d.jpeg.LastHeader()
	p.resize(jpegMode(h), h.Width, h.Height)
	d.jpeg.Pixels(p.Pix)
	if p.Mode == CMYK {
		invert(p.Pix) // Pillow assumes Adobe's polarity in every file
	}
	return nil
}

func jpegMode(h jpeg.Header) Mode {
	switch h.Space {
	case jpeg.Gray:
		return Gray
	case jpeg.CMYK, jpeg.YCCK:
		return CMYK
	}
	return RGB
}

func invert(pix []byte) {
	for i := range pix {
		pix[i] = ^pix[i]
	}
}

// rescue turns a panic of a decoder into an error: hostile files must not end a training run.
func rescue(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: the decoder gave up: %v", ErrCorrupt, r)
	}
}

// classify wraps one of the package's reasons around a decoder's error.
func classify(format Format, err error) error {
	if Reason(err) != "other" {
		return fmt.Errorf("%s: %w", format, err)
	}
	reason := ErrCorrupt
	switch {
	case errors.Is(err, jpeg.ErrTruncated), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF),
		strings.HasSuffix(err.Error(), "EOF"): // image/gif does not wrap it
		reason = ErrTruncated
	case errors.Is(err, jpeg.ErrUnsupported), isUnsupported(err):
		reason = ErrUnsupported
	}
	return fmt.Errorf("%s: %w (%v)", format, reason, err)
}
