package model

// FLOPs is the number of floating-point operations of one forward pass of one image and one text of the full context:
// two for each multiplication and addition of the matrix products and convolutions, every row of every block and of the
// ResNet's attention pool counted, as open_clip profiles it, also where the graph leaves out rows that pooling drops.
// A training step takes three times as many.
func (c Config) FLOPs() (image, text float64) {
	c = c.WithDefaults()
	v, t := c.Vision, c.Text
	if v.Kind == ResNet {
		image = v.resnetFLOPs(c.EmbedDim)
	} else {
		image = v.vitFLOPs(c.EmbedDim)
	}
	text = blocksFLOPs(t.Layers, t.Context, t.Width, t.MLPWidth) + product(1, t.Width, c.EmbedDim)
	return image, text
}

// product is the cost of [m, k] × [k, n].
func product(m, k, n int) float64 { return 2 * float64(m) * float64(k) * float64(n) }

// blocksFLOPs: projections to and from queries, keys and values; scores and mixing; the MLP.
func blocksFLOPs(layers, rows, width, mlpWidth int) float64 {
	perBlock := 4*product(rows, width, width) + 2*product(rows, width, rows) + 2*product(rows, width, mlpWidth)
	return float64(layers) * perBlock
}

func (v VisionConfig) vitFLOPs(embedDim int) float64 {
	patches := v.Grid() * v.Grid()
	total := product(patches, 3*v.PatchSize*v.PatchSize, v.Width)
	total += blocksFLOPs(v.Layers, v.Rows(), v.Width, v.MLPWidth)
	if v.Pool == PoolMap {
		total += 2*product(1, v.Width, v.Width) + product(v.Rows(), v.Width, 2*v.Width)
		total += 2*product(1, v.Width, v.Rows()) + 2*product(1, v.Width, v.MLPWidth)
	}
	if !v.NoProjection {
		total += product(1, v.Width, embedDim)
	}
	return total
}

func (v VisionConfig) resnetFLOPs(embedDim int) float64 {
	w, side := v.Width, v.ImageSize/2
	total := product(side*side, 9*3, w/2) + product(side*side, 9*w/2, w/2) + product(side*side, 9*w/2, w)
	side /= 2
	in := w
	for stage, blocks := range v.Stages {
		planes := w << stage
		for block := range blocks {
			total += product(side*side, in, planes) + product(side*side, 9*planes, planes)
			if block == 0 && stage > 0 {
				side /= 2
			}
			total += product(side*side, planes, 4*planes)
			if block == 0 {
				total += product(side*side, in, 4*planes)
			}
			in = 4 * planes
		}
	}
	rows := side*side + 1
	total += 3*product(rows, in, in) + 2*product(rows, in, rows) + product(rows, in, embedDim)
	return total
}
