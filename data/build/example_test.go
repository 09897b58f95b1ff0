package build_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"log"
	"os"
	"path/filepath"

	"tandem/data/build"
	"tandem/data/ingest"
	"tandem/data/shard"
	"tandem/data/store"
)

// Example turns a folder of pictures with captions beside them into shards and reads them back.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for i := range 3 {
		var b bytes.Buffer
		if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 10+i, 8))); err != nil {
			log.Fatal(err)
		}
		name := filepath.Join(dir, "photos", fmt.Sprint(i))
		os.MkdirAll(filepath.Dir(name), 0o755)
		os.WriteFile(name+".png", b.Bytes(), 0o644)
		if i < 2 {
			os.WriteFile(name+".txt", []byte(fmt.Sprintf("grey picture %d\n", i)), 0o644)
		}
	}

	input, err := ingest.Open(filepath.Join(dir, "photos"), ingest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	out := filepath.Join(dir, "shards")
	report, err := build.Build(ctx, []ingest.Input{input}, build.Options{Out: out})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.RowsIn, "rows in,", report.RowsOut, "out, skipped:", report.Skipped)

	set, err := shard.OpenSet(ctx, store.Local(out), "train")
	if err != nil {
		log.Fatal(err)
	}
	defer set.Close()
	err = set.Rows(ctx, func(_ shard.FileInfo, row int64, r *shard.Row) error {
		_, err := fmt.Printf("row %d: %s, %d×%d, %q\n", row, r.Key, r.Width, r.Height, r.Captions)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// 3 rows in, 2 out, skipped: map[no caption:1]
	// row 0: 0, 10×8, ["grey picture 0"]
	// row 1: 1, 11×8, ["grey picture 1"]
}
