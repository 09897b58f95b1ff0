package strictyaml

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"tandem/internal/fault"
)

type inner struct {
	LR      float64            `yaml:"lr"`
	Warmup  string             `yaml:"warmup"`
	Weights []int              `yaml:"weights"`
	Seed    uint64             `yaml:"seed"`
	Small   int8               `yaml:"small"`
	Mean    [3]float64         `yaml:"mean"`
	Shares  map[string]float64 `yaml:"shares"`
	Wait    time.Duration      `yaml:"wait"`
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
		{"not a number", "optim: {lr: .nan}\n", "a.yaml: optim.lr: NaN is not a finite number"},
		{"not a number in letters", "optim: {lr: nan}\n", "a.yaml: optim.lr: NaN is not a finite number"},
		{"infinite", "optim: {shares: {a: -.inf}}\n", "a.yaml: optim.shares.a: -Inf is not a finite number"},
		{"beyond float64", "optim: {lr: 1e400}\n", "a.yaml: optim.lr: +Inf is not a finite number"},
		{"not a whole number", "optim: {weights: [.nan]}\n", "a.yaml: optim.weights[0]: NaN is not a whole number"},
		{"negative", "optim: {seed: -1}\n", "a.yaml: optim.seed: -1 must not be negative"},
		{"beyond int8", "optim: {small: 128}\n", "a.yaml: optim.small: 128 is out of range"},
		{"beyond int", "optim: {weights: [9223372036854775808]}\n", "a.yaml: optim.weights[0]: 9223372036854775808 is out of range"},
		{"beyond uint64", "optim: {seed: 1e30}\n", "a.yaml: optim.seed: 1e30 is out of range"},
		{"too few values", "optim: {mean: [1, 2]}\n", "a.yaml: optim.mean: has 2 values, wants 3"},
		{"too many values", "optim: {mean: [1, 2, 3, 4]}\n", "a.yaml: optim.mean: has 4 values, wants 3"},
		{"time without a unit", "optim: {wait: 30}\n", "a.yaml: optim.wait: 30 is not a time: write 90s"},
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

// TestNumbers: every number that a type holds is read as it stands.
func TestNumbers(t *testing.T) {
	const doc = "optim: {lr: 1e30, weights: [-9223372036854775808, 1e3, 0x10], seed: 18446744073709551615, small: -128, mean: [0, -1, .5], wait: 5m}\n"
	var got outer
	if err := Decode("a.yaml", []byte(doc), &got); err != nil {
		t.Fatal(err)
	}
	want := inner{LR: 1e30, Weights: []int{math.MinInt64, 1000, 16}, Seed: math.MaxUint64, Small: -128, Mean: [3]float64{0, -1, 0.5}, Wait: 5 * time.Minute}
	if !reflect.DeepEqual(got.Optim, want) {
		t.Errorf("read %+v, want %+v", got.Optim, want)
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
