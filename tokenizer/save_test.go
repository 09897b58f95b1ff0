package tokenizer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tandem/internal/fault"
)

// everyKind returns a tokenizer of each kind that Save must write.
func everyKind(t *testing.T) map[string]Tokenizer {
	t.Helper()
	trained, _, err := Train(slices.Values(shapeCaptions(50)), 550, TrainOptions{Context: 20})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]Tokenizer{"clip": CLIP(), "trained": trained, "other padding": trained.WithPad(trained.End()).WithContext(9)}
	for _, dir := range []string{"hf_tiny", "siglip_t5", "siglip_t5_later", "siglip_spm", "siglip2", "siglip2_lower"} {
		tok, err := Load(filepath.Join("testdata", dir))
		if err != nil {
			t.Fatal(err)
		}
		kinds[dir] = tok
	}
	gemma, err := Load("testdata/siglip2_spm", WithCleaning(CleanCanonicalize), WithPad(3), WithContext(7))
	if err != nil {
		t.Fatal(err)
	}
	kinds["siglip2_spm"] = gemma
	return kinds
}

// TestSaveLoad holds that Load reads back what Save wrote, into new directories and into one that holds another.
func TestSaveLoad(t *testing.T) {
	var texts []string
	readJSON(t, "testdata/texts.json", &texts)
	texts = texts[:80]
	shared := t.TempDir()
	fingerprints := map[string]string{}
	for name, tok := range everyKind(t) {
		for _, dir := range []string{filepath.Join(t.TempDir(), "new", "tokenizer"), shared} {
			if err := tok.Save(dir); err != nil {
				t.Fatal(err)
			}
			back, err := Load(dir)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if back.Fingerprint() != tok.Fingerprint() || back.Context() != tok.Context() || back.Pad() != tok.Pad() ||
				back.VocabSize() != tok.VocabSize() || back.Start() != tok.Start() || back.End() != tok.End() {
				t.Errorf("%s came back different", name)
			}
			want, got := make([]int32, 24), make([]int32, 24)
			for _, text := range texts {
				if n := tok.Encode(want, text); back.Encode(got, text) != n || !slices.Equal(got, want) {
					t.Errorf("%s: %+q gives %v, gave %v", name, text, got, want)
				}
			}
		}
		if other, taken := fingerprints[tok.Fingerprint()]; taken {
			t.Errorf("%s and %s have the same fingerprint", name, other)
		}
		fingerprints[tok.Fingerprint()] = name
	}
}

// TestSavedForOthers reads what Save wrote as any tokenizer.json of Hugging Face: same ids, but for the padding and text
// that needs fixing.
func TestSavedForOthers(t *testing.T) {
	dir := t.TempDir()
	if err := CLIP().Save(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, settingsFile)); err != nil {
		t.Fatal(err)
	}
	tok, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if tok.Pad() != 49407 || tok.Start() != 49406 || tok.VocabSize() != 49408 || tok.Context() != 77 {
		t.Errorf("pad %d, start %d, size %d, context %d", tok.Pad(), tok.Start(), tok.VocabSize(), tok.Context())
	}
	for _, text := range append(slices.Clone(captions), "Un café à Paris, la nuit", "日本語のテキスト 😀") {
		if got, want := tok.(*Pipeline).AppendIDs(nil, text), CLIP().AppendIDs(nil, text); !slices.Equal(got, want) {
			t.Errorf("%q gives %v, want %v", text, got, want)
		}
	}
}

func TestSaveIntoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	writeFile(t, path, nil)
	if err := CLIP().Save(path); err == nil {
		t.Error("saving into a file succeeds")
	}
}

// TestLoadRefuses holds the message of each mistake in a directory; edit makes it from what is in testdata.
func TestLoadRefuses(t *testing.T) {
	replaceIn := func(name, old, new string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(data), old) {
				t.Fatalf("%s does not contain %q", name, old)
			}
			writeFile(t, filepath.Join(dir, name), []byte(strings.Replace(string(data), old, new, 1)))
		}
	}
	remove := func(names ...string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			for _, name := range names {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	openClip := func(textConfig string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			writeFile(t, filepath.Join(dir, openClipFile), []byte(`{"model_cfg":{"text_cfg":`+textConfig+`}}`))
		}
	}
	truncate := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, name), 1000); err != nil {
				t.Fatal(err)
			}
		}
	}
	const json = hfTokenizerFile
	for _, test := range []struct {
		from string
		edit func(t *testing.T, dir string)
		want string
	}{
		{"", func(*testing.T, string) {}, "no tokenizer: none of tandem_tokenizer.json, tokenizer.json"},
		{"hf_tiny", remove(json, mergesFile), "there is vocab.json but no merges.txt"},
		{"hf_tiny", remove(json, vocabFile), "there is merges.txt but no vocab.json"},
		{"hf_tiny", truncate(json), "tokenizer.json: "},
		{"hf_tiny", replaceIn(json, `"NFC"`, `"StripAccents"`), `tokenizer.json: normalizer: Sequence: type "StripAccents" is not implemented`},
		{"hf_tiny", replaceIn(json, `\\s+"`, `\\d+"`), `normalizer: Sequence: Replace: pattern "\\d+" is not implemented`},
		{"hf_tiny", replaceIn(json, `'s|'t`, `'x|'t`), "pre_tokenizer: Sequence: Split: pattern"},
		{"hf_tiny", replaceIn(json, `"Removed"`, `"Isolated"`), `behavior "Isolated"`},
		{"hf_tiny", replaceIn(json, `"ByteLevel"`, `"Digits"`), `type "Digits" is not implemented`},
		{"hf_tiny", replaceIn(json, `"use_regex"`, `"use_magic"`), `unknown field "use_magic"`},
		{"hf_tiny", replaceIn(json, `"RobertaProcessing"`, `"MyProcessing"`), `post_processor: type "MyProcessing"`},
		{"hf_tiny", replaceIn(json, `"dropout": null`, `"dropout": 0.1`), "model: BPE: dropout is not implemented"},
		{"hf_tiny", replaceIn(json, `"continuing_subword_prefix": ""`, `"continuing_subword_prefix": "##"`), `continuing_subword_prefix "##" is not implemented`},
		{"hf_tiny", replaceIn(json, `"type": "BPE"`, `"type": "WordPiece"`), `model: type "WordPiece" is not implemented`},
		{"hf_tiny", replaceIn(json, `"unk_token": "<|endoftext|>"`, `"unk_token": "<unk>"`), `unk_token "<unk>" is not in the vocabulary`},
		{"hf_tiny", replaceIn(json, `"single_word": false`, `"single_word": true`), `single_word of "<|startoftext|>" is not implemented`},
		{"hf_tiny", replaceIn(json, `"version": "1.0"`, `"version": "2.0"`), `version "2.0" is not implemented`},
		{"hf_tiny", replaceIn(json, `"truncation": null`, `"truncation": {"direction": "Left"}`), "truncation.direction Left"},
		{"hf_tiny", replaceIn(json, `"padding": null`, `"padding": {"direction": "Left"}`), "padding.direction Left"},
		{"hf_tiny", replaceIn(json, `"!": 0,`, `"!": 2000000000,`), `"!" has id 2000000000`},
		{"hf_tiny", replaceIn(json, `"id": 1512`, `"id": 99999999`), `"<|startoftext|>" has id 99999999`},
		{"hf_tiny", replaceIn(hfConfigFile, `"pad_token": "<|endoftext|>"`, `"pad_token": "<pad>"`), `tokenizer_config.json: pad_token "<pad>" is not in the vocabulary`},
		{"hf_tiny", replaceIn(hfConfigFile, `{`, `{"padding_side": "left",`), `padding_side "left" is not implemented`},
		{"hf_tiny", func(t *testing.T, dir string) {
			remove(json)(t, dir)
			replaceIn(hfConfigFile, "CLIPTokenizer", "GPT2Tokenizer")(t, dir)
		}, "tokenizer_class GPT2Tokenizer with vocab.json and merges.txt is not implemented"},
		{"hf_tiny", func(t *testing.T, dir string) {
			remove(json)(t, dir)
			replaceIn(mergesFile, "t h", "t h e")(t, dir)
		}, `merges.txt: line 3: "t h e" is not two symbols`},
		{"hf_tiny", func(t *testing.T, dir string) {
			remove(json)(t, dir)
			replaceIn(mergesFile, "t h", "t hhh")(t, dir)
		}, `merge 2 ("t" "hhh"): a part or the whole is not in the vocabulary`},
		{"", openClip(`{"vocab_size": 512}`), "vocab_size is 512, but CLIP's tokenizer has 49408 ids"},
		{"", openClip(`{"tokenizer_kwargs": {"clean": "canonicalize"}}`), `clean "canonicalize" is not implemented for CLIP's tokenizer`},
		{"siglip_t5", openClip(`{"hf_tokenizer_name": "x", "tokenizer_kwargs": {"strip_sep_token": true}}`), `unknown field "strip_sep_token"`},
		{"siglip_t5", openClip(`{"hf_tokenizer_name": "x", "tokenizer_kwargs": {"clean": "polish"}}`), `clean "polish" is not one of`},
		{"siglip_t5", replaceIn(json, `"unk_id": 2`, `"unk_id": 99999`), "model: Unigram: it needs"},
		{"siglip_t5", replaceIn(json, `"ALwCA`, `"AL=CA`), "precompiled_charsmap: illegal base64"},
		{"siglip_t5", replaceIn(json, `"ALwCAACEAAAA`, `"ALwCBBCEAAAA`), "precompiled_charsmap is damaged"},
		{"siglip_spm", truncate(siglipFile), "spiece.model: not a SentencePiece model"},
		{"siglip2_spm", func(*testing.T, string) {}, "it does not say how captions are cleaned"},
	} {
		t.Run(test.want, func(t *testing.T) {
			dir := t.TempDir()
			if test.from != "" {
				if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", test.from))); err != nil {
					t.Fatal(err)
				}
			}
			test.edit(t, dir)
			_, err := Load(dir)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), dir) && !strings.HasPrefix(err.Error(), "tokenizer: ") {
				t.Fatalf("error %v\nwant %s, in %s", err, test.want, dir)
			}
			if !fault.IsUser(err) || strings.Contains(err.Error(), "\n") {
				t.Errorf("not one line of a user's mistake: %q", err)
			}
		})
	}
}

// TestLoadRefusesSaved damages what Save wrote.
func TestLoadRefusesSaved(t *testing.T) {
	saved := t.TempDir()
	trained, _, err := Train(slices.Values(shapeCaptions(50)), 540, TrainOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := trained.Save(saved); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ file, old, new, want string }{
		{hfTokenizerFile, `"BPE"`, `"bpe"`, "its sha256 is not the one in tandem_tokenizer.json"},
		{settingsFile, `"pad": 0`, `"pad": 1`, "fingerprint is"},
		{settingsFile, `"pad": 0`, `"pad": 9999`, "padding 9999 does not fit"},
		{settingsFile, `"format": 1`, `"format": 2`, "written by a later version"},
		{settingsFile, `"cleaning": "lower"`, `"cleaning": "shine"`, `cleaning "shine" is not known`},
		{settingsFile, `"kind": "bpe"`, `"kind": "rot13"`, `kind "rot13" is not known`},
		{settingsFile, `"main": "tokenizer.json"`, `"main": "x"`, `main file "x" is not among`},
		{settingsFile, `  "tokenizer.json":`, `  "../tokenizer.json":`, "leads out of the directory"},
		{settingsFile, `"pad": 0`, `"pda": 0`, `unknown field "pda"`},
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(saved)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, test.file)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), test.old) {
			t.Fatalf("%s does not contain %q", test.file, test.old)
		}
		writeFile(t, path, []byte(strings.Replace(string(data), test.old, test.new, 1)))
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), test.want) || !fault.IsUser(err) {
			t.Errorf("%s: error %v, want %s", test.new, err, test.want)
		}
	}
	if err := os.Remove(filepath.Join(saved, hfTokenizerFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(saved); err == nil || !strings.Contains(err.Error(), hfTokenizerFile) || !fault.IsUser(err) {
		t.Errorf("without its main file: %v", err)
	}
}

func TestLoadOptions(t *testing.T) {
	if _, err := Load("testdata/no such directory"); !fault.IsUser(err) {
		t.Errorf("missing directory: %v", err)
	}
	if _, err := Load("testdata/texts.json"); !fault.IsUser(err) {
		t.Errorf("a file: %v", err)
	}
	for name, opt := range map[string]Option{"padding": WithPad(1 << 20), "cleaning": WithCleaning("shine")} {
		if _, err := Load("testdata/hf_tiny", opt); !fault.IsUser(err) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	clip, err := Open("clip", WithContext(9))
	if err != nil || clip.Context() != 9 || clip.Fingerprint() != CLIP().Fingerprint() || CLIP().Context() != 77 {
		t.Errorf("clip: %v, %v", clip, err)
	}
	tok, err := Open("testdata/hf_tiny", WithPad(3), WithContext(5))
	if err != nil {
		t.Fatal(err)
	}
	if tok.Pad() != 3 || tok.Context() != 5 {
		t.Errorf("pad %d, context %d", tok.Pad(), tok.Context())
	}
}

// TestLoadOpenClip reads the configs of open_clip models without tokenizer files, and with those of transformers, which
// open_clip does not look at.
func TestLoadOpenClip(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, openClipFile), []byte(`{"model_cfg":{"text_cfg":{"context_length":32,"vocab_size":49408}},"preprocess_cfg":{}}`))
	copyFile(t, "testdata/hf_tiny/tokenizer.json", filepath.Join(dir, hfTokenizerFile))
	tok, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if tok.Fingerprint() != CLIP().Fingerprint() || tok.Context() != 32 {
		t.Errorf("not CLIP's tokenizer with a context of 32: %T, %d", tok, tok.Context())
	}
	if _, err := Load(dir, WithCleaning(CleanNone)); !fault.IsUser(err) {
		t.Errorf("another cleaning: %v", err)
	}
}

// TestSiglip2Lowercase holds that a SigLIP 2 model's tokenizer.json, which does not say so, is read with lower case.
func TestSiglip2Lowercase(t *testing.T) {
	dir := t.TempDir()
	copyFile(t, "testdata/siglip2/tokenizer.json", filepath.Join(dir, hfTokenizerFile))
	writeFile(t, filepath.Join(dir, modelConfigFile), []byte(`{"model_type":"siglip2"}`))
	tok, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Load("testdata/siglip2_lower")
	if err != nil {
		t.Fatal(err)
	}
	a, b := make([]int32, 64), make([]int32, 64)
	if n := tok.Encode(a, "A CAT on a Table"); n != want.Encode(b, "A CAT on a Table") || !slices.Equal(a[:n], b[:n]) {
		t.Errorf("got %v, want %v", a[:n], b[:n])
	}
}

// FuzzParseHF holds that a file from anywhere gives a tokenizer or an error, and the tokenizer encodes.
func FuzzParseHF(f *testing.F) {
	f.Add([]byte(`{"version":"1.0","model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]},"pre_tokenizer":{"type":"ByteLevel"}}`))
	f.Add([]byte(`{"version":"1.0","model":{"type":"Unigram","unk_id":0,"vocab":[["?",0],["▁a",-1]]},"normalizer":{"type":"Precompiled","precompiled_charsmap":"BAAAAAAAAAAA"},
		"pre_tokenizer":{"type":"Metaspace","replacement":"▁"},"post_processor":{"type":"TemplateProcessing","single":[{"Sequence":{"id":"A","type_id":0}}],"special_tokens":{}}}`))
	f.Add([]byte(`{"version":"1.0","added_tokens":[{"id":1,"content":"<x>","normalized":true,"lstrip":true}],"model":{"type":"BPE","vocab":{"a":0},"merges":[],"unk_token":"a"},
		"normalizer":{"type":"Sequence","normalizers":[{"type":"NFKC"},{"type":"Prepend","prepend":"_"},{"type":"Strip","strip_left":true,"strip_right":true}]},
		"pre_tokenizer":{"type":"Split","pattern":{"String":"_"},"behavior":"MergedWithNext","invert":false}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := parseHF(data)
		if err != nil {
			return
		}
		tok.pad = max(tok.pad, 0)
		dst := make([]int32, 20)
		n := tok.Encode(dst, "a photo of <x> a b_c 日本 \xff")
		for _, id := range dst[:n] {
			if id < 0 || int(id) >= tok.VocabSize() {
				t.Errorf("id %d is beyond the vocabulary of %d", id, tok.VocabSize())
			}
		}
		tok.Decode(dst)
	})
}
