package shapes

import "strings"

// rgb is a colour of eight bits a channel.
type rgb struct{ r, g, b uint8 }

type namedColour struct {
	name string
	rgb  rgb
}

// colours are those of objects, far enough apart to stay nameable under jitter.
var colours = []namedColour{
	{"red", rgb{214, 34, 34}},
	{"yellow", rgb{247, 220, 40}},
	{"green", rgb{38, 150, 52}},
	{"blue", rgb{34, 66, 214}},
	{"purple", rgb{128, 40, 160}},
	{"brown", rgb{120, 72, 28}},
	{"black", rgb{18, 18, 18}},
	{"white", rgb{246, 246, 246}},
}

// backgrounds are paler or darker than the objects' colours of the same name, which never lie on them.
var backgrounds = []namedColour{
	{"white", rgb{238, 238, 236}},
	{"gray", rgb{166, 166, 170}},
	{"black", rgb{30, 30, 34}},
	{"blue", rgb{164, 190, 226}},
	{"green", rgb{176, 206, 168}},
	{"yellow", rgb{236, 226, 176}},
	{"pink", rgb{232, 196, 204}},
	{"brown", rgb{190, 164, 132}},
}

// minContrast is the least sum of channel differences between an object and its background.
const minContrast = 130

var sizeNames = []string{"small", "medium", "large"}

// sizeRange holds the least and greatest radius of each size in 64ths of the picture's side.
var sizeRange = [][2]int{{10, 11}, {14, 16}, {18, 20}}

// Where there are several objects they must leave each other room.
var (
	crowdRange = [2]int{8, 10}
	twoRange   = [2]int{13, 15}
)

// place is a direction from the centre of the picture.
type place struct {
	name   string // label
	phrase string // in captions
	dx, dy int
}

var places = []place{
	{"centre", "in the centre", 0, 0},
	{"left", "on the left", -1, 0},
	{"right", "on the right", 1, 0},
	{"top", "at the top", 0, -1},
	{"bottom", "at the bottom", 0, 1},
	{"top left", "in the top left corner", -1, -1},
	{"top right", "in the top right corner", 1, -1},
	{"bottom left", "in the bottom left corner", -1, 1},
	{"bottom right", "in the bottom right corner", 1, 1},
}

// relation places the first of two objects against the second.
type relation struct {
	name    string
	inverse string
	dx, dy  int // of the first object
}

var relations = []relation{
	{"left of", "right of", -1, 0},
	{"right of", "left of", 1, 0},
	{"above", "below", 0, -1},
	{"below", "above", 0, 1},
}

var numbers = []string{"no", "one", "two", "three", "four", "five", "six"}

func plural(noun string) string {
	if strings.HasSuffix(noun, "s") {
		return noun + "es"
	}
	return noun + "s"
}

// article puts "a" or "an" before a phrase.
func article(phrase string) string {
	switch phrase[0] {
	case 'a', 'e', 'i', 'o', 'u':
		return "an " + phrase
	}
	return "a " + phrase
}

func names(list []namedColour) []string {
	out := make([]string, len(list))
	for i, c := range list {
		out[i] = c.name
	}
	return out
}

// Colours returns the names of the objects' colours, the values of the label "colour".
func Colours() []string { return names(colours) }

// Shapes returns the names of the shapes, the values of the label "shape".
func Shapes() []string { return append([]string(nil), shapeNames...) }

// Positions returns the values of the label "position".
func Positions() []string {
	out := make([]string, len(places))
	for i, p := range places {
		out[i] = p.name
	}
	return out
}

// Sizes returns the values of the label "size".
func Sizes() []string { return append([]string(nil), sizeNames...) }

// HeldOut reports whether a pair of colour and shape is kept out of training. Every colour and every shape has
// trained pairs and held-out ones. Unknown names are not held out.
func HeldOut(colour, shape string) bool {
	for c, known := range colours {
		for s, name := range shapeNames {
			if known.name == colour && name == shape {
				return heldOut(c, s)
			}
		}
	}
	return false
}

// heldOut takes every sixth pair, along a slanted line through the table.
func heldOut(colour, shape int) bool { return (colour+5*shape+shape/6)%6 == 0 }
