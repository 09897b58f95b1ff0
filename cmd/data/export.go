package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"tandem/data/export"
	"tandem/data/shard"
	"tandem/data/store"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

func runExport(ctx context.Context, e *env, args []string) error {
	o := export.Options{Progress: e.progress}
	e.flags.StringVar(&o.Format, "to", "webdataset", "format: "+strings.Join(export.Formats, " or "))
	e.flags.StringVar(&o.Out, "out", "", "directory to write, new or empty")
	size := e.flags.String("file-size", "256MB", "about how large files become")
	asJSON := e.flags.Bool("json", false, "print the result as one line of JSON")
	where, err := e.parse(args, 1, 1)
	if err != nil {
		return err
	}
	if o.FileBytes, err = parseSize(*size); err != nil {
		return fault.Userf("-file-size %q: %w", *size, err)
	}
	st, err := store.Open(ctx, where[0])
	if err != nil {
		return err
	}
	defer st.Close()
	report, err := export.Export(ctx, st, o)
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(e.stdout, report)
	}
	_, err = fmt.Fprintf(e.stdout, "%s: %d files, %d rows, %s\n", o.Out, report.Files, report.Rows, progress.FormatBytes(report.Bytes))
	return err
}

// runCopy copies a shard set to another place, the manifest last, so that a reader there never sees half of it.
func runCopy(ctx context.Context, e *env, args []string) error {
	where, err := e.parse(args, 2, 2)
	if err != nil {
		return err
	}
	from, err := store.Open(ctx, where[0])
	if err != nil {
		return err
	}
	defer from.Close()
	m, err := shard.ReadManifest(ctx, from)
	if err != nil {
		return err
	}
	to, err := store.Open(ctx, where[1])
	if err != nil {
		return err
	}
	defer to.Close()
	var total int64
	for _, f := range m.Files {
		total += f.Bytes
	}
	task := e.progress.Start("copying", total, progress.Bytes)
	for _, f := range m.Files {
		if err := copyObject(ctx, from, to, f.Name, task); err != nil {
			task.Fail()
			return err
		}
	}
	if err := copyObject(ctx, from, to, shard.ManifestName, io.Discard); err != nil {
		task.Fail()
		return err
	}
	task.Done()
	_, err = fmt.Fprintf(e.stdout, "%s: %d files, %d rows, %s\n", to, len(m.Files), m.Rows(""), progress.FormatBytes(total))
	return err
}

func copyObject(ctx context.Context, from, to store.Store, name string, count io.Writer) error {
	o, err := from.Open(ctx, name)
	if err != nil {
		return err
	}
	defer o.Close()
	return to.Write(ctx, name, func(w io.Writer) error {
		_, err := io.Copy(io.MultiWriter(w, count), io.NewSectionReader(o, 0, o.Size()))
		return err
	})
}
