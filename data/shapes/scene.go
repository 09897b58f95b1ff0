package shapes

import (
	"math/rand/v2"
	"strconv"

	"tandem/internal/prng"
)

// dice draws small numbers. math/rand/v2 promises the same sequence on every machine only for sized types.
type dice struct{ r *rand.Rand }

// under returns a number in [0, n).
func (d dice) under(n int) int { return int(d.r.Uint32N(uint32(n))) }

// within returns a number in [low, high].
func (d dice) within(low, high int) int { return low + d.under(high-low+1) }

func newDice(keys ...uint64) dice { return dice{prng.New(keys...)} }

// object is one shape in a picture.
type object struct {
	shape, colour, size int // indices of names
	radius, x, y        int // pixels
	paint               rgb // the colour with jitter
}

func (o object) noun() string { return colours[o.colour].name + " " + shapeNames[o.shape] }

func (o object) sized() string { return sizeNames[o.size] + " " + o.noun() }

// Kinds of scene, the values of the label "kind".
const (
	KindOne  = "one"  // one object
	KindMany = "many" // two to six equal objects
	KindPair = "pair" // two different objects
)

// ground is what lies behind the objects.
type ground struct {
	background int // index of backgrounds
	texture    int
	paint      rgb
	strength   int // of the texture, in steps of a channel
	phase      int
}

var textures = []string{"plain", "gradient", "stripes", "speckles"}

// scene is everything that is drawn and said.
type scene struct {
	kind     string
	objects  []object
	place    place    // of KindOne
	relation relation // of KindPair, of the first object to the second
	ground   ground
	written  string // a word over the picture, for probes
}

// pairFilter says which pairs of colour and shape a split may show.
type pairFilter func(colour, shape int) bool

// drawPair draws a colour and a shape that the filter allows and the background does not hide.
func drawPair(d dice, allowed pairFilter, behind ground) (colour, shape int) {
	for {
		colour, shape = d.under(len(colours)), d.under(len(shapeNames))
		if allowed(colour, shape) && colours[colour].name != backgrounds[behind.background].name &&
			contrast(colours[colour].rgb, behind.paint) >= minContrast {
			return colour, shape
		}
	}
}

func contrast(a, b rgb) int {
	difference := func(x, y uint8) int { return max(int(x)-int(y), int(y)-int(x)) }
	return difference(a.r, b.r) + difference(a.g, b.g) + difference(a.b, b.b)
}

func jitter(d dice, c rgb, by int) rgb {
	move := func(v uint8) uint8 { return uint8(min(255, max(0, int(v)+d.within(-by, by)))) }
	return rgb{move(c.r), move(c.g), move(c.b)}
}

func drawGround(d dice) ground {
	g := ground{background: d.under(len(backgrounds)), texture: d.under(len(textures))}
	g.paint = jitter(d, backgrounds[g.background].rgb, 8)
	g.strength = d.within(6, 14)
	g.phase = d.under(1 << 16)
	return g
}

// drawScene draws a scene for pictures of the given side: half of them one object, the rest many or a pair.
func drawScene(d dice, side int, allowed pairFilter) scene {
	switch d.under(4) {
	case 0:
		return drawMany(d, side, allowed, d.within(2, 6))
	case 1:
		return drawTwo(d, side, allowed, relations[d.under(len(relations))])
	default:
		return drawOne(d, side, allowed, places[d.under(len(places))], d.under(len(sizeNames)))
	}
}

// drawObject draws an object of a size whose radius lies within a range in 64ths of the side.
func drawObject(d dice, side int, allowed pairFilter, behind ground, size int, radii [2]int) object {
	o := object{size: size}
	o.colour, o.shape = drawPair(d, allowed, behind)
	o.paint = jitter(d, colours[o.colour].rgb, 9)
	o.radius = radiusIn(side, d.within(radii[0], radii[1]))
	return o
}

// radiusIn converts 64ths of the side to pixels.
func radiusIn(side, in64ths int) int { return max(2, in64ths*side/64) }

func drawOne(d dice, side int, allowed pairFilter, where place, size int) scene {
	s := scene{kind: KindOne, place: where, ground: drawGround(d)}
	o := drawObject(d, side, allowed, s.ground, size, sizeRange[size])
	// Away from the centre by what the frame leaves, or nearly so; in the centre within a few pixels.
	room, slack := side/2-o.radius-1, side/32
	o.x, o.y = side/2+where.dx*room, side/2+where.dy*room
	o.x += shift(d, where.dx, slack)
	o.y += shift(d, where.dy, slack)
	s.objects = []object{o}
	return s
}

// shift moves by up to slack: towards the centre from the side that direction names, either way without one.
func shift(d dice, direction, slack int) int {
	if direction == 0 {
		return d.within(-slack, slack)
	}
	return -direction * d.within(0, slack)
}

// drawMany puts n equal objects into different cells of a grid of three by three.
func drawMany(d dice, side int, allowed pairFilter, n int) scene {
	s := scene{kind: KindMany, ground: drawGround(d)}
	model := drawObject(d, side, allowed, s.ground, 0, crowdRange)
	cells := []int{0, 1, 2, 3, 4, 5, 6, 7, 8}
	for i := range n {
		j := d.within(i, len(cells)-1)
		cells[i], cells[j] = cells[j], cells[i]
		o := model
		slack := max(0, side/6-o.radius-1)
		o.x = side/6 + cells[i]%3*(side/3) + d.within(-slack, slack)
		o.y = side/6 + cells[i]/3*(side/3) + d.within(-slack, slack)
		s.objects = append(s.objects, o)
	}
	return s
}

// drawTwo puts two objects of different colour and shape on either side of the centre.
func drawTwo(d dice, side int, allowed pairFilter, rel relation) scene {
	s := scene{kind: KindPair, relation: rel, ground: drawGround(d)}
	a := drawObject(d, side, allowed, s.ground, 1, twoRange)
	b := a
	for b.colour == a.colour || b.shape == a.shape {
		b = drawObject(d, side, allowed, s.ground, 1, twoRange)
	}
	for i, o := range []*object{&a, &b} {
		sign := 1 - 2*i
		o.x = side/2 + sign*rel.dx*side/4 + d.within(-1, 1)*side/32
		o.y = side/2 + sign*rel.dy*side/4 + d.within(-1, 1)*side/32
	}
	s.objects = []object{a, b}
	return s
}

// labels are the metadata columns of a scene.
func (s scene) labels() map[string]string {
	first := s.objects[0]
	labels := map[string]string{
		"kind":       s.kind,
		"shape":      shapeNames[first.shape],
		"colour":     colours[first.colour].name,
		"size":       sizeNames[first.size],
		"name":       first.noun(),
		"count":      strconv.Itoa(len(s.objects)),
		"background": backgrounds[s.ground.background].name,
		"texture":    textures[s.ground.texture],
	}
	switch s.kind {
	case KindOne:
		labels["position"] = s.place.name
	case KindPair:
		labels["relation"] = s.relation.name
		labels["shape2"] = shapeNames[s.objects[1].shape]
		labels["colour2"] = colours[s.objects[1].colour].name
	}
	return labels
}

// captions are several true ways to describe a scene, the plainest first.
func (s scene) captions() []string {
	a := s.objects[0]
	on := " on " + article(backgrounds[s.ground.background].name+" background")
	switch s.kind {
	case KindMany:
		n := numbers[len(s.objects)]
		many := n + " " + colours[a.colour].name + " " + plural(shapeNames[a.shape])
		return []string{
			many,
			n + " objects",
			many + on,
			"there are " + n + " " + plural(shapeNames[a.shape]) + ", all of them " + colours[a.colour].name,
		}
	case KindPair:
		b, rel := s.objects[1], s.relation
		return []string{
			article(a.noun()) + " " + rel.name + " " + article(b.noun()),
			article(b.noun()) + " " + rel.inverse + " " + article(a.noun()),
			article(a.noun()) + " and " + article(b.noun()),
			"the " + shapeNames[a.shape] + " is " + colours[a.colour].name + " and " + rel.name + " the " + b.noun(),
		}
	default:
		return []string{
			article(a.noun()),
			"a picture of " + article(a.noun()),
			"there is one " + shapeNames[a.shape] + ", it is " + colours[a.colour].name,
			article(a.sized()) + " " + s.place.phrase,
			article(a.noun()) + on,
		}
	}
}
