package tokenizer

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// TestCLIPMerges holds the embedded merges: 48,894 of them, and the bytes that testdata/make/merges.py writes.
func TestCLIPMerges(t *testing.T) {
	file, err := gzip.NewReader(bytes.NewReader(clipMerges))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if got, want := hex.EncodeToString(sum[:]), "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a"; got != want {
		t.Errorf("sha256 %s, want %s", got, want)
	}
	if n := len(CLIP().merges); n != 48894 {
		t.Errorf("%d merges", n)
	}
	if got := CLIP().VocabSize(); got != 49408 {
		t.Errorf("%d ids", got)
	}
	if CLIP().Start() != 49406 || CLIP().End() != 49407 || CLIP().Pad() != 0 || CLIP().Context() != 77 {
		t.Error("start, end, pad or context are not CLIP's")
	}
}

// TestFingerprint holds CLIP's fingerprint: checkpoints carry it.
func TestFingerprint(t *testing.T) {
	const want = "3557bb5062e6595eb9b3352577cd1c7486a1580b61477cbaa9fd945eae4688c5"
	if got := CLIP().Fingerprint(); got != want {
		t.Errorf("fingerprint %s, want %s: checkpoints made before would be refused", got, want)
	}
	if CLIP().WithContext(16).Fingerprint() != want {
		t.Error("the fingerprint depends on the context, which changes no id")
	}
	if CLIP().WithPad(CLIP().End()).Fingerprint() == want {
		t.Error("the fingerprint does not depend on the padding")
	}
}

func TestEncodeLengths(t *testing.T) {
	clip, text := CLIP(), "a photo of a cat"
	for _, test := range []struct {
		context int
		want    []int32
		n       int
	}{
		{0, []int32{}, 0},
		{1, []int32{49407}, 1},
		{2, []int32{49406, 49407}, 2},
		{3, []int32{49406, 320, 49407}, 3},
		{6, []int32{49406, 320, 1125, 539, 320, 49407}, 6},
		{7, []int32{49406, 320, 1125, 539, 320, 2368, 49407}, 7},
		{9, []int32{49406, 320, 1125, 539, 320, 2368, 49407, 0, 0}, 7},
	} {
		got := slices.Repeat([]int32{-7}, test.context)
		if n := clip.Encode(got, text); n != test.n || !slices.Equal(got, test.want) {
			t.Errorf("context %d: %v, %d; want %v, %d", test.context, got, n, test.want, test.n)
		}
	}
}

// TestSurrogatesInText holds that characters which another program encoded as two surrogates are put together.
func TestSurrogatesInText(t *testing.T) {
	if got := Clean("a \xed\xa0\xbd\xed\xb8\x80 b \xed\xa0\xbd \xff"); got != "a 😀 b \ufffd \ufffd" {
		t.Errorf("got %+q", got)
	}
}

func TestCleanings(t *testing.T) {
	text := " It&#39;s  A_Big\tﬁsh\u2019s <b>&amp;</b> day! "
	for _, test := range []struct {
		cleaning Cleaning
		want     string
	}{
		{CleanLower, "it's a_big fish's <b>&</b> day!"},
		{CleanWhitespace, "It's A_Big fish's <b>&</b> day!"},
		{CleanCanonicalize, "its a big fishs bb day"},
		{CleanSiglip, "it39s abig ﬁsh\u2019s bampb day"},
		{CleanNone, text},
	} {
		if got := test.cleaning.Apply(text); got != test.want {
			t.Errorf("%s: %+q, want %+q", test.cleaning, got, test.want)
		}
	}
}

// naiveMerge is open_clip's own loop: all places of the pair of lowest rank at once.
func naiveMerge(table mergeTable, symbols []int32) []int32 {
	symbols = slices.Clone(symbols)
	for {
		best, bestPair := merge{rank: 1 << 30}, pair{-1, -1}
		for i := range len(symbols) - 1 {
			p := pair{symbols[i], symbols[i+1]}
			if m, ok := table[p]; ok && m.rank < best.rank {
				best, bestPair = m, p
			}
		}
		if bestPair.left < 0 {
			return symbols
		}
		symbols = replacePair(symbols, bestPair, best.id)
	}
}

func TestMergeAgainstNaive(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	v := CLIP().vocabulary
	for range 1000 {
		n := 1 + r.IntN(20)
		if r.IntN(4) == 0 {
			n = 30 + r.IntN(150) // the long way too
		}
		alphabet := "aabeinorstthz"
		symbols := make([]int32, n)
		for i := range symbols {
			symbols[i] = v.byteID[alphabet[r.IntN(len(alphabet))]]
		}
		symbols[n-1] += byteIDs
		want := naiveMerge(v.table, symbols)
		if got := v.table.apply(slices.Clone(symbols)); !slices.Equal(got, want) {
			t.Fatalf("%v:\n got %v\nwant %v", symbols, got, want)
		}
		if got := v.table.applyLong(slices.Clone(symbols)); !slices.Equal(got, want) {
			t.Fatalf("%v, the long way:\n got %v\nwant %v", symbols, got, want)
		}
	}
}

// TestNoAllocations holds that encoding allocates nothing once its words are known.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector drops pooled buffers at random; only the encoding itself is run")
	}
	tiny, err := Load("testdata/hf_tiny")
	if err != nil {
		t.Fatal(err)
	}
	gemma, err := Load("testdata/siglip2_lower")
	if err != nil {
		t.Fatal(err)
	}
	siglip, err := Load("testdata/siglip_spm")
	if err != nil {
		t.Fatal(err)
	}
	for name, tok := range map[string]Tokenizer{"clip": CLIP(), "hf": tiny, "gemma": gemma, "siglip": siglip} {
		dst := make([]int32, 77)
		for _, text := range append(slices.Clone(captions), accented...) {
			tok.Encode(dst, text)
			if n := testing.AllocsPerRun(200, func() { tok.Encode(dst, text) }); n != 0 && !raceEnabled {
				t.Errorf("%s: %q: %v allocations", name, text, n)
			}
		}
	}
}

// TestConcurrentCache has goroutines encode words that push each other out of a cache.
func TestConcurrentCache(t *testing.T) {
	v, err := newVocabulary([][2]string{{"a", "b"}, {"ab", "a</w>"}, {"b", "b</w>"}})
	if err != nil {
		t.Fatal(err)
	}
	v.cache.slots = v.cache.slots[:cacheSets*cacheWays]
	tok := &BPE{v, 0, 16}
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 1))
			got := make([]int32, 16)
			for range 4000 {
				word := strings.Repeat("ab", r.IntN(5)) + fmt.Sprint(r.IntN(40_000)) + strings.Repeat("b", r.IntN(3))
				n := tok.Encode(got, word)
				if text := strings.ReplaceAll(tok.Decode(got[1:n-1]), " ", ""); text != word {
					t.Errorf("%q came back as %q", word, text)
					return
				}
			}
		})
	}
	wait.Wait()
}

// TestCacheEvicts fills one set of the cache over and over.
func TestCacheEvicts(t *testing.T) {
	c := newWordCache()
	for i := range int32(100) {
		c.put([]byte{byte(i)}, uint64(i)<<32, []int32{i}) // the same set
	}
	kept := 0
	for i := range int32(100) {
		if ids := c.get([]byte{byte(i)}, uint64(i)<<32); ids != nil {
			if kept++; ids[0] != i {
				t.Errorf("word %d has ids %v", i, ids)
			}
		}
	}
	if kept != cacheWays {
		t.Errorf("%d words are kept, want %d", kept, cacheWays)
	}
	c.put(make([]byte, cacheLongest+1), 1, []int32{1})
	if c.get(make([]byte, cacheLongest+1), 1) != nil {
		t.Error("a word that is too long is kept")
	}
}

func TestVocabularyRefuses(t *testing.T) {
	for _, merges := range [][][2]string{
		{{"a", "bc"}},
		{{"a", "b"}, {"a", "b"}},
		{{"a", "b"}, {"ab", "c"}, {"b", "c"}, {"a", "bc"}},
		{{"é", "日"}},
	} {
		if _, err := newVocabulary(merges); err == nil {
			t.Errorf("%q is taken", merges)
		}
	}
}

func TestDecode(t *testing.T) {
	clip := CLIP()
	ids := make([]int32, 12)
	n := clip.Encode(ids, "A Café, it's 24!")
	if got := clip.Decode(ids[1 : n-1]); got != "a café , it 's 2 4 ! " {
		t.Errorf("%q", got)
	}
	if got := clip.Decode(ids[:n]); !strings.HasPrefix(got, "<start_of_text>a ") || !strings.HasSuffix(got, "<end_of_text>") {
		t.Errorf("%q", got)
	}
	if got := clip.Decode([]int32{-1, 1 << 20, 320}); got != "a " {
		t.Errorf("%q", got)
	}
	// A character that was cut is one U+FFFD, as in Python.
	emoji := clip.AppendIDs(nil, "\U00020000")
	if got := clip.Decode(emoji[:len(emoji)-1]); got != "\ufffd" {
		t.Errorf("%q from %v", got, emoji)
	}
}

// FuzzEncode holds what every caption must give: ids of the vocabulary, start and end in their places, padding after.
func FuzzEncode(f *testing.F) {
	for _, text := range append(slices.Clone(captions), accented...) {
		f.Add(text, 77)
	}
	f.Add("<start_of_text> \xff\xfe &#x1F600; \x00 ſ'ſ \u0345", 5)
	f.Add(strings.Repeat("a", 300), 3)
	tiny, err := Load("testdata/hf_tiny")
	if err != nil {
		f.Fatal(err)
	}
	siglip, err := Load("testdata/siglip_t5")
	if err != nil {
		f.Fatal(err)
	}
	gemma, err := Load("testdata/siglip2_lower")
	if err != nil {
		f.Fatal(err)
	}
	spiece, err := Load("testdata/siglip_spm")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string, context int) {
		dst := make([]int32, uint(context)%100)
		for _, tok := range []Tokenizer{CLIP(), tiny, siglip, gemma, spiece} {
			n := tok.Encode(dst, text)
			checkEncoded(t, tok, dst, n)
			if got := tok.Decode(dst); !utf8.ValidString(got) {
				t.Errorf("decoded %q", got)
			}
		}
		cleaned := Clean(text)
		if !utf8.ValidString(cleaned) || strings.TrimSpace(cleaned) != cleaned || strings.Contains(cleaned, "  ") {
			t.Errorf("cleaned %+q", cleaned)
		}
		if again := Clean(cleaned); isPlain(cleaned) && again != cleaned {
			t.Errorf("%+q is cleaned to %+q and then to %+q", text, cleaned, again)
		}
	})
}

func checkEncoded(t *testing.T, tok Tokenizer, dst []int32, n int) {
	t.Helper()
	if n < 0 || n > len(dst) || n == 0 && len(dst) > 0 {
		t.Fatalf("%d of %d", n, len(dst))
	}
	for _, id := range dst {
		if id < 0 || int(id) >= tok.VocabSize() {
			t.Errorf("id %d is beyond the vocabulary", id)
		}
	}
	if n > 0 && dst[n-1] != tok.End() || n > 1 && tok.Start() >= 0 && dst[0] != tok.Start() {
		t.Errorf("start or end are not in place: %v", dst[:n])
	}
	for _, id := range dst[n:] {
		if id != tok.Pad() {
			t.Errorf("padding is %d", id)
		}
	}
}
