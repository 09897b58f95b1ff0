package configs

import (
	"fmt"
	"slices"
	"strings"
)

// DatasetConfig names a data set that the program builds by itself, before training.
type DatasetConfig struct {
	Name   string       `yaml:"name,omitempty" json:"name,omitempty"` // emoji or shapes
	Shapes ShapesConfig `yaml:"shapes,omitempty" json:"shapes,omitempty"`
	Emoji  EmojiConfig  `yaml:"emoji,omitempty" json:"emoji,omitempty"`
}

// ShapesConfig describes the generated data set.
type ShapesConfig struct {
	Seed    uint64 `yaml:"seed,omitempty" json:"seed,omitempty"`
	Size    int    `yaml:"size,omitempty" json:"size,omitempty"` // side of the pictures in pixels
	Train   int    `yaml:"train,omitempty" json:"train,omitempty"`
	Test    int    `yaml:"test,omitempty" json:"test,omitempty"`
	HeldOut int    `yaml:"held_out,omitempty" json:"held_out,omitempty"`
}

// EmojiConfig describes the emoji pairs.
type EmojiConfig struct {
	Size int `yaml:"size,omitempty" json:"size,omitempty"` // side that vector drawings are rendered at, in pixels
}

// DatasetNames lists the data sets that can be built.
func DatasetNames() []string { return []string{"emoji", "shapes"} }

// Validate reports the first thing that is wrong.
func (d DatasetConfig) Validate() error {
	if d.Name != "" && !slices.Contains(DatasetNames(), d.Name) {
		return fmt.Errorf("dataset.name %q is unknown: use %s, or leave it out and name shards in data.sources", d.Name, strings.Join(DatasetNames(), " or "))
	}
	return nil
}
