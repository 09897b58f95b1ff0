package shapes_test

import (
	"fmt"

	"github.com/janpfeifer/must"

	"tandem/data/shapes"
)

func ExampleSource_At() {
	s := must.M1(shapes.New(shapes.Config{Seed: 1}))
	example := must.M1(s.At("train", 12345))
	fmt.Println(example.Key)
	for _, caption := range example.Captions {
		fmt.Println(" ", caption)
	}
	// Output:
	// shapes/train/00012345
	//   a blue square right of a green ring
	//   a green ring left of a blue square
	//   a blue square and a green ring
	//   the square is blue and right of the green ring
}
