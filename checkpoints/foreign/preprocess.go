package foreign

import (
	"fmt"
	"slices"

	"tandem/checkpoints"
	"tandem/imaging"
	"tandem/model"
)

// half is the mean and the standard deviation of SigLIP.
var half = [3]float64{0.5, 0.5, 0.5}

// describePreprocess is one line for people.
func describePreprocess(v model.VisionConfig, p checkpoints.Preprocess) string {
	return fmt.Sprintf("%d×%d pixels, resize %s, %s, mean %.5g, std %.5g", v.ImageSize, v.ImageSize, p.Resize, p.Interpolation, v.Mean, v.Std)
}

// resizeModes and interpolations are imaging's, by their names in open_clip.
var (
	resizeModes    = []string{string(imaging.Shortest), string(imaging.Longest), string(imaging.Squash)}
	interpolations = []string{string(imaging.Bicubic), string(imaging.Bilinear)}
)

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
		s.fault(key, "= %q is not implemented: it can be %q", value, allowed)
	}
	return value
}
