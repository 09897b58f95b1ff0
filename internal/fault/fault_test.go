package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	tests := []struct {
		name string
		err  error
		code int
		want string
	}{
		{"none", nil, 0, ""},
		{"failure", errors.New("disk full"), 1, "train: disk full\n"},
		{"user", Userf("%s: unknown key %q", "a.yaml", "lrr"), 2, "train: a.yaml: unknown key \"lrr\"\n"},
		{"wrapped user", fmt.Errorf("load: %w", Userf("no such file")), 2, "train: load: no such file\n"},
		{"user wraps", User(errors.New("x")), 2, "train: x\n"},
		{"lines folded", errors.New("a\n  b\n"), 1, "train: a b\n"},
		{"cancelled", fmt.Errorf("stop: %w", context.Canceled), 130, "train: interrupted\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			if got := Report(&out, "train", test.err, false); got != test.code {
				t.Errorf("exit code %d, want %d", got, test.code)
			}
			if out.String() != test.want {
				t.Errorf("printed %q, want %q", out.String(), test.want)
			}
		})
	}
	if User(nil) != nil {
		t.Error("User(nil) is not nil")
	}
}
