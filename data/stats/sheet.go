package stats

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"

	"tandem/imaging"
	"tandem/internal/progress"
)

// Measures of a contact sheet, in pixels.
const (
	sheetGap   = 12
	lineHeight = 15
	maxLines   = 4
)

var (
	sheetInk   = color.NRGBA{0x1c, 0x1e, 0x21, 0xff}
	sheetMuted = color.NRGBA{0x6b, 0x72, 0x80, 0xff}
	sheetFrame = color.NRGBA{0xe3, 0xe5, 0xe8, 0xff}
)

// face is the letters of contact sheets: 12 pixels, Latin, Greek and Cyrillic.
var face = sync.OnceValues(func() (font.Face, error) {
	f, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return nil, err
	}
	return opentype.NewFace(f, &opentype.FaceOptions{Size: 12, DPI: 72, Hinting: font.HintingFull})
})

// WriteSheet writes a PNG that shows samples in `columns` columns, each picture fitted into a square of `side` pixels
// with its first caption below.
func WriteSheet(w io.Writer, samples []Sample, columns, side int) error {
	letters, err := face()
	if err != nil {
		return err
	}
	columns = max(1, min(columns, len(samples)))
	rows := (len(samples) + columns - 1) / columns
	cellW, cellH := side+sheetGap, side+sheetGap+maxLines*lineHeight
	sheet := image.NewNRGBA(image.Rect(0, 0, columns*cellW+sheetGap, rows*cellH+sheetGap))
	draw.Draw(sheet, sheet.Rect, image.White, image.Point{}, draw.Src)
	d := imaging.NewDecoder(imaging.DefaultLimits())
	for i, s := range samples {
		at := image.Pt(sheetGap+i%columns*cellW, sheetGap+i/columns*cellH)
		cell := image.Rectangle{at, at.Add(image.Pt(side, side))}
		text, ink := caption(s), sheetInk
		if m, err := thumbnail(d, s.Image, side); err != nil {
			text, ink = err.Error(), sheetMuted
			frame(sheet, cell)
		} else {
			place(sheet, cell, m)
		}
		write(sheet, letters, ink, text, at.X, at.Y+side+lineHeight, side)
	}
	return png.Encode(w, sheet)
}

// caption is what stands below a picture: its first caption, else its labels.
func caption(s Sample) string {
	if len(s.Captions) > 0 {
		return s.Captions[0]
	}
	var labels []string
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		labels = append(labels, name+": "+s.Labels[name])
	}
	return strings.Join(labels, ", ")
}

// thumbnail decodes a picture and fits it into a square, over white and upright.
func thumbnail(d *imaging.Decoder, data []byte, side int) (image.Image, error) {
	p, err := d.Decode(data)
	if err != nil {
		return nil, err
	}
	c := imaging.DefaultEvalConfig(side)
	c.Resize, c.Fill, c.Alpha, c.Orient = imaging.Longest, 255, imaging.AlphaWhite, true
	rgb := make([]uint8, side*side*3)
	if err := c.Apply(p, rgb); err != nil {
		return nil, err
	}
	m := image.NewNRGBA(image.Rect(0, 0, side, side))
	for i := range side * side {
		copy(m.Pix[4*i:], rgb[3*i:3*i+3])
		m.Pix[4*i+3] = 255
	}
	return m, nil
}

func place(sheet draw.Image, cell image.Rectangle, m image.Image) {
	draw.Draw(sheet, cell, m, m.Bounds().Min, draw.Src)
}

func frame(sheet draw.Image, cell image.Rectangle) {
	draw.Draw(sheet, cell, image.NewUniform(sheetFrame), image.Point{}, draw.Src)
	draw.Draw(sheet, cell.Inset(1), image.White, image.Point{}, draw.Src)
}

// write sets text in lines of a width, and cuts what does not fit.
func write(sheet draw.Image, letters font.Face, ink color.Color, text string, x, y, width int) {
	d := font.Drawer{Dst: sheet, Src: image.NewUniform(ink), Face: letters}
	for _, line := range wrap(text, maxLines, func(s string) bool { return d.MeasureString(s).Ceil() <= width }) {
		d.Dot = fixed.P(x, y)
		d.DrawString(line)
		y += lineHeight
	}
}

// wrap breaks text at spaces into at most n lines that fit; the last one ends in "…" where text is left over.
func wrap(text string, n int, fits func(string) bool) []string {
	var lines []string
	line := ""
	words := strings.Fields(text)
	for i, word := range words {
		longer := strings.TrimSpace(line + " " + word)
		if fits(longer) {
			line = longer
			continue
		}
		if len(lines) == n-1 {
			return append(lines, shorten(longer+" "+strings.Join(words[i+1:], " "), fits))
		}
		if line == "" { // a single word too long for a line
			line = shorten(word, fits)
			continue
		}
		lines = append(lines, line)
		if line = word; !fits(line) {
			line = shorten(word, fits)
		}
	}
	return append(lines, line)
}

func shorten(text string, fits func(string) bool) string {
	runes := []rune(text)
	for len(runes) > 0 && !fits(string(runes)+"…") {
		runes = runes[:len(runes)-1]
	}
	return strings.TrimSpace(string(runes)) + "…"
}

// where names a sample's place.
func where(s Sample) string { return fmt.Sprintf("%s, row %d", s.File, s.At) }

func sizeText(s Sample) string {
	return fmt.Sprintf("%d×%d, %s", s.Width, s.Height, progress.FormatBytes(int64(len(s.Image))))
}
