package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"tandem/data"
	"tandem/imaging"
	"tandem/internal/fault"
)

// speedReport is what speed prints.
type speedReport struct {
	Images     int64      `json:"images"`
	Seconds    float64    `json:"seconds"`
	PerSecond  float64    `json:"images_per_second"`
	Workers    int        `json:"workers"`
	AllocBytes float64    `json:"alloc_bytes_per_image"`
	Stats      data.Stats `json:"stats"`
}

func runSpeed(ctx context.Context, e *env, args []string) error {
	size := e.flags.Int("size", 224, "side of the training pictures in pixels")
	c := data.Config{}
	e.flags.IntVar(&c.Batch, "batch", 64, "pairs of a batch")
	e.flags.IntVar(&c.Workers, "workers", 0, "workers (default: number of processors)")
	e.flags.IntVar(&c.Cache.Fit, "fit", 0, "with -cache: shortest side of cached pictures")
	cache := e.flags.String("cache", "", "memory for decoded pictures, like 2GB (default: none)")
	split := e.flags.String("split", "train", "split to read")
	fast := e.flags.Bool("fast", false, "decode large JPEGs at a fraction of their size")
	seconds := e.flags.Float64("seconds", 10, "how long to measure")
	warm := e.flags.Float64("warm", 0, "epochs to read before the measurement, to fill caches")
	name := e.flags.String("tokenizer", clipName, "clip, or the directory of a tokenizer or model")
	asJSON := e.flags.Bool("json", false, "print the result as one line of JSON")
	where, err := e.parse(args, 1, 1)
	if err != nil {
		return err
	}
	if *cache != "" {
		if c.Cache.Bytes, err = parseSize(*cache); err != nil {
			return fault.Userf("-cache %q: %w", *cache, err)
		}
	}
	c.Sources = []data.SourceConfig{{Shards: where[0], Split: *split}}
	c.Image = imaging.DefaultTrainConfig(*size)
	c.Image.Fast = *fast
	t, err := openTokenizer(*name)
	if err != nil {
		return err
	}
	l, err := data.Open(ctx, c, data.Options{Tokenizer: t, Context: 77, Log: e.progress.Linef})
	if err != nil {
		return err
	}
	defer l.Close()
	r, err := measure(ctx, l, *warm, time.Duration(*seconds*float64(time.Second)))
	if err != nil {
		return err
	}
	if r.Workers = c.Workers; r.Workers == 0 {
		r.Workers = runtime.GOMAXPROCS(0)
	}
	if *asJSON {
		return printJSON(e.stdout, r)
	}
	_, err = fmt.Fprintf(e.stdout, "%.0f images/s with %d workers (%d images, %d read, %d decoded, %d from the cache; %.0f bytes allocated an image)\n",
		r.PerSecond, r.Workers, r.Images, r.Stats.Read, r.Stats.Decoded, r.Stats.CacheHits, r.AllocBytes)
	return err
}

// measure takes batches for a while and throws them away.
func measure(ctx context.Context, l *data.Loader, warm float64, d time.Duration) (r speedReport, err error) {
	take := func() (*data.Batch, error) {
		b, err := l.Next(ctx)
		if err == nil {
			l.Recycle(b)
		}
		return b, err
	}
	for epochs := -1.0; epochs < warm; {
		b, err := take()
		if err != nil {
			return r, err
		}
		epochs = b.Epoch
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	for time.Since(began) < d {
		b, err := take()
		if err != nil {
			return r, err
		}
		r.Images += int64(b.Size)
	}
	r.Seconds = time.Since(began).Seconds()
	runtime.ReadMemStats(&after)
	r.PerSecond = float64(r.Images) / r.Seconds
	r.AllocBytes = float64(after.TotalAlloc-before.TotalAlloc) / float64(r.Images)
	r.Stats = l.Stats()
	return r, nil
}
