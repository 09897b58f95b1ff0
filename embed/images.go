package embed

import (
	"context"
	"iter"
	"sync"

	"github.com/gomlx/gomlx/core/tensors"

	"tandem/imaging"
)

// ImageError says that one image of a sequence could not be decoded; the sequence goes on after it.
type ImageError struct{ Err error }

func (e *ImageError) Error() string { return e.Err.Error() }
func (e *ImageError) Unwrap() error { return e.Err }

// ImageReason is a short class of reasons: "truncated", "format", … (imaging.Reason).
func (e *ImageError) ImageReason() string { return imaging.Reason(e.Err) }

// EncodeImages returns a row for each encoded image file (JPEG, PNG, WebP, …), of length 1. The first file that cannot
// be decoded is the error.
func (m *Model) EncodeImages(ctx context.Context, files ...[]byte) ([][]float32, error) {
	rows := make([][]float32, 0, len(files))
	sequence := func(yield func([]byte, error) bool) {
		for _, f := range files {
			if !yield(f, nil) {
				return
			}
		}
	}
	for row, err := range m.EncodeImageSeq(ctx, sequence) {
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// EncodeImageSeq yields a row for each file of a sequence of any length, in order: while the device encodes a batch,
// workers decode the next. A file that cannot be decoded yields an *ImageError in its place; an error of the sequence
// or of the device ends it.
func (m *Model) EncodeImageSeq(ctx context.Context, files iter.Seq2[[]byte, error]) iter.Seq2[[]float32, error] {
	return func(yield func([]float32, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		batches := make(chan *imageBatch, 1)
		var decoding sync.WaitGroup
		decoding.Go(func() {
			defer close(batches)
			m.decodeBatches(ctx, files, batches)
		})
		defer decoding.Wait()
		defer cancel()
		for b := range batches {
			if !m.encodeBatch(b, yield) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// imageBatch is a run of decoded images.
type imageBatch struct {
	pixels []uint8 // [n, S, S, 3], a gap for each image that failed
	n      int
	failed []error // by position; nil where the image is good
	fatal  error   // the sequence's own error, after the n images
}

// decodeBatches fills batch after batch until the sequence ends.
func (m *Model) decodeBatches(ctx context.Context, files iter.Seq2[[]byte, error], out chan<- *imageBatch) {
	pool := m.newDecoders()
	b := m.newImageBatch()
	send := func() bool {
		pool.wait()
		select {
		case out <- b:
			b = m.newImageBatch()
			return true
		case <-ctx.Done():
			return false
		}
	}
	defer pool.close()
	for file, err := range files {
		if err != nil || ctx.Err() != nil {
			b.fatal = err
			break
		}
		pool.decode(file, b, b.n)
		b.n++
		if b.n == m.batch && !send() {
			return
		}
	}
	if b.n > 0 || b.fatal != nil {
		send()
	}
}

func (m *Model) newImageBatch() *imageBatch {
	side := m.Config.Vision.ImageSize
	return &imageBatch{pixels: make([]uint8, m.batch*side*side*3), failed: make([]error, m.batch)}
}

// encodeBatch runs the device on a batch and yields its rows; false means that the consumer or an error ended it.
func (m *Model) encodeBatch(b *imageBatch, yield func([]float32, error) bool) bool {
	if b.n > 0 {
		side := m.Config.Vision.ImageSize
		batch := m.padTo(b.n)
		input := tensors.FromFlatDataAndDimensions(b.pixels[:batch*side*side*3], batch, side, side, 3)
		rows, err := m.run(m.images, input, b.n)
		if err != nil {
			yield(nil, err)
			return false
		}
		for i, row := range rows {
			if b.failed[i] != nil {
				row = nil
			}
			if !yield(row, b.failed[i]) {
				return false
			}
		}
	}
	if b.fatal != nil {
		yield(nil, b.fatal)
		return false
	}
	return true
}

// decoders are goroutines that turn files into pixels, each with its own buffers.
type decoders struct {
	jobs    chan decodeJob
	pending sync.WaitGroup
	workers sync.WaitGroup
}

type decodeJob struct {
	file  []byte
	batch *imageBatch
	index int
}

func (m *Model) newDecoders() *decoders {
	d := &decoders{jobs: make(chan decodeJob, m.workers)}
	for range m.workers {
		d.workers.Go(func() {
			decoder := imaging.NewDecoder(imaging.DefaultLimits())
			evaluator, err := imaging.NewEvaluator(m.Preprocess.Eval(m.Config.Vision))
			for job := range d.jobs {
				failed := err
				if failed == nil {
					failed = decodeInto(decoder, evaluator, job.file, job.batch.slot(job.index))
				}
				job.batch.failed[job.index] = failed
				d.pending.Done()
			}
		})
	}
	return d
}

func (b *imageBatch) slot(i int) []uint8 {
	size := len(b.pixels) / len(b.failed)
	return b.pixels[i*size : (i+1)*size]
}

func (d *decoders) decode(file []byte, b *imageBatch, index int) {
	d.pending.Add(1)
	d.jobs <- decodeJob{file, b, index}
}

func (d *decoders) wait() { d.pending.Wait() }

func (d *decoders) close() {
	close(d.jobs)
	d.workers.Wait()
}

func decodeInto(d *imaging.Decoder, e *imaging.Evaluator, file []byte, dst []uint8) error {
	picture, err := d.Decode(file)
	if err == nil {
		err = e.Apply(picture, dst)
	}
	if err != nil {
		return &ImageError{err}
	}
	return nil
}
