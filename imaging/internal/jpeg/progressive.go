package jpeg

// progressiveBlock adds what one scan knows to a block (T.81 annex G).
func (d *Decoder) progressiveBlock(sc *scanState, c *component, block *[64]int16) error {
	ok := true
	switch {
	case sc.first == 0 && sc.high == 0:
		ok = d.dcFirst(sc, c, block)
	case sc.first == 0:
		if d.bits.take(1) != 0 {
			block[0] |= 1 << sc.low
		}
	case sc.high == 0:
		ok = d.acFirst(sc, c, block)
	default:
		ok = d.acRefine(sc, c, block)
	}
	if !ok {
		return corrupt("damaged data in a progressive scan")
	}
	return nil
}

func (d *Decoder) dcFirst(sc *scanState, c *component, block *[64]int16) bool {
	size, ok := d.bits.symbol(c.dcTable)
	if !ok {
		return false
	}
	if size > 0 {
		c.dc += extend(d.bits.take(uint(size)), uint(size))
	}
	block[0] = int16(c.dc << sc.low)
	return true
}

func (d *Decoder) acFirst(sc *scanState, c *component, block *[64]int16) bool {
	if d.eobRun > 0 {
		d.eobRun--
		return true
	}
	for k := sc.first; k <= sc.last; k++ {
		symbol, ok := d.bits.symbol(c.acTable)
		if !ok {
			return false
		}
		run, size := int(symbol>>4), uint(symbol&15)
		if size == 0 && run < 15 {
			d.eobRun = d.runLength(run) - 1
			return true
		}
		if k += run; size == 0 {
			continue
		}
		if k > sc.last {
			return false
		}
		block[zigzag[k]] = int16(extend(d.bits.take(size), size) << sc.low)
	}
	return true
}

// runLength reads the number of blocks that an end-of-band symbol covers, this one included.
func (d *Decoder) runLength(run int) int32 {
	n := int32(1) << run
	if run > 0 {
		n += d.bits.take(uint(run))
	}
	return n
}

// acRefine reads one more bit of each coefficient that is known already, and new ones of size 1 between them.
func (d *Decoder) acRefine(sc *scanState, c *component, block *[64]int16) bool {
	bit := int16(1) << sc.low
	k := sc.first
	if d.eobRun == 0 {
		for ; k <= sc.last; k++ {
			symbol, ok := d.bits.symbol(c.acTable)
			if !ok {
				return false
			}
			run, size := int(symbol>>4), symbol&15
			if size == 0 && run < 15 {
				d.eobRun = d.runLength(run)
				break
			}
			if size > 1 {
				return false
			}
			value := -bit
			if size == 1 && d.bits.take(1) != 0 {
				value = bit
			}
			k = d.refineRun(block, k, sc.last, run, bit)
			if size == 0 {
				continue
			}
			if k > sc.last {
				return false
			}
			block[zigzag[k]] = value
		}
	}
	if d.eobRun > 0 {
		d.eobRun--
		d.refineRun(block, k, sc.last, -1, bit)
	}
	return true
}

// refineRun corrects the known coefficients from k on and stops at the zero after run other zeros (run -1: at the end).
func (d *Decoder) refineRun(block *[64]int16, k, last, run int, bit int16) int {
	for ; k <= last; k++ {
		v := &block[zigzag[k]]
		if *v == 0 {
			if run == 0 {
				break
			}
			run--
			continue
		}
		if d.bits.take(1) == 0 || *v&bit != 0 {
			continue
		}
		if *v > 0 {
			*v += bit
		} else {
			*v -= bit
		}
	}
	return k
}
