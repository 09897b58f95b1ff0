package shapes

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/klauspost/compress/zlib"
)

// canvas is a square RGB picture whose rows begin with PNG's filter byte.
type canvas struct {
	side   int
	rows   []byte // side rows of 1+3·side bytes
	packed bytes.Buffer
	filter []byte
	zip    *zlib.Writer
}

func newCanvas(side int) *canvas {
	c := &canvas{side: side, rows: make([]byte, side*(1+3*side)), filter: make([]byte, side*(1+3*side))}
	c.zip, _ = zlib.NewWriterLevel(&c.packed, zlib.BestSpeed) // the level is valid
	return c
}

func (c *canvas) stride() int { return 1 + 3*c.side }

// at returns the three bytes of a pixel.
func (c *canvas) at(x, y int) []byte {
	i := y*c.stride() + 1 + 3*x
	return c.rows[i : i+3 : i+3]
}

// blend puts a colour over a pixel, alpha of 255 parts.
func blend(pixel []byte, colour rgb, alpha uint8) {
	a := uint32(alpha)
	mix := func(below, above uint8) uint8 { return uint8((uint32(below)*(255-a) + uint32(above)*a + 127) / 255) }
	pixel[0], pixel[1], pixel[2] = mix(pixel[0], colour.r), mix(pixel[1], colour.g), mix(pixel[2], colour.b)
}

// stamp paints a mask in a colour, centred on (cx, cy); what lies outside of the picture is cut off.
func (c *canvas) stamp(m mask, cx, cy int, colour rgb) {
	side := 2*m.radius + 1
	for my := max(0, m.radius-cy); my < min(side, c.side+m.radius-cy); my++ {
		for mx := max(0, m.radius-cx); mx < min(side, c.side+m.radius-cx); mx++ {
			if alpha := m.coverage[my*side+mx]; alpha > 0 {
				blend(c.at(cx-m.radius+mx, cy-m.radius+my), colour, alpha)
			}
		}
	}
}

// png encodes the picture. The compressor is a pinned module and not the standard library's, whose output may change
// with the Go release: the bytes, and with them the shards' hashes, belong to this package's version alone.
func (c *canvas) png() []byte {
	c.packed.Reset()
	c.zip.Reset(&c.packed)
	c.zip.Write(c.filtered()) // writes to memory: no error
	c.zip.Close()
	header := binary.BigEndian.AppendUint32(nil, uint32(c.side))
	header = binary.BigEndian.AppendUint32(header, uint32(c.side))
	header = append(header, 8, 2, 0, 0, 0) // eight bits, RGB, deflate, adaptive filters, not interlaced
	out := make([]byte, 0, c.packed.Len()+57)
	out = append(out, "\x89PNG\r\n\x1a\n"...)
	out = appendChunk(out, "IHDR", header)
	out = appendChunk(out, "IDAT", c.packed.Bytes())
	return appendChunk(out, "IEND", nil)
}

// filtered applies PNG's filter Up to every row but the first: flat areas become runs of zeros.
func (c *canvas) filtered() []byte {
	const up = 2
	stride := c.stride()
	copy(c.filter[:stride], c.rows[:stride])
	for start := stride; start < len(c.rows); start += stride {
		above, row, out := c.rows[start-stride:start], c.rows[start:start+stride], c.filter[start:start+stride]
		out[0] = up
		for i := 1; i < stride; i++ {
			out[i] = row[i] - above[i]
		}
	}
	return c.filter
}

func appendChunk(out []byte, kind string, data []byte) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(data)))
	start := len(out)
	out = append(out, kind...)
	out = append(out, data...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[start:]))
}
