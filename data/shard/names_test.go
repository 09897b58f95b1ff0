package shard

import (
	"slices"
	"testing"
)

func TestDistinctNames(t *testing.T) {
	for _, test := range []struct{ names, want []string }{
		{[]string{"dog", "cat"}, []string{"dog", "cat"}},
		{[]string{"missile", "dog", "missile"}, []string{"missile (0)", "dog", "missile (2)"}},
		{[]string{"a", "a (0)", "a"}, []string{"a (0) (0)", "a (0)", "a (2)"}}, // a name that is taken
		{[]string{"near", "", "far"}, []string{"near", "(1)", "far"}},
		{[]string{"a (1)", "x", "a (1)"}, []string{"a (1) (0)", "x", "a (1) (2)"}},
	} {
		got, words := DistinctNames(test.names), (&Manifest{Classes: map[string][]string{"class": test.names}}).ClassWords("class")
		if !slices.Equal(got, test.want) {
			t.Errorf("%q become %q, want %q", test.names, got, test.want)
		}
		for i, name := range got {
			if word, ok := words[name]; ok != (name != test.names[i]) || ok && word != test.names[i] {
				t.Errorf("%q is %q (%v), want %q", name, word, ok, test.names[i])
			}
		}
	}
}
