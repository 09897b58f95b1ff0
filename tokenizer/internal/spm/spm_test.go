package spm

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func readModel(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("../../testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		file            string
		kind            int
		unk, eos, pad   int32
		fallback, dummy bool
	}{
		{"siglip_spm/spiece.model", Unigram, 2, 1, 0, false, true},
		{"siglip2_spm/tokenizer.model", BPE, 3, 1, 0, true, false},
	} {
		m, err := Parse(readModel(t, test.file))
		if err != nil {
			t.Fatal(err)
		}
		if m.Kind != test.kind || m.Unk != test.unk || m.Eos != test.eos || m.Pad != test.pad ||
			m.ByteFallback != test.fallback || m.AddDummyPrefix != test.dummy {
			t.Errorf("%s: %+v", test.file, m)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := readModel(t, "siglip2_spm/tokenizer.model")
	for _, test := range []struct {
		data []byte
		want string
	}{
		{nil, "no pieces"},
		{[]byte("<html>not a model</html>"), "not a SentencePiece model"},
		{good[:len(good)-7], "not a SentencePiece model"},
		{[]byte{0x0a, 2, 0x0a, 0}, "piece 0 is empty"},
		{[]byte{0x0a, 3, 0x0a, 1, 'a'}, "not the unknown piece"},
		{[]byte{0x0a, 5, 0x0a, 1, 'a', 0x18, 2, 0x12, 3, 0xd0, 2, 9}, "eos_id 9 is no piece"},
		{[]byte{0x0a, 8, 0x0a, 1, 'a', 0x15, 0, 0, 0xc0, 0x7f}, "score NaN"},
	} {
		_, err := Parse(test.data)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: error %v, want %s", test.data[:min(len(test.data), 30)], err, test.want)
		}
	}
}

func TestScan(t *testing.T) {
	p := NewPieces(map[string]int32{"a": 1, "ab": 2, "abcd": 3, "b": 4, "é": 5, "\xff": 6})
	for text, want := range map[string][]int32{
		"abcde": {1, 2, 3}, "abc": {1, 2}, "ab": {1, 2}, "b": {4}, "éa": {5}, "\xff\xff": {6}, "": nil, "c": nil, "\x00": nil,
	} {
		var got []int32
		for scan := p.Scan([]byte(text)); ; {
			length, id, ok := scan.Next()
			if !ok {
				break
			}
			if got = append(got, id); !strings.HasPrefix(text, p.texts[indexOf(p.ids, id)]) || length != len(p.texts[indexOf(p.ids, id)]) {
				t.Errorf("%q: piece %d of length %d", text, id, length)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func indexOf(ids []int32, id int32) int {
	for i := range ids {
		if ids[i] == id {
			return i
		}
	}
	return -1
}

// FuzzModel holds that a model from anywhere gives an error or a segmentation that covers the text.
func FuzzModel(f *testing.F) {
	unigram, gemma := readModel(f, "siglip_spm/spiece.model"), readModel(f, "siglip2_spm/tokenizer.model")
	f.Add(gemma, []byte("a photo of a cat"))
	f.Add(unigram[len(unigram)-2000:], []byte("x"))
	f.Add([]byte{0x0a, 5, 0x0a, 1, 'a', 0x18, 2}, []byte("a"))
	f.Fuzz(func(t *testing.T, data, text []byte) {
		m, err := Parse(data)
		if err != nil {
			return
		}
		normalizer, err := NewNormalizer(m)
		if err != nil {
			return
		}
		text = normalizer.Append(nil, text)
		text = bytes.ToValidUTF8(text, []byte("?"))
		segments, _ := NewSegmenter(m).Append(nil, text, nil)
		at := int32(0)
		for _, s := range segments {
			if s.Start != at || s.End <= s.Start || int(s.ID) >= len(m.Pieces) {
				t.Fatalf("segment %+v after %d", s, at)
			}
			at = s.End
		}
		if int(at) != len(text) {
			t.Fatalf("%d of %d bytes are covered", at, len(text))
		}
	})
}

// FuzzCharsMap holds that a damaged table neither panics nor loops.
func FuzzCharsMap(f *testing.F) {
	m, err := Parse(readModel(f, "siglip_spm/spiece.model"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.CharsMap[:4096], []byte("ﬁ"))
	f.Add([]byte{4, 0, 0, 0, 1, 2, 3, 4, 'x', 0}, []byte("x"))
	f.Fuzz(func(t *testing.T, data, text []byte) {
		table, err := NewCharsMap(data)
		if err != nil || table == nil {
			return
		}
		table.AppendByGrapheme(nil, text)
		table.match(text, true)
	})
}
