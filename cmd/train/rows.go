package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/checkpoints"
	"tandem/checkpoints/safetensors"
	"tandem/data"
	"tandem/data/prepare"
	"tandem/data/shard"
	"tandem/embed"
	"tandem/imaging"
	"tandem/internal/fault"
	"tandem/train"
)

// rowSources are what a training reads instead of computing it in every step: the rows of frozen towers, and those of a
// teacher. Each is nil where it is not asked for.
type rowSources struct {
	images        *imageRows
	texts         *textRows
	teacherImages *imageRows
	teacherTexts  *textRows
}

// imageRows are one tower's rows for every image: [rows, E] for each source.
type imageRows struct {
	dim     int
	sources [][]float32
}

// textRows are one tower's rows for every caption, found by its tokens.
type textRows struct {
	dim   int
	index map[string]int
	flat  []float32
}

// fill adds to an input what belongs to its batch.
func (r *rowSources) fill(in *train.Input, b *data.Batch) (err error) {
	if r.images != nil {
		in.ImageRows = r.images.of(b.Rows)
	}
	if r.teacherImages != nil {
		in.TeacherImages = r.teacherImages.of(b.Rows)
	}
	if r.texts != nil {
		if in.TextRows, err = r.texts.of(b); err != nil {
			return err
		}
	}
	if r.teacherTexts != nil {
		if in.TeacherTexts, err = r.teacherTexts.of(b); err != nil {
			return err
		}
	}
	return nil
}

func (r *imageRows) of(ids []data.RowID) []float32 {
	rows := make([]float32, 0, len(ids)*r.dim)
	for _, id := range ids {
		rows = append(rows, r.sources[id.Source][id.Row*int64(r.dim):][:r.dim]...)
	}
	return rows
}

func (r *textRows) of(b *data.Batch) ([]float32, error) {
	rows := make([]float32, 0, b.Size*r.dim)
	for i := range b.Size {
		at, ok := r.index[tokenKey(b.Tokens[i*b.Context:(i+1)*b.Context])]
		if !ok {
			return nil, fmt.Errorf("caption of row %d of source %d is not among those whose rows were computed", b.Rows[i].Row, b.Rows[i].Source)
		}
		rows = append(rows, r.flat[at*r.dim:(at+1)*r.dim]...)
	}
	return rows, nil
}

// tokenKey is a caption's tokens as a map's key.
func tokenKey(tokens []int32) string {
	return string(unsafe.Slice((*byte)(unsafe.Pointer(&tokens[0])), 4*len(tokens)))
}

// prepareStep builds the step, and computes the rows that it reads instead of images and captions.
func (s *session) prepareStep(ctx context.Context) (err error) {
	if s.stepper, err = s.newStepper(ctx); err != nil {
		return err
	}
	if err := s.prepareTeacher(ctx); err != nil {
		return err
	}
	if !s.experiment.Tune.CacheFeatures {
		return nil
	}
	image, text := s.stepper.FrozenTowers()
	if !image && !text {
		return fault.Userf("tune.cache_features: no tower is frozen whole; lock one with tune.lock_image or tune.lock_text")
	}
	if err := s.checkAugmentationOff(image); err != nil {
		return err
	}
	enc, err := embed.New(s.model(), s.stepper.Store(), embed.WithBackend(s.backend.Backend))
	if err != nil {
		return err
	}
	if image {
		if s.rows.images, err = s.encodeImages(ctx, enc, s.stepper.Store(), "frozen image tower"); err != nil {
			return err
		}
	}
	if text {
		s.rows.texts, err = s.encodeCaptions(ctx, enc, "frozen text tower")
	}
	return err
}

// checkAugmentationOff refuses to cache rows of pictures that every epoch would show differently.
func (s *session) checkAugmentationOff(image bool) error {
	c := s.experiment.Data.Image
	if image && (c.Scale != [2]float64{1, 1} || c.Augment != imaging.Augment{}) {
		return fault.Userf("tune.cache_features: the image tower's rows can be computed once only if pictures do not change: set data.image.scale=[1,1] and no augmentation")
	}
	return nil
}

// encodeImages returns the rows of every image of the training's sources, from disk if they were computed before.
func (s *session) encodeImages(ctx context.Context, enc *embed.Model, store *gml.Store, what string) (*imageRows, error) {
	all := &imageRows{dim: enc.Dim()}
	for _, src := range s.experiment.Data.Sources {
		set, err := data.OpenShards(ctx, src.Shards, src.Split)
		if err != nil {
			return nil, err
		}
		rows, err := s.encodeSource(ctx, enc, store, set, src.Split, what)
		if err = errors.Join(err, set.Close()); err != nil {
			return nil, err
		}
		all.sources = append(all.sources, rows)
	}
	return all, nil
}

func (s *session) encodeSource(ctx context.Context, enc *embed.Model, store *gml.Store, set *data.Shards, split, what string) ([]float32, error) {
	root, err := prepare.DefaultRoot()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(root, "features", rowsKey(enc, store, set.Manifest, split)+".safetensors")
	rows, err := readRows(path, set.Rows(), enc.Dim())
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			s.progress.Linef("rows of the %s: %d images from %s", what, set.Rows(), path)
		}
		return rows, err
	}
	bar := s.progress.Start("rows of the "+what, set.Rows(), "images")
	for row, err := range enc.EncodeImageSeq(ctx, imagesOf(ctx, set)) {
		if err != nil {
			bar.Fail()
			return nil, fmt.Errorf("%s, row %d: %w: every picture must be readable to cache its row (find the bad ones with: go run ./cmd/data verify)", set.Name(), len(rows)/enc.Dim(), err)
		}
		rows = append(rows, row...)
		bar.Add(1)
	}
	bar.Done()
	return rows, writeRows(path, rows, enc.Dim())
}

func imagesOf(ctx context.Context, set *data.Shards) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for e, err := range set.Examples(ctx) {
			if !yield(e.Image, err) {
				return
			}
		}
	}
}

// rowsKey hashes everything that decides a row: the tower's weights and configuration, the preprocessing, the pictures.
func rowsKey(enc *embed.Model, store *gml.Store, m *shard.Manifest, split string) string {
	h := sha256.New()
	facts, _ := json.Marshal(struct {
		Vision, Preprocess any
		Dim                int
	}{enc.Config.Vision, enc.Preprocess, enc.Dim()})
	h.Write(facts)
	for _, p := range enc.Config.Params() {
		if strings.HasPrefix(p.Path, "visual/") {
			hashTensor(h, p.Path, store.GetVariable("/"+p.Path).MustValue())
		}
	}
	for _, f := range m.Files {
		if split == "" || f.Split == split {
			fmt.Fprintln(h, f.Name, f.SHA256)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func hashTensor(h hash.Hash, path string, value *tensors.Tensor) {
	fmt.Fprintln(h, path, value.Shape())
	_ = value.ConstBytes(func(raw []byte) { h.Write(raw) })
}

const rowsTensor = "rows"

func readRows(path string, n int64, dim int) ([]float32, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, ok := f.Lookup(rowsTensor)
	if !ok || len(info.Shape) != 2 || int64(info.Shape[0]) != n || info.Shape[1] != dim {
		return nil, fmt.Errorf("%s does not hold %d rows of %d numbers: delete it", path, n, dim)
	}
	raw := make([]byte, info.Bytes())
	if err := f.Read(info, raw); err != nil {
		return nil, err
	}
	rows := make([]float32, info.Elements())
	return rows, safetensors.Float32s(info.DType, raw, rows)
}

func writeRows(path string, rows []float32, dim int) error {
	store := gml.NewStore()
	v, err := store.CreateVariable("/"+rowsTensor, tensors.FromFlatDataAndDimensions(rows, len(rows)/dim, dim))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	part := fmt.Sprintf("%s.%d.part", path, os.Getpid())
	if err := checkpoints.WriteTensors(part, []*gml.Variable{v}); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return os.Rename(part, path)
}

// encodeCaptions returns the rows of every caption that a batch can hold.
func (s *session) encodeCaptions(ctx context.Context, enc *embed.Model, what string) (*textRows, error) {
	texts, index, err := s.distinctCaptions(ctx)
	if err != nil {
		return nil, err
	}
	bar := s.progress.Start("rows of the "+what, int64(len(texts)), "captions")
	rows, err := enc.EncodeTexts(ctx, texts)
	if err != nil {
		bar.Fail()
		return nil, err
	}
	bar.Add(int64(len(texts)))
	bar.Done()
	t := &textRows{dim: enc.Dim(), index: index}
	for _, row := range rows {
		t.flat = append(t.flat, row...)
	}
	return t, nil
}

// distinctCaptions lists the captions of the training's sources, templates applied, with their places by the tokens that
// the model in training makes of them.
func (s *session) distinctCaptions(ctx context.Context) (texts []string, index map[string]int, err error) {
	index = map[string]int{}
	tokens := make([]int32, s.experiment.Model.Text.Context)
	for _, src := range s.experiment.Data.Sources {
		err := eachCaption(ctx, src, func(text string) bool {
			s.tokenizer.Encode(tokens, text)
			if _, known := index[tokenKey(tokens)]; !known {
				index[tokenKey(tokens)] = len(texts)
				texts = append(texts, text)
			}
			return true
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return texts, index, nil
}

// eachCaption visits the captions that a source's rows can be drawn with, templates applied, until visit wants no more.
func eachCaption(ctx context.Context, src data.SourceConfig, visit func(text string) bool) (err error) {
	set, err := data.OpenShards(ctx, src.Shards, src.Split)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	captions := captionsWithTemplates(ctx, set, src)
	if len(src.Captions) == 1 && src.Captions[0].Column == shard.ColCaptions && src.Captions[0].Template == "" {
		captions = set.Captions(ctx) // reads no other column
	}
	for text, err := range captions {
		if err != nil || !visit(text) {
			return err
		}
	}
	return nil
}

func captionsWithTemplates(ctx context.Context, set *data.Shards, src data.SourceConfig) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for e, err := range set.WithoutImages(ctx) {
			if err != nil {
				yield("", err)
				return
			}
			for _, c := range src.Captions {
				texts := e.Captions
				if c.Column != shard.ColCaptions {
					texts = []string{e.Labels[c.Column]}
				}
				for _, text := range texts {
					if text == "" {
						continue
					}
					if c.Template != "" {
						text = strings.Replace(c.Template, "{}", text, 1)
					}
					if !yield(text, nil) {
						return
					}
				}
			}
		}
	}
}
