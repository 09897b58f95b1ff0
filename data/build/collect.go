package build

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"tandem/data/ingest"
	"tandem/data/shard"
	"tandem/internal/fault"
	"tandem/internal/prng"
)

// collector takes the checked rows in order, decides about duplicates, writes shards and keeps the books.
type collector struct {
	o       *Options
	inputs  []ingest.Input
	j       *journal
	now     state
	open    map[string]*openShard
	numbers map[string]int // shards begun, by split
	prefix  bool           // keys carry the name of their source
	first   *ingest.Skip   // that this run met, to explain a build without any usable row
}

// openShard is the unfinished shard of a split, with the state before its first row.
type openShard struct {
	w     *shard.Writer
	began state
	drySize,
	dryRows int64
}

func newCollector(o *Options, inputs []ingest.Input, j *journal) (*collector, error) {
	c := &collector{o: o, inputs: inputs, j: j, now: j.State, open: map[string]*openShard{}, numbers: map[string]int{}, prefix: len(inputs) > 1}
	c.now = c.now.clone()
	for _, m := range []*map[string]int64{&c.now.Books.Skipped, &c.now.Books.Changed, &c.now.Sources} {
		if *m == nil {
			*m = map[string]int64{}
		}
	}
	for _, f := range j.Files {
		c.numbers[f.Split]++
	}
	return c, nil
}

// add takes the next row.
func (c *collector) add(it *item) error {
	if it.fatal != nil {
		return it.fatal
	}
	source := c.inputs[it.at.Input].Info().Name
	if it.skip == nil {
		c.place(it, source)
		if reason := c.duplicate(it); reason != "" {
			it.skip = &ingest.Skip{Reason: reason, At: it.row.At, Key: it.row.Key}
		}
	}
	if it.skip != nil {
		return c.leaveOut(it, source)
	}
	return c.keep(it, source)
}

// place settles key and split of a row.
func (c *collector) place(it *item, source string) {
	r := &it.row
	if r.Key == "" {
		r.Key = fmt.Sprintf("%d-%d", it.at.Part, it.at.Row)
	}
	if c.prefix {
		r.Key = source + "/" + r.Key
		if r.SpareKey != "" {
			r.SpareKey = source + "/" + r.SpareKey
		}
	}
	if r.Split != "train" || len(c.o.Holdout) == 0 {
		return
	}
	u := float64(prng.Mix(hash64([]byte(r.Key)))>>11) / (1 << 53)
	for _, split := range slices.Sorted(maps.Keys(c.o.Holdout)) {
		if u -= c.o.Holdout[split]; u < 0 {
			r.Split = split
			return
		}
	}
}

func (c *collector) duplicate(it *item) ingest.Reason {
	reason := c.j.dedup.find(it)
	if reason == ingest.DuplicateKey && it.row.SpareKey != "" {
		it.row.Key = it.row.SpareKey
		reason = c.j.dedup.find(it)
	}
	return reason
}

func (c *collector) leaveOut(it *item, source string) error {
	s := it.skip
	if c.first == nil {
		c.first = s
	}
	c.now.Books.RowsIn += s.Count()
	c.now.Books.Skipped[string(s.Reason)] += s.Count()
	n, err := c.j.skip(s, source)
	if err != nil {
		return fmt.Errorf("list of skipped rows: %w", err)
	}
	c.now.Skipped += n
	c.now.Next = it.next
	return nil
}

func (c *collector) keep(it *item, source string) error {
	c.chooseLabels(it)
	split := it.row.Split
	if it.at.Seq >= c.j.DoneTo[split] { // else it is in a finished shard of an earlier run
		s, err := c.shard(split)
		if err != nil {
			return err
		}
		if err := c.write(s, it, source); err != nil {
			return err
		}
	}
	if err := c.j.dedup.keep(it); err != nil {
		return err
	}
	c.count(it, source)
	return c.closeFull()
}

// maxLag is how many shards' worth of images a shard may stay open, so that a build which was killed need not read
// again from where a small split began its only shard.
const maxLag = 4

// closeFull closes the shards that are full or have been open for long. What it does depends on the sequence of rows
// alone, so that a resumed build cuts its shards at the same rows.
func (c *collector) closeFull() error {
	for _, split := range slices.Sorted(maps.Keys(c.open)) {
		if s := c.open[split]; s.size() >= c.o.ShardBytes || c.now.Bytes-s.began.Bytes > maxLag*c.o.ShardBytes {
			if err := c.closeShard(split); err != nil {
				return err
			}
		}
	}
	return nil
}

// chooseLabels keeps the labels that have a column.
func (c *collector) chooseLabels(it *item) {
	labels := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(it.row.Labels)) {
		if slices.Contains(c.j.Labels, name) {
			labels[name] = strings.ToValidUTF8(it.row.Labels[name], "\ufffd")
		} else {
			it.changed = append(it.changed, "label dropped: "+name)
		}
	}
	it.row.Labels = labels
}

func (c *collector) count(it *item, source string) {
	b := &c.now.Books
	b.RowsIn++
	b.RowsOut++
	for _, what := range slices.Compact(slices.Sorted(slices.Values(it.changed))) {
		b.Changed[what]++
	}
	c.now.Sources[source]++
	c.now.Bytes += int64(len(it.row.Image))
	c.now.Captions.add(it.row.Captions)
	c.now.Kept += entryBytes
	c.now.Next = it.next
}

func (c *collector) shard(split string) (*openShard, error) {
	if s := c.open[split]; s != nil {
		return s, nil
	}
	if len(c.numbers) == maxSplits && c.numbers[split] == 0 {
		return nil, fault.Userf("more than %d splits (%q is one more); is the right column named with -split-column?", maxSplits, split)
	}
	s := &openShard{began: c.now.clone()}
	if !c.o.DryRun {
		var err error
		name := fmt.Sprintf("%s-%05d.parquet", split, c.numbers[split])
		if s.w, err = shard.NewWriter(c.o.Out, name, split, c.j.Labels); err != nil {
			return nil, err
		}
	}
	c.numbers[split]++
	c.open[split] = s
	return s, nil
}

func (c *collector) write(s *openShard, it *item, source string) error {
	r := &it.row
	s.dryRows++
	s.drySize += int64(len(r.Image)) + 64
	if s.w == nil {
		return nil
	}
	return s.w.Write(&shard.Row{
		Key: strings.ToValidUTF8(r.Key, "\ufffd"), Image: r.Image, Captions: r.Captions, Labels: r.Labels,
		Width: it.width, Height: it.height, Source: source,
	})
}

func (s *openShard) size() int64 {
	if s.w == nil {
		return s.drySize
	}
	return s.w.Size()
}

// closeShard finishes the shard of a split and saves the journal: reading resumes at the first row of the oldest
// shard that is still open.
func (c *collector) closeShard(split string) error {
	s := c.open[split]
	delete(c.open, split)
	f := finished{FileInfo: shard.FileInfo{Name: fmt.Sprintf("%s-%05d", split, c.numbers[split]-1), Split: split, Rows: s.dryRows, Bytes: s.drySize}}
	if s.w != nil {
		f.Captions = s.w.Captions()
		var err error
		if f.FileInfo, err = s.w.Close(); err != nil {
			return err
		}
	}
	c.j.Files = append(c.j.Files, f)
	c.j.DoneTo[split] = c.now.Next.Seq
	oldest := &c.now
	for _, other := range c.open {
		if other.began.Next.Seq < oldest.Next.Seq {
			oldest = &other.began
		}
	}
	c.j.State = oldest.clone()
	return c.j.save()
}

// EmptyError is the user's mistake of a build that finds no usable row.
type EmptyError struct {
	Books shard.Books
	First *ingest.Skip // that was met; may be nil
	List  string       // the file that lists all rows; may be empty
}

// Error says why, and what to do about pictures without captions in terms of data build.
func (e *EmptyError) Error() string {
	text := fmt.Sprintf("no usable row in %d read: %s", e.Books.RowsIn, reasons(e.Books.Skipped))
	if e.First != nil {
		text += "; the first: " + e.First.Error()
	}
	if e.OnlyBare() {
		text += "; captions are .txt files beside the pictures, a column of a list, or made of labels (-template \"a photo of {class}\", with -class-dirs where directories are classes)"
	}
	if e.List != "" {
		text += "; all are listed in " + e.List
	}
	return text
}

// OnlyBare reports whether there are pictures, and all that they lack is a caption or a label.
func (e *EmptyError) OnlyBare() bool {
	return len(e.Books.Skipped) == 1 && e.Books.Skipped[string(ingest.NoCaption)] > 0
}

// nothing is the error of a build that would be empty.
func (c *collector) nothing() error {
	e := &EmptyError{Books: c.now.Books, First: c.first}
	if c.j.dir != "" {
		e.List = filepath.Join(c.j.dir, SkippedName)
	}
	return fault.User(e)
}

// finish closes the open shards and writes the manifest.
func (c *collector) finish() error {
	for _, split := range slices.Sorted(maps.Keys(c.open)) {
		if err := c.closeShard(split); err != nil {
			return err
		}
	}
	if c.now.Books.RowsOut == 0 {
		if !c.o.DryRun {
			removeAll(c.j.path(""))
		}
		return c.nothing()
	}
	if c.o.DryRun {
		return nil
	}
	m, err := c.manifest()
	if err != nil {
		return err
	}
	if err := writeManifest(c.o.Out, m); err != nil {
		return err
	}
	return c.j.done(c.now.Skipped)
}

// reasons lists counts, largest first.
func reasons(skipped map[string]int64) string {
	if len(skipped) == 0 {
		return "the sources hold none"
	}
	names := slices.SortedFunc(maps.Keys(skipped), func(a, b string) int {
		if skipped[a] != skipped[b] {
			return int(skipped[b] - skipped[a])
		}
		return strings.Compare(a, b)
	})
	for i, n := range names {
		names[i] = fmt.Sprintf("%d %s", skipped[n], n)
	}
	return strings.Join(names, ", ")
}

func (c *collector) abort() {
	for _, s := range c.open {
		if s.w != nil {
			s.w.Abort()
		}
	}
}

func (c *collector) report(resumed int64) Report {
	r := Report{Books: c.now.clone().Books, Captions: c.now.Captions.Count, Shards: len(c.j.Files), Resumed: resumed}
	for _, f := range c.j.Files {
		r.Bytes += f.Bytes
		if !slices.Contains(r.Splits, f.Split) {
			r.Splits = append(r.Splits, f.Split)
		}
	}
	slices.Sort(r.Splits)
	return r
}

func (c *collector) manifest() (*shard.Manifest, error) {
	schema, err := shard.Schema(c.j.Labels)
	if err != nil {
		return nil, err
	}
	m := &shard.Manifest{
		Format: shard.Format, Version: shard.FormatVersion, Splits: map[string]shard.SplitInfo{}, Schema: schema,
		Captions: c.now.Captions.stats(), Books: c.now.Books, Build: encodeOptions(c.o), Classes: map[string][]string{},
	}
	slices.SortFunc(c.j.Files, func(a, b finished) int { return strings.Compare(a.Name, b.Name) })
	for _, f := range c.j.Files {
		m.Files = append(m.Files, f.FileInfo)
		s := m.Splits[f.Split]
		m.Splits[f.Split] = shard.SplitInfo{Rows: s.Rows + f.Rows, Files: s.Files + 1, Bytes: s.Bytes + f.Bytes, Captions: s.Captions + f.Captions}
	}
	for _, in := range c.inputs {
		info := in.Info()
		info.Rows = c.now.Sources[info.Name]
		m.Sources = append(m.Sources, info)
		maps.Copy(m.Classes, in.Classes())
		m.Templates = append(m.Templates, in.Templates()...)
	}
	return m, nil
}

// captionTally counts captions as they come.
type captionTally struct {
	Count int64     `json:"count"`
	Chars int64     `json:"chars"`
	Words int64     `json:"words"`
	MinC  int       `json:"min_chars"`
	MaxC  int       `json:"max_chars"`
	MaxW  int       `json:"max_words"`
	Hist  [65]int64 `json:"histogram"` // by words; the last entry is 64 and more
}

func (t *captionTally) add(captions []string) {
	for _, c := range captions {
		chars, words := utf8.RuneCountInString(c), len(strings.Fields(c))
		if t.Count == 0 || chars < t.MinC {
			t.MinC = chars
		}
		t.Count++
		t.Chars += int64(chars)
		t.Words += int64(words)
		t.MaxC, t.MaxW = max(t.MaxC, chars), max(t.MaxW, words)
		t.Hist[min(words, len(t.Hist)-1)]++
	}
}

func (t *captionTally) stats() shard.CaptionStats {
	s := shard.CaptionStats{Count: t.Count, MinChars: t.MinC, MaxChars: t.MaxC, MaxWords: t.MaxW}
	if t.Count == 0 {
		return s
	}
	s.MeanChars, s.MeanWords = float64(t.Chars)/float64(t.Count), float64(t.Words)/float64(t.Count)
	s.Words = t.Hist[:min(t.MaxW, len(t.Hist)-1)+1]
	return s
}
