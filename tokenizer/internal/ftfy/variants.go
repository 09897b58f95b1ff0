package ftfy

// decodeVariants decodes UTF-8 in which surrogate pairs may be encoded one by one (CESU-8) and the null character as
// C0 80 (Java), as ftfy's codec utf-8-variants does, its quirk included: the end of the data is where $ matches in
// Python, which is also before a last line feed.
func decodeVariants(data []byte) ([]rune, bool) {
	var out []rune
	for len(data) > 0 {
		special := specialIndex(data)
		part, n, ok := decodeStep(data, special)
		if !ok {
			return nil, false
		}
		out = append(out, part...)
		data = data[n:]
	}
	return out, true
}

// decodeStep decodes what lies before the special sequence, or the special sequence at the start.
func decodeStep(data []byte, special int) (part []rune, n int, ok bool) {
	switch {
	case special > 0:
		part, ok = decodeUTF8(data[:special])
		return part, special, ok
	case data[0] == 0xc0 && len(data) > 1:
		return []rune{0}, 2, true
	case data[0] == 0xed && len(data) >= 6 && cesuLen(data) > 0:
		high := rune(data[1]&0x0f)<<16 + rune(data[2]&0x3f)<<10
		return []rune{high + rune(data[4]&0x0f)<<6 + rune(data[5]&0x3f) + 0x10000}, 6, true
	case data[0] == 0xed && len(data) >= 6:
		part, ok = decodeUTF8(data[:3])
		return part, 3, ok
	default:
		part, ok = decodeUTF8(data)
		return part, len(data), ok
	}
}

// specialIndex returns where the first sequence begins that is not plain UTF-8, or len(data).
func specialIndex(data []byte) int {
	for i, b := range data {
		if b == 0xc0 && variantLen(data[i:], 0xc0, nullTail) > 0 ||
			b == 0xed && (cesuLen(data[i:]) > 0 || variantLen(data[i:], 0xed, surrogateTail) > 0) {
			return i
		}
	}
	return len(data)
}

var (
	nullTail      = []span{{0x80, 0x80}}
	surrogateTail = []span{{0xa0, 0xbf}, {0x80, 0xbf}}
	cesuTail      = []span{{0xa0, 0xaf}, {0x80, 0xbf}, {0xed, 0xed}, {0xb0, 0xbf}, {0x80, 0xbf}}
)

func cesuLen(data []byte) int { return variantLen(data, 0xed, cesuTail) }

// variantLen returns the length of a sequence of first and one byte of each of tail, which the end of the data may cut
// short, or 0.
func variantLen(data []byte, first byte, tail []span) int {
	if len(data) == 0 || data[0] != first {
		return 0
	}
	for i, s := range tail {
		rest := data[i+1:]
		if len(rest) > 0 && s.low <= rune(rest[0]) && rune(rest[0]) <= s.high {
			continue
		}
		if len(rest) == 0 || len(rest) == 1 && rest[0] == '\n' {
			return i + 1
		}
		return 0
	}
	return len(tail) + 1
}
