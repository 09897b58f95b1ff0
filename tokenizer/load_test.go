package tokenizer

import (
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// checkIDs compares ids with those of another program, padded to the context. want holds no padding.
func checkIDs(t *testing.T, tok Tokenizer, text string, want []int32, context int) {
	t.Helper()
	got := make([]int32, context)
	n := tok.Encode(got, text)
	if !slices.Equal(got[:n], want) {
		t.Errorf("%+q\n got %v\nwant %v", text, got[:n], want)
		return
	}
	for _, id := range got[n:] {
		if id != tok.Pad() {
			t.Fatalf("%+q: padded with %d, want %d", text, id, tok.Pad())
		}
	}
}

// TestGoldenHFTiny holds every case of the shared golden file, padding and attention mask included, for tokenizer.json
// and for vocab.json with merges.txt.
func TestGoldenHFTiny(t *testing.T) {
	var golden []struct {
		Text string
		IDs  []int32
		Mask []int `json:"attention_mask"`
	}
	readJSON(t, "testdata/hf_tiny/tokenizer_golden.json", &golden)
	if len(golden) != 7 {
		t.Fatalf("%d cases, want 7", len(golden))
	}
	for _, files := range [][]string{
		{hfTokenizerFile, hfConfigFile},
		{vocabFile, mergesFile, hfConfigFile},
	} {
		dir := t.TempDir()
		for _, name := range files {
			copyFile(t, filepath.Join("testdata/hf_tiny", name), filepath.Join(dir, name))
		}
		tok, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		if tok.Start() != 1512 || tok.End() != 1513 || tok.Pad() != 1513 || tok.Context() != 16 || tok.VocabSize() != 1514 {
			t.Errorf("start %d, end %d, pad %d, context %d, size %d", tok.Start(), tok.End(), tok.Pad(), tok.Context(), tok.VocabSize())
		}
		for _, c := range golden {
			t.Run(files[0]+"/"+c.Text, func(t *testing.T) {
				got := make([]int32, len(c.IDs))
				n := tok.Encode(got, c.Text)
				if !slices.Equal(got, c.IDs) {
					t.Errorf("got %v\nwant %v", got, c.IDs)
				}
				ones := 0
				for _, m := range c.Mask {
					ones += m
				}
				if n != ones {
					t.Errorf("%d ids before the padding, want %d", n, ones)
				}
			})
		}
	}
}

// TestGoldenOthers compares with what transformers, open_clip and sentencepiece make of the same texts.
func TestGoldenOthers(t *testing.T) {
	var texts []string
	readJSON(t, "testdata/texts.json", &texts)
	for _, test := range []struct {
		dir, golden string
		opts        []Option
		pad         int32
	}{
		{"hf_tiny", "transformers.json", nil, 1513},
		{"siglip_t5", "transformers.json", []Option{WithCleaning(CleanNone)}, 1},
		{"siglip_t5", "open_clip.json", nil, 1},
		{"siglip_t5_later", "transformers.json", []Option{WithCleaning(CleanNone)}, 1},
		{"siglip_t5_later", "open_clip.json", nil, 1},
		{"siglip_spm", "open_clip.json", []Option{WithCleaning(CleanCanonicalize)}, 1},
		{"siglip2", "transformers.json", nil, 0},
		{"siglip2_lower", "transformers.json", nil, 0},
	} {
		t.Run(test.dir+"/"+test.golden, func(t *testing.T) {
			tok, err := Load(filepath.Join("testdata", test.dir), test.opts...)
			if err != nil {
				t.Fatal(err)
			}
			if tok.Pad() != test.pad {
				t.Errorf("pad %d, want %d", tok.Pad(), test.pad)
			}
			var want [][]int32
			readJSON(t, filepath.Join("testdata", test.dir, test.golden), &want)
			if len(want) != len(texts) {
				t.Fatalf("%d golden rows for %d texts", len(want), len(texts))
			}
			for i, text := range texts {
				t.Run(strconv.Itoa(i), func(t *testing.T) { checkIDs(t, tok, text, want[i], tok.Context()) })
			}
		})
	}
}

// TestGoldenSentencePiece compares with sentencepiece itself: no cleaning, no end token.
func TestGoldenSentencePiece(t *testing.T) {
	var texts []string
	readJSON(t, "testdata/texts.json", &texts)
	for _, dir := range []string{"siglip_spm", "siglip2_spm"} {
		tok, err := Load(filepath.Join("testdata", dir), WithCleaning(CleanNone))
		if err != nil {
			t.Fatal(err)
		}
		var want [][]int32
		readJSON(t, filepath.Join("testdata", dir, "sentencepiece.json"), &want)
		for i, text := range texts {
			if got := tok.(*Pipeline).AppendIDs(nil, text); !slices.Equal(got, want[i]) {
				t.Errorf("%s: %+q\n got %v\nwant %v", dir, text, got, want[i])
			}
		}
	}
}

// TestGoldenSiglipTokenizer compares with transformers' own SiglipTokenizer, except for what it does to special tokens
// written in a caption and to null characters, which come out as ordinary text here.
func TestGoldenSiglipTokenizer(t *testing.T) {
	others := []string{"nul\x00 bell\x07 esc\x1b[31mred\x1b[0m del\x7f", "</s> in text", "text</s>more", "<pad><unk>", "x\x00y\x01z\x1cw"}
	var texts []string
	readJSON(t, "testdata/texts.json", &texts)
	var want [][]int32
	readJSON(t, "testdata/siglip_spm/transformers.json", &want)
	tok, err := Load("testdata/siglip_spm")
	if err != nil {
		t.Fatal(err)
	}
	if tok.Start() != -1 || tok.End() != 1 || tok.Pad() != 1 || tok.Context() != 64 {
		t.Errorf("start %d, end %d, pad %d, context %d", tok.Start(), tok.End(), tok.Pad(), tok.Context())
	}
	for i, text := range texts {
		if !slices.Contains(others, text) {
			checkIDs(t, tok, text, want[i], 64)
		}
	}
}
