// Package embed opens a trained CLIP behind plain Go methods: images to rows, texts to rows, an image to the
// probabilities of labels. It is what an application imports.
//
// Load opens models of tandem, open_clip and Hugging Face transformers, on disk or on the hub.
package embed

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/backend"
	"tandem/checkpoints"
	"tandem/checkpoints/foreign"
	"tandem/internal/fault"
	"tandem/internal/sharding"
	"tandem/model"
)

// Model is an open CLIP. Its methods may be called from several goroutines; graphs run one at a time.
type Model struct {
	checkpoints.Model
	// Dir is where it was loaded from, "" for a model in training.
	Dir string
	// Backend is what it runs on, found or given.
	Backend backend.Info

	store   *gml.Store
	images  *executor
	texts   *executor
	batch   int
	workers int
	mu      sync.Mutex // guards the executors and the store

	fingerprint func() (string, error) // computed once; nil of a model in training
}

// Option changes how a model is opened.
type Option func(*options)

type options struct {
	ctx     context.Context
	backend compute.Backend
	open    backend.Options
	source  foreign.Options
	batch   int
	devices int
	workers int
	warn    func(string)
}

// WithBackend uses an open backend instead of finding one.
func WithBackend(b compute.Backend) Option { return func(o *options) { o.backend = b } }

// WithBackendOptions says how to find one: by name, without downloads. Offline and Progress count for models of the hub, too.
func WithBackendOptions(open backend.Options) Option { return func(o *options) { o.open = open } }

// WithContext lets a download be cancelled; the default is context.Background().
func WithContext(ctx context.Context) Option { return func(o *options) { o.ctx = ctx } }

// WithSource says how to read the model: its format, a configuration where it has none, another image size or context.
func WithSource(source foreign.Options) Option { return func(o *options) { o.source = source } }

// WithBatch sets how many images or texts are encoded at a time; the default is 64.
func WithBatch(n int) Option { return func(o *options) { o.batch = n } }

// WithDevices splits each batch over the backend's first n devices; each of them holds all weights. The default is 1.
func WithDevices(n int) Option { return func(o *options) { o.devices = n } }

// WithWorkers sets how many goroutines decode images; the default is one for each processor.
func WithWorkers(n int) Option { return func(o *options) { o.workers = n } }

// WithWarnings receives lines worth telling the user: what was assumed where a configuration is silent, what is known to
// go wrong without an error (QuickGELU or GELU), a broken checkpoint passed over.
func WithWarnings(warn func(string)) Option { return func(o *options) { o.warn = warn } }

func collect(opts []Option) options {
	o := options{ctx: context.Background(), batch: 64, devices: 1, workers: runtime.GOMAXPROCS(0), warn: func(string) {}}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// Load opens a model:
//
//   - a directory, or a safetensors file, of open_clip, of transformers, of OpenAI's names, or of tandem;
//   - a run of tandem's, of which the final model of a fine-tuning is taken, otherwise the newest good checkpoint;
//   - hf://org/name or hf://org/name@revision, from the Hugging Face hub or its cache.
//
// What cannot be read as asked is an error that names the field or the tensors. Weights of any type become float32.
func Load(name string, opts ...Option) (*Model, error) {
	o := collect(opts)
	hub := foreign.HubOptions{Offline: o.open.Offline, Progress: o.open.Progress}
	path, err := foreign.Locate(o.ctx, name, o.source.From, hub, o.warn)
	if err != nil {
		return nil, err
	}
	if path != name && o.source.Name == "" && foreign.IsHub(name) {
		o.source.Name = name
	}
	m, store, err := foreign.Load(o.ctx, path, o.source, hub, o.warn)
	if err != nil {
		return nil, err
	}
	ran := backend.Info{}
	if o.backend == nil {
		o.open.Devices = max(o.open.Devices, o.devices)
		b, err := backend.Open(o.ctx, o.open)
		if err != nil {
			return nil, err
		}
		o.backend, ran = b.Backend, b.Info
	}
	loaded, err := New(m, store, append(slices.Clone(opts), WithBackend(o.backend))...)
	if err != nil {
		return nil, err
	}
	loaded.Dir = path
	loaded.fingerprint = sync.OnceValues(loaded.hash)
	if ran.Name != "" {
		loaded.Backend = ran
	}
	return loaded, nil
}

// New serves a model whose weights are in a store already: one in training. The store's weights may change between
// calls, not during one.
func New(m checkpoints.Model, store *gml.Store, opts ...Option) (*Model, error) {
	o := collect(opts)
	switch {
	case o.backend == nil:
		return nil, fmt.Errorf("embed: a model in memory needs a backend")
	case m.Tokenizer == nil:
		return nil, fmt.Errorf("embed: a model needs its tokenizer")
	case o.batch < 1 || o.workers < 1 || o.devices < 1:
		return nil, fmt.Errorf("embed: batch %d, workers %d and devices %d must be positive", o.batch, o.workers, o.devices)
	case o.devices > int(o.backend.NumDevices()):
		return nil, fault.Userf("%d devices are wanted, the backend has %d", o.devices, o.backend.NumDevices())
	}
	m.Config.Text.Lengths = inferenceLengths(m.Config.Text)
	e := &Model{Model: m, Backend: backend.Info{Name: o.backend.Name()}, store: store, batch: (o.batch + o.devices - 1) / o.devices * o.devices, workers: o.workers}
	var err error
	e.images, err = newExecutor(o, store, "encode images", func(scope *gml.Scope, images *graph.Node) *graph.Node {
		return model.L2Normalise(m.Config.EncodeImages(scope, images, model.Run{}))
	})
	if err != nil {
		return nil, err
	}
	e.texts, err = newExecutor(o, store, "encode texts", func(scope *gml.Scope, tokens *graph.Node) *graph.Node {
		return model.L2Normalise(m.Config.EncodeTexts(scope, tokens, model.Run{}))
	})
	return e, err
}

// executor is a compiled encoder on one device or several.
type executor struct {
	exec *gml.Exec
	plan *sharding.Plan
}

func newExecutor(o options, store *gml.Store, name string, encode func(scope *gml.Scope, batch *graph.Node) *graph.Node) (*executor, error) {
	exec, err := gml.NewExec(o.backend, store, encode)
	if err != nil {
		return nil, err
	}
	exec.WithName(name).SetMaxCache(-1)
	plan, err := sharding.Spread(exec, o.devices, sharding.Rows)
	return &executor{exec, plan}, err
}

// call encodes a batch: its rows, on the first device.
func (e *executor) call(batch *tensors.Tensor) (*tensors.Tensor, error) {
	shards, err := e.plan.Place(batch)
	if err != nil {
		return nil, err
	}
	args := make([]any, len(shards))
	for i, s := range shards {
		args[i] = s
	}
	outputs, err := e.exec.Call(args...)
	if err != nil {
		return nil, err
	}
	return e.plan.First(outputs)[0], nil
}

// inferenceLengths adds the text lengths that short captions are cut to.
func inferenceLengths(t model.TextConfig) []int {
	lengths := slices.Clone(t.Lengths)
	for _, n := range []int{16, 32} {
		if n < t.Context && !slices.Contains(lengths, n) {
			lengths = append(lengths, n)
		}
	}
	slices.Sort(lengths)
	return lengths
}

// Dim is the length of a row.
func (m *Model) Dim() int { return m.Config.EmbedDim }

// run executes a graph and returns its [n, E] output as rows. n may be less than the batch the graph ran on. It frees
// the input.
func (m *Model) run(encoder *executor, input *tensors.Tensor, n int) ([][]float32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	output, err := encoder.call(input)
	if err != nil {
		return nil, err
	}
	defer input.FinalizeAll() // not before the output was read: the graph may still be running
	defer output.FinalizeAll()
	rows := make([][]float32, n)
	err = tensors.ConstFlatData(output, func(flat []float32) {
		dim := len(flat) / output.Shape().Dim(0)
		kept := slices.Clone(flat[:n*dim])
		for i := range rows {
			rows[i] = kept[i*dim : (i+1)*dim : (i+1)*dim]
		}
	})
	return rows, err
}

// padTo is the batch that n inputs run in: the next power of two, so that few graphs are compiled, at most the limit, and
// one that the devices divide, as they divide the limit.
func (m *Model) padTo(n int) int {
	size := 1
	for size < n {
		size *= 2
	}
	return m.images.plan.RoundUp(min(size, max(m.batch, n)))
}

// EncodeTexts returns a row for each text, of length 1.
func (m *Model) EncodeTexts(ctx context.Context, texts []string) ([][]float32, error) {
	rows := make([][]float32, 0, len(texts))
	for chunk := range slices.Chunk(texts, m.batch) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		encoded, err := m.encodeTextBatch(chunk)
		if err != nil {
			return nil, err
		}
		rows = append(rows, encoded...)
	}
	return rows, nil
}

func (m *Model) encodeTextBatch(texts []string) ([][]float32, error) {
	context, batch := m.Config.Text.Context, m.padTo(len(texts))
	tokens := make([]int32, batch*context)
	longest := 1
	for i := range batch {
		text := texts[min(i, len(texts)-1)] // padding repeats the last text
		longest = max(longest, m.Tokenizer.Encode(tokens[i*context:(i+1)*context], text))
	}
	length := m.Config.Text.CutLength(longest)
	cut := make([]int32, 0, batch*length)
	for i := range batch {
		cut = append(cut, tokens[i*context:i*context+length]...)
	}
	return m.run(m.texts, tensors.FromFlatDataAndDimensions(cut, batch, length), len(texts))
}

// checkLabels refuses label sets that cannot be told apart.
func checkLabels(labels []string) error {
	if len(labels) == 0 {
		return fault.Userf("no labels: give at least one")
	}
	seen := map[string]bool{}
	for _, l := range labels {
		if seen[l] {
			return fault.Userf("label %q appears twice", l)
		}
		seen[l] = true
	}
	return nil
}
