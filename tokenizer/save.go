package tokenizer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"tandem/internal/atomicfile"
	"tandem/internal/fault"
)

// Names of the files that make a tokenizer.
const (
	settingsFile    = "tandem_tokenizer.json" // what Save writes last and Load looks for first
	hfTokenizerFile = "tokenizer.json"
	hfConfigFile    = "tokenizer_config.json"
	hfSpecialFile   = "special_tokens_map.json"
	vocabFile       = "vocab.json"
	mergesFile      = "merges.txt"
	siglipFile      = "spiece.model"
	gemmaFile       = "tokenizer.model"
	openClipFile    = "open_clip_config.json"
	modelConfigFile = "config.json"
)

// Kinds of tokenizer.
const (
	kindBPE           = "bpe"
	kindHuggingFace   = "huggingface"
	kindSentencePiece = "sentencepiece"
)

// settings is tandem_tokenizer.json: what the other files do not say, and what they must be.
type settings struct {
	Format      int               `json:"format"`
	Kind        string            `json:"kind"`
	Cleaning    Cleaning          `json:"cleaning"`
	Pad         int32             `json:"pad"`
	Context     int               `json:"context"`
	VocabSize   int               `json:"vocab_size"`
	Fingerprint string            `json:"fingerprint"`
	Lowercase   bool              `json:"lowercase,omitempty"` // before the normalizer of tokenizer.json
	Main        string            `json:"main"`                // the file that the tokenizer is read from
	Files       map[string]string `json:"files"`               // sha256 by name
}

// settingsFormat is the only format there is.
const settingsFormat = 1

// source is the files that a tokenizer is read from.
type source struct {
	kind      string
	main      string
	lowercase bool
	files     map[string][]byte
}

// save writes the files, and what describes them last.
func (s *source) save(dir string, t Tokenizer, cleaning Cleaning) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	described := settings{settingsFormat, s.kind, cleaning, t.Pad(), t.Context(), t.VocabSize(), t.Fingerprint(), s.lowercase, s.main, map[string]string{}}
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		if err := atomicfile.WriteFile(filepath.Join(dir, name), s.files[name], 0o644); err != nil {
			return err
		}
		described.Files[name] = sha256Hex(s.files[name])
	}
	data, err := json.MarshalIndent(described, "", " ")
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, settingsFile), append(data, '\n'), 0o644)
}

func sha256Hex(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Save implements Tokenizer: tokenizer.json and tokenizer_config.json as transformers' CLIPTokenizer reads them, and
// tandem_tokenizer.json. transformers pads with the end token and does not fix text, which only tandem_tokenizer.json
// can tell; its special tokens are written <|startoftext|> and <|endoftext|>.
func (t *BPE) Save(dir string) error {
	tokenizer, err := marshalCLIP(t.hfVocabulary())
	if err != nil {
		return err
	}
	config, err := marshalCLIPConfig(hfStartText, hfEndText, hfEndText, t.context)
	if err != nil {
		return err
	}
	s := source{kind: kindBPE, main: hfTokenizerFile, files: map[string][]byte{hfTokenizerFile: tokenizer, hfConfigFile: config}}
	return s.save(dir, t, t.cleaning)
}

// Save implements Tokenizer: the files that the tokenizer was read from, and tandem_tokenizer.json.
func (t *Pipeline) Save(dir string) error { return t.source.save(dir, t, t.cleaning) }

// Special tokens of CLIP as transformers writes them.
const (
	hfStartText = "<|startoftext|>"
	hfEndText   = "<|endoftext|>"
)

// clipVocabulary is what a CLIPTokenizer of transformers is made from.
type clipVocabulary struct {
	ids             map[string]int32
	merges          [][2]string
	start, end, unk string
}

func (t *BPE) hfVocabulary() clipVocabulary {
	v := clipVocabulary{make(map[string]int32, len(t.tokens)), t.mergeStrings(), hfStartText, hfEndText, hfEndText}
	for id, token := range t.tokens[:len(t.tokens)-specialIDs] {
		v.ids[token] = int32(id)
	}
	v.ids[hfStartText], v.ids[hfEndText] = t.Start(), t.End()
	return v
}

func (v *vocabulary) mergeStrings() [][2]string {
	merges := make([][2]string, len(v.merges))
	for i, m := range v.merges {
		merges[i] = [2]string{v.tokens[m[0]], v.tokens[m[1]]}
	}
	return merges
}

// object is a JSON object to be written.
type object = map[string]any

// marshalCLIP writes the tokenizer.json that transformers makes for CLIPTokenizer.
func marshalCLIP(v clipVocabulary) ([]byte, error) {
	var added []object
	for _, text := range []string{v.start, v.end} {
		added = append(added, object{"id": v.ids[text], "content": text, "single_word": false, "lstrip": false,
			"rstrip": false, "normalized": false, "special": true})
	}
	slices.SortFunc(added, func(a, b object) int { return int(a["id"].(int32) - b["id"].(int32)) })
	return marshal(object{
		"version":      "1.0",
		"truncation":   nil,
		"padding":      nil,
		"added_tokens": added,
		"normalizer": object{"type": "Sequence", "normalizers": []object{
			{"type": "NFC"}, {"type": "Replace", "pattern": object{"Regex": `\s+`}, "content": " "}, {"type": "Lowercase"}}},
		"pre_tokenizer": object{"type": "Sequence", "pretokenizers": []object{
			{"type": "Split", "pattern": object{"Regex": clipRegex}, "behavior": "Removed", "invert": true},
			{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}}},
		"post_processor": object{"type": "RobertaProcessing", "sep": []any{v.end, v.ids[v.end]},
			"cls": []any{v.start, v.ids[v.start]}, "trim_offsets": false, "add_prefix_space": false},
		"decoder": object{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
		"model": object{"type": "BPE", "dropout": nil, "unk_token": v.unk, "continuing_subword_prefix": "",
			"end_of_word_suffix": wordEnd, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
			"vocab": v.ids, "merges": v.merges},
	})
}

func marshalCLIPConfig(start, end, pad string, context int) ([]byte, error) {
	return marshal(object{"tokenizer_class": "CLIPTokenizer", "bos_token": start, "eos_token": end, "unk_token": end,
		"pad_token": pad, "model_max_length": context, "add_prefix_space": false, "do_lower_case": true})
}

// marshal writes JSON with < and > as they are, which makes a vocabulary readable.
func marshal(value any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(value)
	return out.Bytes(), err
}

// loadSaved reads what Save wrote.
func loadSaved(dir string, opts options) (Tokenizer, error) {
	path := filepath.Join(dir, settingsFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var saved settings
	if err := strict(data, &saved); err != nil {
		return nil, fault.Userf("%s: %w", path, err)
	}
	src, err := saved.read(dir)
	if err != nil {
		return nil, err
	}
	t, err := saved.build(src)
	if err != nil {
		return nil, fault.Userf("%s: %w", filepath.Join(dir, saved.Main), err)
	}
	if t.Fingerprint() != saved.Fingerprint {
		return nil, fault.Userf("%s: fingerprint is %s, but the files give %s: they do not belong together", path, saved.Fingerprint, t.Fingerprint())
	}
	return opts.apply(t)
}

// read returns the files that belong to the settings, each with its sha256 checked.
func (s *settings) read(dir string) (source, error) {
	path := filepath.Join(dir, settingsFile)
	if s.Format != settingsFormat || !slices.Contains(cleanings, s.Cleaning) {
		return source{}, fault.Userf("%s: format %d or cleaning %q is not known: it was written by a later version", path, s.Format, s.Cleaning)
	}
	src := source{s.Kind, s.Main, s.Lowercase, map[string][]byte{}}
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		want := s.Files[name]
		if !filepath.IsLocal(name) {
			return source{}, fault.Userf("%s: file name %q leads out of the directory", path, name)
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return source{}, fault.Userf("%s: %w, which %s lists", dir, err, settingsFile)
		}
		if sha256Hex(data) != want {
			return source{}, fault.Userf("%s: its sha256 is not the one in %s: it was changed or is torn; restore it, or delete %[2]s to read the directory as another program's",
				filepath.Join(dir, name), settingsFile)
		}
		src.files[name] = data
	}
	if src.files[s.Main] == nil {
		return source{}, fault.Userf("%s: main file %q is not among its files", path, s.Main)
	}
	return src, nil
}

func (s *settings) build(src source) (Tokenizer, error) {
	if s.Kind == kindBPE {
		return s.buildBPE(src.files[s.Main])
	}
	t, err := newPipeline(src, s.Cleaning)
	if err != nil {
		return nil, err
	}
	if s.Pad < 0 || int(s.Pad) >= len(t.tokens) {
		return nil, fmt.Errorf("padding %d does not fit a vocabulary of %d", s.Pad, len(t.tokens))
	}
	t.pad, t.context = s.Pad, s.Context
	return t, nil
}

func (s *settings) buildBPE(data []byte) (*BPE, error) {
	var file struct {
		Model struct {
			Merges hfMerges
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	v, err := newVocabulary(file.Model.Merges)
	if err != nil {
		return nil, err
	}
	if s.Cleaning != v.cleaning || s.Pad < 0 || int(s.Pad) >= len(v.tokens) {
		return nil, fmt.Errorf("cleaning %q or padding %d does not fit a vocabulary of %d", s.Cleaning, s.Pad, len(v.tokens))
	}
	return &BPE{v, s.Pad, s.Context}, nil
}

// newPipeline reads the main file of src.
func newPipeline(src source, cleaning Cleaning) (t *Pipeline, err error) {
	switch src.kind {
	case kindHuggingFace:
		t, err = parseHF(src.files[src.main])
	case kindSentencePiece:
		t, err = parseSPM(src.files[src.main])
	default:
		err = fmt.Errorf("kind %q is not known", src.kind)
	}
	if err != nil {
		return nil, err
	}
	if src.lowercase {
		t.normalizers = slices.Insert(t.normalizers, 0, textStep(appendLowercase))
	}
	t.cleaning, t.source = cleaning, src
	t.digest = t.hash()
	return t, nil
}

// hash covers all that ids depend on, except for the padding.
func (t *Pipeline) hash() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s %s\nlowercase %v\n", t.source.kind, t.cleaning, cleaningVersion, t.source.lowercase)
	h.Write(t.source.files[t.source.main])
	return hex.EncodeToString(h.Sum(nil))
}
