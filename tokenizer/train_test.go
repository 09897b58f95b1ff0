package tokenizer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"tandem/internal/fault"
	"testing"
)

// shapeCaptions are captions of few words, as small models are trained on.
func shapeCaptions(n int) []string {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s %s %s %s on a %s background", pick("a", "one", "two", "Three"), pick("small", "large", "tiny"),
			pick("red", "green", "blue", "yellowish"), pick("circle", "square", "triangles", "café’s"), pick("white", "black"))
	}
	return out
}

func TestTrain(t *testing.T) {
	captions := shapeCaptions(500)
	bpe, coverage, err := Train(slices.Values(captions), 550, TrainOptions{Context: 10})
	if err != nil {
		t.Fatal(err)
	}
	if bpe.VocabSize() != 550 || bpe.Start() != 548 || bpe.End() != 549 || bpe.Pad() != 0 || bpe.Context() != 10 {
		t.Errorf("size %d, start %d, end %d, pad %d, context %d", bpe.VocabSize(), bpe.Start(), bpe.End(), bpe.Pad(), bpe.Context())
	}
	if coverage.Captions != 500 || coverage.Words < 4000 || coverage.Truncated == 0 || coverage.MaxTokens < 11 {
		t.Errorf("coverage %+v", coverage)
	}
	ids := bpe.AppendIDs(nil, captions[0])
	if got, want := strings.TrimSpace(bpe.Decode(ids)), Clean(captions[0]); got != want {
		t.Errorf("decoded %q, want %q", got, want)
	}
}

// TestTrainOrder holds that the order of the captions does not matter.
func TestTrainOrder(t *testing.T) {
	captions := shapeCaptions(200)
	first, _, err := Train(slices.Values(captions), 580, TrainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(captions)
	second, _, err := Train(slices.Values(captions), 580, TrainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if first.Fingerprint() != second.Fingerprint() {
		t.Error("the order of the captions changes the vocabulary")
	}
}

// naiveTrain counts all pairs anew for each merge, with the same rule.
func naiveTrain(captions []string, n int, minCount int64) []string {
	counts := countWords(slices.Values(captions))
	base, _ := newVocabulary(nil)
	tokens := slices.Clone(base.tokens[:baseIDs])
	words := map[string][]int32{}
	for word := range counts {
		for i := range len(word) {
			words[word] = append(words[word], base.byteID[word[i]])
		}
		words[word][len(word)-1] += byteIDs
	}
	for len(tokens) < baseIDs+n {
		pairs := map[pair]int64{}
		for word, symbols := range words {
			for i := range len(symbols) - 1 {
				pairs[pair{symbols[i], symbols[i+1]}] += *counts[word]
			}
		}
		best, most := pair{}, int64(0)
		for p, count := range pairs {
			if slices.Contains(tokens, tokens[p.left]+tokens[p.right]) {
				continue
			}
			if count > most || count == most && (p.left < best.left || p.left == best.left && p.right < best.right) {
				best, most = p, count
			}
		}
		if most < minCount {
			break
		}
		for word, symbols := range words {
			words[word] = replacePair(symbols, best, int32(len(tokens)))
		}
		tokens = append(tokens, tokens[best.left]+tokens[best.right])
	}
	return tokens[baseIDs:]
}

func TestTrainAgainstNaive(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	texts := [][]string{shapeCaptions(100), {"aaaa aaaaa aaa", "aaaa abab ababab"}}
	for range 20 {
		var captions []string
		for range 30 {
			var b strings.Builder
			for range r.IntN(40) {
				b.WriteByte("aab bcd  "[r.IntN(9)])
			}
			captions = append(captions, b.String())
		}
		texts = append(texts, captions)
	}
	for i, captions := range texts {
		for _, minCount := range []int64{1, 2, 5} {
			want := naiveTrain(captions, 60, minCount)
			bpe, _, err := Train(slices.Values(captions), smallestBPE+60, TrainOptions{MinCount: minCount})
			if err != nil {
				t.Fatal(err)
			}
			if got := bpe.tokens[baseIDs : len(bpe.tokens)-specialIDs]; !slices.Equal(got, want) {
				t.Fatalf("text %d, MinCount %d:\n got %q\nwant %q", i, minCount, got, want)
			}
		}
	}
}

func TestTrainRefuses(t *testing.T) {
	for _, test := range []struct {
		captions  []string
		vocabSize int
		want      string
	}{
		{[]string{"a cat"}, 513, "too small"},
		{nil, 600, "no word"},
		{[]string{"", " \n", "<start_of_text>"}, 600, "no word"},
	} {
		_, _, err := Train(slices.Values(test.captions), test.vocabSize, TrainOptions{})
		if err == nil || !strings.Contains(err.Error(), test.want) || !fault.IsUser(err) {
			t.Errorf("Train(%q, %d): %v, want a user error with %q", test.captions, test.vocabSize, err, test.want)
		}
	}
}

func TestCoverage(t *testing.T) {
	captions := []string{"a cat", "", "a a a a", "supercalifragilistic"}
	got := CLIP().Cover(slices.Values(captions), 5)
	// cat is one token; the long word takes several
	long := len(CLIP().AppendIDs(nil, captions[3]))
	want := Coverage{VocabSize: 49408, Captions: 4, Empty: 1, Words: 7, WholeWords: 6, MeanTokens: float64(4+2+6+2+long) / 4,
		P95Tokens: max(6, 2+long), MaxTokens: max(6, 2+long), Context: 5, Truncated: 2}
	want.UnusedIDs = 49408 - 3 - 2 - long
	want.UnseenBytes = got.UnseenBytes
	if fmt.Sprint(got) != fmt.Sprint(want) || got.UnusedIDs != want.UnusedIDs {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if seen := 256 - len(got.UnseenBytes); seen != 12 { // a c e f g i l p r s t u
		t.Errorf("%d bytes seen", seen)
	}
}

func BenchmarkTrain(b *testing.B) {
	captions := shapeCaptions(100_000)
	for b.Loop() {
		if _, _, err := Train(slices.Values(captions), 1024, TrainOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
