package imaging_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"

	"tandem/imaging"
)

// redPNG is a file with a red picture.
func redPNG() []byte {
	img := image.NewRGBA(image.Rect(0, 0, 40, 30))
	for i := range 40 * 30 {
		img.Set(i%40, i/40, color.RGBA{R: 255, A: 255})
	}
	var file bytes.Buffer
	if err := png.Encode(&file, img); err != nil {
		panic(err)
	}
	return file.Bytes()
}

// What a CLIP tower sees of a file, as open_clip computes it.
func ExampleEvalConfig_Apply() {
	picture, err := imaging.NewDecoder(imaging.DefaultLimits()).Decode(redPNG())
	if err != nil {
		fmt.Println(err)
		return
	}
	config := imaging.DefaultEvalConfig(224)
	pixels := make([]uint8, 224*224*3)
	if err := config.Apply(picture, pixels); err != nil {
		fmt.Println(err)
		return
	}
	normalised := make([]float32, len(pixels))
	imaging.Normalise(normalised, pixels, config.Mean, config.Std)
	fmt.Println(picture.Mode, picture.Width, picture.Height, pixels[:3], normalised[:3])
	// Output: RGB 40 30 [255 0 0] [1.9303361 -1.7520971 -1.4802198]
}

// A random view for training; each worker keeps its own Trainer.
func ExampleTrainer_Decode() {
	config := imaging.DefaultTrainConfig(32)
	config.Augment.Flip = 0.5
	trainer, err := imaging.NewTrainer(config, imaging.DefaultLimits())
	if err != nil {
		fmt.Println(err)
		return
	}
	slot := make([]uint8, 32*32*3) // a part of the batch
	err = trainer.Decode(redPNG(), rand.New(rand.NewPCG(1, 2)), slot)
	fmt.Println(slot[:3], err)

	err = trainer.Decode([]byte("<html>404</html>"), rand.New(rand.NewPCG(1, 2)), slot)
	fmt.Println(imaging.Reason(err), "|", err)
	// Output:
	// [255 0 0] <nil>
	// format | not an image file that is read (JPEG, PNG, WebP, GIF, BMP, TIFF): an HTML page
}
