package embed_test

import (
	"context"
	"fmt"
	"os"

	"tandem/backend"
	"tandem/embed"
)

// A model of open_clip's, from its directory. The weights are random, so that the answer means nothing.
func Example() {
	ctx := context.Background()
	m, err := embed.Load("testdata/open_clip", embed.WithBackendOptions(backend.Options{Name: backend.Go})) // or "hf://org/name"
	if err != nil {
		fmt.Println(err)
		return
	}
	image, err := os.ReadFile("../imaging/testdata/astronaut.jpg")
	if err != nil {
		fmt.Println(err)
		return
	}
	answers, err := m.Classify(ctx, image, []string{"a diagram", "a dog", "an astronaut"}, embed.WithTemplates("{}"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, a := range answers {
		fmt.Printf("%.3f %s\n", a.Probability, a.Label)
	}
	// Output:
	// 0.943 a dog
	// 0.056 an astronaut
	// 0.001 a diagram
}

// The same by hand: rows of both kinds, their scaled similarities, a softmax.
func ExampleModel_Logits() {
	ctx := context.Background()
	m, err := embed.Load("testdata/open_clip", embed.WithBackendOptions(backend.Options{Name: backend.Go}))
	if err != nil {
		fmt.Println(err)
		return
	}
	file, err := os.ReadFile("../imaging/testdata/astronaut.jpg")
	if err != nil {
		fmt.Println(err)
		return
	}
	images, err := m.EncodeImages(ctx, file)
	if err != nil {
		fmt.Println(err)
		return
	}
	texts, err := m.EncodeTexts(ctx, []string{"a diagram", "a dog", "an astronaut"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%.3f\n", embed.Softmax(m.Logits(images, texts)[0]))
	// Output: [0.001 0.943 0.056]
}
