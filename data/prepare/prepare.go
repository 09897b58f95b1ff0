// Package prepare builds the data sets that tandem can make by itself, once, into a directory of shards that later
// runs share.
package prepare

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tandem/data/build"
	"tandem/data/emoji"
	"tandem/data/ingest"
	"tandem/data/packaged"
	"tandem/data/shapes"
	"tandem/data/shard"
	"tandem/data/source"
	"tandem/internal/progress"
)

// Config names a data set and how to make it.
type Config struct {
	Name   string       `yaml:"name,omitempty" json:"name,omitempty"` // one of Names; "" builds nothing
	Shapes ShapesConfig `yaml:"shapes,omitempty" json:"shapes,omitempty"`
}

// ShapesConfig describes the generated set of coloured shapes (data/shapes).
type ShapesConfig struct {
	Seed    uint64 `yaml:"seed,omitempty" json:"seed,omitempty"`
	Size    int    `yaml:"size,omitempty" json:"size,omitempty"`         // side of the pictures in pixels, 64
	Train   int    `yaml:"train,omitempty" json:"train,omitempty"`       // examples of split train, 8192
	Test    int    `yaml:"test,omitempty" json:"test,omitempty"`         // of split test, 1024
	HeldOut int    `yaml:"held_out,omitempty" json:"held_out,omitempty"` // of split heldout-pairs, 512
}

// Names of the data sets.
const (
	Emoji  = "emoji"
	Shapes = "shapes"
	// EmojiLanguages are the drawings that no training of emoji shows, Twemoji's, with skin tones and with names in every
	// language of emojibase: for evaluation.
	EmojiLanguages = "emoji-languages"
)

// Names lists the data sets that can be built.
func Names() []string { return append([]string{Emoji, EmojiLanguages, Shapes}, packaged.Names()...) }

// Validate reports the first thing that is wrong, naming the field.
func (c Config) Validate() error {
	if c.Name != "" && !slices.Contains(Names(), c.Name) {
		return fmt.Errorf("dataset.name %q is unknown: use %s, or leave it out and name shards in data.sources", c.Name, strings.Join(Names(), " or "))
	}
	if c.Name == Shapes {
		return c.Shapes.validate()
	}
	return nil
}

func (s ShapesConfig) validate() error {
	const most = 1e9 // examples, far beyond use
	for _, n := range []struct {
		name  string
		value int
	}{{"train", s.Train}, {"test", s.Test}, {"held_out", s.HeldOut}} {
		if n.value < 0 || n.value > most {
			return fmt.Errorf("dataset.shapes.%s must lie in 0 … %d, is %d", n.name, int(most), n.value)
		}
	}
	if err := s.source().Validate(); err != nil {
		return fmt.Errorf("dataset.shapes.size: %w", err)
	}
	return nil
}

func (s ShapesConfig) source() shapes.Config {
	config := shapes.Config{Seed: s.Seed, Size: s.Size, Train: s.Train, Test: s.Test, HeldOut: s.HeldOut}
	for field, value := range map[*int]int{&config.Size: 64, &config.Train: 8192, &config.Test: 1024, &config.HeldOut: 512} {
		if *field == 0 {
			*field = value
		}
	}
	return config
}

// version changes when a builder would write other shards for the same Config, so that old directories are not reused.
const version = 3

// Options say where and how.
type Options struct {
	Root     string // directory of all prepared data sets; DefaultRoot if empty
	Offline  bool   // never download
	Progress *progress.Reporter
}

// RootEnv overrides the default directory of prepared data sets.
const RootEnv = "TANDEM_DATA"

// DefaultRoot is $TANDEM_DATA, or tandem/data in the user's cache directory.
func DefaultRoot() (string, error) {
	if dir := os.Getenv(RootEnv); dir != "" {
		return dir, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no directory for data: set %s (%w)", RootEnv, err)
	}
	return filepath.Join(cache, "tandem", "data"), nil
}

// Ensure returns the directory of a data set's shards, building them if they are not there. A build that was cut off
// goes on where it stood.
func Ensure(ctx context.Context, c Config, o Options) (string, error) {
	root, err := o.root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, c.dirName())
	if _, err := os.Stat(filepath.Join(dir, shard.ManifestName)); err == nil {
		return dir, nil
	}
	if slices.Contains(packaged.Names(), c.Name) {
		return dir, packaged.Build(ctx, c.Name, dir, packaged.Options{Packages: filepath.Join(root, "packages"), Offline: o.Offline, Progress: o.Progress})
	}
	src, labels, err := c.open(ctx, root, o)
	if err != nil {
		return "", err
	}
	report, err := build.Build(ctx, []ingest.Input{ingest.FromSource(src, labels...)}, build.Options{
		Out: dir, Labels: labels, Progress: o.Progress, Expect: int64(src.Len()),
	})
	if err != nil {
		return "", err
	}
	if err := report.Check(); err != nil {
		return "", err
	}
	return dir, nil
}

// dirName holds a hash of everything that decides the content.
func (c Config) dirName() string {
	content, _ := json.Marshal(struct {
		Config  Config
		Version int
	}{c.canonical(), version})
	sum := sha256.Sum256(content)
	return c.Name + "-" + hex.EncodeToString(sum[:4])
}

// canonical drops what does not matter for the data set in question and fills defaults.
func (c Config) canonical() Config {
	if c.Name != Shapes {
		return Config{Name: c.Name}
	}
	s := c.Shapes.source()
	return Config{Name: Shapes, Shapes: ShapesConfig{s.Seed, s.Size, s.Train, s.Test, s.HeldOut}}
}

// finite is a source that knows its size.
type finite interface {
	source.Source
	Len() int
}

// open returns the source of a data set and its label columns.
func (c Config) open(ctx context.Context, root string, o Options) (finite, []string, error) {
	switch c.Name {
	case Emoji:
		return openEmoji(ctx, filepath.Join(root, "packages"), emoji.Config{}, o)
	case EmojiLanguages:
		held := []string{"twemoji"}
		return openEmoji(ctx, filepath.Join(root, "packages"), emoji.Config{Vendors: held, HeldOutVendor: held[0], SkinTones: true, Translations: true}, o)
	case Shapes:
		src, err := shapes.New(c.Shapes.source())
		return src, shapes.Labels(), err
	default:
		return nil, nil, fmt.Errorf("data set %q cannot be built", c.Name)
	}
}

// openEmoji downloads what is missing of the drawings.
func openEmoji(ctx context.Context, dir string, config emoji.Config, o Options) (finite, []string, error) {
	err := emoji.Fetch(ctx, dir, config, emoji.FetchOptions{Offline: o.Offline, Progress: o.Progress})
	if err != nil {
		return nil, nil, fmt.Errorf("%w (the recipe that needs no download: -config shapes)", err)
	}
	src, err := emoji.Open(dir, config)
	if err != nil {
		return nil, nil, err
	}
	return src, src.Labels(), nil
}
