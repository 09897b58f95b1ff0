package main

import (
	"context"
	"flag"
	"io"

	"tandem/eval/compare"
	"tandem/internal/atomicfile"
	"tandem/internal/fault"
)

const compareUsage = `usage: go run ./cmd/eval compare [-html FILE] [-json FILE] REPORT REPORT…

Compares reports (directories that -out wrote, or their JSON files): a table over models and tasks, and paired tests
of each model against the first. What keeps two numbers from being comparable is named.
`

// runCompare compares reports.
func runCompare(_ context.Context, c *common, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("eval compare", flag.ContinueOnError)
	flags.BoolVar(&c.verbose, "v", false, "print errors with everything known about them")
	html := flags.String("html", "", "write the comparison for people, with plots, to this `file`")
	json := flags.String("json", "", "write the comparison for machines to this `file`")
	if err := parse(flags, args, stderr, compareUsage); err != nil {
		return err
	}
	if flags.NArg() < 2 {
		return fault.Userf("a comparison needs two reports: name the directories that -out wrote")
	}
	if err := checkOutputs(*html, *json); err != nil {
		return err
	}
	var runs []compare.Run
	for _, path := range flags.Args() {
		r, err := compare.Open(path)
		if err != nil {
			return err
		}
		runs = append(runs, r)
	}
	comparison, err := compare.Compare(runs)
	if err != nil {
		return err
	}
	for _, file := range []struct {
		path string
		fill func(io.Writer) error
	}{{*html, comparison.WriteHTML}, {*json, comparison.WriteJSON}} {
		if file.path == "" {
			continue
		}
		if err := atomicfile.Write(file.path, 0o644, file.fill); err != nil {
			return err
		}
	}
	return comparison.WriteTable(stdout)
}
