package foreign

import (
	"fmt"
	"slices"

	"tandem/model"
)

// Preprocess is the evaluation transform of pictures that belongs to a model.
type Preprocess struct {
	Size          int        `json:"size"`
	Resize        string     `json:"resize"`        // shortest, longest or squash
	Interpolation string     `json:"interpolation"` // bicubic or bilinear
	Mean          [3]float64 `json:"mean"`
	Std           [3]float64 `json:"std"`
	Fill          int        `json:"fill"` // the colour of the borders that longest adds
}

// How a picture becomes a square.
const (
	ResizeShortest = "shortest" // the shorter side becomes the size, the middle is cut out
	ResizeLongest  = "longest"  // the longer side becomes the size, borders are added
	ResizeSquash   = "squash"   // both sides become the size
)

// Interpolations.
const (
	Bicubic  = "bicubic"
	Bilinear = "bilinear"
)

// DefaultPreprocess is open_clip's and OpenAI's for pictures of that size.
func DefaultPreprocess(size int) Preprocess {
	return Preprocess{Size: size, Resize: ResizeShortest, Interpolation: Bicubic, Mean: model.CLIPMean, Std: model.CLIPStd}
}

// String is one line for people.
func (p Preprocess) String() string {
	return fmt.Sprintf("%d×%d, resize %s, %s, mean %v, std %v", p.Size, p.Size, p.Resize, p.Interpolation, p.Mean, p.Std)
}

// half is the mean and the standard deviation of SigLIP.
var half = [3]float64{0.5, 0.5, 0.5}

func (s *section) triple(key string, absent [3]float64) [3]float64 {
	if list := s.numbers(key, 3); list != nil {
		return [3]float64(list)
	}
	return absent
}

// choice is a string out of a few.
func (s *section) choice(key, absent string, allowed ...string) string {
	value := s.text(key, absent)
	if !slices.Contains(allowed, value) {
		s.fault(key, "= %q is not implemented: it can be %v", value, allowed)
	}
	return value
}
