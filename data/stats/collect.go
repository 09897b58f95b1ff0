package stats

import (
	"cmp"
	"context"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"tandem/data/shard"
	"tandem/imaging"
	"tandem/internal/progress"
)

// Options say what Collect looks at.
type Options struct {
	// Images reads and decodes every image, to count formats, duplicates and damage; otherwise only text and sizes are
	// read, which is a hundred times faster.
	Images bool
	// Tokens counts the tokens of a caption, start and end included; nil leaves that out. Context is what a model takes.
	Tokens  func(caption string) int
	Context int
	// Progress may be nil.
	Progress *progress.Reporter
}

// Stats are distributions over one set of shards.
type Stats struct {
	Rows     int64 `json:"rows"`
	Captions int64 `json:"captions"`

	Side    Histogram `json:"shortest_side"` // pixels
	Aspect  Histogram `json:"aspect"`        // width by height
	Bytes   Histogram `json:"image_bytes"`
	Words   Histogram `json:"words"` // of a caption
	Chars   Histogram `json:"characters"`
	Tokens  Histogram `json:"tokens"`
	PerRow  Histogram `json:"captions_per_image"`
	Context int       `json:"context,omitempty"`
	Cut     int64     `json:"captions_over_context"`

	Scripts map[string]int64  `json:"scripts"` // captions by the writing system of most of their letters
	Vocab   int               `json:"distinct_words"`
	Top     []Count           `json:"top_words"`
	Labels  map[string]*Label `json:"labels,omitempty"`

	RepeatedCaptions int64            `json:"repeated_captions"` // captions that an earlier one equals
	Formats          map[string]int64 `json:"formats,omitempty"`
	RepeatedImages   int64            `json:"repeated_images"` // images whose bytes an earlier one has
	Damaged          int64            `json:"damaged_images"`
}

// Count is how often something occurs.
type Count struct {
	Name string `json:"name"`
	N    int64  `json:"n"`
}

// Label is the distribution of a label column.
type Label struct {
	Values  int     `json:"values"`  // different ones
	Missing int64   `json:"missing"` // rows without
	Top     []Count `json:"top"`     // most frequent first
	Least   int64   `json:"least"`   // rows of the rarest value
	Most    int64   `json:"most"`

	counts map[string]int64
}

// How many of the most frequent words and label values are kept, and how many different words are counted.
const (
	topWords  = 30
	topValues = 40
	maxWords  = 2_000_000
)

// Collect reads a set from front to back.
func Collect(ctx context.Context, set *shard.Set, o Options) (*Stats, error) {
	s := newStats(set.Manifest.Columns(shard.RoleLabel))
	s.Context = o.Context
	c := &collector{
		Stats: s, o: o, words: map[string]int64{}, captions: map[uint64]struct{}{}, images: map[uint64]struct{}{},
		seed: maphash.MakeSeed(), decoder: imaging.NewDecoder(imaging.DefaultLimits()),
	}
	task := o.Progress.Start("collecting statistics", set.NumRows(), "rows")
	for i := range set.Files() {
		if err := set.Use(i, func(f *shard.File) error { return c.file(ctx, f, task) }); err != nil {
			task.Fail()
			return nil, err
		}
	}
	c.finish()
	task.Done()
	return s, nil
}

func newStats(labels []string) *Stats {
	s := &Stats{
		Side: logarithmic(4), Aspect: logarithmic(8), Bytes: logarithmic(4), Words: linear(1), Chars: linear(10), Tokens: linear(1), PerRow: linear(1),
		Scripts: map[string]int64{}, Formats: map[string]int64{}, Labels: map[string]*Label{},
	}
	for _, l := range labels {
		s.Labels[l] = &Label{counts: map[string]int64{}}
	}
	return s
}

type collector struct {
	*Stats
	o                Options
	words            map[string]int64
	captions, images map[uint64]struct{}
	seed             maphash.Seed
	decoder          *imaging.Decoder
	reader           shard.ImageReader
}

func (c *collector) file(ctx context.Context, f *shard.File, task *progress.Task) error {
	for i := range f.NumGroups() {
		if err := ctx.Err(); err != nil {
			return err
		}
		g, err := f.Group(i)
		if err != nil {
			return err
		}
		for row := range g.Rows {
			c.row(g, row)
			if c.o.Images {
				c.image(f, g, row)
			}
		}
		task.Add(int64(g.Rows))
	}
	return nil
}

func (c *collector) row(g *shard.Group, row int) {
	c.Rows++
	if w, h := g.Size(row); w > 0 && h > 0 {
		c.Side.Add(float64(min(w, h)))
		c.Aspect.Add(float64(w) / float64(h))
	}
	c.Bytes.Add(float64(g.ImageBytes(row)))
	captions := g.Texts(shard.ColCaptions, row)
	c.PerRow.Add(float64(len(captions)))
	for _, text := range captions {
		c.caption(text)
	}
	for name, label := range c.Labels {
		if v, _ := g.Text(name, row); v != "" {
			label.counts[strings.Clone(v)]++
		} else {
			label.Missing++
		}
	}
}

func (c *collector) caption(text string) {
	c.Captions++
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) && r != '\'' })
	c.Words.Add(float64(len(strings.Fields(text))))
	c.Chars.Add(float64(utf8.RuneCountInString(text)))
	c.Scripts[script(text)]++
	for _, w := range words {
		if _, known := c.words[w]; known || len(c.words) < maxWords {
			c.words[w]++
		}
	}
	if c.o.Tokens != nil {
		n := c.o.Tokens(text)
		c.Tokens.Add(float64(n))
		if c.o.Context > 0 && n > c.o.Context {
			c.Cut++
		}
	}
	c.RepeatedCaptions += c.repeated(c.captions, []byte(text))
}

func (c *collector) repeated(seen map[uint64]struct{}, data []byte) int64 {
	h := maphash.Bytes(c.seed, data)
	if _, ok := seen[h]; ok {
		return 1
	}
	seen[h] = struct{}{}
	return 0
}

func (c *collector) image(f *shard.File, g *shard.Group, row int) {
	data, err := c.reader.Read(f, g, row)
	if err != nil {
		c.Damaged++
		return
	}
	format, _ := imaging.Sniff(data)
	c.Formats[cmp.Or(string(format), "unknown")]++
	c.RepeatedImages += c.repeated(c.images, data)
	if _, err := c.decoder.Decode(data); err != nil {
		c.Damaged++
	}
}

func (c *collector) finish() {
	c.Vocab = len(c.words)
	c.Top = top(c.words, topWords)
	for _, label := range c.Labels {
		label.Values = len(label.counts)
		label.Top = top(label.counts, topValues)
		for _, n := range label.counts {
			label.Most = max(label.Most, n)
			if label.Least == 0 || n < label.Least {
				label.Least = n
			}
		}
	}
}

// top returns the n most frequent names, by count and then by name.
func top(counts map[string]int64, n int) []Count {
	all := make([]Count, 0, len(counts))
	for name, k := range counts {
		all = append(all, Count{name, k})
	}
	slices.SortFunc(all, func(a, b Count) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name)) })
	return slices.Clip(all[:min(n, len(all))])
}

// commonScripts are looked at first; the rest of Unicode's after them.
var commonScripts = []string{"Latin", "Cyrillic", "Han", "Hiragana", "Katakana", "Hangul", "Arabic", "Devanagari", "Greek", "Hebrew", "Thai"}

// script names the writing system of most letters of a text, or "none".
func script(text string) string {
	var counts [16]int
	other := map[string]int{}
	for _, r := range text {
		if !unicode.IsLetter(r) {
			continue
		}
		i := slices.IndexFunc(commonScripts, func(s string) bool { return unicode.Is(unicode.Scripts[s], r) })
		if i >= 0 {
			counts[i]++
			continue
		}
		for name, table := range unicode.Scripts {
			if unicode.Is(table, r) {
				other[name]++
			}
		}
	}
	best, most := "none", 0
	for i, name := range commonScripts {
		if counts[i] > most {
			best, most = name, counts[i]
		}
	}
	for _, name := range slices.Sorted(maps.Keys(other)) {
		if other[name] > most {
			best, most = name, other[name]
		}
	}
	return best
}

// Histogram counts values in bins of equal width, or of equal ratio where Steps is set.
type Histogram struct {
	N    int64   `json:"n"`
	Min  float64 `json:"min"`
	Max  float64 `json:"max"`
	Mean float64 `json:"mean"`
	// Width is that of a bin; or Steps bins double the value.
	Width float64       `json:"width,omitempty"`
	Steps float64       `json:"steps,omitempty"`
	Bins  map[int]int64 `json:"bins"`
}

func linear(width float64) Histogram { return Histogram{Width: width, Bins: map[int]int64{}} }

func logarithmic(steps float64) Histogram { return Histogram{Steps: steps, Bins: map[int]int64{}} }

// Add counts a value; a logarithmic histogram takes positive ones only.
func (h *Histogram) Add(x float64) {
	if h.N == 0 || x < h.Min {
		h.Min = x
	}
	if h.N == 0 || x > h.Max {
		h.Max = x
	}
	h.N++
	h.Mean += (x - h.Mean) / float64(h.N)
	if h.Steps > 0 {
		h.Bins[int(math.Floor(math.Log2(x)*h.Steps+1e-9))]++
	} else {
		h.Bins[int(math.Floor(x/h.Width))]++
	}
}

// edges returns where bin i begins and ends.
func (h *Histogram) edges(i int) (from, to float64) {
	if h.Steps > 0 {
		return math.Exp2(float64(i) / h.Steps), math.Exp2(float64(i+1) / h.Steps)
	}
	return float64(i) * h.Width, float64(i+1) * h.Width
}

// Quantile returns about the value below which a share q of the values lies.
func (h *Histogram) Quantile(q float64) float64 {
	left := q * float64(h.N)
	for _, i := range slices.Sorted(maps.Keys(h.Bins)) {
		n := float64(h.Bins[i])
		from, to := h.edges(i)
		if left <= n {
			if h.Width == 1 { // whole numbers
				return from
			}
			return min(max(from+(to-from)*left/n, h.Min), h.Max)
		}
		left -= n
	}
	return h.Max
}
