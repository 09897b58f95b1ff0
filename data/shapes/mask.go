package shapes

// unit is the radius in which shapes are described: a point (x, y) with x to the right and y down, both within ±unit.
const unit = 256

var shapeNames = []string{"circle", "square", "triangle", "star", "cross", "ring"}

// inside tells for each shape, in the order of shapeNames, whether a point lies in it. Integers only: floating point
// may be contracted differently from machine to machine, and a single pixel would change the picture's hash.
var inside = []func(x, y int64) bool{
	func(x, y int64) bool { return disc(x, y, unit) },
	func(x, y int64) bool { return max(abs(x), abs(y)) <= 222 },
	polygon(0, -244, 246, 200, -246, 200),
	polygon(0, -256, 62, -85, 243, -79, 101, 33, 150, 207, 0, 106, -150, 207, -101, 33, -243, -79, -62, -85),
	func(x, y int64) bool { return min(abs(x), abs(y)) <= 82 && max(abs(x), abs(y)) <= 248 },
	func(x, y int64) bool { return disc(x, y, unit) && !disc(x, y, 148) },
}

func abs(x int64) int64 { return max(x, -x) }

func disc(x, y, r int64) bool { return x*x+y*y <= r*r }

// polygon returns the test for a simple polygon given as x, y, x, y, … (the crossing rule, without division).
func polygon(vertices ...int64) func(x, y int64) bool {
	n := len(vertices)
	return func(x, y int64) bool {
		in := false
		for i := 0; i < n; i += 2 {
			ax, ay, bx, by := vertices[i], vertices[i+1], vertices[(i+2)%n], vertices[(i+3)%n]
			if (ay > y) == (by > y) {
				continue
			}
			// Which side of the edge, with the sign of an upward or downward one.
			if side := (bx-ax)*(y-ay) - (by-ay)*(x-ax); (side > 0) == (by > ay) {
				in = !in
			}
		}
		return in
	}
}

// mask holds how much of each pixel a shape covers, 0 to 255, in a square of 2·radius+1 pixels.
type mask struct {
	radius   int
	coverage []uint8
}

// oversample is the number of sample points along a pixel's side.
const oversample = 8

func newMask(shape, radius int) mask {
	side := 2*radius + 1
	m := mask{radius: radius, coverage: make([]uint8, side*side)}
	for py := range side {
		for px := range side {
			m.coverage[py*side+px] = covered(inside[shape], px-radius, py-radius, radius)
		}
	}
	return m
}

// covered counts the sample points of pixel (px, py), whose centre is that distance from the shape's, that lie inside.
func covered(in func(x, y int64) bool, px, py, radius int) uint8 {
	hits := 0
	for sy := range oversample {
		for sx := range oversample {
			// Sample points lie at odd multiples of half a step from the pixel's centre.
			x := int64(2*oversample*px+2*sx+1-oversample) * unit / int64(2*oversample*radius)
			y := int64(2*oversample*py+2*sy+1-oversample) * unit / int64(2*oversample*radius)
			if in(x, y) {
				hits++
			}
		}
	}
	return uint8(hits * 255 / (oversample * oversample))
}
