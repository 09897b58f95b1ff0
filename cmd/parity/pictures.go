package main

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"tandem/imaging"
	"tandem/internal/fault"
	"tandem/internal/npy"
)

// pictureIndex is index.json: which variants of open_clip's evaluation transform were applied to which pictures.
type pictureIndex struct {
	Variants map[string]variant `json:"variants"`
	Images   map[string]struct {
		DecodeError string `json:"decode_error"`
		Variants    map[string]struct {
			Error string `json:"error"`
		} `json:"variants"`
	} `json:"images"`
}

// variant are the arguments of open_clip.image_transform.
type variant struct {
	Size          int         `json:"image_size"`
	Mean          *[3]float32 `json:"mean"`
	Std           *[3]float32 `json:"std"`
	ResizeMode    string      `json:"resize_mode"`
	Interpolation string      `json:"interpolation"`
	Fill          int         `json:"fill_color"`
}

func (v variant) config() imaging.EvalConfig {
	c := imaging.DefaultEvalConfig(v.Size)
	if v.Mean != nil {
		c.Mean = *v.Mean
	}
	if v.Std != nil {
		c.Std = *v.Std
	}
	if v.ResizeMode != "" {
		c.Resize = imaging.ResizeMode(v.ResizeMode)
	}
	if v.Interpolation != "" {
		c.Interpolation = imaging.Interpolation(v.Interpolation)
	}
	c.Fill = v.Fill
	return c
}

// decodedName is the picture itself among the arrays, before any transform.
const decodedName = "decoded_rgb_u8"

// Tolerances of pixels, in units of 1/255 before normalising.
const (
	pixelLimit     = 1
	meanPixelLimit = 0.05
)

// comparePictures compares decoding and preprocessing with NAME.npz beside each picture NAME.
func comparePictures(dir string) (*report, error) {
	var index pictureIndex
	if err := readJSON(filepath.Join(dir, "index.json"), &index); err != nil {
		return nil, err
	}
	out := &report{dir: dir, title: fmt.Sprintf("%d pictures under %d variants of open_clip's evaluation transform, in units of 1/255", len(index.Images), len(index.Variants))}
	decoder := imaging.NewDecoder(imaging.DefaultLimits())
	checks := map[string][]check{}
	for _, name := range slices.Sorted(maps.Keys(index.Images)) {
		arrays, err := npy.ReadZip(filepath.Join(dir, name+".npz"))
		if err != nil {
			return nil, fault.User(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fault.User(err)
		}
		picture, decodeErr := decoder.Decode(data)
		for _, variantName := range append(slices.Sorted(maps.Keys(index.Variants)), decodedName) {
			theirs, ok := arrays[variantName]
			switch {
			case !ok: // the peer failed
				continue
			case decodeErr != nil:
				checks[variantName] = append(checks[variantName], check{name: name, missing: decodeErr.Error()})
			case variantName == decodedName:
				rgb := make([]uint8, 3*picture.Width*picture.Height)
				picture.RGB(rgb)
				checks[decodedName] = append(checks[decodedName], compareBytes(name, rgb, floats(theirs))...)
			default:
				checks[variantName] = append(checks[variantName], compareVariant(name, picture, index.Variants[variantName].config(), theirs)...)
			}
		}
	}
	for _, variantName := range slices.Sorted(maps.Keys(checks)) {
		out.add(variantName, checks[variantName]...)
	}
	return out, nil
}

// compareVariant undoes the reference's normalising.
func compareVariant(name string, p *imaging.Picture, c imaging.EvalConfig, theirs npy.Array) []check {
	if err := c.Validate(); err != nil {
		return []check{{name: name, missing: err.Error()}}
	}
	ours := make([]uint8, 3*c.Size*c.Size)
	if err := c.Apply(p, ours); err != nil {
		return []check{{name: name, missing: err.Error()}}
	}
	if len(theirs.Shape) != 3 {
		return []check{{name: name, missing: fmt.Sprintf("the reference is %v, not three-dimensional", theirs.Shape)}}
	}
	values := channelsLast(floats(theirs), append([]int{1}, theirs.Shape...))
	for i, x := range values {
		values[i] = 255 * (x*float64(c.Std[i%3]) + float64(c.Mean[i%3]))
	}
	return compareBytes(name, ours, values)
}

// compareBytes checks the largest and the mean difference.
func compareBytes(name string, ours []uint8, theirs []float64) []check {
	largest := compareValues(name, widen(ours), theirs, 0, 0)
	if largest.missing != "" {
		return []check{largest}
	}
	mean := check{name: name + " (mean)", scale: 255, tolerance: meanPixelLimit}
	for i, want := range theirs {
		mean.absolute += math.Abs(float64(ours[i])-want) / float64(len(theirs))
	}
	largest.scale, largest.tolerance = 255, pixelLimit
	return []check{largest, mean}
}

var errNoCases = errors.New("there are no cases in it")
