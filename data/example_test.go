package data_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"tandem/data"
	"tandem/data/build"
	"tandem/data/ingest"
	"tandem/data/shapes"
	"tandem/imaging"
	"tandem/tokenizer"
)

// Example builds shards of a generated source and reads two batches, the second after a restart.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "shards")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	source, err := shapes.New(shapes.Config{Seed: 1, Size: 32, Train: 48})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := build.Build(ctx, []ingest.Input{ingest.FromSource(source, shapes.Labels()...)}, build.Options{Out: dir}); err != nil {
		log.Fatal(err)
	}

	config := data.Config{Sources: []data.SourceConfig{{Shards: dir}}, Batch: 16, Seed: 7, Image: imaging.DefaultTrainConfig(24)}
	options := data.Options{Tokenizer: tokenizer.CLIP(), Context: 20}
	loader, err := data.Open(ctx, config, options)
	if err != nil {
		log.Fatal(err)
	}
	batch, err := loader.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d pictures of %d×%d, %d tokens, %.2f epochs\n", batch.Size, batch.ImageSize, batch.ImageSize, len(batch.Tokens), batch.Epoch)
	cursor := batch.Cursor // goes into a checkpoint
	loader.Recycle(batch)
	loader.Close()

	if loader, err = data.Open(ctx, config, options); err != nil {
		log.Fatal(err)
	}
	defer loader.Close()
	if err := loader.Resume(cursor); err != nil {
		log.Fatal(err)
	}
	if batch, err = loader.Next(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d pairs seen\n", batch.Cursor.Position)
	// Output:
	// 16 pictures of 24×24, 320 tokens, 0.33 epochs
	// 32 pairs seen
}
