package emoji

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"image"
	"image/png"
	"regexp"
	"strconv"
	"strings"

	"github.com/srwiley/oksvg"
	"github.com/srwiley/rasterx"
)

// drawing is the body of an SVG file with its view box, as icon sets keep it.
type drawing struct {
	body          string
	left, top     float64
	width, height float64
}

// unsupported tells what oksvg draws wrong without saying so: it ignores clips, masks and filters, and does not follow a
// gradient's reference to another.
func (d drawing) unsupported() bool {
	for _, mark := range []string{"clip-path=", "mask=", "filter=", "<symbol"} {
		if strings.Contains(d.body, mark) {
			return true
		}
	}
	return strings.Contains(d.body, "Gradient") && linkedGradient.MatchString(d.body)
}

var linkedGradient = regexp.MustCompile(`<(?:linear|radial)Gradient[^>]*href=`)

// defaultSize fills in the size of the set that the drawing belongs to; Iconify's own default is 16.
func (d *drawing) defaultSize(width, height float64) {
	d.width = cmp.Or(d.width, width, 16)
	d.height = cmp.Or(d.height, height, 16)
}

// errUnsupported refuses a drawing that would not look as it was drawn.
var errUnsupported = errors.New("it uses clips, masks, filters, symbols or linked gradients")

var gradientTag = regexp.MustCompile(`<(?:linear|radial)Gradient[^>]*>`)

// svg returns a file that oksvg draws right at side pixels. Two of its habits are worked around: gradients in user space
// keep their coordinates when the picture is scaled at drawing time, so the scale is part of the file, where a gradient's
// own transform takes it up; and a stroke's width is in pixels whatever the scale (see render).
func (d drawing) svg(side int) (file string, scale float64) {
	scale = float64(side) / max(d.width, d.height)
	dx := (float64(side) - scale*d.width) / 2
	dy := (float64(side) - scale*d.height) / 2
	body := d.body
	if strings.Contains(body, "Gradient") {
		body = gradientTag.ReplaceAllStringFunc(body, placedGradient)
	}
	body = strings.ReplaceAll(body, "currentColor", "#000")
	number := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d"><g stroke-width="1" transform="translate(%s %s) scale(%s %s)">%s</g></svg>`,
		side, side, number(dx-scale*d.left), number(dy-scale*d.top), number(scale), number(scale), body), scale
}

// placedGradient gives a gradient in user space a transform of its own, which oksvg multiplies by its surroundings'.
func placedGradient(tag string) string {
	if strings.Contains(tag, "gradientTransform=") || !strings.Contains(tag, `gradientUnits="userSpaceOnUse"`) {
		return tag
	}
	return strings.Replace(tag, "Gradient ", `Gradient gradientTransform="scale(1 1)" `, 1)
}

// render draws d, centred in a square of side pixels, with a transparent background.
func (d drawing) render(side int) (img *image.RGBA, err error) {
	if d.unsupported() {
		return nil, errUnsupported
	}
	defer func() {
		if p := recover(); p != nil { // oksvg panics on some malformed paths
			img, err = nil, fmt.Errorf("draw: %v", p)
		}
	}()
	file, scale := d.svg(side)
	icon, err := oksvg.ReadIconStream(strings.NewReader(file), oksvg.StrictErrorMode)
	if err != nil {
		return nil, err
	}
	for i := range icon.SVGPaths {
		path := &icon.SVGPaths[i]
		path.LineWidth *= scale
		path.DashOffset *= scale
		path.Dash = scaled(path.Dash, scale)
	}
	img = image.NewRGBA(image.Rect(0, 0, side, side))
	scanner := rasterx.NewScannerGV(side, side, img, img.Bounds())
	icon.Draw(rasterx.NewDasher(side, side, scanner), 1)
	return img, nil
}

// scaled returns a scaled copy: paths share their style's slices.
func scaled(list []float64, scale float64) []float64 {
	out := make([]float64, len(list))
	for i, x := range list {
		out[i] = x * scale
	}
	return out
}

// encodePNG compresses a picture. Speed matters more than the last tenth of size: thousands are made at first start.
func encodePNG(img *image.RGBA) ([]byte, error) {
	// The encoder takes this form's bytes as they are, and any other pixel by pixel.
	straight := image.NewNRGBA(img.Rect)
	for i := 0; i < len(img.Pix); i += 4 {
		unmultiply(straight.Pix[i:i+4:i+4], img.Pix[i:i+4:i+4])
	}
	var buf bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestSpeed}
	err := encoder.Encode(&buf, straight)
	return buf.Bytes(), err
}

// unmultiply converts one pixel from alpha-premultiplied to straight colour, as color.NRGBAModel does.
func unmultiply(dst, src []uint8) {
	switch a := uint32(src[3]); a {
	case 0:
	case 255:
		copy(dst, src)
	default:
		for c := range 3 {
			dst[c] = uint8(uint32(src[c]) * 255 / a)
		}
		dst[3] = src[3]
	}
}
