package duration

import "testing"

func TestDuration(t *testing.T) {
	const batch, rows, total = 128, 1000, 700
	tests := []struct {
		text  string
		steps int64
		round string // "" means text itself
	}{
		{"700 steps", 700, ""},
		{"1 step", 1, "1 steps"},
		{"25", 25, "25 steps"},
		{"90000 examples", 704, ""},
		{"10 epochs", 79, ""},
		{"0.5 epochs", 4, ""},
		{"5%", 35, ""},
		{"0.01%", 1, ""},
		{"7%", 49, ""}, // 49.000000000000007 in binary
		{"0.7%", 5, ""},
		{"100000000000 steps", 1e11, "1e+11 steps"},
		{"1e15 examples", 1e11, "1e+15 examples"}, // 7.8e12: no more than can be counted
		{"", 0, ""},
	}
	for _, test := range tests {
		d, err := Parse(test.text)
		if err != nil {
			t.Errorf("%q: %v", test.text, err)
			continue
		}
		if got := d.ToSteps(batch, rows, total); got != test.steps {
			t.Errorf("%q is %d steps, want %d", test.text, got, test.steps)
		}
		want := test.round
		if want == "" {
			want = test.text
		}
		if d.String() != want {
			t.Errorf("%q prints as %q, want %q", test.text, d.String(), want)
		}
	}
	for _, bad := range []string{"ten steps", "5 parsecs", "-1 steps", "inf steps", "NaN", "% 5", "steps", "1e30 steps", "1e400 steps", "1e12 epochs", "100.1%"} {
		if d, err := Parse(bad); err == nil {
			t.Errorf("%q was read as %v, want an error", bad, d)
		}
	}
}
