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
	for _, bad := range []string{"ten steps", "5 parsecs", "-1 steps", "inf steps", "NaN", "% 5", "steps"} {
		if d, err := Parse(bad); err == nil {
			t.Errorf("%q was read as %v, want an error", bad, d)
		}
	}
}
