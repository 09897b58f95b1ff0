package main

import (
	"context"
	"fmt"

	"tandem/data/prepare"
	"tandem/internal/fault"
)

func runFetch(ctx context.Context, e *env, args []string) error {
	out := e.flags.String("out", "", "directory of all such data sets (default: $"+prepare.RootEnv+", or the user's cache directory)")
	offline := e.flags.Bool("offline", false, "download nothing")
	name, err := e.parse(args, 1, 1)
	if err != nil {
		return err
	}
	c := prepare.Config{Name: name[0]}
	if err := c.Validate(); err != nil {
		return fault.User(err)
	}
	dir, err := prepare.Ensure(ctx, c, prepare.Options{Root: *out, Offline: *offline, Progress: e.progress})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(e.stdout, dir)
	return err
}
