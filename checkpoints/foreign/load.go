package foreign

import (
	"context"
	"io/fs"
	"os"
	"slices"

	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/checkpoints"
)

// Locate finds on disk the model that a user names: hf://org/name[@revision], which is fetched into the cache; a directory
// or a file of any format; or a run of tandem's, whose final model is taken, or its newest good checkpoint
// (checkpoints.Resolve). warn gets a line for each broken checkpoint passed over, and may be nil.
func Locate(ctx context.Context, name string, from Format, o HubOptions, warn func(string)) (path string, err error) {
	if IsHub(name) {
		o.From = from
		return Fetch(ctx, name, o)
	}
	if checkpoints.IsModelDir(name) || from != "" && from != FormatTandem || !isRun(name) {
		return name, nil
	}
	if warn == nil {
		warn = func(string) {}
	}
	return checkpoints.Resolve(name, warn)
}

// isRun reports whether a directory holds checkpoints of tandem's or a final model, or is meant to.
func isRun(dir string) bool {
	steps, err := (checkpoints.Root{Dir: dir}).Steps()
	inside, _ := fs.Stat(os.DirFS(dir), checkpoints.CheckpointsName)
	return err == nil && (len(steps) > 0 || inside != nil || checkpoints.HasFinal(dir))
}

// Load reads a whole model that Locate finds: what describes it, with its tokenizer, and its weights as float32. Notes and
// Traps of the checkpoint go to warn, which may be nil.
func Load(ctx context.Context, name string, opts Options, o HubOptions, warn func(string)) (checkpoints.Model, *gml.Store, error) {
	path, err := Locate(ctx, name, opts.From, o, warn)
	if err != nil {
		return checkpoints.Model{}, nil, err
	}
	if IsHub(name) && opts.Name == "" {
		opts.Name = name
	}
	c, err := Open(path, opts)
	if err != nil {
		return checkpoints.Model{}, nil, err
	}
	defer c.Close()
	tok, err := c.Tokenizer()
	if err != nil {
		return checkpoints.Model{}, nil, err
	}
	if warn != nil {
		for _, line := range append(slices.Clone(c.Notes), c.Traps(tok)...) {
			warn(line)
		}
	}
	store, err := c.LoadStore()
	return checkpoints.Model{Config: c.Config, Preprocess: c.Preprocess, Tokenizer: tok, Source: c.Source}, store, err
}
