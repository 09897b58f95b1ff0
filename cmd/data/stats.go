package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tandem/data/shard"
	"tandem/data/stats"
	"tandem/internal/fault"
	"tandem/tokenizer"
)

func runStats(ctx context.Context, e *env, args []string) error {
	split := e.flags.String("split", "", "split to look at (default: all)")
	images := e.flags.Bool("images", false, "read and decode every image: formats, duplicates, damage")
	name := e.flags.String("tokenizer", clipName, "count tokens with clip, or the tokenizer in a directory; none for none")
	length := e.flags.Int("context", 77, "tokens that the model takes")
	page := e.flags.String("html", "", "write a page with plots and samples to this HTML file")
	plots := e.flags.String("png", "", "write the plots as PNG files into this directory")
	n := e.flags.Int("n", 24, "samples on the page")
	asJSON := e.flags.Bool("json", false, "print all counts as one line of JSON")
	where, err := e.parse(args, 1, 1)
	if err != nil {
		return err
	}
	o := stats.Options{Images: *images, Progress: e.progress}
	if *name != "none" {
		t, err := openTokenizer(*name)
		if err != nil {
			return err
		}
		o.Context, o.Tokens = *length, countTokens(t)
	}
	set, closeSet, err := openSet(ctx, where[0], *split)
	if err != nil {
		return err
	}
	defer closeSet()
	s, err := stats.Collect(ctx, set, o)
	if err != nil {
		return err
	}
	if err := writeStats(ctx, s, set, *page, *plots, *n); err != nil {
		return err
	}
	if *asJSON {
		return printJSON(e.stdout, s)
	}
	printStats(e.stdout, s)
	return nil
}

// countTokens returns a function that counts a caption's tokens, up to a number that no model takes.
func countTokens(t tokenizer.Tokenizer) func(string) int {
	ids := make([]int32, 1024)
	return func(caption string) int { return t.Encode(ids, caption) }
}

func writeStats(ctx context.Context, s *stats.Stats, set *shard.Set, page, plots string, n int) error {
	if page != "" {
		samples, err := stats.Draw(ctx, set, n, 0)
		if err != nil {
			return err
		}
		if err := writeTo(page, func(w io.Writer) error { return s.WritePage(w, set, samples) }); err != nil {
			return err
		}
	}
	if plots == "" {
		return nil
	}
	if err := os.MkdirAll(plots, 0o755); err != nil {
		return fault.User(err)
	}
	return s.Pictures(func(name string, png func(w io.Writer) error) error {
		return writeTo(filepath.Join(plots, strings.ReplaceAll(name, "/", "_")), png)
	})
}

func printStats(w io.Writer, s *stats.Stats) {
	fmt.Fprintf(w, "%d rows, %d captions (%d equal an earlier one), %d different words\n", s.Rows, s.Captions, s.RepeatedCaptions, s.Vocab)
	line := func(what string, h *stats.Histogram) {
		if h.N > 0 {
			fmt.Fprintf(w, "  %-20s min %-8.4g median %-8.4g 95%% %-8.4g max %-8.4g mean %.4g\n", what, h.Min, h.Quantile(0.5), h.Quantile(0.95), h.Max, h.Mean)
		}
	}
	line("shortest side", &s.Side)
	line("aspect", &s.Aspect)
	line("image bytes", &s.Bytes)
	line("words a caption", &s.Words)
	line("tokens a caption", &s.Tokens)
	line("captions an image", &s.PerRow)
	if s.Tokens.N > 0 {
		fmt.Fprintf(w, "captions over a context of %d tokens: %d\n", s.Context, s.Cut)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Scripts)) {
		fmt.Fprintf(w, "script %-12s %d captions\n", name, s.Scripts[name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		l := s.Labels[name]
		fmt.Fprintf(w, "label %s: %d values in %d to %d rows, %d rows without\n", name, l.Values, l.Least, l.Most, l.Missing)
	}
	if len(s.Formats) > 0 {
		for _, name := range slices.Sorted(maps.Keys(s.Formats)) {
			fmt.Fprintf(w, "format %s: %d images\n", name, s.Formats[name])
		}
		fmt.Fprintf(w, "%d images repeat an earlier one, %d do not decode\n", s.RepeatedImages, s.Damaged)
	}
}
