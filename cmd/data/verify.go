package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"sync/atomic"

	"tandem/data/shard"
	"tandem/data/store"
	"tandem/imaging"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

func runVerify(ctx context.Context, e *env, args []string) error {
	decode := e.flags.Bool("decode", true, "decode every picture")
	workers := e.flags.Int("workers", runtime.GOMAXPROCS(0), "files read at a time")
	most := e.flags.Int64("max-problems", 20, "problems to print")
	asJSON := e.flags.Bool("json", false, "print the result as one line of JSON")
	where, err := e.parse(args, 1, 1)
	if err != nil {
		return err
	}
	st, err := store.Open(ctx, where[0])
	if err != nil {
		return err
	}
	defer st.Close()
	m, err := shard.ReadManifest(ctx, st)
	if err != nil {
		return err
	}
	task := e.progress.Start("verifying", m.Rows(""), "rows")
	var printed atomic.Int64
	o := shard.VerifyOptions{Workers: *workers, Read: task.Add, Problem: func(err error) {
		if n := printed.Add(1); n <= *most {
			e.progress.Linef("%s", fault.OneLine(err))
		}
	}}
	if *decode {
		o.Check = newCheck
	}
	report, err := shard.Verify(ctx, st, o)
	if err != nil {
		task.Fail()
		return err
	}
	task.Done()
	if *asJSON {
		return json.NewEncoder(e.stdout).Encode(report)
	}
	fmt.Fprintf(e.stdout, "%s: %d files, %d rows, %s: all good\n", where[0], report.Files, report.Rows, progress.FormatBytes(report.Bytes))
	return nil
}

// newCheck decodes pictures for one worker.
func newCheck() shard.Check {
	d := imaging.NewDecoder(imaging.DefaultLimits())
	return func(image []byte) (width, height int, err error) {
		p, err := d.Decode(image)
		if err != nil {
			return 0, 0, err
		}
		if p.Orientation >= 5 {
			return p.Height, p.Width, nil
		}
		return p.Width, p.Height, nil
	}
}
