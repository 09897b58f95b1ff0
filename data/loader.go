package data

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tandem/data/shard"
	"tandem/data/store"
	"tandem/internal/fault"
)

// Tokenizer is what a loader needs of a tokenizer: it fills dst with the ids of a text, start, end and padding
// included, and returns how many are not padding.
type Tokenizer interface {
	Encode(dst []int32, text string) int
}

// Options are what a loader needs besides the configuration.
type Options struct {
	Tokenizer Tokenizer
	Context   int // tokens of a caption's row

	// Rank of this process among Ranks; 0 of 0 is the only one. Together the processes see what one process with a
	// batch Ranks times as large would see.
	Rank, Ranks int
	// Quarantine is the file that lists unusable rows; "" keeps no list.
	Quarantine string
	// SkipImages leaves the images alone: batches have none. For training on rows that were computed before.
	SkipImages bool
	// Log is told what the reading of remote shards is waiting for; may be nil.
	Log func(format string, args ...any)
}

// Loader hands out batches, endlessly: position after position, over the borders of epochs, so that a batch may hold
// the last rows of one epoch and the first of the next. Next, Resume and Close are for one goroutine; Recycle and
// Stats for any.
type Loader struct {
	config    Config
	tokenizer Tokenizer
	context   int
	rank      int64
	ranks     int64

	skipImages bool

	sources    []loaderSource
	order      *order
	groups     *groups
	pictures   *pictures // nil without cache
	quarantine quarantine
	counters   counters

	cancel  context.CancelFunc
	cursor  Cursor
	failed  error
	running *pipeline
	closed  bool

	freeMu sync.Mutex
	free   []*Batch
}

type loaderSource struct {
	config  SourceConfig
	set     *shard.Set
	columns []string // the columns to load
	close   func() error
}

// Open opens the shards and checks that they fit the configuration. ctx governs all reading. The configuration's
// defaults are filled in.
func Open(ctx context.Context, c Config, o Options) (*Loader, error) {
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	o.Ranks = max(o.Ranks, 1)
	if o.Rank < 0 || o.Rank >= o.Ranks || o.Context < 2 || o.Tokenizer == nil {
		return nil, fmt.Errorf("data.Open: rank %d of %d, context %d, tokenizer %v", o.Rank, o.Ranks, o.Context, o.Tokenizer)
	}
	l := &Loader{config: c, tokenizer: o.Tokenizer, context: o.Context, rank: int64(o.Rank), ranks: int64(o.Ranks), skipImages: o.SkipImages, groups: newGroups(groupCacheBytes)}
	if c.Cache.Bytes > 0 {
		l.pictures = newPictures(c.Cache.Bytes)
	}
	ctx, l.cancel = context.WithCancel(ctx)
	if err := l.openSources(ctx, o.Log); err != nil {
		l.cancel()
		return nil, errors.Join(err, l.closeSources())
	}
	l.quarantine = quarantine{path: o.Quarantine, limit: int64(math.Ceil(max(c.MaxBadFraction, 0) * float64(l.totalRows())))}
	l.cursor = Cursor{EpochRows: l.order.rows}
	return l, nil
}

func (l *Loader) openSources(ctx context.Context, log func(string, ...any)) error {
	var sizes []int64
	var kinds []string
	for i, sc := range l.config.Sources {
		sto := l.config.Store
		st, err := store.OpenWith(ctx, sc.Shards, store.Options{RetryFor: sto.RetryFor, CacheDir: sto.CacheDir, CacheBytes: sto.CacheBytes, BlockBytes: sto.BlockBytes, Log: log})
		if err != nil {
			return fmt.Errorf("data.sources[%d]: %w", i, err)
		}
		src, err := openSource(ctx, st, sc, l.config)
		if err != nil {
			return fmt.Errorf("data.sources[%d]: %w", i, err)
		}
		l.sources = append(l.sources, src)
		sizes = append(sizes, src.set.NumRows())
		kinds = append(kinds, shuffleOf(l.config.Shuffle, sc.Shards))
	}
	var err error
	if l.order, err = newOrder(l.config, sizes, kinds); err != nil {
		return err
	}
	return l.order.check(l.config.Batch, int(l.ranks))
}

func shuffleOf(kind, location string) string {
	if kind != shuffleAuto {
		return kind
	}
	if strings.Contains(location, "://") {
		return shuffleWindows
	}
	return shuffleRows
}

func openSource(ctx context.Context, st store.Store, sc SourceConfig, c Config) (loaderSource, error) {
	set, err := shard.OpenSet(ctx, st, sc.Split)
	if err != nil {
		return loaderSource{}, errors.Join(err, st.Close())
	}
	src := loaderSource{config: sc, set: set, close: func() error { return errors.Join(set.Close(), st.Close()) }}
	for _, c := range sc.Captions {
		src.columns = append(src.columns, c.Column)
	}
	if c.Positives != positivesCaption {
		src.columns = append(src.columns, c.Positives)
	}
	if c.Negatives != nil {
		src.columns = append(src.columns, c.Negatives.Column)
	}
	texts := append(set.Manifest.Columns(shard.RoleCaption), set.Manifest.Columns(shard.RoleLabel)...)
	for _, name := range src.columns {
		if !slices.Contains(texts, name) {
			return src, errors.Join(fault.Userf("%s: no caption or label column %q; it has %s", sc.Shards, name, strings.Join(texts, ", ")), src.close())
		}
	}
	return src, nil
}

func (l *Loader) closeSources() error {
	var errs []error
	for _, s := range l.sources {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

func (l *Loader) totalRows() int64 {
	var n int64
	for _, s := range l.sources {
		n += s.set.NumRows()
	}
	return n
}

// Rows returns the number of pairs of an epoch, over all processes.
func (l *Loader) Rows() int64 { return l.order.rows }

// Cursor returns the state before the next batch.
func (l *Loader) Cursor() Cursor { return l.cursor }

// Where names the file and row of a pair, for messages and samples.
func (l *Loader) Where(r RowID) string {
	set := l.sources[r.Source].set
	file, row := set.Locate(r.Row)
	return fmt.Sprintf("%s/%s: row %d", set.Location(), set.Files()[file].Name, row)
}

// Resume makes the next batch the one that a cursor leads to.
func (l *Loader) Resume(c Cursor) error {
	if err := c.check(l.order.rows); err != nil {
		return err
	}
	l.stop()
	l.cursor, l.failed = c, nil
	return l.quarantine.open(c.Bad)
}

// Close stops all goroutines, waits for them, and closes the files.
func (l *Loader) Close() error {
	if l.closed {
		return nil
	}
	l.closed = true
	l.cancel() // ends reading that waits for a server
	l.stop()
	return errors.Join(l.quarantine.close(), l.closeSources())
}

// Stats returns the counts so far.
func (l *Loader) Stats() Stats {
	cached := int64(0)
	if l.pictures != nil {
		cached = l.pictures.bytes()
	}
	return l.counters.snapshot(cached)
}

// Recycle takes back the memory of a batch. The batch must not be used afterwards.
func (l *Loader) Recycle(b *Batch) {
	l.freeMu.Lock()
	defer l.freeMu.Unlock()
	if len(l.free) < l.config.Prefetch+2 {
		l.free = append(l.free, b)
	}
}

func (l *Loader) takeBatch() *Batch {
	l.freeMu.Lock()
	defer l.freeMu.Unlock()
	if n := len(l.free); n > 0 {
		b := l.free[n-1]
		l.free = l.free[:n-1]
		return b
	}
	side := l.config.Image.Size
	if l.skipImages {
		side = 0
	}
	negatives := 0
	if n := l.config.Negatives; n != nil {
		negatives = n.Count
	}
	return newBatch(l.config.Batch, side, l.context, negatives)
}

// Next returns the next batch. It waits until one is ready. After an error, other than of ctx, every call returns it.
func (l *Loader) Next(ctx context.Context) (*Batch, error) {
	if l.closed {
		return nil, errors.New("data: Next of a closed loader")
	}
	if l.failed != nil {
		return nil, l.failed
	}
	if l.running == nil {
		if l.running, l.failed = l.start(); l.failed != nil {
			return nil, l.failed
		}
	}
	began := time.Now()
	p, err := l.running.next(ctx)
	if err != nil {
		return nil, err
	}
	b, err := l.deliver(p, time.Since(began))
	if err != nil {
		l.failed = err
		l.stop()
		return nil, err
	}
	return b, nil
}

// deliver settles a finished batch: its bad rows, its cursor.
func (l *Loader) deliver(p *pending, wait time.Duration) (*Batch, error) {
	l.running.release()
	if err := l.settle(p); err != nil {
		return nil, err
	}
	if p.err != nil {
		return nil, p.err
	}
	b := p.batch
	b.Longest = slices.Max(b.lengths)
	l.cursor.Position += int64(l.config.Batch) * l.ranks
	l.cursor.Bad = l.quarantine.lines
	b.Cursor = l.cursor
	b.Epoch = float64(l.cursor.Position) / float64(l.order.rows)
	l.counters.deliver(b.Size, wait)
	return b, nil
}

// settle lists the bad rows of a batch in the order of its pairs.
func (l *Loader) settle(p *pending) error {
	slices.SortFunc(p.bad, func(a, b badRow) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.attempt, b.attempt))
	})
	for _, bad := range p.bad {
		err := l.quarantine.add(bad.at, l.describe(bad, p.first+int64(bad.index)))
		l.counters.skip(bad.reason, l.quarantine.lines)
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *Loader) describe(bad badRow, position int64) BadRow {
	set := l.sources[bad.at.source].set
	file, row := set.Locate(bad.at.row)
	name := set.Files()[file].Name
	r := BadRow{
		Reason: bad.reason, File: set.Location() + "/" + name, Row: row, Error: fault.OneLine(bad.err),
		Source: bad.at.source, SetRow: bad.at.row, Position: position,
	}
	// The key is a courtesy: where the row group is damaged there is none.
	_ = set.Use(file, func(f *shard.File) error {
		i := groupOf(f, row)
		g, err := f.Group(i, shard.ColKey)
		if err == nil {
			r.Key, _ = g.Text(shard.ColKey, int(row-g.First))
		}
		return err
	})
	return r
}

// group returns the row group that holds a row of a file, and the row's number in it.
func (l *Loader) group(f *shard.File, source, file int, row int64) (*shard.Group, int, error) {
	key := groupKey{source, file, groupOf(f, row)}
	g, err := l.groups.get(key, f, l.sources[source].columns)
	if err != nil {
		var d *shard.DamageError
		if !errors.As(err, &d) {
			l.groups.drop(key)
		}
		return nil, 0, err
	}
	return g, int(row - g.First), nil
}

func groupOf(f *shard.File, row int64) int {
	return sort.Search(f.NumGroups(), func(i int) bool {
		first, rows := f.GroupRows(i)
		return first+rows > row
	})
}

// pipeline is the running part of a loader: a feeder that opens batches in order, and workers that fill their slots.
type pipeline struct {
	cancel context.CancelFunc
	ready  chan *pending // in order; filled or not
	ahead  chan struct{} // a token for each batch that is being filled or waits to be taken
	wg     sync.WaitGroup
	opened atomic.Int64 // position of the batch opened last
	taken  *pending     // taken from ready by a Next that was cancelled before the batch was done
}

// pending is a batch in the making.
type pending struct {
	batch *Batch
	first int64 // global position of its first pair
	left  atomic.Int64
	done  chan struct{}

	mu  sync.Mutex
	bad []badRow
	err error
}

// slot is the work on one pair.
type slot struct {
	pending  *pending
	index    int
	position int64
}

func (p *pending) report(b badRow) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bad = append(p.bad, b)
}

func (p *pending) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
}

func (p *pending) finish() {
	if p.left.Add(-1) == 0 {
		close(p.done)
	}
}

func (l *Loader) start() (*pipeline, error) {
	if l.quarantine.known == nil { // a run from the start: Resume has opened the list of one that goes on
		if err := l.quarantine.open(0); err != nil {
			return nil, err
		}
	}
	workers := make([]*worker, l.config.Workers)
	for i := range workers {
		var err error
		if workers[i], err = l.newWorker(); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &pipeline{cancel: cancel, ready: make(chan *pending, l.config.Prefetch+1), ahead: make(chan struct{}, l.config.Prefetch)}
	work := make(chan slot, l.config.Batch)
	for _, w := range workers {
		p.wg.Go(func() { w.run(ctx, work) })
	}
	from := l.cursor.Position
	p.wg.Go(func() { l.feed(ctx, p, work, from) })
	if l.remote() {
		p.opened.Store(from)
		p.wg.Go(func() { l.readAhead(ctx, p, from) })
	}
	return p, nil
}

// feed opens batch after batch from a position on, until ctx is done.
func (l *Loader) feed(ctx context.Context, p *pipeline, work chan<- slot, position int64) {
	size := int64(l.config.Batch)
	for ; ; position += size * l.ranks {
		select {
		case p.ahead <- struct{}{}:
		case <-ctx.Done():
			return
		}
		next := &pending{batch: l.takeBatch(), first: position + l.rank*size, done: make(chan struct{})}
		next.left.Store(size)
		p.opened.Store(position)
		p.ready <- next // has room for every batch ahead
		for i := range size {
			select {
			case work <- slot{next, int(i), next.first + i}:
			case <-ctx.Done():
				return
			}
		}
	}
}

// next waits for the oldest batch.
func (p *pipeline) next(ctx context.Context) (*pending, error) {
	if p.taken == nil {
		select {
		case p.taken = <-p.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	select {
	case <-p.taken.done:
		taken := p.taken
		p.taken = nil
		return taken, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// release lets the feeder open another batch.
func (p *pipeline) release() { <-p.ahead }

// stop ends the pipeline and waits for its goroutines.
func (l *Loader) stop() {
	if l.running == nil {
		return
	}
	l.running.cancel()
	l.running.wg.Wait()
	l.running = nil
}
