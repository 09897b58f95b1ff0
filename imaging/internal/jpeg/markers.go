package jpeg

import "bytes"

// markersToScan reads markers and what they hold, and stops after the header of a scan or at the end of the image.
func (d *Decoder) markersToScan() (marker byte, err error) {
	if d.pos == 0 {
		if len(d.data) < 2 || d.data[0] != 0xFF || d.data[1] != mSOI {
			return 0, corrupt("start marker missing")
		}
		d.pos = 2
	}
	for {
		marker, err := d.nextMarker()
		if err != nil {
			return 0, err
		}
		if marker == mEOI {
			return marker, nil
		}
		if marker == mTEM || marker >= mRST0 && marker <= mSOI {
			continue // stand alone; out of place, but harmless
		}
		segment, err := d.segment()
		if err != nil {
			return 0, err
		}
		if err := d.interpret(marker, segment); err != nil {
			return 0, err
		}
		if marker == mSOS {
			return marker, nil
		}
	}
}

// nextMarker skips to the next marker; stray bytes before it are tolerated, as libjpeg does.
func (d *Decoder) nextMarker() (byte, error) {
	for {
		i := bytes.IndexByte(d.data[d.pos:], 0xFF)
		if i < 0 {
			return 0, truncated()
		}
		for d.pos += i; d.pos < len(d.data) && d.data[d.pos] == 0xFF; d.pos++ {
		}
		if d.pos >= len(d.data) {
			return 0, truncated()
		}
		d.pos++
		if m := d.data[d.pos-1]; m != 0 {
			return m, nil
		}
	}
}

func (d *Decoder) segment() ([]byte, error) {
	if d.pos+2 > len(d.data) {
		return nil, truncated()
	}
	n := int(d.data[d.pos])<<8 | int(d.data[d.pos+1])
	if n < 2 {
		return nil, corrupt("segment of length %d", n)
	}
	if d.pos+n > len(d.data) {
		return nil, truncated()
	}
	s := d.data[d.pos+2 : d.pos+n]
	d.pos += n
	return s, nil
}

func (d *Decoder) interpret(marker byte, s []byte) error {
	switch {
	case marker == mSOF0 || marker == mSOF1 || marker == mSOF2:
		d.head.Progressive = marker == mSOF2
		return d.frame(s)
	case marker == mDHT:
		return d.huffmanTables(s)
	case marker == mDQT:
		return d.quantTables(s)
	case marker == mDRI:
		if len(s) != 2 {
			return corrupt("restart interval of %d bytes", len(s))
		}
		d.restartInterval = int(s[0])<<8 | int(s[1])
	case marker == mSOS:
		return d.scanHeader(s)
	case marker == mAPP0:
		d.jfif = d.jfif || len(s) >= 5 && string(s[:5]) == "JFIF\x00"
	case marker == mAPP1:
		if len(s) >= 6 && string(s[:6]) == "Exif\x00\x00" && d.head.Exif == nil {
			d.head.Exif = s[6:]
		}
	case marker == mAPP14:
		if len(s) >= 12 && string(s[:5]) == "Adobe" {
			d.adobe, d.adobeFlg = true, s[11]
		}
	case marker >= 0xC3 && marker <= 0xCF:
		return unsupported("coding process %#x (lossless, hierarchical or arithmetic)", marker)
	}
	return nil
}

// frame reads a frame header (T.81 B.2.2).
func (d *Decoder) frame(s []byte) error {
	if d.head.Components != 0 {
		return corrupt("more than one frame")
	}
	if len(s) < 6 {
		return corrupt("frame header too short")
	}
	n := int(s[5])
	if len(s) != 6+3*n {
		return corrupt("frame header of %d bytes for %d components", len(s), n)
	}
	if s[0] != 8 {
		return unsupported("%d bits a sample", s[0])
	}
	if n != 1 && n != 3 && n != 4 {
		return unsupported("%d components", n)
	}
	d.head.Height, d.head.Width = int(s[1])<<8|int(s[2]), int(s[3])<<8|int(s[4])
	if d.head.Width == 0 || d.head.Height == 0 {
		return unsupported("a picture of %d×%d pixels", d.head.Width, d.head.Height)
	}
	d.head.Components = n
	return d.components(s[6:])
}

func (d *Decoder) components(s []byte) error {
	d.hmax, d.vmax = 1, 1
	blocks := 0
	for i := range d.head.Components {
		c := &d.comps[i]
		*c = component{id: s[3*i], h: int(s[3*i+1] >> 4), v: int(s[3*i+1] & 15), quantIndex: s[3*i+2]}
		if c.h < 1 || c.h > 4 || c.v < 1 || c.v > 4 || c.quantIndex > 3 {
			return corrupt("sampling factors %d×%d, quantisation table %d", c.h, c.v, c.quantIndex)
		}
		d.hmax, d.vmax = max(d.hmax, c.h), max(d.vmax, c.v)
		blocks += c.h * c.v
	}
	if d.head.Components > 1 && blocks > maxBlocks {
		return corrupt("%d blocks in a unit", blocks)
	}
	d.mcusX, d.mcusY = ceilDiv(d.head.Width, 8*d.hmax), ceilDiv(d.head.Height, 8*d.vmax)
	for i := range d.head.Components {
		c := &d.comps[i]
		if d.hmax%c.h != 0 || d.vmax%c.v != 0 {
			return unsupported("sampling factors %d×%d of %d×%d", c.h, c.v, d.hmax, d.vmax)
		}
		c.blocksX, c.blocksY = d.mcusX*c.h, d.mcusY*c.v
		c.realBlocksX = ceilDiv(ceilDiv(d.head.Width*c.h, d.hmax), 8)
		c.realBlocksY = ceilDiv(ceilDiv(d.head.Height*c.v, d.vmax), 8)
	}
	return nil
}

// space guesses the colour space as libjpeg does.
func (d *Decoder) space() Space {
	id := [3]byte{d.comps[0].id, d.comps[1].id, d.comps[2].id}
	switch {
	case d.head.Components == 1:
		return Gray
	case d.head.Components == 4 && d.adobe && d.adobeFlg != 0:
		return YCCK
	case d.head.Components == 4:
		return CMYK
	case d.jfif:
		return YCbCr
	case d.adobe && d.adobeFlg == 0, !d.adobe && id == [3]byte{'R', 'G', 'B'}:
		return RGB
	}
	return YCbCr
}

func (d *Decoder) quantTables(s []byte) error {
	for len(s) > 0 {
		wide, index := s[0]>>4, s[0]&15
		size := 64 * (1 + int(wide))
		if wide > 1 || index > 3 || len(s) < 1+size {
			return corrupt("quantisation table %d is damaged", index)
		}
		for k := range 64 {
			if wide == 0 {
				d.quant[index][zigzag[k]] = uint16(s[1+k])
			} else {
				d.quant[index][zigzag[k]] = uint16(s[1+2*k])<<8 | uint16(s[2+2*k])
			}
		}
		d.quantSet[index] = true
		s = s[1+size:]
	}
	return nil
}

func (d *Decoder) huffmanTables(s []byte) error {
	for len(s) > 0 {
		if len(s) < 17 {
			return corrupt("Huffman table too short")
		}
		class, index := s[0]>>4, s[0]&15
		n := 0
		for _, c := range s[1:17] {
			n += int(c)
		}
		if class > 1 || index > 3 || n > 256 || len(s) < 17+n {
			return corrupt("Huffman table %d of class %d is damaged", index, class)
		}
		t := &d.dcTables[index]
		if class == 1 {
			t = &d.acTables[index]
		}
		if err := t.define(s[1:17+n], class == 0); err != nil {
			return err
		}
		s = s[17+n:]
	}
	return nil
}

// zigzag maps the order in the file to the natural order (row by row).
var zigzag = [64]uint8{
	0, 1, 8, 16, 9, 2, 3, 10,
	17, 24, 32, 25, 18, 11, 4, 5,
	12, 19, 26, 33, 40, 48, 41, 34,
	27, 20, 13, 6, 7, 14, 21, 28,
	35, 42, 49, 56, 57, 50, 43, 36,
	29, 22, 15, 23, 30, 37, 44, 51,
	58, 59, 52, 45, 38, 31, 39, 46,
	53, 60, 61, 54, 47, 55, 62, 63,
}
