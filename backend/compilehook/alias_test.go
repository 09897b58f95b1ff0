package compilehook

import (
	"strings"
	"testing"
)

func TestWithAliases(t *testing.T) {
	const program = `module @step_1 {
  func.func @main(%x: tensor<2x3xf32>, %w: tensor<4xf32> { sdy.sharding = #sdy.sharding<@mesh, [{"a,b"}]> }, %n: tensor<f32>) -> (tensor<4xf32>, tensor<2x3xf32>, tensor<i32>) {
    "stablehlo.return"(%w, %x, %n) : (tensor<4xf32>, tensor<2x3xf32>, tensor<i32>) -> ()
  }
}
`
	tests := []struct {
		name, program string
		outputs       map[int]int
		want          string // the parameters; "" for no change
	}{
		{"two", program, map[int]int{0: 1, 1: 0}, `%x: tensor<2x3xf32> {tf.aliasing_output = 1 : i32}, ` +
			`%w: tensor<4xf32> {tf.aliasing_output = 0 : i32, sdy.sharding = #sdy.sharding<@mesh, [{"a,b"}]> }, %n: tensor<f32>)`},
		{"types differ", program, map[int]int{2: 2, 0: 1}, `%x: tensor<2x3xf32> {tf.aliasing_output = 1 : i32}, ` +
			`%w: tensor<4xf32> { sdy.sharding = #sdy.sharding<@mesh, [{"a,b"}]> }, %n: tensor<f32>)`},
		{"none declared", program, nil, ""},
		{"out of range", program, map[int]int{7: 0, 0: 9}, "%x: tensor<2x3xf32>, %w"},
		{"one result", "module @step_1 {\n func.func @main(%x: tensor<f32>) -> tensor<f32> {\n}}", map[int]int{0: 0}, ""},
		{"another text", "not a program", map[int]int{0: 0}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			Alias("step_1", test.outputs)
			defer takeAliases("step_1")
			got := string(withAliases([]byte(test.program)))
			if test.want == "" {
				if got != "" {
					t.Errorf("changed to %s", got)
				}
				return
			}
			before, body, _ := strings.Cut(got, "@main(")
			if !strings.HasPrefix(body, test.want) {
				t.Errorf("got %s", body)
			}
			_, result, _ := strings.Cut(test.program, " -> (")
			if !strings.HasSuffix(got, " -> ("+result) || before != "module @step_1 {\n  func.func " {
				t.Errorf("the rest changed: %s", got)
			}
		})
	}
}
