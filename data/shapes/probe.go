package shapes

import (
	"fmt"
	"image"
	"strings"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"

	"tandem/internal/fault"
)

// Kinds of probe.
const (
	ProbeCount    = "count"    // how many? wrong: other numbers
	ProbePosition = "position" // where? wrong: other places
	ProbeRelation = "relation" // which way round? wrong: the inverse relation
	ProbeBinding  = "binding"  // which colour belongs to which shape? wrong: colours exchanged
	ProbeNegation = "negation" // what is absent? wrong: what is present
	ProbeWritten  = "written"  // what is shown, under a word that names something else? wrong: the word's claim
	ProbeReading  = "reading"  // which word is written? wrong: other words
)

// ProbeKinds returns all kinds of probe.
func ProbeKinds() []string {
	return []string{ProbeCount, ProbePosition, ProbeRelation, ProbeBinding, ProbeNegation, ProbeWritten, ProbeReading}
}

// Probe is a picture with one caption that is true of it and others, alike in form, that are not. A model passes if it
// ranks the true one first; chance is 1/(1+len(Wrong)).
type Probe struct {
	Kind    string
	Key     string
	Image   []byte
	Correct string
	Wrong   []string
	Labels  map[string]string
}

// Probe returns a probe of a kind, a pure function of seed, kind and index. Pairs of colour and shape are those that
// training shows, so that a probe asks for one thing only.
func (s *Source) Probe(kind string, index uint64) (Probe, error) {
	if (kind == ProbeWritten || kind == ProbeReading) && s.config.Size < minWrittenSize {
		return Probe{}, fault.Userf("shapes: words need pictures of %d pixels or more, not %d", minWrittenSize, s.config.Size)
	}
	for id, known := range ProbeKinds() {
		if known == kind {
			d := newDice(s.config.Seed, 1000+uint64(id), index)
			drawn, correct, wrong := s.drawProbe(d, kind)
			key := fmt.Sprintf("shapes/probe-%s/%08d", kind, index)
			return Probe{kind, key, s.render(drawn), correct, wrong, drawn.labels()}, nil
		}
	}
	return Probe{}, fault.Userf("shapes: there is no probe %q; there are %s", kind, strings.Join(ProbeKinds(), ", "))
}

func (s *Source) drawProbe(d dice, kind string) (drawn scene, correct string, wrong []string) {
	trained := func(colour, shape int) bool { return !heldOut(colour, shape) }
	side, centre, top, large := s.config.Size, places[0], places[3], len(sizeNames)-1
	switch kind {
	case ProbeCount:
		drawn = drawMany(d, side, trained, d.within(1, 6))
		correct, wrong = choices(numbers[1:], len(drawn.objects)-1, func(n string) string { return counted(drawn.objects[0], n) })
	case ProbePosition:
		at := d.under(5) // the corners would be partly true of the sides
		drawn = drawOne(d, side, trained, places[at], d.under(len(sizeNames)))
		correct, wrong = choices([]string{"0", "1", "2", "3", "4"}, at, func(i string) string {
			return article(drawn.objects[0].noun()) + " " + places[i[0]-'0'].phrase
		})
	case ProbeRelation:
		drawn = drawTwo(d, side, trained, relations[d.under(len(relations))])
		a, b := article(drawn.objects[0].noun()), article(drawn.objects[1].noun())
		correct, wrong = a+" "+drawn.relation.name+" "+b, []string{a + " " + drawn.relation.inverse + " " + b}
	case ProbeBinding:
		drawn = drawTwo(d, side, trained, relations[d.under(len(relations))])
		a, b := drawn.objects[0], drawn.objects[1]
		correct = article(a.noun()) + " and " + article(b.noun())
		a.colour, b.colour = b.colour, a.colour
		wrong = []string{article(a.noun()) + " and " + article(b.noun())}
	case ProbeNegation:
		drawn = drawOne(d, side, trained, centre, d.under(len(sizeNames)))
		present := drawn.objects[0].shape
		absent := other(d, len(shapeNames), present)
		correct = "a picture without " + article(shapeNames[absent])
		wrong = []string{"a picture without " + article(shapeNames[present])}
	case ProbeWritten:
		drawn = drawOne(d, side, trained, top, large)
		lie := other(d, len(shapeNames), drawn.objects[0].shape)
		drawn.written = shapeNames[lie]
		correct, wrong = article(shapeNames[drawn.objects[0].shape]), []string{article(drawn.written)}
	case ProbeReading:
		drawn = drawOne(d, side, trained, top, large)
		word := other(d, len(shapeNames), drawn.objects[0].shape)
		drawn.written = shapeNames[word]
		correct, wrong = choices(shapeNames, word, func(w string) string { return `the word "` + w + `"` })
	}
	return drawn, correct, wrong
}

// counted is the caption for n objects like o.
func counted(o object, n string) string {
	if n == numbers[1] {
		return n + " " + o.noun()
	}
	return n + " " + plural(o.noun())
}

// choices says each option with say and takes the right one out.
func choices(options []string, right int, say func(string) string) (correct string, wrong []string) {
	for i, option := range options {
		if i == right {
			correct = say(option)
		} else {
			wrong = append(wrong, say(option))
		}
	}
	return correct, wrong
}

// other returns a number in [0, n) that is not taken.
func other(d dice, n, taken int) int { return (taken + d.within(1, n-1)) % n }

// minWrittenSize is the width of the longest word.
const minWrittenSize = 56

// write puts a word on a white band near the bottom: black letters of a bitmap font, as large as lets the longest word fit.
func (c *canvas) write(word string) {
	face := basicfont.Face7x13
	text := image.NewAlpha(image.Rect(0, 0, face.Advance*len(word), face.Height))
	drawer := font.Drawer{Dst: text, Src: image.Opaque, Face: face, Dot: fixed.P(0, face.Ascent)}
	drawer.DrawString(word)
	scale := c.side / minWrittenSize
	left, top := (c.side-scale*text.Rect.Dx())/2, c.side-scale*face.Height-c.side/32
	for y := range scale * face.Height {
		for x := range c.side {
			alpha := uint8(0)
			if x >= left {
				alpha = text.AlphaAt((x-left)/scale, y/scale).A // zero outside of the text
			}
			pixel := c.at(x, top+y)
			blend(pixel, rgb{255, 255, 255}, 255)
			blend(pixel, rgb{}, alpha)
		}
	}
}
