package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Float32s decodes raw data of a float type to float32 values: F16 and BF16 exactly, F64 rounded.
func Float32s(dtype DType, raw []byte, dst []float32) error {
	if len(raw) != len(dst)*dtype.Size() {
		return fmt.Errorf("%d bytes of %s do not make %d values", len(raw), dtype, len(dst))
	}
	switch dtype {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:])))
		}
	case BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw[2*i:])) << 16)
		}
	case F16:
		for i := range dst {
			dst[i] = halfToFloat(binary.LittleEndian.Uint16(raw[2*i:]))
		}
	default:
		return fmt.Errorf("type %s holds no floats", dtype)
	}
	return nil
}

// AppendFloat32s encodes values as a float type, rounding to nearest even.
func AppendFloat32s(dst []byte, dtype DType, values []float32) ([]byte, error) {
	switch dtype {
	case F32:
		for _, x := range values {
			dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(x))
		}
	case F64:
		for _, x := range values {
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(float64(x)))
		}
	case BF16:
		for _, x := range values {
			dst = binary.LittleEndian.AppendUint16(dst, floatToBfloat(x))
		}
	case F16:
		for _, x := range values {
			dst = binary.LittleEndian.AppendUint16(dst, floatToHalf(x))
		}
	default:
		return nil, fmt.Errorf("type %s holds no floats", dtype)
	}
	return dst, nil
}

func floatToBfloat(x float32) uint16 {
	bits := math.Float32bits(x)
	if x != x {
		return uint16(bits>>16) | 0x40 // keep it a NaN
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

// halfToFloat widens IEEE 754 binary16.
func halfToFloat(h uint16) float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exponent {
	case 0: // zero and subnormals: fraction · 2⁻²⁴
		return math.Float32frombits(sign | math.Float32bits(float32(fraction)*0x1p-24))
	case 0x1f:
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	default:
		return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
	}
}

// floatToHalf narrows to IEEE 754 binary16, round to nearest even.
func floatToHalf(x float32) uint16 {
	bits := math.Float32bits(x)
	sign := uint16(bits >> 16 & 0x8000)
	magnitude := bits & 0x7fffffff
	switch {
	case magnitude > 0x7f800000:
		return sign | 0x7e00 | uint16(magnitude>>13&0x3ff)
	case magnitude >= 0x477ff000: // rounds to 65520 or more: infinity
		return sign | 0x7c00
	case magnitude < 0x38800000: // below 2⁻¹⁴: subnormal; float arithmetic does the rounding
		return sign | uint16(math.Float32bits(math.Float32frombits(magnitude)+0.5)-math.Float32bits(0.5))
	default:
		return sign | uint16((magnitude-0x38000000+0xfff+magnitude>>13&1)>>13)
	}
}
