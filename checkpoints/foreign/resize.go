package foreign

import (
	"fmt"
	"math"

	"tandem/model"
)

// sizesFromWeights takes the image size and the context length from the weights where they are going to be resized: the
// configuration may already speak of another size.
func (c *Checkpoint) sizesFromWeights(opts Options) {
	shapes := shapesOf(c.weights)
	for _, p := range c.makeTable(c.Config) {
		shape := shapes(p.Theirs)
		switch {
		case p.Ours == "visual/pos_embed" && opts.ImageSize != 0 && len(shape) >= 2:
			v := &c.Config.Vision
			rows := shape[len(shape)-2]
			if v.HasClassToken() {
				rows--
			}
			if grid := squareRoot(rows); grid > 0 && grid != v.ImageSize/v.PatchSize {
				v.ImageSize = grid * v.PatchSize
			}
		case p.Ours == "visual/attnpool/pos_embed" && opts.ImageSize != 0 && len(shape) == 2:
			if grid := squareRoot(shape[0] - 1); grid > 0 {
				c.Config.Vision.ImageSize = 32 * grid
			}
		case p.Ours == "text/pos_embed" && opts.Context != 0 && len(shape) == 2:
			c.Config.Text.Context = shape[0]
		}
	}
}

// resize gives the model position embeddings for other pictures or texts, as open_clip does when it loads
// (open_clip/model.py: resize_pos_embed, resize_text_pos_embed): bicubic with antialias over the grid, the class token
// kept; linear over the text.
func (c *Checkpoint) resize(target model.Config) error {
	target = target.WithDefaults()
	if err := target.Validate(); err != nil {
		return err
	}
	from := c.Config
	if from.Vision.ImageSize != target.Vision.ImageSize {
		if err := c.resizeImage(target.Vision); err != nil {
			return err
		}
	}
	if from.Text.Context != target.Text.Context {
		c.Notes = append(c.Notes, fmt.Sprintf("text position embeddings resized from %d to %d, linear", from.Text.Context, target.Text.Context))
		resized, err := c.floatsOf("text/pos_embed")
		if err != nil {
			return err
		}
		c.replace("text/pos_embed", resizeLinear(resized, target.Text.Context, from.Text.Width))
	}
	c.Config = target
	return nil
}

func (c *Checkpoint) resizeImage(v model.VisionConfig) error {
	path, width, kept := "visual/pos_embed", v.Width, 0
	from, to := 0, 0
	if v.Kind == model.ResNet {
		path, width, kept = "visual/attnpool/pos_embed", 32*v.Width, 1
		from, to = c.Config.Vision.ImageSize/32, v.ImageSize/32
	} else {
		if v.HasClassToken() {
			kept = 1
		}
		from, to = c.Config.Vision.Grid(), v.Grid()
	}
	values, err := c.floatsOf(path)
	if err != nil || from == to {
		return err
	}
	c.Notes = append(c.Notes, fmt.Sprintf("image position embeddings resized from %d×%d to %d×%d, bicubic", from, from, to, to))
	grid := resizeBicubic(values[kept*width:], from, to, width)
	c.replace(path, append(values[:kept*width:kept*width], grid...))
	return nil
}

func (c *Checkpoint) floatsOf(path string) ([]float32, error) {
	for _, p := range c.Config.Params() {
		if p.Path == path {
			values := make([]float32, p.Size())
			return values, c.Floats(p, values)
		}
	}
	return nil, fmt.Errorf("the model has no %s", path)
}

func (c *Checkpoint) replace(path string, values []float32) {
	if c.replaced == nil {
		c.replaced = map[string][]float32{}
	}
	c.replaced[path] = values
}

// taps are the input positions first, first+1, … and their weights that make one output position.
type taps struct {
	first   int
	weights []float64
}

// bicubicTaps are those of torch.nn.functional.interpolate(mode="bicubic", antialias=True, align_corners=False): Keys'
// cubic with a = −0.5, widened by the scale when the grid shrinks (aten/src/ATen/native/cpu/UpSampleKernel.cpp).
func bicubicTaps(from, to int) []taps {
	scale := float64(from) / float64(to)
	stretch := math.Max(scale, 1)
	support := 2 * stretch
	all := make([]taps, to)
	for i := range all {
		centre := scale * (float64(i) + 0.5)
		first := max(0, int(centre-support+0.5))
		last := min(from, int(centre+support+0.5))
		weights, sum := make([]float64, last-first), 0.0
		for j := range weights {
			weights[j] = cubic((float64(first+j) - centre + 0.5) / stretch)
			sum += weights[j]
		}
		for j := range weights {
			weights[j] /= sum
		}
		all[i] = taps{first, weights}
	}
	return all
}

// cubic is Keys' kernel with a = −0.5 (Keys, "Cubic convolution interpolation for digital image processing", 1981).
func cubic(x float64) float64 {
	const a = -0.5
	x = math.Abs(x)
	switch {
	case x < 1:
		return ((a+2)*x-(a+3))*x*x + 1
	case x < 2:
		return ((a*x-5*a)*x+8*a)*x - 4*a
	default:
		return 0
	}
}

// linearTaps are those of interpolate(mode="linear", align_corners=False) without antialias.
func linearTaps(from, to int) []taps {
	scale := float64(from) / float64(to)
	all := make([]taps, to)
	for i := range all {
		at := math.Max(0, scale*(float64(i)+0.5)-0.5)
		first := min(int(at), from-1)
		if first == from-1 {
			all[i] = taps{first, []float64{1}}
			continue
		}
		all[i] = taps{first, []float64{1 - (at - float64(first)), at - float64(first)}}
	}
	return all
}

// resizeLinear resizes rows [from, width] to [to, width].
func resizeLinear(rows []float32, to, width int) []float32 {
	wide := make([]float64, len(rows))
	for i, x := range rows {
		wide[i] = float64(x)
	}
	return narrow(interpolate(wide, 1, len(rows)/width, width, linearTaps(len(rows)/width, to)))
}

// resizeBicubic resizes a grid [from, from, width] to [to, to, width].
func resizeBicubic(grid []float32, from, to, width int) []float32 {
	wide := make([]float64, len(grid))
	for i, x := range grid {
		wide[i] = float64(x)
	}
	t := bicubicTaps(from, to)
	across := interpolate(wide, from, from, width, t)
	return narrow(interpolate(across, 1, from, to*width, t))
}

// interpolate resizes the middle axis of [outer, n, inner].
func interpolate(x []float64, outer, n, inner int, t []taps) []float64 {
	out := make([]float64, outer*len(t)*inner)
	for o := range outer {
		for i, tap := range t {
			row := out[(o*len(t)+i)*inner:][:inner]
			for j, weight := range tap.weights {
				source := x[(o*n+tap.first+j)*inner:][:inner]
				for k, value := range source {
					row[k] += weight * value
				}
			}
		}
	}
	return out
}

func narrow(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}
