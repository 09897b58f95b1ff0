package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"tandem/checkpoints/foreign"
	"tandem/imaging"
	"tandem/internal/fault"
	"tandem/internal/npy"
)

// modelTransform reads how a model of any format wants its pictures.
func modelTransform(ctx context.Context, e *env, name string) (imaging.EvalConfig, error) {
	warn := func(line string) { e.progress.Linef("warning: %s", line) }
	path, err := foreign.Locate(ctx, name, "", foreign.HubOptions{Progress: e.progress}, warn)
	if err != nil {
		return imaging.EvalConfig{}, err
	}
	c, err := foreign.Open(path, foreign.Options{})
	if err != nil {
		return imaging.EvalConfig{}, err
	}
	defer c.Close()
	for _, note := range c.Notes {
		warn(note)
	}
	return c.Preprocess.Eval(c.Config.Vision), nil
}

func runPixels(ctx context.Context, e *env, args []string) error {
	model := e.flags.String("model", "", "model whose preprocessing is used: a directory of any format, a run, or hf://org/name")
	size := e.flags.Int("size", 224, "side of the picture in pixels, without -model")
	resize := e.flags.String("resize", string(imaging.Shortest), "shortest, squash or longest, without -model")
	layout := e.flags.String("layout", "chw", "chw (channels first, as PyTorch) or hwc")
	out := e.flags.String("npy", "", "file to write")
	image, err := e.parse(args, 1, 1)
	if err != nil {
		return err
	}
	if *out == "" {
		return fault.Userf("no file for the array given: say -npy OUT")
	}
	if *layout != "chw" && *layout != "hwc" {
		return fault.Userf("-layout %s: use chw or hwc", *layout)
	}
	if given := e.given("size", "resize"); *model != "" && given != "" {
		return fault.Userf("-model and -%s: the model says its own size and resizing; give one of the two", given)
	}
	c := imaging.DefaultEvalConfig(*size)
	c.Resize = imaging.ResizeMode(*resize)
	if *model != "" {
		if c, err = modelTransform(ctx, e, *model); err != nil {
			return err
		}
	}
	pixels, err := pixelsOf(image[0], c)
	if err != nil {
		return err
	}
	shape := []int{c.Size, c.Size, 3}
	if *layout == "chw" {
		planes := make([]float32, len(pixels))
		imaging.ToCHW(planes, pixels)
		pixels, shape = planes, []int{3, c.Size, c.Size}
	}
	if err := writeTo(*out, func(w io.Writer) error { return npy.Write(w, npy.Array{Shape: shape, Data: pixels}) }); err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stdout, "%s: float32 %v\n", *out, shape)
	return err
}

// pixelsOf returns the normalised pixels [N, N, 3] of a picture.
func pixelsOf(file string, c imaging.EvalConfig) ([]float32, error) {
	if err := c.Validate(); err != nil {
		return nil, fault.User(err)
	}
	limits := imaging.DefaultLimits()
	info, err := os.Stat(file)
	if err != nil {
		return nil, fault.User(err)
	}
	if !info.Mode().IsRegular() || info.Size() > limits.MaxBytes {
		return nil, fault.Userf("%s: not a regular file of at most %d bytes", file, limits.MaxBytes)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.User(err)
	}
	p, err := imaging.NewDecoder(limits).Decode(data)
	if err != nil {
		return nil, fault.Userf("%s: %w", file, err)
	}
	square := make([]uint8, c.Size*c.Size*3)
	if err := c.Apply(p, square); err != nil {
		return nil, err
	}
	pixels := make([]float32, len(square))
	imaging.Normalise(pixels, square, c.Mean, c.Std)
	return pixels, nil
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
