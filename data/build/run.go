package build

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"tandem/data/ingest"
)

// position is a place in the sequence of all rows: an input, a part of it, a row of that. Seq counts rows over all.
type position struct {
	Input int   `json:"input"`
	Part  int   `json:"part"`
	Row   int64 `json:"row"`
	Seq   int64 `json:"seq"`
}

// item is one row on its way from the reader through a worker to the collector.
type item struct {
	at   position // of the row itself
	next position // of the row behind it
	row  ingest.Row
	err  error
	done chan struct{} // closed when a worker has finished with it

	checked
}

// decodeMemory bounds what all workers together take for decoding; one picture may always be decoded alone.
const decodeMemory = 512 << 20

// run moves rows: one reader, o.Workers workers, one collector. Workers finish in any order; the collector takes the
// rows in the order they were read.
func run(ctx context.Context, inputs []ingest.Input, o *Options, c *collector) error {
	group, ctx := errgroup.WithContext(ctx)
	jobs := make(chan *item)
	ordered := make(chan *item, 2*o.Workers)
	group.Go(func() error {
		defer close(jobs)
		defer close(ordered)
		r := reader{inputs: inputs, at: c.now.Next, max: o.MaxRows, jobs: jobs, ordered: ordered}
		return r.run(ctx)
	})
	memory := semaphore.NewWeighted(decodeMemory)
	for range o.Workers {
		group.Go(func() error {
			w := newWorker(o, inputs, memory)
			for it := range jobs {
				w.do(ctx, it)
				close(it.done)
			}
			return nil
		})
	}
	group.Go(func() error { return collect(ctx, ordered, c, o) })
	return group.Wait()
}

func collect(ctx context.Context, ordered <-chan *item, c *collector, o *Options) (err error) {
	total := o.Expect
	if total == 0 {
		total = -1
	}
	task := o.Progress.Start("building shards", total, "rows")
	task.Add(c.now.Books.RowsIn)
	defer func() {
		if err != nil {
			task.Fail()
		} else {
			task.Done()
		}
	}()
	for it := range ordered {
		select {
		case <-it.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := c.add(it); err != nil {
			return err
		}
		task.Add(1)
	}
	return ctx.Err()
}

// errStop ends the reader when it has read as many rows as were asked for.
var errStop = errors.New("enough rows")

// reader walks through the inputs.
type reader struct {
	inputs  []ingest.Input
	at      position // the next row to send
	max     int64
	jobs    chan<- *item
	ordered chan<- *item
}

func (r *reader) run(ctx context.Context) error {
	for ; r.at.Input < len(r.inputs); r.at.Input++ {
		parts := r.inputs[r.at.Input].Parts()
		for ; r.at.Part < len(parts); r.at.Part++ {
			if err := r.part(ctx, parts[r.at.Part]); err != nil {
				if errors.Is(err, errStop) {
					return nil
				}
				return err
			}
			r.at.Row = 0
		}
		r.at.Part = 0
	}
	return nil
}

// part sends the rows of a part from r.at.Row on.
func (r *reader) part(ctx context.Context, part ingest.Part) error {
	passed := int64(0)
	for row, err := range part.Rows(ctx) {
		if r.max > 0 && r.at.Seq >= r.max {
			return errStop
		}
		if passed++; passed <= r.at.Row {
			continue // an earlier run has accounted for it
		}
		var s *ingest.Skip
		if err != nil && !errors.As(err, &s) {
			return err
		}
		if err := r.send(ctx, row, err); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (r *reader) send(ctx context.Context, row ingest.Row, err error) error {
	it := &item{at: r.at, row: row, err: err, done: make(chan struct{})}
	r.at.Row++
	r.at.Seq++
	it.next = r.at
	select {
	case r.ordered <- it:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case r.jobs <- it:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
