package fault

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
)

func TestParseFlags(t *testing.T) {
	for _, test := range []struct {
		args    []string
		err     string
		printed string
	}{
		{[]string{"-steps", "3"}, "", ""},
		{[]string{"-stepz", "3"}, "flag provided but not defined: -stepz; train -h lists the flags", ""},
		{[]string{"-steps", "x"}, `invalid value "x" for flag -steps: parse error; train -h lists the flags`, ""},
		{[]string{"-h"}, flag.ErrHelp.Error(), "usage: train"},
	} {
		var out strings.Builder
		set := flag.NewFlagSet("train", flag.ContinueOnError)
		set.Int("steps", 0, "how many")
		set.Usage = func() { fmt.Fprint(&out, "usage: train"); set.PrintDefaults() }
		err := ParseFlags(set, test.args, &out)
		if got := fmt.Sprint(err); got != test.err && (err != nil || test.err != "") {
			t.Errorf("%v: %q, want %q", test.args, got, test.err)
		}
		if help := errors.Is(err, flag.ErrHelp); !strings.HasPrefix(out.String(), test.printed) || !help && (out.Len() > 0 || err != nil && !IsUser(err)) {
			t.Errorf("%v: printed %q", test.args, out.String())
		}
	}
}
