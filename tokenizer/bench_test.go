package tokenizer

import (
	"strings"
	"testing"
)

// captions are as short as those of web data usually are.
var captions = []string{
	"a photo of a cat",
	"A red double-decker bus in London, seen from the bridge",
	"two dogs playing with a frisbee on the beach at sunset",
	"Portrait of an old man wearing a hat",
	"the quick brown fox jumps over the lazy dog.",
	"iPhone 12 Pro Max case - black, 6.7 inch",
	"grinning face with smiling eyes emoji",
	"A bowl of ramen with egg & spring onions"[:22],
}

// accented is text that takes the whole way through cleaning and comes out as it was, but for case and quotes.
var accented = []string{
	"Un café à Paris, la nuit",
	"naïve résumé of señor Ångström",
	"it’s a “quoted” caption – with dashes…",
	"日本語のテキスト",
	"grinning face 😀 emoji",
	"Привет мир",
}

func benchmarkEncode(b *testing.B, texts []string) { benchmarkTokenizer(b, CLIP(), texts) }

func benchmarkTokenizer(b *testing.B, t Tokenizer, texts []string) {
	dst := make([]int32, t.Context())
	for _, text := range texts {
		t.Encode(dst, text)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		t.Encode(dst, texts[i%len(texts)])
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "captions/s")
}

func BenchmarkEncodeShort(b *testing.B)    { benchmarkEncode(b, captions) }
func BenchmarkEncodeAccented(b *testing.B) { benchmarkEncode(b, accented) }
func BenchmarkEncodeMojibake(b *testing.B) {
	benchmarkEncode(b, []string{"sch\u00c3\u00b6n mojibake \u00e2\u20ac\u2122s voil\u00c3\u00a0"})
}
func BenchmarkEncodeLong(b *testing.B) {
	benchmarkEncode(b, []string{strings.Repeat("the quick brown fox jumps over the lazy dog ", 100)})
}

// The small vocabularies of testdata cut words into more tokens than real ones.
func BenchmarkLoaded(b *testing.B) {
	for _, dir := range []string{"hf_tiny", "siglip_t5", "siglip2_lower"} {
		t, err := Load("testdata/" + dir)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(dir, func(b *testing.B) { benchmarkTokenizer(b, t, captions) })
	}
}

func BenchmarkLoadCLIP(b *testing.B) {
	for b.Loop() {
		if _, err := readCLIP(); err != nil {
			b.Fatal(err)
		}
	}
}
func BenchmarkWordMiss(b *testing.B) {
	v, s := CLIP().vocabulary, new(scratch)
	for b.Loop() {
		v.mergeWord([]byte("supercalifragilisticexpialidocious"), s)
	}
}
