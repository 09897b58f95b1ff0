package shapes

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"tandem/data/source"
	"tandem/internal/fault"
)

// HeldOutPairs is the split whose pairs of colour and shape appear in no other.
const HeldOutPairs = "heldout-pairs"

// Labels lists the metadata columns of the examples; not every kind of scene has every one.
func Labels() []string {
	return []string{"background", "colour", "colour2", "count", "kind", "name", "position", "relation", "shape", "shape2", "size", "texture"}
}

// Config says what to generate.
type Config struct {
	Seed    uint64
	Size    int // side of the pictures in pixels, 32 to 512; 0 means 64
	Train   int // number of examples of each split
	Test    int
	HeldOut int // of the split heldout-pairs
}

// Validate reports the first value that cannot be.
func (c Config) Validate() error {
	switch {
	case c.Size != 0 && (c.Size < 32 || c.Size > 512):
		return fault.Userf("shapes: size %d: pictures have a side of 32 to 512 pixels", c.Size)
	case c.Train < 0 || c.Test < 0 || c.HeldOut < 0:
		return fault.Userf("shapes: %d, %d and %d examples of train, test and %s: a number is negative", c.Train, c.Test, c.HeldOut, HeldOutPairs)
	}
	return nil
}

// Source generates examples. It is safe for concurrent use.
type Source struct {
	config   Config
	masks    [][]func() mask // by shape and radius, each made when it is first needed
	canvases sync.Pool
}

var _ source.Source = (*Source)(nil)

// New prepares a source.
func New(config Config) (*Source, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if config.Size == 0 {
		config.Size = 64
	}
	s := &Source{config: config, masks: make([][]func() mask, len(shapeNames))}
	s.canvases.New = func() any { return newCanvas(config.Size) }
	largest := radiusIn(config.Size, sizeRange[len(sizeRange)-1][1])
	for shape := range s.masks {
		for radius := range largest + 1 {
			s.masks[shape] = append(s.masks[shape], sync.OnceValue(func() mask { return newMask(shape, radius) }))
		}
	}
	return s, nil
}

// Name returns "shapes".
func (s *Source) Name() string { return "shapes" }

// Licences is empty: everything is generated.
func (s *Source) Licences() []source.Licence { return nil }

// split describes one of the source's splits; its id keys the random numbers.
type split struct {
	name    string
	id      uint64
	n       int
	allowed pairFilter
}

func (s *Source) splits() []split {
	trained := func(colour, shape int) bool { return !heldOut(colour, shape) }
	return []split{
		{source.Train, 0, s.config.Train, trained},
		{source.Test, 1, s.config.Test, trained},
		{HeldOutPairs, 2, s.config.HeldOut, heldOut},
	}
}

// Examples yields the splits one after the other: train, test, heldout-pairs.
func (s *Source) Examples(ctx context.Context) iter.Seq2[source.Example, error] {
	return func(yield func(source.Example, error) bool) {
		for _, split := range s.splits() {
			for i := range split.n {
				if err := ctx.Err(); err != nil {
					yield(source.Example{}, err)
					return
				}
				if !yield(s.example(split, uint64(i)), nil) {
					return
				}
			}
		}
	}
}

// At returns an example of a split by its index, which may exceed the configured number: the set is endless.
func (s *Source) At(splitName string, index uint64) (source.Example, error) {
	for _, split := range s.splits() {
		if split.name == splitName {
			return s.example(split, index), nil
		}
	}
	return source.Example{}, fault.Userf("shapes: there is no split %q; there are %s, %s and %s", splitName, source.Train, source.Test, HeldOutPairs)
}

func (s *Source) example(split split, index uint64) source.Example {
	drawn := s.scene(split, index)
	return source.Example{
		Key:      fmt.Sprintf("shapes/%s/%08d", split.name, index),
		Image:    s.render(drawn),
		Captions: drawn.captions(),
		Labels:   drawn.labels(),
		Split:    split.name,
	}
}

func (s *Source) scene(split split, index uint64) scene {
	return drawScene(newDice(s.config.Seed, split.id, index), s.config.Size, split.allowed)
}

// render draws a scene: ground, objects, then a written word.
func (s *Source) render(drawn scene) []byte {
	c := s.canvases.Get().(*canvas)
	defer s.canvases.Put(c)
	c.fill(drawn.ground)
	for _, o := range drawn.objects {
		c.stamp(s.masks[o.shape][o.radius](), o.x, o.y, o.paint)
	}
	if drawn.written != "" {
		c.write(drawn.written)
	}
	return c.png()
}

// fill paints the ground.
func (c *canvas) fill(g ground) {
	for y := range c.side {
		for x := range c.side {
			step := 0
			switch textures[g.texture] {
			case "gradient":
				step = g.strength * (2*y - c.side) / c.side
			case "stripes":
				step = g.strength / 2 * ((x+y*(g.phase%3-1)+g.phase)*8/c.side%2*2 - 1)
			case "speckles":
				step = speckle(x, y, g.phase) * g.strength / 3
			}
			move := func(v uint8) uint8 { return uint8(min(255, max(0, int(v)+step))) }
			pixel := c.at(x, y)
			pixel[0], pixel[1], pixel[2] = move(g.paint.r), move(g.paint.g), move(g.paint.b)
		}
	}
}

// speckle is -1, 0 or 1 by a hash of a cell of two by two pixels.
func speckle(x, y, phase int) int {
	h := uint32(x/2)*0x9e3779b1 ^ uint32(y/2)*0x85ebca77 ^ uint32(phase)*0xc2b2ae3d
	h = (h ^ h>>15) * 0x2c1b3c6d
	return int((h^h>>12)%3) - 1
}

// Len returns the number of examples.
func (s *Source) Len() int { return s.config.Train + s.config.Test + s.config.HeldOut }
