package strictyaml

import (
	"strings"
	"testing"

	"tandem/internal/fault"
)

type inner struct {
	LR      float64 `yaml:"lr"`
	Warmup  string  `yaml:"warmup"`
	Weights []int   `yaml:"weights"`
}

type outer struct {
	Name  string `yaml:"name"`
	Optim inner  `yaml:"optim"`
}

func TestBadDocuments(t *testing.T) {
	tests := []struct{ name, doc, want string }{
		{"unknown key", "name: x\noptim:\n  wramup: 5\n", `a.yaml:3: unknown key "wramup" (did you mean "warmup"?)`},
		{"unknown, nothing near", "zzzzzz: 5\n", `a.yaml:1: unknown key "zzzzzz"`},
		{"fraction", "name: x\noptim:\n  weights: [1, 0.5]\n", "a.yaml: optim.weights[1]: 0.5 is not a whole number"},
		{"wrong type", "name: x\noptim:\n  lr: fast\n", `a.yaml:3: lr: "fast" is not a number`},
		{"not yaml", "name: [1, 2\n", `a.yaml:`},
		{"twice", "name: x\nname: y\n", `a.yaml:2:`},
		{"scalar for mapping", "optim: 5\n", `a.yaml:1:`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var v outer
			err := Decode("a.yaml", []byte(test.doc), &v)
			if err == nil {
				t.Fatalf("decoded to %+v, want an error", v)
			}
			if !strings.HasPrefix(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want one line that begins with %q", err, test.want)
			}
			if !fault.IsUser(err) {
				t.Error("not marked as the user's mistake")
			}
		})
	}
}

func TestMergeAndOverride(t *testing.T) {
	base, err := DecodeMap("base", []byte("name: base\noptim: {lr: 1, warmup: 5%, weights: [1, 2]}\n"), &outer{})
	if err != nil {
		t.Fatal(err)
	}
	over, err := DecodeMap("over", []byte("optim: {lr: 2, weights: [3]}\n"), &outer{})
	if err != nil {
		t.Fatal(err)
	}
	set, err := Override("name=set: me", &outer{})
	if err == nil {
		t.Errorf("a mapping was accepted for a string: %v", set)
	}
	set, err = Override("name='two words'", &outer{})
	if err != nil {
		t.Fatal(err)
	}
	var v outer
	if err := DecodeInto("merged", Merge(Merge(base, over), set), &v); err != nil {
		t.Fatal(err)
	}
	if v.Name != "two words" || v.Optim.LR != 2 || v.Optim.Warmup != "5%" || len(v.Optim.Weights) != 1 || v.Optim.Weights[0] != 3 {
		t.Errorf("merged to %+v", v)
	}
	for assignment, want := range map[string]string{
		"optim.lrr=1": `-set optim.lrr=1: unknown key "lrr" (did you mean "lr"?)`,
		"optim.lr":    "-set optim.lr: write path=value",
		"=1":          "-set =1: write path=value",
	} {
		if _, err := Override(assignment, &outer{}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", assignment, err, want)
		}
	}
}
