package tokenizer_test

import (
	"fmt"
	"log"
	"os"
	"slices"

	"tandem/tokenizer"
)

func Example() {
	clip := tokenizer.CLIP()
	ids := make([]int32, 10) // a context of 10; CLIP's own is clip.Context(), 77
	n := clip.Encode(ids, "A photo of a CAT &amp; caf\u00c3\u00a9")
	fmt.Println(ids, n)
	fmt.Println(clip.Decode(ids[1 : n-1]))
	// Output:
	// [49406 320 1125 539 320 2368 261 15304 49407 0] 9
	// a photo of a cat & café
}

func ExampleClean() {
	fmt.Println(tokenizer.Clean("  It\u2019s  sch\u00c3\u00b6n &ndash; ＦＵＬＬ width ﬁsh "))
	// Output: it's schön – full width fish
}

func ExampleTrain() {
	captions := slices.Values([]string{"a red circle", "a red square", "two red circles", "a green circle"})
	small, coverage, err := tokenizer.Train(captions, 530, tokenizer.TrainOptions{Context: 8})
	if err != nil {
		log.Fatal(err)
	}
	ids := make([]int32, small.Context())
	n := small.Encode(ids, "a red circle")
	fmt.Println(small.VocabSize(), ids, n)
	for _, id := range ids[:n] {
		fmt.Println(id, small.Token(id))
	}
	fmt.Printf("%.0f %% of the words are one token\n", 100*coverage.WholeWordShare())
	// Output:
	// 521 [519 320 516 518 520 0 0 0] 5
	// 519 <start_of_text>
	// 320 a</w>
	// 516 red</w>
	// 518 circle</w>
	// 520 <end_of_text>
	// 67 % of the words are one token
}

func ExampleLoad() {
	dir, err := os.MkdirTemp("", "tokenizer")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := tokenizer.CLIP().Save(dir); err != nil {
		log.Fatal(err)
	}
	loaded, err := tokenizer.Load(dir)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(loaded.VocabSize(), loaded.Fingerprint() == tokenizer.CLIP().Fingerprint())

	_, err = tokenizer.Load("testdata/make")
	fmt.Println(err)
	// Output:
	// 49408 true
	// testdata/make: no tokenizer: none of tandem_tokenizer.json, tokenizer.json, vocab.json with merges.txt, spiece.model, tokenizer.model, open_clip_config.json is there
}
