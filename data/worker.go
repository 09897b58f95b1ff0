package data

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"unicode/utf8"

	"tandem/data/ingest"
	"tandem/data/shard"
	"tandem/imaging"
	"tandem/internal/prng"
)

// worker fills slots of batches, one at a time. It keeps its buffers.
type worker struct {
	l       *Loader
	trainer *imaging.Trainer
	decoder *imaging.Decoder
	resizer imaging.Resizer
	images  shard.ImageReader
	encoded []byte // the image at hand, in the memory of images
	pcg     rand.PCG
	rng     *rand.Rand
	choice  []caption
}

// caption is a candidate: a text, the template around it, and its probability.
type caption struct {
	texts       []string
	template    string
	probability float64
}

func (l *Loader) newWorker() (*worker, error) {
	trainer, err := imaging.NewTrainer(l.config.Image, l.config.Limits)
	if err != nil {
		return nil, err
	}
	w := &worker{l: l, trainer: trainer, decoder: imaging.NewDecoder(l.config.Limits)}
	w.rng = rand.New(&w.pcg)
	return w, nil
}

// seed makes the worker's random numbers those of one use at one position, whoever the worker is.
func (w *worker) seed(stream uint64, g int64) *rand.Rand {
	o := w.l.order
	prng.Seed(&w.pcg, o.seed, stream, uint64(g/o.rows), uint64(g%o.rows))
	return w.rng
}

// maxAttempts bounds the replacements of one row: with half of all rows unusable, one pair in 10^19 gets that far.
const maxAttempts = 64

// unusable is the error of a row that another one must replace.
type unusable struct {
	reason ingest.Reason
	err    error
}

func (u *unusable) Error() string { return u.err.Error() }

// fill puts the pair at global position g into slot i of a batch. Rows that cannot be used are reported to p.
func (w *worker) fill(p *pending, i int, g int64) error {
	at := w.l.order.at(g)
	for attempt := range maxAttempts {
		err := w.pair(p.batch, i, g, at)
		if err == nil {
			return nil
		}
		var bad *unusable
		if !errors.As(err, &bad) {
			return err
		}
		p.report(badRow{i, attempt, at, bad.reason, bad.err})
		at = w.l.order.replacement(g, at.source, attempt)
	}
	return fmt.Errorf("%s: %d rows drawn for one pair were all unusable", w.l.sources[at.source].set.Location(), maxAttempts)
}

// pair fills slot i with the row `at`.
func (w *worker) pair(b *Batch, i int, g int64, at place) error {
	src := &w.l.sources[at.source]
	file, inFile := src.set.Locate(at.row)
	h, err := src.set.Acquire(file)
	if err != nil {
		return err
	}
	defer src.set.Release(h)
	group, row, err := w.l.group(h.File, at.source, file, inFile)
	if err != nil {
		return damaged(err)
	}
	if err := w.text(b, i, g, src, group, row); err != nil {
		return err
	}
	b.Rows[i] = RowID{at.source, at.row}
	if w.l.skipImages {
		return nil
	}
	return w.image(b.image(i), g, at, h.File, group, row)
}

// damaged makes a damaged row or row group a row to be replaced; a damaged file, or an error of reading, ends the run.
func damaged(err error) error {
	var d *shard.DamageError
	if errors.As(err, &d) && d.Row >= 0 {
		return &unusable{ingest.DamagedRow, d.Err}
	}
	return err
}

// text chooses a caption and writes its tokens and key.
func (w *worker) text(b *Batch, i int, g int64, src *loaderSource, group *shard.Group, row int) error {
	text, err := w.chooseCaption(g, src, group, row)
	if err != nil {
		return err
	}
	tokens := b.tokens(i)
	n := w.l.tokenizer.Encode(tokens, text)
	if n == len(tokens) {
		w.l.counters.longCaptions.Add(1)
	}
	b.lengths[i] = n
	w.negatives(b, i, g, group, row)
	b.Keys[i] = w.key(tokens[:n], group, row)
	return nil
}

// key hashes what makes pairs positives of each other.
func (w *worker) key(tokens []int32, group *shard.Group, row int) uint64 {
	const fromTokens, fromLabel = 1, 2
	if column := w.l.config.Positives; column != positivesCaption {
		if label := textsOf(group, column, row); len(label) > 0 {
			return hashString(fromLabel, label[0])
		}
	}
	h := uint64(fromTokens)
	for _, t := range tokens {
		h = prng.Mix(h, uint64(t))
	}
	return h
}

// textsOf are the texts of a column in a row. An empty label is none.
func textsOf(group *shard.Group, column string, row int) []string {
	texts := group.Texts(column, row)
	if len(texts) == 1 && texts[0] == "" {
		return nil
	}
	return texts
}

func hashString(h uint64, s string) uint64 {
	for i := 0; i < len(s); i++ {
		h = prng.Mix(h, uint64(s[i]))
	}
	return h
}

// chooseCaption draws a column by probability among those that have text in this row, then one of its texts.
func (w *worker) chooseCaption(g int64, src *loaderSource, group *shard.Group, row int) (string, error) {
	w.choice = w.choice[:0]
	sum := 0.0
	for _, c := range src.config.Captions {
		if texts := textsOf(group, c.Column, row); len(texts) > 0 {
			w.choice = append(w.choice, caption{texts, c.Template, c.Probability})
			sum += c.Probability
		}
	}
	if len(w.choice) == 0 {
		return "", &unusable{ingest.NoCaption, errors.New("no text in the caption columns")}
	}
	rng := w.seed(streamCaption, g)
	u := rng.Float64() * sum
	k := 0
	for ; k < len(w.choice)-1 && u >= w.choice[k].probability; k++ {
		u -= w.choice[k].probability
	}
	c := w.choice[k]
	text := c.texts[rng.IntN(len(c.texts))]
	switch {
	case !utf8.ValidString(text):
		return "", &unusable{ingest.BadText, errors.New("the caption drawn is not UTF-8")}
	case strings.TrimSpace(text) == "":
		return "", &unusable{ingest.NoCaption, errors.New("the caption drawn is blank")}
	case c.template != "":
		text = strings.Replace(c.template, "{}", text, 1)
	}
	return text, nil
}

// image decodes a row's image, or takes it from the cache, and writes a random view of it to dst.
func (w *worker) image(dst []uint8, g int64, at place, f *shard.File, group *shard.Group, row int) error {
	l := w.l
	if l.pictures != nil {
		if p := l.pictures.get(at); p != nil {
			l.counters.cacheHits.Add(1)
			return w.trainer.Apply(p, w.seed(streamAugment, g), dst)
		}
	}
	var err error
	if w.encoded, err = w.images.Read(f, group, row); err != nil {
		return damaged(err)
	}
	l.counters.read.Add(1)
	l.counters.readBytes.Add(int64(len(w.encoded)))
	err = w.decode(dst, g, at)
	if err == nil {
		l.counters.decoded.Add(1)
		return nil
	}
	if imaging.Reason(err) == "other" {
		return fmt.Errorf("%s: row %d: %w", f.Name(), group.First+int64(row), err)
	}
	return &unusable{imageReason(err), err}
}

// decode makes the view from w.encoded. With a cache, all pictures take the way of those that are cached, so that a
// hit and a miss give the same pixels.
func (w *worker) decode(dst []uint8, g int64, at place) error {
	rng := w.seed(streamAugment, g)
	if w.l.pictures == nil {
		return w.trainer.Decode(w.encoded, rng, dst)
	}
	p, err := w.decoder.Decode(w.encoded)
	if err != nil {
		return err
	}
	if fit := w.l.config.Cache.Fit; fit > 0 {
		p = w.resizer.FitView(p, fit, w.l.config.Image)
	}
	w.l.pictures.put(at, p)
	return w.trainer.Apply(p, rng, dst)
}

func imageReason(err error) ingest.Reason {
	switch imaging.Reason(err) {
	case "format", "unsupported":
		return ingest.NotAnImage
	case "too_large":
		return ingest.HugeImage
	default:
		return ingest.DamagedImage
	}
}

// run fills slots until the work ends or ctx is done.
func (w *worker) run(ctx context.Context, work <-chan slot) {
	for {
		select {
		case <-ctx.Done():
			return
		case s, ok := <-work:
			if !ok {
				return
			}
			if err := w.fill(s.pending, s.index, s.position); err != nil {
				s.pending.fail(err)
			}
			s.pending.finish()
		}
	}
}
