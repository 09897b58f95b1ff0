package jpeg

import (
	"bytes"
	"encoding/binary"
)

// table is one Huffman table. Codes of up to lookBits bits are found by one look-up, whose entry also holds the
// decoded value when the bits that follow the code fit in the index too.
type table struct {
	set    bool
	isDC   bool
	source [16 + 256]byte // the table as it stands in the file: the same one need not be built again
	length int

	symbols [256]uint8
	maxCode [18]int32 // largest code of each length, -1 for none; [17] stops the search
	offset  [17]int32 // index of a code's symbol minus the code

	look [1 << lookBits]entry
	// short holds length<<8|symbol for codes of up to shortBits bits, 0 for none; progressive scans use it.
	short [1 << shortBits]uint16
}

const (
	lookBits  = 10
	shortBits = 9
)

// entry is what one look-up knows: bits 0–5 the bits to drop, 6–9 how many more bits make the value (0: the value is
// in the entry), 10–15 the run of zeros before it (endOfBlock: none follow), 16–31 the value. 0 is no entry.
type entry uint32

const endOfBlock = 63

func (e entry) drop() uint   { return uint(e & 63) }
func (e entry) extra() uint  { return uint(e>>6) & 15 }
func (e entry) run() int     { return int(e>>10) & 63 }
func (e entry) value() int16 { return int16(e >> 16) }

func makeEntry(drop, extra, run uint, value int32) entry {
	return entry(drop | extra<<6 | run<<10 | uint(uint16(value))<<16)
}

// symbolEntry returns the entry for a symbol whose code has length bits, without its value.
func (t *table) symbolEntry(symbol uint8, length uint) entry {
	run, size := uint(symbol>>4), uint(symbol&15)
	if t.isDC {
		return makeEntry(length, size, 0, 0)
	}
	if size == 0 && run != 15 {
		return makeEntry(length, 0, endOfBlock, 0)
	}
	return makeEntry(length, size, run, 0) // size 0: sixteen zeros, written as a run of 15 and a zero
}

// define builds the table from the 16 counts and the symbols.
func (t *table) define(source []byte, isDC bool) error {
	if t.length == len(source) && t.isDC == isDC && bytes.Equal(t.source[:t.length], source) {
		t.set = true
		return nil
	}
	t.set, t.isDC, t.length = false, isDC, 0
	copy(t.symbols[:], source[16:])
	code, k := int32(0), int32(0)
	for length := 1; length <= 16; length++ {
		n := int32(source[length-1])
		t.offset[length] = k - code
		t.maxCode[length] = code + n - 1
		if n == 0 {
			t.maxCode[length] = -1
		}
		code += n
		k += n
		if code > 1<<length {
			return corrupt("Huffman table is not a prefix code")
		}
		code <<= 1
	}
	t.maxCode[17] = 1 << 30
	for _, s := range t.symbols[:k] {
		if isDC && s > 15 || !isDC && s&15 == 15 {
			return corrupt("Huffman table holds the symbol %#x", s)
		}
	}
	t.fill(source)
	copy(t.source[:], source)
	t.set, t.length = true, len(source)
	return nil
}

// fill computes the look-up tables.
func (t *table) fill(source []byte) {
	clear(t.look[:])
	clear(t.short[:])
	code, k := uint32(0), 0
	for length := uint(1); length <= lookBits; length++ {
		for range source[length-1] {
			symbol := t.symbols[k]
			base := code << (lookBits - length)
			for i := uint32(0); i < 1<<(lookBits-length); i++ {
				t.look[base+i] = t.withValue(symbol, length, i)
			}
			if length <= shortBits {
				base := code << (shortBits - length)
				for i := range uint32(1) << (shortBits - length) {
					t.short[base+i] = uint16(length)<<8 | uint16(symbol)
				}
			}
			code++
			k++
		}
		code <<= 1
	}
}

// withValue returns the entry for a symbol, with the value if the bits after the code, given in rest, hold all of it.
func (t *table) withValue(symbol uint8, length uint, rest uint32) entry {
	e := t.symbolEntry(symbol, length)
	size, left := e.extra(), lookBits-length
	if size == 0 || size > left {
		return e
	}
	bits := int32(rest >> (left - size))
	return makeEntry(length+size, 0, uint(e.run()), extend(bits, size))
}

// extend turns the bits after a code into a signed value (T.81 F.2.2.1): those without their top bit set are
// negative. There is no branch, because none could be predicted.
func extend(bits int32, size uint) int32 {
	negative := bits>>((size-1)&31) - 1 // -1 or 0
	return bits + negative&(1-1<<(size&31))
}

// long finds a code of more than lookBits bits at the head of acc.
func (t *table) long(acc uint64) entry {
	for length := uint(lookBits + 1); length <= 16; length++ {
		code := int32(acc >> (64 - length))
		if code <= t.maxCode[length] {
			return t.symbolEntry(t.symbols[uint8(code+t.offset[length])], length)
		}
	}
	return 0
}

// bitReader reads bits from the entropy-coded bytes of one restart interval, whose stuffing was removed beforehand.
// Zeros follow the bytes, so that a unit may be read past the end and the overrun found afterwards.
type bitReader struct {
	buf []byte
	end int // bytes of data in buf
	pos int // next byte to load
	acc uint64
	n   uint // bits in acc, from the top
}

// padding is more than one unit (maxBlocks blocks of 64 codes of 16 + 16 bits) can read past the end.
const padding = 4096

// load takes the entropy-coded bytes at the head of data and returns where they end: at a marker or at the end of data.
func (b *bitReader) load(data []byte) (n int) {
	if need := len(data) + padding; cap(b.buf) < need {
		// A scan is at most as long as the rest of the file; half more, so that growing files do not reallocate each time.
		b.buf = make([]byte, 0, need+need/2)
	}
	out := b.buf[:0]
	for {
		i := bytes.IndexByte(data[n:], 0xFF)
		if i < 0 {
			out = append(out, data[n:]...)
			n = len(data)
			break
		}
		out = append(out, data[n:n+i]...)
		n += i
		if n+1 >= len(data) {
			n = len(data)
			break
		}
		if data[n+1] != 0 {
			break
		}
		out = append(out, 0xFF)
		n += 2
	}
	b.end = len(out)
	out = out[:b.end+padding]
	clear(out[b.end:])
	b.buf, b.pos, b.acc, b.n = out, 0, 0, 0
	return n
}

// overrun reports whether more bits were taken than there were.
func (b *bitReader) overrun() bool { return b.pos*8-int(b.n) > b.end*8 }

// refill makes at least 56 bits available.
func (b *bitReader) refill() {
	b.acc |= binary.BigEndian.Uint64(b.buf[b.pos:]) >> b.n
	b.pos += int(63-b.n) >> 3
	b.n |= 56
}

// take returns the next count bits, at most 16.
func (b *bitReader) take(count uint) int32 {
	if b.n < count {
		b.refill()
	}
	v := int32(b.acc >> 1 >> (63 - count))
	b.acc <<= count
	b.n -= count
	return v
}

// value drops the code that e stands for and returns its value. The 32 bits that both may need must be there.
func (b *bitReader) value(e entry) int16 {
	b.acc <<= e.drop()
	b.n -= e.drop()
	size := e.extra()
	if size == 0 {
		return e.value()
	}
	v := int16(extend(int32(b.acc>>(64-size)), size))
	b.acc <<= size
	b.n -= size
	return v
}

// symbol decodes one code by the short table; ok is false if there is none.
func (b *bitReader) symbol(t *table) (s uint8, ok bool) {
	if b.n < 32 {
		b.refill()
	}
	if e := t.short[b.acc>>(64-shortBits)]; e != 0 {
		b.acc <<= e >> 8
		b.n -= uint(e >> 8)
		return uint8(e), true
	}
	for length := uint(shortBits + 1); length <= 16; length++ {
		code := int32(b.acc >> (64 - length))
		if code <= t.maxCode[length] {
			b.acc <<= length
			b.n -= length
			return t.symbols[uint8(code+t.offset[length])], true
		}
	}
	return 0, false
}
