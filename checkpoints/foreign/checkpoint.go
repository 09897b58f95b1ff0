package foreign

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tandem/checkpoints"
	"tandem/checkpoints/safetensors"
	"tandem/imaging"
	"tandem/internal/fault"
	"tandem/model"
	"tandem/tokenizer"
)

// Format names a way of keeping a CLIP on disk.
type Format string

// The formats.
const (
	FormatOpenCLIP Format = "open_clip" // open_clip_config.json and open_clip_model.safetensors
	FormatHF       Format = "hf"        // config.json and model.safetensors of transformers
	FormatOpenAI   Format = "openai"    // OpenAI's tensors in a safetensors file, without a configuration
	FormatTandem   Format = "tandem"    // tandem's own model directory, see package checkpoints
)

// Checkpoint is a model on disk, opened for reading. It may be read by many goroutines at once.
type Checkpoint struct {
	Format     Format
	Path       string // of the weights, or of the index of their shards
	Config     model.Config
	Preprocess checkpoints.Preprocess
	// Notes say what was assumed where the files are silent, one line each.
	Notes []string
	// Origin is what the way back to the format needs beyond weights. For a tandem directory that came from elsewhere
	// it tells of that place; it is nil for a model that tandem made itself.
	Origin *Origin
	// Source says where the model came from, for model.json.
	Source map[string]string

	dir         string
	fingerprint string // of the tokenizer that a model of tandem's was trained with
	makeTable   func(model.Config) Table
	pairs       map[string][]Pair // by our path
	weights     *safetensors.Set
	extra       *safetensors.Set     // their buffers that a tandem directory keeps; nil if there are none
	replaced    map[string][]float32 // resized parameters, by path
}

// Options say how to open a checkpoint.
type Options struct {
	// From is the format; empty finds it out.
	From Format
	// Model describes a file that comes without a configuration.
	Model *model.Config
	// Name is where the model came from, for the record; empty means the path.
	Name string
	// ImageSize and Context, where not 0, resize the position embeddings to pictures of that size and texts of that
	// length (Resize).
	ImageSize, Context int
}

// Open opens a model: a directory, or a safetensors file beside its configuration. Files that cannot be read as asked are
// the user's mistakes.
func Open(path string, opts Options) (*Checkpoint, error) {
	stat, err := os.Stat(path)
	if err != nil {
		return nil, fault.User(err)
	}
	dir, file := path, ""
	if !stat.IsDir() {
		dir, file = filepath.Dir(path), path
	}
	c, err := open(dir, file, opts)
	if err != nil {
		return nil, fault.User(err)
	}
	if opts.Name != "" && c.Format != FormatTandem {
		c.Origin.Name, c.Source[sourceName] = opts.Name, opts.Name
	}
	if err := c.finish(opts); err != nil {
		c.Close()
		return nil, fault.User(err)
	}
	return c, nil
}

func open(dir, file string, opts Options) (*Checkpoint, error) {
	var absent []string
	var weightsAbsent error
	for _, reader := range []struct {
		format Format
		config string
		open   func(dir, file string, config []byte) (*Checkpoint, error)
	}{{FormatTandem, checkpoints.ModelName, openTandem}, {FormatOpenCLIP, "open_clip_config.json", openOpenCLIP}, {FormatHF, "config.json", openHF}} {
		if opts.From != "" && opts.From != reader.format {
			continue
		}
		config, err := os.ReadFile(filepath.Join(dir, reader.config))
		if errors.Is(err, fs.ErrNotExist) {
			absent = append(absent, reader.config)
			continue
		}
		if err != nil {
			return nil, err
		}
		c, err := reader.open(dir, file, config)
		var other *otherWeightsError
		if errors.As(err, &other) && opts.From == "" {
			weightsAbsent = cmp.Or(weightsAbsent, err)
			continue // repositories on the hub hold one model in two formats
		}
		return c, err
	}
	if opts.From == "" || opts.From == FormatOpenAI || opts.From == FormatOpenCLIP && opts.Model != nil {
		if bare, err := findBare(dir, file); err != nil {
			return nil, cmp.Or(weightsAbsent, err)
		} else if bare != "" && weightsAbsent == nil {
			return openBare(dir, bare, opts.Model)
		}
	}
	if weightsAbsent != nil {
		return nil, weightsAbsent
	}
	return nil, fmt.Errorf("%s: no model found: there is no %s", dir, strings.Join(absent, ", no "))
}

// otherWeightsError: a configuration is there, but its format's weights are not.
type otherWeightsError struct{ error }

// openWeights opens the first of names in dir (or file, if one is given) that holds a tensor called sign.
func openWeights(dir, file, sign string, names ...string) (*safetensors.Set, error) {
	paths := []string{file}
	if file == "" {
		paths = nil
		for _, name := range names {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	for _, path := range paths {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && path != file {
			continue
		}
		set, err := safetensors.OpenSet(path)
		if err != nil {
			return nil, err
		}
		if _, ok := set.Lookup(sign); ok {
			return set, nil
		}
		set.Close()
	}
	err := fmt.Errorf("%s: no weights found: no %s with a tensor %s", dir, strings.Join(names, " or "), sign)
	if pickled := findPickled(dir); pickled != "" {
		err = fmt.Errorf("%s: weights are read from safetensors only; convert %s first (in Python: safetensors.torch.save_file)", dir, pickled)
	}
	return nil, &otherWeightsError{err}
}

// findPickled looks for weights in Python's own format, which runs code when it is read.
func findPickled(dir string) string {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".bin", ".pt", ".pth", ".ckpt":
			return e.Name()
		}
	}
	return ""
}

// openCLIPNames are open_clip's preferences (open_clip/factory.py: _find_checkpoint_in_dir).
var openCLIPNames = []string{"open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors"}

var hfNames = []string{"model.safetensors", "model.safetensors" + safetensors.IndexSuffix}

func openOpenCLIP(dir, file string, config []byte) (*Checkpoint, error) {
	set, err := openWeights(dir, file, "logit_scale", openCLIPNames...)
	if err != nil {
		return nil, err
	}
	if _, isHF := set.Lookup(hfSign); isHF {
		set.Close()
		return nil, &otherWeightsError{fmt.Errorf("%s: open_clip_config.json is there, but the weights are those of transformers", dir)}
	}
	origin := newOrigin(FormatOpenCLIP, dir, set)
	origin.Files["open_clip_config.json"] = config
	if err := origin.addFile(dir, "timm_overrides.json"); err != nil {
		return closing(set, err)
	}
	read, err := origin.openCLIP(shapesOf(set))
	if err != nil {
		return closing(set, fmt.Errorf("%s: %w", dir, err))
	}
	return &Checkpoint{
		Format: FormatOpenCLIP, Path: set.Path(), Config: read.Model, Preprocess: read.Preprocess, Notes: read.Notes, Origin: origin,
		Source: sourceOf(origin, read.Tokenizer, read.Cleaning), dir: dir, makeTable: origin.table(shapesOf(set)), weights: set,
	}, nil
}

func sourceOf(o *Origin, tokenizerName, cleaning string) map[string]string {
	source := map[string]string{sourceFormat: string(o.Format), sourceName: o.Name}
	if tokenizerName != "" {
		source[sourceTokenizer] = tokenizerName
	}
	if cleaning != "" {
		source[sourceCleaning] = cleaning
	}
	return source
}

func closing(set *safetensors.Set, err error) (*Checkpoint, error) {
	set.Close()
	return nil, err
}

// hfSign is a tensor that every CLIP and SigLIP of transformers has.
const hfSign = "vision_model.embeddings.patch_embedding.weight"

func openHF(dir, file string, config []byte) (*Checkpoint, error) {
	origin := newOrigin(FormatHF, dir, nil)
	origin.Files["config.json"] = config
	for _, name := range []string{"preprocessor_config.json", "processor_config.json"} {
		if err := origin.addFile(dir, name); err != nil {
			return nil, err
		}
	}
	read, err := origin.hf()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	set, err := openWeights(dir, file, hfSign, hfNames...)
	if err != nil {
		return nil, err
	}
	origin.setWeights(set)
	if index := filepath.Base(set.Path()); strings.HasSuffix(index, safetensors.IndexSuffix) {
		if err := origin.addFile(dir, index); err != nil {
			return closing(set, err)
		}
	}
	return &Checkpoint{
		Format: FormatHF, Path: set.Path(), Config: read.Model, Preprocess: read.Preprocess, Notes: read.Notes, Origin: origin,
		Source: sourceOf(origin, "", ""), dir: dir, makeTable: HF, weights: set,
	}, nil
}

// findBare returns the one safetensors file to read without a configuration, "" if there is none.
func findBare(dir, file string) (string, error) {
	if file != "" {
		return file, nil
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil || len(found) == 0 {
		return "", err
	}
	if len(found) > 1 {
		return "", fmt.Errorf("%s: no configuration and %d safetensors files: give the one that is meant", dir, len(found))
	}
	return found[0], nil
}

// openBare opens tensors under OpenAI's and open_clip's names that nothing describes. The sizes are in the shapes; the
// activation is in none of them, so that it takes OpenAI's marks or the user's word.
func openBare(dir, file string, described *model.Config) (*Checkpoint, error) {
	set, err := openWeights(dir, file, "visual.conv1.weight")
	if err != nil {
		return nil, fmt.Errorf("%s: there is no configuration beside it, and these are not OpenAI's or open_clip's tensors", file)
	}
	origin := newOrigin(FormatOpenAI, file, set)
	c := &Checkpoint{Format: FormatOpenAI, Path: set.Path(), Origin: origin, Source: sourceOf(origin, "", ""), dir: dir, weights: set}
	switch _, marked := set.Lookup("input_resolution"); {
	case described != nil:
		c.Config = *described
	case marked:
		if c.Config, err = openAIConfig(shapesOf(set)); err != nil {
			return closing(set, fmt.Errorf("%s: %w", file, err))
		}
		c.Notes = append(c.Notes, "no configuration: sizes from the tensors; QuickGELU and OpenAI's mean and std, because the file carries OpenAI's marks")
	default:
		return closing(set, fmt.Errorf("%s: there is no configuration beside it, and nothing tells GELU from QuickGELU: name a built-in model (-model ViT-B-32 or ViT-B-32-quickgelu)", file))
	}
	c.Preprocess = checkpoints.Preprocess{}.WithDefaults()
	if described != nil && isTimm(described.Vision) {
		c.Preprocess.Resize = imaging.Squash
	}
	c.makeTable = c.Origin.table(shapesOf(set))
	return c, nil
}

// textPrefix tells open_clip's two classes apart by what the file holds: the text tower under "text." or at the top.
func textPrefix(shapes weightShapes) string {
	if shapes("text.token_embedding.weight") != nil {
		return "text."
	}
	return ""
}

// openAIConfig derives the sizes as open_clip's build_model_from_openai_state_dict does.
func openAIConfig(shapes weightShapes) (model.Config, error) {
	embed, positions, vocab := shapes("text_projection"), shapes("positional_embedding"), shapes("token_embedding.weight")
	if len(embed) != 2 || len(positions) != 2 || len(vocab) != 2 {
		return model.Config{}, errors.New("text_projection, positional_embedding or token_embedding.weight is missing or no matrix")
	}
	c := model.Config{EmbedDim: embed[1]}
	c.Text = model.TextConfig{
		Context: positions[0], Vocab: vocab[0], Width: vocab[1], Heads: vocab[1] / 64,
		Layers: shapes.count("transformer.resblocks.%d.ln_1.weight"), Activation: model.QuickGELU,
	}
	var ok bool
	if patch := shapes("visual.conv1.weight"); shapes("visual.proj") != nil && len(patch) == 4 {
		ok = true
		c.Vision = model.VisionConfig{
			Kind: model.ViT, Width: patch[0], PatchSize: patch[3], Layers: shapes.count("visual.transformer.resblocks.%d.ln_1.weight"),
			Activation: model.QuickGELU,
		}
		c.Vision.ImageSize = patch[3] * squareRoot(shapes.rows("visual.positional_embedding")-1)
	} else if first := shapes("visual.layer1.0.conv1.weight"); len(first) == 4 {
		ok = true
		c.Vision = model.VisionConfig{Kind: model.ResNet, Width: first[0]}
		for stage := 1; stage <= 4; stage++ {
			c.Vision.Stages = append(c.Vision.Stages, shapes.count(fmt.Sprintf("visual.layer%d.%%d.conv1.weight", stage)))
		}
		c.Vision.ImageSize = 32 * squareRoot(shapes.rows("visual.attnpool.positional_embedding")-1)
	}
	if !ok {
		return model.Config{}, errors.New("the image tower is neither a ViT nor a modified ResNet")
	}
	return c.WithDefaults(), nil
}

func (w weightShapes) rows(name string) int {
	if shape := w(name); len(shape) > 0 {
		return shape[0]
	}
	return 0
}

// squareRoot is the integer root of a square number, 0 for any other.
func squareRoot(n int) int {
	for r := 1; r*r <= n; r++ {
		if r*r == n {
			return r
		}
	}
	return 0
}

// finish checks the configuration against the weights, and resizes where that was asked for.
func (c *Checkpoint) finish(opts Options) error {
	c.Config = c.Config.WithDefaults()
	target := c.Config
	if opts.ImageSize != 0 {
		target.Vision.ImageSize = opts.ImageSize
	}
	if opts.Context != 0 {
		target.Text.Context = opts.Context
		target.Text.Lengths = nil
	}
	c.sizesFromWeights(opts)
	if err := c.Config.Validate(); err != nil {
		return fmt.Errorf("%s: %w", c.Path, err)
	}
	table := c.makeTable(c.Config)
	if err := table.Check(c.Config, c.weights.Tensors(), isBuffer); err != nil {
		return fmt.Errorf("%s: %w", c.Path, err)
	}
	c.pairs = table.byOurs()
	for _, p := range c.Config.Params() {
		if _, err := c.Stored(p); err != nil {
			return err
		}
	}
	return c.resize(target)
}

func isBuffer(name string) bool {
	return hfBuffers.MatchString(name) || openAIScalars.MatchString(name)
}

// Stored is the element type that a parameter is kept in. Where their file has it in parts, all must have one type.
func (c *Checkpoint) Stored(p model.Param) (safetensors.DType, error) {
	var dtype safetensors.DType
	for _, pair := range c.pairs[p.Path] {
		info, _ := c.weights.Lookup(pair.Theirs)
		switch {
		case dtype != "" && info.DType != dtype:
			return "", fmt.Errorf("%s: %s is %s, but other parts of %s are %s", c.Path, pair.Theirs, info.DType, p.Path, dtype)
		case !p.Counter && !info.DType.IsFloat(), p.Counter && info.DType != safetensors.I64:
			return "", fmt.Errorf("%s: %s is %s, which is not read for %s", c.Path, pair.Theirs, info.DType, p.Path)
		}
		dtype = info.DType
	}
	return dtype, nil
}

// Close closes the files.
func (c *Checkpoint) Close() error {
	if c.extra != nil {
		return errors.Join(c.weights.Close(), c.extra.Close())
	}
	return c.weights.Close()
}

// Table is the mapping between the model's parameters and the tensors of the file.
func (c *Checkpoint) Table() Table { return c.makeTable(c.Config) }

// Tokenizer reads the tokenizer that lies beside the model, with the model's context. OpenAI's files have none and mean
// CLIP's own.
func (c *Checkpoint) Tokenizer() (tokenizer.Tokenizer, error) {
	context := c.Config.Text.Context
	if c.Format == FormatOpenAI && c.Config.Text.Vocab == tokenizer.CLIP().VocabSize() {
		return tokenizer.CLIP().WithContext(context), nil
	}
	dir := c.dir
	if c.Format == FormatTandem {
		dir = filepath.Join(dir, checkpoints.TokenizerName)
	}
	tok, err := tokenizer.Load(dir, tokenizer.WithContext(context))
	if err != nil {
		return nil, err
	}
	if tok.VocabSize() > c.Config.Text.Vocab {
		return nil, fault.Userf("%s: the tokenizer has %d ids, the model's vocabulary only %d", dir, tok.VocabSize(), c.Config.Text.Vocab)
	}
	if got := tok.Fingerprint(); c.Format == FormatTandem && c.fingerprint != "" && got != c.fingerprint {
		return nil, fault.Userf("%s is not the tokenizer that the model was trained with (fingerprint %.12s, want %.12s)", dir, got, c.fingerprint)
	}
	return tok, nil
}

// Types are the element types of the weights, the most frequent first.
func (c *Checkpoint) Types() []string {
	counts := map[string]int{}
	for _, p := range c.Config.Params() {
		if dtype, err := c.Stored(p); err == nil && !p.Counter {
			counts[string(dtype)] += p.Size()
		}
	}
	types := slices.Collect(maps.Keys(counts))
	slices.SortFunc(types, func(a, b string) int { return counts[b] - counts[a] })
	return types
}
