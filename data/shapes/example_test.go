package shapes_test

import (
	"fmt"

	"tandem/data/shapes"
)

func ExampleSource_At() {
	s, err := shapes.New(shapes.Config{Seed: 1})
	if err != nil {
		panic(err)
	}
	example, err := s.At("train", 12345)
	if err != nil {
		panic(err)
	}
	fmt.Println(example.Key)
	for _, caption := range example.Captions {
		fmt.Println(" ", caption)
	}
	// Output:
	// shapes/train/00012345
	//   a gray crescent right of an orange cross
	//   an orange cross left of a gray crescent
	//   a gray crescent and an orange cross
	//   the crescent is gray and right of the orange cross
}
