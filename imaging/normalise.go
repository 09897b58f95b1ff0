package imaging

// Normaliser turns bytes into normalised float32 by table, with the very operations of torchvision's ToTensor and
// Normalize: v/255, minus the mean, by the standard deviation, each rounded to float32.
type Normaliser struct {
	table [256][3]float32
}

// NewNormaliser returns the table for a mean and a standard deviation of each channel.
func NewNormaliser(mean, std [3]float32) *Normaliser {
	n := &Normaliser{}
	for v := range n.table {
		for k := range 3 {
			x := float32(v) / 255
			x -= mean[k]
			n.table[v][k] = x / std[k]
		}
	}
	return n
}

// Apply writes the normalised values of src, pixels of three bytes, to dst, which has the same length and order (so
// [B, H, W, 3] stays [B, H, W, 3]).
func (n *Normaliser) Apply(dst []float32, src []uint8) {
	dst = dst[:len(src)]
	for i := 0; i+3 <= len(src); i += 3 {
		dst[i] = n.table[src[i]][0]
		dst[i+1] = n.table[src[i+1]][1]
		dst[i+2] = n.table[src[i+2]][2]
	}
}

// Normalise is NewNormaliser and Apply in one. For batch after batch keep the Normaliser.
func Normalise(dst []float32, src []uint8, mean, std [3]float32) {
	NewNormaliser(mean, std).Apply(dst, src)
}

// ToCHW reorders one picture of [H·W, 3] to [3, H·W], the layout of PyTorch.
func ToCHW[T uint8 | float32](dst, src []T) {
	n := len(src) / 3
	for i := range n {
		dst[i], dst[n+i], dst[2*n+i] = src[3*i], src[3*i+1], src[3*i+2]
	}
}
