package safetensors

import (
	"encoding/binary"
	"math"
	"math/big"
	"testing"
)

// halfValue is the definition of IEEE 754 binary16, in exact arithmetic.
func halfValue(h uint16) float64 {
	sign := 1.0
	if h>>15 == 1 {
		sign = -1
	}
	exponent, fraction := int(h>>10&31), float64(h&1023)
	switch exponent {
	case 0:
		return sign * math.Ldexp(fraction, -24)
	case 31:
		if fraction == 0 {
			return sign * math.Inf(1)
		}
		return math.NaN()
	default:
		return sign * math.Ldexp(1024+fraction, exponent-25)
	}
}

// TestEveryHalf goes there and back with all 65,536 values.
func TestEveryHalf(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		got, want := halfToFloat(h), halfValue(h)
		if math.IsNaN(want) != (got != got) || got == got && (float64(got) != want || math.Signbit(float64(got)) != math.Signbit(want)) {
			t.Fatalf("%04x: %g, want %g", h, got, want)
		}
		if back := floatToHalf(got); back != h && !(got != got && back&0x7c00 == 0x7c00 && back&0x3ff != 0) {
			t.Fatalf("%04x comes back as %04x", h, back)
		}
	}
}

// TestHalfRounding checks the two neighbours of each midpoint between adjacent halves, and the midpoint itself, which
// goes to the even one.
func TestHalfRounding(t *testing.T) {
	for h := uint16(0); h < 0x7c00; h++ {
		low := halfValue(h)
		high := halfValue(h + 1)
		if h+1 == 0x7c00 {
			high = 65536 // as if the exponent went on
		}
		middle := float32((low + high) / 2)
		even := h + h&1
		for _, c := range []struct {
			x    float32
			want uint16
		}{{middle, even}, {math.Nextafter32(middle, 0), h}, {math.Nextafter32(middle, math.MaxFloat32), h + 1}} {
			if got := floatToHalf(c.x); got != c.want {
				t.Fatalf("%g becomes %04x, want %04x", c.x, got, c.want)
			}
			if got := floatToHalf(-c.x); got != c.want|0x8000 {
				t.Fatalf("%g becomes %04x, want %04x", -c.x, got, c.want|0x8000)
			}
		}
	}
	for _, x := range []float32{65520, 1e30, float32(math.Inf(1))} {
		if got := floatToHalf(x); got != 0x7c00 {
			t.Errorf("%g becomes %04x, want infinity", x, got)
		}
	}
}

// TestEveryBfloat goes there and back with all values, and checks the rounding at each midpoint.
func TestEveryBfloat(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		x := math.Float32frombits(uint32(h) << 16)
		if back := floatToBfloat(x); back != h && x == x {
			t.Fatalf("%04x comes back as %04x", h, back)
		} else if x != x && (back&0x7f80 != 0x7f80 || back&0x7f == 0) {
			t.Fatalf("NaN %04x comes back as %04x", h, back)
		}
		if h&0x7f80 == 0x7f80 {
			continue
		}
		for low, want := range map[uint32]uint16{0x7fff: h, 0x8000: h + h&1, 0x8001: h + 1} {
			if got := floatToBfloat(math.Float32frombits(uint32(h)<<16 | low)); got != want {
				t.Fatalf("%04x%04x becomes %04x, want %04x", h, low, got, want)
			}
		}
	}
}

func TestFloat32s(t *testing.T) {
	values := []float32{0, 1, -2.5, 1e-3, float32(math.Inf(-1)), math.SmallestNonzeroFloat32}
	for _, dtype := range []DType{F16, BF16, F32, F64} {
		raw, err := AppendFloat32s([]byte{9}, dtype, values)
		if err != nil || len(raw) != 1+len(values)*dtype.Size() {
			t.Fatalf("%s: %d bytes, %v", dtype, len(raw), err)
		}
		got := make([]float32, len(values))
		if err := Float32s(dtype, raw[1:], got); err != nil {
			t.Fatal(err)
		}
		for i, x := range values {
			// Relative error of one rounding, exact where the type holds the value.
			bits := map[DType]float64{F16: 11, BF16: 8, F32: 24, F64: 53}[dtype]
			if difference := math.Abs(float64(got[i]) - float64(x)); difference > math.Abs(float64(x))*math.Exp2(-bits)+0x1p-25 {
				t.Errorf("%s: %g comes back as %g", dtype, x, got[i])
			}
		}
	}
	if err := Float32s(F32, make([]byte, 7), make([]float32, 2)); err == nil {
		t.Error("seven bytes made two values")
	}
	if err := Float32s(I64, make([]byte, 8), make([]float32, 1)); err == nil {
		t.Error("integers became floats")
	}
	if _, err := AppendFloat32s(nil, Bool, values); err == nil {
		t.Error("floats became truth values")
	}
	var third [8]byte
	binary.LittleEndian.PutUint64(third[:], math.Float64bits(1.0/3))
	got := make([]float32, 1)
	want, _ := new(big.Float).SetFloat64(1.0 / 3).Float32()
	if err := Float32s(F64, third[:], got); err != nil || got[0] != want {
		t.Errorf("1/3 from F64 is %g (%v), want %g", got[0], err, want)
	}
}
