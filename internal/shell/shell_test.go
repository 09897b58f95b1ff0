package shell

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestJoin: a shell makes of a line the words that it was made of.
func TestJoin(t *testing.T) {
	words := []string{"plain", "", "two words", "it's", "''", `back\slash`, "$HOME", "*", "a=b", "{task: a, patience: 1}", "#", "~", "a;b", "(", "Grüße", "-set"}
	out, err := exec.Command("sh", "-c", `words() { printf '%s\n' "$@"; }; words `+Join(words...)).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"); !slices.Equal(got, words) {
		t.Errorf("%q came back as %q", words, got)
	}
	if got := Join("train", "-config", "shapes"); got != "train -config shapes" {
		t.Errorf("plain words became %s", got)
	}
}
