package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tandem/internal/fault"
	"tandem/tokenizer/internal/spm"
)

// Option changes what Load takes from the files.
type Option func(*options)

type options struct {
	cleaning *Cleaning
	pad      *int32
	context  *int
}

// WithCleaning says what is done to captions before they are split.
func WithCleaning(c Cleaning) Option { return func(o *options) { o.cleaning = &c } }

// WithPad says which id fills the rest of the context.
func WithPad(id int32) Option { return func(o *options) { o.pad = &id } }

// WithContext says what Context returns.
func WithContext(n int) Option { return func(o *options) { o.context = &n } }

// Open returns the tokenizer that a flag or a config names: clip, or a directory for Load.
func Open(name string, opts ...Option) (Tokenizer, error) {
	if name != "clip" {
		return Load(name, opts...)
	}
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	return o.apply(CLIP())
}

// Load reads the tokenizer of a directory:
//
//   - what Save wrote (tandem_tokenizer.json and the files that it lists);
//   - an open_clip model (open_clip_config.json): CLIP, or the tokenizer.json beside it with the cleaning that it names;
//   - a Hugging Face model: tokenizer.json; or vocab.json and merges.txt of a CLIPTokenizer; or, for SigLIP,
//     spiece.model; tokenizer.model with open_clip_config.json or WithCleaning.
//
// The padding is the pad_token of tokenizer_config.json, else the end token. A directory without any of them, and a
// file that asks for something that is not implemented, is the user's mistake (fault.IsUser), and the error names it.
func Load(dir string, opts ...Option) (Tokenizer, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fault.Userf("tokenizer: %w", err)
	}
	if !info.IsDir() {
		return nil, fault.Userf("tokenizer: %s is a file: give the directory that it is in", dir)
	}
	d := &directory{path: dir}
	if d.has(settingsFile) {
		return loadSaved(dir, o)
	}
	return d.load(o)
}

// apply makes the changes that can still be made to a tokenizer that was read.
func (o *options) apply(t Tokenizer) (Tokenizer, error) {
	if o.pad != nil && (*o.pad < 0 || int(*o.pad) >= t.VocabSize()) {
		return nil, fault.Userf("tokenizer: padding %d is beyond the vocabulary of %d", *o.pad, t.VocabSize())
	}
	switch t := t.(type) {
	case *BPE:
		return o.applyBPE(t)
	case *Pipeline:
		if o.cleaning != nil {
			t.cleaning = *o.cleaning
			t.digest = t.hash()
		}
		if o.pad != nil {
			t.pad = *o.pad
		}
		if o.context != nil {
			t.context = *o.context
		}
	}
	return t, nil
}

func (o *options) applyBPE(t *BPE) (Tokenizer, error) {
	if o.cleaning != nil && *o.cleaning != t.cleaning {
		return nil, fault.Userf("tokenizer: cleaning %q is not possible: this byte-pair vocabulary is made for %q", *o.cleaning, t.cleaning)
	}
	if o.pad != nil {
		t = t.WithPad(*o.pad)
	}
	if o.context != nil {
		t = t.WithContext(*o.context)
	}
	return t, nil
}

// directory is a directory of another program's files, with what its small ones say.
type directory struct {
	path     string
	openClip *openClipText
	config   hfTokenizerConfig
	model    struct {
		Type string `json:"model_type"`
	}
}

// openClipText is model_cfg.text_cfg of open_clip_config.json, as far as it is about tokens.
type openClipText struct {
	Context   int             `json:"context_length"`
	VocabSize int             `json:"vocab_size"`
	HFName    string          `json:"hf_tokenizer_name"`
	Kwargs    json.RawMessage `json:"tokenizer_kwargs"`
	clean     Cleaning
}

// hfTokenizerConfig is tokenizer_config.json, as far as it is about ids.
type hfTokenizerConfig struct {
	Class          string   `json:"tokenizer_class"`
	Pad            hfToken  `json:"pad_token"`
	Start          hfToken  `json:"bos_token"`
	End            hfToken  `json:"eos_token"`
	Unk            hfToken  `json:"unk_token"`
	Context        *float64 `json:"model_max_length"`
	PaddingSide    string   `json:"padding_side"`
	TruncationSide string   `json:"truncation_side"`
}

// hfToken is a token's text, written "text" or {"content": "text"}.
type hfToken string

func (t *hfToken) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, (*string)(t)) == nil {
		return nil
	}
	var long struct{ Content string }
	err := json.Unmarshal(data, &long)
	*t = hfToken(long.Content)
	return err
}

func (d *directory) file(name string) string { return filepath.Join(d.path, name) }

func (d *directory) has(name string) bool {
	info, err := os.Stat(d.file(name))
	return err == nil && info.Mode().IsRegular()
}

// readJSON decodes a file if it is there.
func (d *directory) readJSON(name string, into any) error {
	data, err := os.ReadFile(d.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fault.Userf("%s: %w", d.file(name), err)
	}
	return nil
}

func (d *directory) load(o options) (Tokenizer, error) {
	if err := d.readConfigs(); err != nil {
		return nil, err
	}
	if d.openClip != nil && d.openClip.HFName == "" && (d.openClip.VocabSize == CLIP().VocabSize() || !d.has(hfTokenizerFile)) {
		return d.loadOpenClip(o)
	}
	src, err := d.source()
	if err != nil {
		return nil, err
	}
	cleaning, err := d.cleaning(src, o)
	if err != nil {
		return nil, err
	}
	t, err := newPipeline(src, cleaning)
	if err != nil {
		return nil, fault.Userf("%s: %w", d.file(src.main), err)
	}
	if err := d.finish(t); err != nil {
		return nil, err
	}
	return o.apply(t)
}

// readConfigs reads the small files.
func (d *directory) readConfigs() error {
	// transformers writes special tokens into both files; tokenizer_config.json decides.
	for _, name := range []string{hfSpecialFile, hfConfigFile} {
		if err := d.readJSON(name, &d.config); err != nil {
			return err
		}
	}
	if side := d.config.PaddingSide; side != "" && side != "right" {
		return fault.Userf("%s: padding_side %q is not implemented, only right", d.file(hfConfigFile), side)
	}
	if side := d.config.TruncationSide; side != "" && side != "right" {
		return fault.Userf("%s: truncation_side %q is not implemented, only right", d.file(hfConfigFile), side)
	}
	if err := d.readJSON(modelConfigFile, &d.model); err != nil {
		return err
	}
	return d.readOpenClip()
}

func (d *directory) readOpenClip() error {
	var file struct {
		Model *struct {
			Text *openClipText `json:"text_cfg"`
		} `json:"model_cfg"`
	}
	if err := d.readJSON(openClipFile, &file); err != nil || file.Model == nil || file.Model.Text == nil {
		return err
	}
	text := file.Model.Text
	var kwargs struct {
		Clean Cleaning `json:"clean"`
	}
	if !isNull(text.Kwargs) {
		if err := strict(text.Kwargs, &kwargs); err != nil {
			return fault.Userf("%s: text_cfg.tokenizer_kwargs: %w: it is not implemented", d.file(openClipFile), err)
		}
	}
	if text.clean = kwargs.Clean; text.clean == "" {
		text.clean = CleanWhitespace // the default of open_clip's HFTokenizer
		if text.HFName == "" {
			text.clean = CleanLower
		}
	}
	if text.VocabSize == 0 {
		text.VocabSize = CLIP().VocabSize()
	}
	d.openClip = text
	return nil
}

// loadOpenClip returns open_clip's own tokenizer.
func (d *directory) loadOpenClip(o options) (Tokenizer, error) {
	text := d.openClip
	if text.VocabSize != CLIP().VocabSize() {
		return nil, fault.Userf("%s: vocab_size is %d, but CLIP's tokenizer has %d ids and there is no %s beside it", d.file(openClipFile), text.VocabSize,
			CLIP().VocabSize(), hfTokenizerFile)
	}
	if text.clean != CleanLower {
		return nil, fault.Userf("%s: tokenizer_kwargs.clean %q is not implemented for CLIP's tokenizer, only %q", d.file(openClipFile), text.clean, CleanLower)
	}
	t := CLIP()
	if text.Context > 0 {
		t = t.WithContext(text.Context)
	}
	return o.apply(t)
}

// source finds and reads the tokenizer's main file.
func (d *directory) source() (source, error) {
	src := source{kind: kindHuggingFace, main: hfTokenizerFile, files: map[string][]byte{}}
	slowSiglip := d.openClip == nil && d.config.Class == "SiglipTokenizer" && d.has(siglipFile)
	switch {
	case d.has(hfTokenizerFile) && !slowSiglip:
		// SigLIP 2 was trained on lower case, which its tokenizer.json leaves to the program.
		src.lowercase = d.openClip == nil && (d.model.Type == "siglip2" || d.config.Class == "Siglip2Tokenizer")
	case d.has(vocabFile) && d.has(mergesFile):
		return d.clipSource()
	case d.has(siglipFile):
		src.kind, src.main = kindSentencePiece, siglipFile
	case d.has(gemmaFile):
		src.kind, src.main = kindSentencePiece, gemmaFile
	default:
		return source{}, d.nothing()
	}
	for _, name := range []string{src.main, hfConfigFile} {
		data, err := os.ReadFile(d.file(name))
		if errors.Is(err, fs.ErrNotExist) && name == hfConfigFile {
			continue
		}
		if err != nil {
			return source{}, err
		}
		src.files[name] = data
	}
	return src, nil
}

func (d *directory) nothing() error {
	for _, names := range [][2]string{{vocabFile, mergesFile}, {mergesFile, vocabFile}} {
		if d.has(names[0]) {
			return fault.Userf("%s: there is %s but no %s, which belongs to it", d.path, names[0], names[1])
		}
	}
	return fault.Userf("%s: no tokenizer: none of %s is there", d.path,
		strings.Join([]string{settingsFile, hfTokenizerFile, vocabFile + " with " + mergesFile, siglipFile, gemmaFile, openClipFile}, ", "))
}

// clipSource writes vocab.json and merges.txt as tokenizer.json.
func (d *directory) clipSource() (source, error) {
	if class := d.config.Class; class != "" && class != "CLIPTokenizer" && class != "CLIPTokenizerFast" {
		return source{}, fault.Userf("%s: tokenizer_class %s with %s and %s is not implemented, only CLIPTokenizer", d.file(hfConfigFile), class, vocabFile, mergesFile)
	}
	v := clipVocabulary{start: orText(d.config.Start, hfStartText), end: orText(d.config.End, hfEndText), unk: orText(d.config.Unk, hfEndText)}
	if err := d.readJSON(vocabFile, &v.ids); err != nil {
		return source{}, err
	}
	file, err := os.Open(d.file(mergesFile))
	if err != nil {
		return source{}, err
	}
	defer file.Close()
	if v.merges, err = readMerges(file); err != nil {
		return source{}, fault.Userf("%s: %w", d.file(mergesFile), err)
	}
	for _, text := range []string{v.start, v.end, v.unk} {
		if _, ok := v.ids[text]; !ok {
			return source{}, fault.Userf("%s: special token %q is not in it", d.file(vocabFile), text)
		}
	}
	context := clipContext
	if n := d.config.context(); n > 0 {
		context = n
	}
	return newCLIPSource(v, orText(d.config.Pad, v.end), context)
}

func newCLIPSource(v clipVocabulary, pad string, context int) (source, error) {
	tokenizer, err := marshalCLIP(v)
	if err != nil {
		return source{}, err
	}
	config, err := marshalCLIPConfig(v.start, v.end, pad, context)
	return source{kind: kindHuggingFace, main: hfTokenizerFile,
		files: map[string][]byte{hfTokenizerFile: tokenizer, hfConfigFile: config}}, err
}

func orText(t hfToken, other string) string {
	if t == "" {
		return other
	}
	return string(t)
}

// context returns model_max_length, or 0: transformers writes 1e30 where it does not know.
func (c *hfTokenizerConfig) context() int {
	if c.Context == nil || *c.Context < 1 || *c.Context > 1e6 {
		return 0
	}
	return int(*c.Context)
}

// cleaning tells what the model's own program does to captions.
func (d *directory) cleaning(src source, o options) (Cleaning, error) {
	switch {
	case o.cleaning != nil:
		if !slices.Contains(cleanings, *o.cleaning) {
			return "", fault.Userf("tokenizer: cleaning %q is not one of %v", *o.cleaning, cleanings)
		}
		return *o.cleaning, nil
	case d.openClip != nil:
		if !slices.Contains(cleanings[:3], d.openClip.clean) {
			return "", fault.Userf("%s: tokenizer_kwargs.clean %q is not one of %v", d.file(openClipFile), d.openClip.clean, cleanings[:3])
		}
		return d.openClip.clean, nil
	case src.main == siglipFile, d.config.Class == "SiglipTokenizer":
		return CleanSiglip, nil
	case src.main == gemmaFile:
		return "", fault.Userf("%s: it does not say how captions are cleaned: put tokenizer.json or %s beside it, or choose a cleaning (%q for open_clip's SigLIP 2)",
			d.file(src.main), openClipFile, CleanCanonicalize)
	default:
		return CleanNone, nil
	}
}

// finish sets the padding and the context.
func (d *directory) finish(t *Pipeline) error {
	switch {
	case d.config.Pad != "":
		id := slices.Index(t.tokens, string(d.config.Pad))
		if id < 0 {
			return fault.Userf("%s: pad_token %q is not in the vocabulary", d.file(hfConfigFile), d.config.Pad)
		}
		t.pad = int32(id)
	case t.pad >= 0:
		// tokenizer.json or the model said it
	default:
		t.pad = max(t.End(), 0)
	}
	if n := d.config.context(); n > 0 {
		t.context = n
	}
	if d.openClip != nil && d.openClip.Context > 0 {
		t.context = d.openClip.Context
	}
	return nil
}

// siglipContext is the context of every SigLIP model.
const siglipContext = 64

// parseSPM builds the pipeline of a SentencePiece model: no start, the end token last.
func parseSPM(data []byte) (*Pipeline, error) {
	m, err := spm.Parse(data)
	if err != nil {
		return nil, err
	}
	switch {
	case m.SpaceIsSuffix:
		return nil, errors.New("treat_whitespace_as_suffix is not implemented")
	case m.PretokenizeDelim != "":
		return nil, fmt.Errorf("pretokenization_delimiter %q is not implemented", m.PretokenizeDelim)
	case m.Eos < 0:
		return nil, errors.New("it has no end token (eos_id)")
	}
	normalizer, err := spm.NewNormalizer(m)
	if err != nil {
		return nil, err
	}
	t := &Pipeline{normalizers: []textStep{normalizer.Append}, suffix: []int32{m.Eos}, pad: m.Eos, context: siglipContext}
	for _, p := range m.Pieces {
		t.tokens = append(t.tokens, p.Text)
	}
	t.decoder = decoder{space: spm.Space, trimFirst: m.AddDummyPrefix}
	return t, t.setSPMModel(m)
}

func (t *Pipeline) setSPMModel(m *spm.Model) (err error) {
	switch m.Kind {
	case spm.Unigram:
		u := &unigram{segmenter: spm.NewSegmenter(m), unk: m.Unk}
		if m.ByteFallback {
			ids := map[string]int32{}
			for id, p := range m.Pieces {
				ids[p.Text] = int32(id)
			}
			u.bytes, err = byteIDs256(ids)
		}
		t.model = u
	case spm.BPE:
		if m.Pad >= 0 {
			t.pad = m.Pad // Gemma's; SigLIP's unigram model has one that it does not use
		}
		t.model, err = newSpmBPE(m)
	default:
		err = fmt.Errorf("model_type %d is not implemented, only unigram (1) and byte-pair (2)", m.Kind)
	}
	return err
}
