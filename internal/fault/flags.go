package fault

import (
	"errors"
	"flag"
	"io"
)

// ParseFlags parses a command's arguments. Where they are wrong, it returns a user's mistake of one line that names -h,
// instead of printing every flag there is; -h prints those on w and returns flag.ErrHelp.
func ParseFlags(set *flag.FlagSet, args []string, w io.Writer) error {
	usage := set.Usage
	set.Usage = func() {}
	set.SetOutput(io.Discard)
	err := set.Parse(args)
	set.Usage = usage
	set.SetOutput(w)
	switch {
	case errors.Is(err, flag.ErrHelp):
		usage()
		return err
	case err != nil:
		return Userf("%w; %s -h lists the flags", err, set.Name())
	}
	return nil
}
