package imaging

import (
	"cmp"
	"fmt"
	"image"
	"math"
	"math/rand/v2"

	"tandem/imaging/internal/jpeg"
)

// TrainConfig describes the training transform: background, random crop, augmentations. All random numbers come from
// the generator passed in, in a fixed order, so the same generator state gives the same pixels.
type TrainConfig struct {
	Size          int           `yaml:"size"`  // side of the square, in pixels
	Scale         [2]float64    `yaml:"scale"` // part of the area that a crop takes, between the two; [1, 1] is all it can be
	Ratio         [2]float64    `yaml:"ratio"` // width by height of a crop, between the two, log-uniform
	Interpolation Interpolation `yaml:"interpolation"`
	Alpha         AlphaMode     `yaml:"alpha"`  // drop, white or random
	Orient        bool          `yaml:"orient"` // apply the EXIF orientation
	// Fast decodes a JPEG at 1/2, 1/4 or 1/8 of its size, from the lowest frequencies of each block, where the crop is
	// then still a quarter larger than Size, and resizes from there. The pixels then differ from Pillow's by less than
	// 1/255 in the mean, but more at sharp edges (docs/performance/decode.md); without Fast they are equal to Pillow's.
	Fast    bool    `yaml:"fast"`
	Augment Augment `yaml:"augment"`
}

// DefaultTrainConfig returns open_clip's training transform at a size, with the orientation applied and alpha over white.
func DefaultTrainConfig(size int) TrainConfig {
	return TrainConfig{Size: size, Scale: [2]float64{0.9, 1}, Ratio: [2]float64{3. / 4, 4. / 3}, Interpolation: Bicubic, Alpha: AlphaWhite, Orient: true}
}

// WithDefaults fills the fields that zero leaves open from DefaultTrainConfig. Orient cannot tell zero from false: it
// stays what it is.
func (c TrainConfig) WithDefaults() TrainConfig {
	d := DefaultTrainConfig(c.Size)
	if c.Scale == [2]float64{} {
		c.Scale = d.Scale
	}
	if c.Ratio == [2]float64{} {
		c.Ratio = d.Ratio
	}
	c.Interpolation = cmp.Or(c.Interpolation, d.Interpolation)
	c.Alpha = cmp.Or(c.Alpha, d.Alpha)
	return c
}

// maxRatio bounds the sides of a rectangle, one by the other.
const maxRatio = 1000

// Validate reports the first field that cannot be used.
func (c TrainConfig) Validate() error {
	if c.Size < 1 || c.Size > maxSize {
		return fmt.Errorf("size must be between 1 and %d pixels, is %d", maxSize, c.Size)
	}
	if !(c.Scale[0] > 0 && c.Scale[0] <= c.Scale[1] && c.Scale[1] <= 1) {
		return fmt.Errorf("scale must be two numbers 0 < a ≤ b ≤ 1, is %v", c.Scale)
	}
	if !(c.Ratio[0] > 0 && c.Ratio[0] <= c.Ratio[1] && c.Ratio[1] <= maxRatio) {
		return fmt.Errorf("ratio must be two numbers 0 < a ≤ b ≤ %d, is %v", maxRatio, c.Ratio)
	}
	if err := c.Interpolation.validate(); err != nil {
		return err
	}
	if c.Alpha != AlphaDrop && c.Alpha != AlphaWhite && c.Alpha != AlphaRandom {
		return fmt.Errorf("alpha %q is not one of drop, white, random", string(c.Alpha))
	}
	if err := c.Augment.Validate(); err != nil {
		return fmt.Errorf("augment.%w", err)
	}
	return nil
}

// Trainer applies a TrainConfig to files or decoded pictures and keeps its buffers. It is not safe for concurrent use.
type Trainer struct {
	config    TrainConfig
	decoder   *Decoder
	resampler resampler
	flat      []byte  // the crop as RGB
	alpha     []byte  // its opacity
	turned    Picture // the square before it is turned upright
	upright   Picture
	augmenter augmenter
}

// NewTrainer returns a trainer for a valid configuration; limits hold for the files that it decodes.
func NewTrainer(c TrainConfig, limits Limits) (*Trainer, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := limits.Validate(); err != nil {
		return nil, err
	}
	return &Trainer{config: c, decoder: NewDecoder(limits)}, nil
}

// Decode decodes a file and writes a random view of it to dst: [Size, Size, 3], rows from the top. It draws the same
// numbers as Decoder.Decode and Apply would, and without Fast writes the same pixels.
func (t *Trainer) Decode(data []byte, rng *rand.Rand, dst []uint8) (err error) {
	if format, _ := Sniff(data); format != FormatJPEG {
		p, err := t.decoder.Decode(data)
		if err != nil {
			return err
		}
		return t.Apply(p, rng, dst)
	}
	info, err := t.decoder.Info(data)
	if err != nil {
		return err
	}
	if err := t.checkDestination(dst); err != nil {
		return err
	}
	defer rescue(&err)
	if err := t.decodeJPEG(data, info, rng, dst); err != nil {
		return classify(FormatJPEG, err)
	}
	return nil
}

// decodeJPEG decodes only the crop, reduced if Fast allows.
func (t *Trainer) decodeJPEG(data []byte, info Info, rng *rand.Rand, dst []uint8) error {
	crop, orientation := t.crop(info.Width, info.Height, info.Orientation, rng)
	reduce := t.reduction(crop)
	rect := image.Rect(crop.Min.X/reduce, crop.Min.Y/reduce, (crop.Max.X+reduce-1)/reduce, (crop.Max.Y+reduce-1)/reduce)
	j := &t.decoder.jpeg
	if err := j.Decode(data, jpeg.Options{Reduce: reduce, Rect: rect}); err != nil {
		return err
	}
	p := &t.decoder.picture
	p.Format, p.Orientation, p.KeyAlpha = FormatJPEG, orientation, false
	p.resize(jpegMode(j.LastHeader()), rect.Dx(), rect.Dy())
	j.Pixels(p.Pix)
	if p.Mode == CMYK {
		invert(p.Pix)
	}
	src := t.rgb(p, p.plane(), White)
	win := whole(src, t.config.Size, t.config.Size, t.config.Interpolation)
	if reduce > 1 {
		at := func(v, min int) float64 { return max(float64(v)/float64(reduce)-float64(min), 0) }
		win.box = [4]float64{at(crop.Min.X, rect.Min.X), at(crop.Min.Y, rect.Min.Y),
			min(at(crop.Max.X, rect.Min.X), float64(src.w)), min(at(crop.Max.Y, rect.Min.Y), float64(src.h))}
	}
	t.finish(dst, src, win, orientation, nil, rng)
	return nil
}

// reduction returns how much smaller the crop may be decoded. A margin of a quarter keeps the frequencies that are
// lost above those that resizing would have kept.
func (t *Trainer) reduction(crop image.Rectangle) int {
	reduce := 1
	for t.config.Fast && reduce < 8 && 4*min(crop.Dx(), crop.Dy()) >= 5*2*reduce*t.config.Size {
		reduce *= 2
	}
	return reduce
}

// Apply writes a random view of a decoded picture to dst: [Size, Size, 3], rows from the top.
func (t *Trainer) Apply(p *Picture, rng *rand.Rand, dst []uint8) error {
	if err := t.checkDestination(dst); err != nil {
		return err
	}
	if p.Width < 1 || p.Height < 1 {
		return fmt.Errorf("imaging: picture of %d×%d pixels", p.Width, p.Height)
	}
	crop, orientation := t.crop(p.Width, p.Height, p.Orientation, rng)
	var background *[3]uint8
	colour := White
	if t.config.Alpha != AlphaDrop && p.HasAlpha() {
		if t.config.Alpha == AlphaRandom {
			v := rng.Uint32()
			colour = [3]uint8{uint8(v), uint8(v >> 8), uint8(v >> 16)}
		}
		background = &colour
	}
	src := t.rgb(p, p.plane().sub(crop.Min.X, crop.Min.Y, crop.Dx(), crop.Dy()), colour)
	win := whole(src, t.config.Size, t.config.Size, t.config.Interpolation)
	t.finish(dst, src, win, orientation, background, rng)
	return nil
}

func (t *Trainer) checkDestination(dst []uint8) error {
	if n := t.config.Size; len(dst) != n*n*3 {
		return fmt.Errorf("imaging: destination of %d bytes for %d×%d×3", len(dst), n, n)
	}
	return nil
}

// rgb returns the part of p as RGB, over the background unless alpha is dropped; an RGB picture is not copied.
func (t *Trainer) rgb(p *Picture, part plane, background [3]uint8) plane {
	flatten := t.config.Alpha != AlphaDrop && p.HasAlpha()
	if p.Mode == RGB && !flatten {
		return part
	}
	t.flat = grow(t.flat, part.w*part.h*3)
	t.alpha = grow(t.alpha, part.w)
	for y := range part.h {
		src := part.pix[y*part.stride : y*part.stride+part.w*part.n]
		dst := t.flat[y*part.w*3 : (y+1)*part.w*3]
		p.rgbRow(dst, src)
		if flatten {
			p.alphaRow(t.alpha, src)
			composite(dst, t.alpha, background)
		}
	}
	return plane{t.flat, part.w, part.h, part.w * 3, 3}
}

// finish resizes, turns upright and augments. background is the colour behind a picture with alpha, or nil.
func (t *Trainer) finish(dst []uint8, src plane, win window, orientation int, background *[3]uint8, rng *rand.Rand) {
	n := t.config.Size
	if orientation == 1 {
		t.resampler.resample(dst, src, win, false)
	} else {
		t.turned.resize(RGB, n, n)
		t.turned.Orientation = orientation
		t.resampler.resample(t.turned.Pix, src, win, false)
		orient(&t.upright, &t.turned)
		copy(dst, t.upright.Pix)
	}
	t.augmenter.apply(&t.config.Augment, dst, n, background, rng)
}

// crop draws a rectangle of the upright picture and returns it in the coordinates of the stored one, with the
// orientation that is still to be applied.
func (t *Trainer) crop(w, h, orientation int, rng *rand.Rand) (image.Rectangle, int) {
	if !t.config.Orient || orientation < 1 {
		orientation = 1
	}
	if orientation >= 5 {
		r := stored(randomCrop(h, w, t.config.Scale, t.config.Ratio, rng), w, h, orientation)
		return r, orientation
	}
	return stored(randomCrop(w, h, t.config.Scale, t.config.Ratio, rng), w, h, orientation), orientation
}

// stored maps a rectangle of the upright picture to the stored picture of w×h.
func stored(r image.Rectangle, w, h, orientation int) image.Rectangle {
	if orientation >= 5 { // the stored picture is transposed
		r = image.Rect(r.Min.Y, r.Min.X, r.Max.Y, r.Max.X)
	}
	if orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8 {
		r.Min.X, r.Max.X = w-r.Max.X, w-r.Min.X
	}
	if orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7 {
		r.Min.Y, r.Max.Y = h-r.Max.Y, h-r.Min.Y
	}
	return r
}

// randomCrop is torchvision's RandomResizedCrop: ten tries at an area and a ratio, then the largest centred rectangle
// whose ratio is allowed.
func randomCrop(w, h int, scale, ratio [2]float64, rng *rand.Rand) image.Rectangle {
	low, high := math.Log(ratio[0]), math.Log(ratio[1])
	for range 10 {
		area := float64(w) * float64(h) * uniform(rng, scale[0], scale[1])
		r := math.Exp(uniform(rng, low, high))
		cw, ch := int(math.RoundToEven(math.Sqrt(area*r))), int(math.RoundToEven(math.Sqrt(area/r)))
		if cw > 0 && cw <= w && ch > 0 && ch <= h {
			y := rng.IntN(h - ch + 1)
			x := rng.IntN(w - cw + 1)
			return image.Rect(x, y, x+cw, y+ch)
		}
	}
	cw, ch := w, h
	if in := float64(w) / float64(h); in < ratio[0] {
		ch = int(math.RoundToEven(float64(w) / ratio[0]))
	} else if in > ratio[1] {
		cw = int(math.RoundToEven(float64(h) * ratio[1]))
	}
	cw, ch = max(min(cw, w), 1), max(min(ch, h), 1)
	x, y := (w-cw)/2, (h-ch)/2
	return image.Rect(x, y, x+cw, y+ch)
}

func uniform(rng *rand.Rand, a, b float64) float64 { return a + (b-a)*rng.Float64() }
