package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"tandem/data/shard"
	"tandem/data/stats"
	"tandem/internal/atomicfile"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

func runInspect(ctx context.Context, e *env, args []string) error {
	split := e.flags.String("split", "", "split to draw samples from (default: all)")
	n := e.flags.Int("n", 5, "number of samples")
	seed := e.flags.Uint64("seed", 0, "which samples")
	sheet := e.flags.String("png", "", "write a contact sheet of -n samples to this PNG file")
	page := e.flags.String("html", "", "write a page with -n samples to this HTML file")
	asJSON := e.flags.Bool("json", false, "print the manifest as JSON")
	where, err := e.parse(args, 1, 1)
	if err != nil {
		return err
	}
	set, closeSet, err := openSet(ctx, where[0], *split)
	if err != nil {
		return err
	}
	defer closeSet()
	if *asJSON {
		return json.NewEncoder(e.stdout).Encode(set.Manifest)
	}
	samples, err := stats.Draw(ctx, set, *n, *seed)
	if err != nil {
		return err
	}
	describe(e.stdout, set, samples)
	if *sheet != "" {
		if err := writeTo(*sheet, func(w io.Writer) error { return stats.WriteSheet(w, samples, 6, 160) }); err != nil {
			return err
		}
		fmt.Fprintf(e.stdout, "contact sheet: %s\n", *sheet)
	}
	if *page != "" {
		if err := writeTo(*page, func(w io.Writer) error { return stats.WriteSamples(w, set, samples) }); err != nil {
			return err
		}
		fmt.Fprintf(e.stdout, "page: %s\n", *page)
	}
	return nil
}

func writeTo(path string, fill func(w io.Writer) error) error {
	err := atomicfile.Write(path, 0o644, fill)
	if os.IsNotExist(err) {
		return fault.User(err)
	}
	return err
}

func describe(w io.Writer, set *shard.Set, samples []stats.Sample) {
	m := set.Manifest
	fmt.Fprintf(w, "%s: %d rows\n", set.Location(), m.Rows(""))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nsplit\trows\tcaptions\tfiles\tsize")
	for _, name := range m.SplitNames() {
		s := m.Splits[name]
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\n", name, s.Rows, s.Captions, s.Files, progress.FormatBytes(s.Bytes))
	}
	fmt.Fprintln(t, "\ncolumn\ttype\trole")
	for _, c := range m.Schema {
		fmt.Fprintf(t, "%s\t%s\t%s\n", c.Name, c.Type, c.Role)
	}
	fmt.Fprintln(t, "\nsource\tkind\trows\tlicences")
	for _, s := range m.Sources {
		var licences []string
		for _, l := range s.Licences {
			licences = append(licences, l.Work+" ("+l.SPDX+")")
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", s.Name, s.Kind, s.Rows, strings.Join(licences, ", "))
	}
	t.Flush()
	c := m.Captions
	fmt.Fprintf(w, "\ncaptions: %d, %d to %d characters (mean %.1f), mean %.1f words, at most %d\n", c.Count, c.MinChars, c.MaxChars, c.MeanChars, c.MeanWords, c.MaxWords)
	describeSamples(w, samples)
}

func describeSamples(w io.Writer, samples []stats.Sample) {
	fmt.Fprintln(w, "\nsamples:")
	for _, s := range samples {
		fmt.Fprintf(w, "  %s row %d, key %s, %d×%d, %s\n", s.File, s.At, s.Key, s.Width, s.Height, progress.FormatBytes(int64(len(s.Image))))
		for _, c := range s.Captions[:min(3, len(s.Captions))] {
			fmt.Fprintf(w, "    %q\n", c)
		}
		if more := len(s.Captions) - 3; more > 0 {
			fmt.Fprintf(w, "    and %d more captions\n", more)
		}
		for _, l := range stats.Labels(s) {
			fmt.Fprintf(w, "    %s\n", l)
		}
	}
}
