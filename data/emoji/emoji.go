package emoji

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"tandem/data/source"
	"tandem/internal/fault"
)

// Splits besides source.Train.
const (
	HeldOutVendor   = "heldout-vendor"   // all emoji, in the drawings of one vendor that training never shows
	HeldOutConcepts = "heldout-concepts" // every fifth emoji, in the trained vendors' drawings
)

// Config chooses pictures.
type Config struct {
	Vendors       []string // names of VendorNames; empty means all
	HeldOutVendor string   // one of Vendors; empty means "twemoji" if it is among them, "none" holds out no vendor
	Size          int      // side in pixels of what is rendered from SVG, 32 to 512; 0 means 128
	SkinTones     bool     // skin-toned variants too, where a vendor's set tells them
	Translations  bool     // names in every language of emojibase too, in the columns of LanguageColumn
}

const defaultHeldOutVendor = "twemoji"

// Validate reports the first value that cannot be.
func (c Config) Validate() error {
	known := VendorNames()
	for _, name := range append(slices.Clone(c.Vendors), c.HeldOutVendor) {
		if name != "" && name != "none" && !slices.Contains(known, name) {
			return fault.Userf("emoji: there is no vendor %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	if c.HeldOutVendor != "" && c.HeldOutVendor != "none" && !slices.Contains(c.vendorNames(), c.HeldOutVendor) {
		return fault.Userf("emoji: the held-out vendor %q is not among the vendors %s", c.HeldOutVendor, strings.Join(c.vendorNames(), ", "))
	}
	if c.Size != 0 && (c.Size < 32 || c.Size > 512) {
		return fault.Userf("emoji: size %d: pictures have a side of 32 to 512 pixels", c.Size)
	}
	return nil
}

func (c Config) vendorNames() []string {
	if len(c.Vendors) == 0 {
		return VendorNames()
	}
	return c.Vendors
}

func (c Config) heldOutVendor() string {
	if c.HeldOutVendor == "" {
		return defaultHeldOutVendor
	}
	return c.HeldOutVendor
}

// neededPackages picks the packages of a configuration out of a table of pins.
func neededPackages(c Config, table []pkg) []pkg {
	var needed []pkg
	for _, p := range table {
		used := p.Work == emojibase
		for _, v := range vendors {
			used = used || v.pkg == p.Work && slices.Contains(c.vendorNames(), v.name)
		}
		if used {
			needed = append(needed, p)
		}
	}
	return needed
}

// Source is the opened set of pictures.
type Source struct {
	config    Config
	dir       string
	packages  map[string]pkg
	catalogue *catalogue
	pictures  []picture
	leftOut   map[string]int
	languages []string
	names     map[string]map[string]Translation // by language and hexcode, with Config.Translations
}

var _ source.Source = (*Source)(nil)

// picture is a drawing of an emoji before it is rendered: encoded bytes, or an SVG drawing.
type picture struct {
	variant
	vendor  *vendor
	suffix  string // tells several drawings of one emoji by one vendor apart
	encoded []byte
	drawing drawing
}

// Open reads the packages that Fetch has put into dir. The drawings are rendered when Examples yields them.
func Open(dir string, config Config) (*Source, error) { return open(dir, config, packages) }

func open(dir string, config Config, table []pkg) (*Source, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if config.Size == 0 {
		config.Size = 128
	}
	s := &Source{config: config, dir: dir, packages: map[string]pkg{}, leftOut: map[string]int{}}
	for _, p := range neededPackages(config, table) {
		s.packages[p.Work] = p
	}
	files, err := readPackage(dir, s.packages[emojibase], func(name string) bool { return name == "en/data.json" || name == "meta/groups.json" })
	if err != nil {
		return nil, err
	}
	if s.catalogue, err = readCatalogue(files["en/data.json"], files["meta/groups.json"]); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, s.packages[emojibase].file()), err)
	}
	if config.Translations {
		if err := s.readTranslations(); err != nil {
			return nil, err
		}
	}
	for i := range vendors {
		if v := &vendors[i]; slices.Contains(config.vendorNames(), v.name) {
			if err := s.addVendor(v); err != nil {
				return nil, fmt.Errorf("%s: %w", filepath.Join(dir, s.packages[v.pkg].file()), err)
			}
		}
	}
	return s, nil
}

// addVendor appends a vendor's pictures in the order of the charts.
func (s *Source) addVendor(v *vendor) error {
	var found []picture
	var err error
	if v.format == filesByCode {
		found, err = s.readFiles(v)
	} else {
		found, err = s.readIcons(v)
	}
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(p picture) bool {
		return p.tone != "" && !s.config.SkinTones || !v.flags && isFlag(p.emoji.Hexcode) || v.style == silhouette && namesColour(p.emoji.Label)
	})
	slices.SortFunc(found, func(a, b picture) int {
		return cmp.Or(cmp.Compare(a.emoji.Order, b.emoji.Order), cmp.Compare(a.tone, b.tone), cmp.Compare(a.suffix, b.suffix))
	})
	for i := 1; i < len(found); i++ {
		if found[i].key() == found[i-1].key() {
			return fmt.Errorf("%s: two drawings have this key", found[i].key())
		}
	}
	s.pictures = append(s.pictures, found...)
	return nil
}

// readFiles reads a package of picture files named by code points.
func (s *Source) readFiles(v *vendor) ([]picture, error) {
	files, err := readPackage(s.dir, s.packages[v.pkg], func(name string) bool { return path.Ext(name) == ".webp" })
	if err != nil {
		return nil, err
	}
	byVariant := map[variant]picture{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		shown, ok := s.catalogue.byCode[plainCode(strings.TrimSuffix(path.Base(name), ".webp"))]
		if ok { // some are there twice, with and without leading zeros
			byVariant[shown] = picture{variant: shown, vendor: v, encoded: files[name]}
		}
	}
	return slices.Collect(maps.Values(byVariant)), nil
}

// iconSet is Iconify's JSON.
type iconSet struct {
	Icons map[string]struct {
		Body                     string
		Left, Top, Width, Height float64
	}
	Width, Height float64
}

// readIcons reads a package of SVG drawings in Iconify's format, without those that cannot be drawn right.
func (s *Source) readIcons(v *vendor) ([]picture, error) {
	files, err := readPackage(s.dir, s.packages[v.pkg], func(name string) bool { return name == "icons.json" || name == "chars.json" })
	if err != nil {
		return nil, err
	}
	var set iconSet
	if err := json.Unmarshal(files["icons.json"], &set); err != nil {
		return nil, fmt.Errorf("icons.json: %w", err)
	}
	shown, err := s.identify(v, set, files["chars.json"])
	if err != nil {
		return nil, err
	}
	wrong, err := misdrawn(mangle(strings.TrimPrefix(v.pkg, "@iconify-json/")))
	if err != nil {
		return nil, fmt.Errorf("misdrawn.txt: %w", err)
	}
	var found []picture
	for _, icon := range shown {
		drawn := set.Icons[icon.name]
		p := picture{variant: icon.variant, vendor: v, suffix: icon.suffix}
		p.drawing = drawing{drawn.Body, drawn.Left, drawn.Top, drawn.Width, drawn.Height}
		p.drawing.defaultSize(set.Width, set.Height)
		if wrong[icon.name] || p.drawing.unsupported() {
			s.leftOut[v.name]++
			continue
		}
		found = append(found, p)
	}
	return found, nil
}

// shownIcon is an icon of which it is known what it shows.
type shownIcon struct {
	name string
	variant
	suffix string
}

// identify tells which emoji the icons of a set show, in the order of their names.
func (s *Source) identify(v *vendor, set iconSet, chars []byte) ([]shownIcon, error) {
	var shown []shownIcon
	if v.format == iconifyByCode {
		var names map[string]string
		if err := json.Unmarshal(chars, &names); err != nil {
			return nil, fmt.Errorf("chars.json: %w", err)
		}
		for _, code := range slices.Sorted(maps.Keys(names)) {
			_, drawn := set.Icons[names[code]]
			if known, ok := s.catalogue.byCode[plainCode(code)]; ok && drawn {
				shown = append(shown, shownIcon{name: names[code], variant: known})
			}
		}
		return shown, nil
	}
	m, err := newMatcher(s.catalogue, v.names)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(set.Icons)) {
		if e, suffix := m.match(name); e != nil {
			shown = append(shown, shownIcon{name, variant{emoji: e}, suffix})
		}
	}
	return shown, nil
}

// Name returns "emoji".
func (s *Source) Name() string { return "emoji" }

// Len returns the number of examples.
func (s *Source) Len() int { return len(s.pictures) }

// LeftOut returns for each vendor how many of its drawings were left out because they cannot be drawn right.
func (s *Source) LeftOut() map[string]int { return s.leftOut }

// Emoji returns all base emoji in the order of the Unicode charts, drawn by a vendor or not.
func (s *Source) Emoji() []Emoji {
	out := make([]Emoji, len(s.catalogue.emoji))
	for i, e := range s.catalogue.emoji {
		out[i] = *e
	}
	return out
}

// Licences lists the packages in use.
func (s *Source) Licences() []source.Licence {
	var out []source.Licence
	for _, p := range packages {
		if used, ok := s.packages[p.Work]; ok {
			out = append(out, used.Licence)
		}
	}
	return out
}

// Examples yields all pictures, vendor by vendor, each in the order of the Unicode charts. Rendering runs ahead on all
// processors.
func (s *Source) Examples(ctx context.Context) iter.Seq2[source.Example, error] {
	return func(yield func(source.Example, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for made := range s.makeAhead(ctx, runtime.GOMAXPROCS(0)) {
			result := <-made
			if !yield(result.example, result.err) || result.err != nil {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(source.Example{}, err)
		}
	}
}

type result struct {
	example source.Example
	err     error
}

// makeAhead makes examples on several goroutines and hands them out in order, each through a channel of its own. It
// ends when ctx does; nothing blocks that nobody waits for.
func (s *Source) makeAhead(ctx context.Context, workers int) <-chan chan result {
	inOrder := make(chan chan result, 4*workers)
	busy := make(chan struct{}, workers)
	go func() {
		defer close(inOrder)
		for _, p := range s.pictures {
			select {
			case busy <- struct{}{}:
			case <-ctx.Done():
				return
			}
			made := make(chan result, 1)
			go func() {
				defer func() { <-busy }()
				example, err := s.example(p)
				made <- result{example, err}
			}()
			select {
			case inOrder <- made:
			case <-ctx.Done():
				return
			}
		}
	}()
	return inOrder
}

// key is the example's, like "emoji/noto/1f44b" or "emoji/noto/1f44b/dark-skin-tone".
func (p picture) key() string {
	key := "emoji/" + p.vendor.name + "/" + strings.ToLower(p.emoji.Hexcode) + p.suffix
	if p.tone != "" {
		key += "/" + strings.ReplaceAll(strings.ReplaceAll(p.tone, ", ", "+"), " ", "-")
	}
	return key
}

func (s *Source) example(p picture) (source.Example, error) {
	image := p.encoded
	if image == nil {
		drawn, err := p.drawing.render(s.config.Size)
		if err == nil {
			image, err = encodePNG(drawn)
		}
		if err != nil {
			return source.Example{}, fmt.Errorf("%s: %w", p.key(), err)
		}
	}
	return source.Example{
		Key:      p.key(),
		Image:    image,
		Captions: captions(p.variant, p.vendor.name),
		Labels:   s.labels(p),
		Split:    s.split(p),
	}, nil
}

func (s *Source) split(p picture) string {
	switch {
	case p.vendor.name == s.config.heldOutVendor():
		return HeldOutVendor
	case p.emoji.HeldOut:
		return HeldOutConcepts
	}
	return source.Train
}

// Labels lists the metadata columns that examples of this source may have: those of every source, and one for each
// language with Config.Translations.
func (s *Source) Labels() []string {
	labels := Labels()
	for _, language := range s.languages {
		labels = append(labels, LanguageColumn(language))
	}
	return labels
}

// Labels lists the metadata columns that examples of every source may have.
func Labels() []string {
	return []string{"vendor", "style", "hexcode", "emoji", "name", "group", "subgroup", "tags", "concept", "tone"}
}

// skinTone is the part of a variant's description that says a skin's tone: "dark skin tone" of "dark skin tone, beard".
func skinTone(variant string) string {
	parts := strings.Split(variant, ", ")
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return !strings.HasSuffix(part, "skin tone") }), ", ")
}

func (s *Source) labels(p picture) map[string]string {
	labels := map[string]string{
		"vendor":   p.vendor.name,
		"style":    p.vendor.style,
		"hexcode":  p.emoji.Hexcode,
		"emoji":    p.emoji.Char,
		"name":     phrase(p.emoji.Label),
		"group":    p.emoji.Group,
		"subgroup": p.emoji.Subgroup,
		"tags":     strings.Join(p.emoji.Tags, ", "),
		"concept":  "trained",
	}
	if p.emoji.HeldOut {
		labels["concept"] = "heldout"
	}
	if tone := skinTone(p.tone); tone != "" {
		labels["tone"] = tone
	}
	for _, language := range s.languages {
		if t, ok := s.names[language][p.emoji.Hexcode]; ok && t.Label != "" {
			labels[LanguageColumn(language)] = t.Label
		}
	}
	return labels
}
