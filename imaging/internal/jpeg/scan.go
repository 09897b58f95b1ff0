package jpeg

import "encoding/binary"

// scanState is the header of the scan being read (T.81 B.2.3).
type scanState struct {
	comps          [4]*component
	n              int
	first, last    int  // spectral selection
	high, low      uint // successive approximation
	unitsX, unitsY int
}

// scanHeader checks the header's length and keeps it for scan.
func (d *Decoder) scanHeader(s []byte) error {
	if d.head.Components == 0 {
		return corrupt("a scan before the frame")
	}
	if len(s) < 1 || s[0] < 1 || s[0] > 4 || len(s) != 4+2*int(s[0]) {
		return corrupt("scan header of %d bytes", len(s))
	}
	if d.scans == 0 {
		d.head.Space = d.space()
	}
	d.scanHead = s
	return nil
}

func (d *Decoder) parseScan(sc *scanState) error {
	s := d.scanHead
	n := int(s[0])
	*sc = scanState{n: n, first: int(s[1+2*n]), last: int(s[2+2*n]), high: uint(s[3+2*n] >> 4), low: uint(s[3+2*n] & 15)}
	for i := range n {
		c := d.find(s[1+2*i], sc.comps[:i])
		if c == nil {
			return corrupt("scan of an unknown component %d", s[1+2*i])
		}
		tables := s[2+2*i]
		if tables>>4 > 3 || tables&15 > 3 {
			return corrupt("scan with Huffman tables %#x", tables)
		}
		c.dcTable, c.acTable = &d.dcTables[tables>>4], &d.acTables[tables&15]
		sc.comps[i] = c
	}
	return d.checkScan(sc)
}

// find returns the component with an id that is not among those taken.
func (d *Decoder) find(id byte, taken []*component) *component {
	for i := range d.head.Components {
		c := &d.comps[i]
		free := c.id == id
		for _, t := range taken {
			free = free && t != c
		}
		if free {
			return c
		}
	}
	return nil
}

func (d *Decoder) checkScan(sc *scanState) error {
	if d.scans++; d.scans > maxScans {
		return corrupt("more than %d scans", maxScans)
	}
	if !d.head.Progressive {
		sc.first, sc.last, sc.high, sc.low = 0, 63, 0, 0 // the only choice; what the file says does not matter
	} else if sc.last > 63 || sc.first > sc.last || sc.first == 0 && sc.last != 0 || sc.first > 0 && sc.n != 1 ||
		sc.low > 13 || sc.high != 0 && sc.high != sc.low+1 {
		return corrupt("progressive scan of coefficients %d–%d, bits %d–%d", sc.first, sc.last, sc.high, sc.low)
	}
	sc.unitsX, sc.unitsY = d.mcusX, d.mcusY
	if sc.n == 1 {
		sc.unitsX, sc.unitsY = sc.comps[0].realBlocksX, sc.comps[0].realBlocksY
	}
	for _, c := range sc.comps[:sc.n] {
		needDC := sc.first == 0 && sc.high == 0
		if needDC && !c.dcTable.set || sc.last > 0 && !c.acTable.set {
			return corrupt("a scan uses a Huffman table that is not there")
		}
		if !d.head.Progressive && c.seen {
			return corrupt("component %d comes twice", c.id)
		}
		if err := d.setQuant(c); err != nil {
			return err
		}
		c.seen = true
	}
	return nil
}

// setQuant keeps the table that holds at a component's first scan, as libjpeg does.
func (d *Decoder) setQuant(c *component) error {
	if c.seen {
		return nil
	}
	if !d.quantSet[c.quantIndex] {
		return corrupt("quantisation table %d is not there", c.quantIndex)
	}
	c.quant = d.quant[c.quantIndex]
	return nil
}

// scan decodes one scan; done says that a sequential picture is complete.
func (d *Decoder) scan() (done bool, err error) {
	sc := &d.scanState
	if err := d.parseScan(sc); err != nil {
		return false, err
	}
	if err := d.units(sc); err != nil {
		return false, err
	}
	if d.head.Progressive {
		return false, nil
	}
	for i := range d.head.Components {
		if !d.comps[i].seen {
			return false, nil
		}
	}
	return true, nil
}

// units walks over the units of a scan and its restart intervals.
func (d *Decoder) units(sc *scanState) error {
	d.startInterval(sc)
	left := d.restartInterval
	for y := range sc.unitsY {
		for x := range sc.unitsX {
			if d.restartInterval > 0 && left == 0 {
				if err := d.restart(sc, y*sc.unitsX+x); err != nil {
					return err
				}
				left = d.restartInterval
			}
			left--
			if err := d.unit(sc, x, y); err != nil {
				return err
			}
			if d.bits.overrun() {
				return truncated()
			}
		}
	}
	return nil
}

func (d *Decoder) startInterval(sc *scanState) {
	d.pos += d.bits.load(d.data[d.pos:])
	d.eobRun = 0
	for _, c := range sc.comps[:sc.n] {
		c.dc = 0
	}
}

// restart expects the marker between two restart intervals.
func (d *Decoder) restart(sc *scanState, unit int) error {
	if d.pos+2 > len(d.data) {
		return truncated()
	}
	marker, err := d.nextMarker()
	if err != nil {
		return err
	}
	want := mRST0 + byte(unit/d.restartInterval-1)%8
	if marker != want {
		if marker == mEOI {
			return truncated()
		}
		return corrupt("marker %#x where a restart was due", marker)
	}
	d.startInterval(sc)
	return nil
}

// unit decodes one unit: the blocks of all components, or one block of a scan with a single component.
func (d *Decoder) unit(sc *scanState, x, y int) error {
	for _, c := range sc.comps[:sc.n] {
		across, down := c.h, c.v
		if sc.n == 1 {
			across, down = 1, 1
		}
		for by := y * down; by < (y+1)*down; by++ {
			for bx := x * across; bx < (x+1)*across; bx++ {
				var err error
				if d.head.Progressive {
					err = d.progressiveBlock(sc, c, (*[64]int16)(c.coefs[(by*c.blocksX+bx)*64:]))
				} else {
					err = d.decodeBlock(c, bx, by)
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// decodeBlock decodes a block of a sequential picture and transforms it if it is wanted.
func (d *Decoder) decodeBlock(c *component, bx, by int) error {
	ac, ok := d.sequentialBlock(c)
	if !ok {
		return corrupt("damaged data at block %d, %d", bx, by)
	}
	if bx >= c.bx0 && bx < c.bx1 && by >= c.by0 && by < c.by1 {
		c.transform(&d.block, bx, by, !ac)
	}
	if ac {
		d.block = [64]int16{}
	}
	return nil
}

// sequentialBlock decodes one block into d.block, which is all zeros but for the first coefficient beforehand, and
// tells whether any coefficient but the first is there. This is the loop in which decoding spends its time: what
// seldom happens is left to other functions, so that the state of the reader stays in registers.
func (d *Decoder) sequentialBlock(c *component) (ac, ok bool) {
	b := &d.bits
	if !d.firstCoefficient(c) {
		return false, false
	}
	buf, pos, acc, n := b.buf, b.pos, b.acc, b.n
	block, look := &d.block, &c.acTable.look
	for k := 1; k < 64; {
		if n < 32 {
			acc |= binary.BigEndian.Uint64(buf[pos:]) >> (n & 63)
			pos += int(63-n) >> 3
			n |= 56
		}
		e := look[acc>>(64-lookBits)]
		if e == 0 {
			b.pos, b.acc, b.n = pos, acc, n
			if k, ok = d.longCode(c.acTable, k); !ok || k > 64 {
				return k > 1+endOfBlock, ok
			}
			pos, acc, n = b.pos, b.acc, b.n
			continue
		}
		acc <<= e.drop()
		n -= e.drop()
		k += e.run()
		if k > 63 {
			b.pos, b.acc, b.n = pos, acc, n
			return k > 1+endOfBlock, e.run() == endOfBlock
		}
		v := e.value()
		if size := e.extra(); size != 0 {
			v = int16(extend(int32(acc>>((64-size)&63)), size))
			acc <<= size
			n -= size
		}
		block[zigzag[k]&63] = v
		k++
	}
	b.pos, b.acc, b.n = pos, acc, n
	return true, true
}

// firstCoefficient decodes the difference of the mean from that of the block before.
func (d *Decoder) firstCoefficient(c *component) bool {
	b := &d.bits
	if b.n < 32 {
		b.refill()
	}
	e := c.dcTable.look[b.acc>>(64-lookBits)]
	if e == 0 {
		if e = c.dcTable.long(b.acc); e == 0 {
			return false
		}
	}
	c.dc += int32(b.value(e))
	d.block[0] = int16(c.dc)
	return true
}

// longCode decodes one symbol whose code the look-up does not hold, for the coefficient k, and returns the next k: more
// than 64 after the end of the block.
func (d *Decoder) longCode(t *table, k int) (next int, ok bool) {
	e := t.long(d.bits.acc)
	if e == 0 {
		return k, false
	}
	v := d.bits.value(e)
	if k += e.run(); k > 63 {
		return k + 1, e.run() == endOfBlock
	}
	d.block[zigzag[k]] = v
	return k + 1, true
}
