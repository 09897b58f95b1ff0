package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"

	"golang.org/x/sync/semaphore"

	"tandem/data/ingest"
	"tandem/imaging"
)

// checked is what a worker finds out about a row, besides changing the row itself.
type checked struct {
	skip          *ingest.Skip
	fatal         error
	width, height int
	digest        uint64 // of the image's bytes as they were read
	dhash         uint64
	changed       []string // what was done to the row, as the books name it
}

// worker checks rows one at a time.
type worker struct {
	o       *Options
	label   []bool // per input: a label is enough
	memory  *semaphore.Weighted
	decoder *imaging.Decoder
	resizer imaging.Resizer
}

func newWorker(o *Options, inputs []ingest.Input, memory *semaphore.Weighted) *worker {
	w := &worker{o: o, memory: memory, decoder: imaging.NewDecoder(o.Images.Limits)}
	for _, in := range inputs {
		w.label = append(w.label, in.Labelled())
	}
	return w
}

// do checks a row; what is wrong with it is left in it.skip, what is wrong with the build in it.fatal.
func (w *worker) do(ctx context.Context, it *item) {
	err := it.err
	if err == nil {
		err = w.check(ctx, it)
	}
	var s *ingest.Skip
	switch {
	case err == nil:
	case errors.As(err, &s):
		it.skip = s
	default:
		it.fatal = err
	}
}

func (w *worker) check(ctx context.Context, it *item) error {
	r := &it.row
	if r.Load != nil {
		if err := r.Load(r); err != nil {
			return err
		}
	}
	if !validSplit(r.Split) {
		return w.refuse(it, ingest.BadRow, fmt.Errorf("%q cannot be the name of a split", r.Split))
	}
	if err := w.captions(it); err != nil {
		return err
	}
	if len(r.Image) == 0 {
		return w.refuse(it, ingest.EmptyImage, nil)
	}
	it.digest = hash64(r.Image)
	if err := w.image(ctx, it); err != nil {
		return err
	}
	return w.score(ctx, it)
}

func (w *worker) refuse(it *item, reason ingest.Reason, err error) error {
	return &ingest.Skip{Reason: reason, At: it.row.At, Key: it.row.Key, Err: err}
}

// image decodes and filters the picture, and stores it anew where the options say so.
func (w *worker) image(ctx context.Context, it *item) error {
	info, err := w.decoder.Info(it.row.Image)
	if err != nil {
		return w.refuse(it, imageReason(err), err)
	}
	it.width, it.height = info.Width, info.Height
	if info.Orientation >= 5 {
		it.width, it.height = info.Height, info.Width
	}
	if err := w.filterSize(it); err != nil {
		return err
	}
	if w.o.Images.HeaderOnly {
		return nil
	}
	need := min(max(info.Memory, 1), decodeMemory)
	if err := w.memory.Acquire(ctx, need); err != nil {
		return err
	}
	defer w.memory.Release(need)
	p, err := w.decoder.Decode(it.row.Image)
	if err != nil {
		return w.refuse(it, imageReason(err), err)
	}
	if w.o.Dedup == "near" {
		it.dhash = dhash(p)
	}
	return w.restore(it, p)
}

// imageReason maps why imaging refuses a file to the books' names.
func imageReason(err error) ingest.Reason {
	switch {
	case errors.Is(err, imaging.ErrFormat), errors.Is(err, imaging.ErrUnsupported):
		return ingest.NotAnImage
	case errors.Is(err, imaging.ErrTooLarge):
		return ingest.HugeImage
	default:
		return ingest.DamagedImage
	}
}

func (w *worker) filterSize(it *item) error {
	short, long := min(it.width, it.height), max(it.width, it.height)
	size := fmt.Errorf("%d×%d pixels", it.width, it.height)
	if short < w.o.Images.MinSide {
		return w.refuse(it, ingest.SmallImage, size)
	}
	if a := w.o.Images.MaxAspect; a > 0 && float64(long) > a*float64(short) {
		return w.refuse(it, ingest.ExtremeAspect, size)
	}
	return nil
}

// restore makes the picture smaller and encodes it again, without transparency, if the options ask for it and it is not so already.
func (w *worker) restore(it *item, p *imaging.Picture) error {
	o := &w.o.Images
	side := min(it.width, it.height)
	if o.Longest {
		side = max(it.width, it.height)
	}
	shrink := o.Fit > 0 && side > o.Fit
	if !shrink && (o.Format == "" || string(p.Format) == o.Format) {
		return nil
	}
	format := o.Format
	if format == "" {
		format = "png"
		if p.Format == imaging.FormatJPEG {
			format = "jpeg"
		}
	}
	if shrink {
		p = w.resizer.Fit(p, o.Fit, o.Longest, imaging.Bicubic)
		it.changed = append(it.changed, "image made smaller")
	}
	m := upright(p)
	var out bytes.Buffer
	if err := encode(&out, m, format, o.Quality); err != nil {
		return err
	}
	it.row.Image = out.Bytes()
	it.width, it.height = m.Bounds().Dx(), m.Bounds().Dy()
	it.changed = append(it.changed, "image stored as "+format)
	return nil
}

func encode(out *bytes.Buffer, m *image.NRGBA, format string, quality int) error {
	if format == "jpeg" {
		return jpeg.Encode(out, m, &jpeg.Options{Quality: quality})
	}
	return png.Encode(out, m)
}

// score asks o.Score whether any caption fits the picture, and keeps those that do.
func (w *worker) score(ctx context.Context, it *item) error {
	r := &it.row
	if w.o.Score == nil || len(r.Captions) == 0 {
		return nil
	}
	scores, err := w.o.Score(ctx, r.Image, r.Captions)
	if err != nil {
		return fmt.Errorf("score %s: %w", r.At, err)
	}
	kept := r.Captions[:0:0]
	best := scores[0]
	for i, s := range scores {
		best = max(best, s)
		if s >= w.o.MinScore {
			kept = append(kept, r.Captions[i])
		}
	}
	if len(kept) == 0 {
		return w.refuse(it, ingest.LowScore, fmt.Errorf("best caption scores %.3f", best))
	}
	if len(kept) < len(r.Captions) {
		it.changed = append(it.changed, "caption dropped: low image-text score")
	}
	r.Captions = kept
	return nil
}
