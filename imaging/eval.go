package imaging

import (
	"fmt"
	"math"
)

// Means and standard deviations of the colour channels, of values in [0, 1].
var (
	CLIPMean   = [3]float32{0.48145466, 0.4578275, 0.40821073}
	CLIPStd    = [3]float32{0.26862954, 0.26130258, 0.27577711}
	SigLIPMean = [3]float32{0.5, 0.5, 0.5}
	SigLIPStd  = [3]float32{0.5, 0.5, 0.5}
)

// ResizeMode says how a picture is brought to a square, under open_clip's names.
type ResizeMode string

// The resize modes.
const (
	Shortest ResizeMode = "shortest" // the shortest side to Size, then the centre is cut out
	Squash   ResizeMode = "squash"   // both sides to Size, whatever the proportions
	Longest  ResizeMode = "longest"  // the longest side to Size, then Fill around
)

// AlphaMode says what becomes of transparency.
type AlphaMode string

// The alpha modes.
const (
	// AlphaDrop forgets it, as Pillow's convert("RGB") and so open_clip do: what lies under transparent pixels shows.
	AlphaDrop AlphaMode = "drop"
	// AlphaWhite lays the picture over white before anything else.
	AlphaWhite AlphaMode = "white"
	// AlphaRandom lays it over a colour drawn for each picture; for training only.
	AlphaRandom AlphaMode = "random"
)

// EvalConfig describes the evaluation transform. DefaultEvalConfig has the values of CLIP.
type EvalConfig struct {
	Size          int           `yaml:"size"`          // side of the square, in pixels
	Resize        ResizeMode    `yaml:"resize"`        // shortest, squash or longest
	Interpolation Interpolation `yaml:"interpolation"` // bicubic or bilinear, as a rule
	Fill          int           `yaml:"fill"`          // value around the picture (longest), in the picture's own mode
	Mean          [3]float32    `yaml:"mean"`
	Std           [3]float32    `yaml:"std"`
	Alpha         AlphaMode     `yaml:"alpha"` // drop (as open_clip) or white
	// Orient applies the EXIF orientation. open_clip does not, so parity needs false; photographs from a telephone want true.
	Orient bool `yaml:"orient"`
}

// DefaultEvalConfig returns open_clip's evaluation transform for CLIP at a size.
func DefaultEvalConfig(size int) EvalConfig {
	return EvalConfig{Size: size, Resize: Shortest, Interpolation: Bicubic, Mean: CLIPMean, Std: CLIPStd, Alpha: AlphaDrop}
}

// maxSize bounds the side of what a tower sees.
const maxSize = 8192

// Validate reports the first field that cannot be used.
func (c EvalConfig) Validate() error {
	if c.Size < 1 || c.Size > maxSize {
		return fmt.Errorf("size must be between 1 and %d pixels, is %d", maxSize, c.Size)
	}
	if c.Resize != Shortest && c.Resize != Squash && c.Resize != Longest {
		return fmt.Errorf("resize %q is not one of shortest, squash, longest", string(c.Resize))
	}
	if err := c.Interpolation.validate(); err != nil {
		return err
	}
	if c.Fill < 0 || c.Fill > 255 {
		return fmt.Errorf("fill must be between 0 and 255, is %d", c.Fill)
	}
	if c.Alpha != AlphaDrop && c.Alpha != AlphaWhite {
		return fmt.Errorf("alpha %q is not one of drop, white", string(c.Alpha))
	}
	return validateNorm(c.Mean, c.Std)
}

func validateNorm(mean, std [3]float32) error {
	for i := range 3 {
		if !(std[i] > 0) || math.IsInf(float64(std[i]), 0) || mean[i] != mean[i] {
			return fmt.Errorf("std must be positive and mean a number, are %v and %v", std, mean)
		}
	}
	return nil
}

// Evaluator applies an EvalConfig and keeps its buffers. It is not safe for concurrent use.
type Evaluator struct {
	config  EvalConfig
	resizer Resizer
	upright Picture
	flat    Picture
	part    Picture
}

// NewEvaluator returns an evaluator for a valid configuration.
func NewEvaluator(c EvalConfig) (*Evaluator, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Evaluator{config: c}, nil
}

// Apply is NewEvaluator and Evaluator.Apply in one, for a single picture.
func (c EvalConfig) Apply(p *Picture, dst []uint8) error {
	e, err := NewEvaluator(c)
	if err != nil {
		return err
	}
	return e.Apply(p, dst)
}

// Apply writes what the tower sees of p, before normalising, to dst: [Size, Size, 3], rows from the top. As open_clip
// it resizes in the picture's own mode and converts to RGB afterwards.
func (e *Evaluator) Apply(p *Picture, dst []uint8) error {
	n := e.config.Size
	if len(dst) != n*n*3 {
		return fmt.Errorf("imaging: destination of %d bytes for %d×%d×3", len(dst), n, n)
	}
	if p.Width < 1 || p.Height < 1 {
		return fmt.Errorf("imaging: picture of %d×%d pixels", p.Width, p.Height)
	}
	if e.config.Orient && p.Orientation > 1 {
		orient(&e.upright, p)
		p = &e.upright
	}
	if e.config.Alpha == AlphaWhite && p.HasAlpha() {
		e.flat.resize(RGB, p.Width, p.Height)
		p.Over(e.flat.Pix, White)
		p = &e.flat
	}
	w, h := e.target(p.Width, p.Height)
	x, y := fit(w, n), fit(h, n)
	win := whole(p.plane(), w, h, e.config.Interpolation)
	win.x0, win.x1, win.y0, win.y1 = x.cut, x.cut+x.n, y.cut, y.cut+y.n
	e.part.resize(p.Mode, x.n, y.n)
	e.resizer.resize(e.part.Pix, p, win)
	e.place(dst, p, x, y)
	return nil
}

// target returns the size that a picture of w×h is scaled to before the centre is taken.
func (e *Evaluator) target(w, h int) (tw, th int) {
	n := e.config.Size
	switch e.config.Resize {
	case Squash:
		return n, n
	case Longest: // open_clip's ResizeKeepRatio
		ratio := max(float64(w)/float64(n), float64(h)/float64(n))
		side := func(v int) int { return max(1, int(math.RoundToEven(float64(v)/ratio))) }
		return side(w), side(h)
	}
	if w <= h { // torchvision's Resize
		return n, int(float64(n) * float64(h) / float64(w))
	}
	return int(float64(n) * float64(w) / float64(h)), n
}

// span is how one side of the scaled picture lies in the square: n pixels from cut on, after pad pixels of fill.
type span struct{ cut, pad, n int }

func fit(side, n int) span {
	if side < n {
		return span{0, (n - side) / 2, side}
	}
	return span{int(math.RoundToEven(float64(side-n) / 2)), 0, n} // Python's round
}

// place converts the part to RGB in its place and fills the rest.
func (e *Evaluator) place(dst []uint8, p *Picture, x, y span) {
	n := e.config.Size
	if x.n < n || y.n < n {
		fill := p.fillColour(uint8(e.config.Fill))
		for i := 0; i < len(dst); i += 3 {
			copy(dst[i:i+3], fill[:])
		}
	}
	for i := range y.n {
		at := ((y.pad+i)*n + x.pad) * 3
		p.rgbRow(dst[at:at+3*x.n], e.part.row(i))
	}
}

// fillColour is what torchvision's padding with one number looks like after the conversion to RGB.
func (p *Picture) fillColour(v uint8) (rgb [3]uint8) {
	px := [4]uint8{v, v, v, v}
	switch {
	case p.Mode == Bilevel && v > 0:
		px[0] = 255
	case p.Mode == Gray16:
		px[1] = 0
	}
	p.rgbRow(rgb[:], px[:p.Mode.Bytes()])
	return rgb
}
