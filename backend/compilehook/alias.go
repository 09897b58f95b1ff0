package compilehook

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
)

var (
	aliasesMu sync.Mutex
	aliases   = map[string]map[int]int{} // by module name: parameter → output
	aliased   int64
)

// Aliased is the number of buffers that compiled programs reuse so far.
func Aliased() int64 {
	aliasesMu.Lock()
	defer aliasesMu.Unlock()
	return aliased
}

// Alias declares for the program that is about to be compiled under the name of a StableHLO module which outputs may take
// the place of which parameters. The declaration serves once.
func Alias(module string, outputs map[int]int) {
	aliasesMu.Lock()
	defer aliasesMu.Unlock()
	aliases[module] = outputs
}

func takeAliases(module string) map[int]int {
	aliasesMu.Lock()
	defer aliasesMu.Unlock()
	outputs := aliases[module]
	delete(aliases, module)
	return outputs
}

// withAliases writes the declared aliases into a program's text; nil if there are none or the text is not as expected.
func withAliases(program []byte) []byte {
	outputs := takeAliases(moduleName(program))
	if len(outputs) == 0 {
		return nil
	}
	_, head, found := bytes.Cut(program, []byte("func.func @main("))
	if !found {
		return nil
	}
	from := len(program) - len(head)
	parameters, size := list(head)
	if _, rest, _ := strings.Cut(string(head[size:min(len(head), size+16)]), "("); rest == "" {
		return nil // one result, written without brackets
	}
	open := from + size + bytes.IndexByte(head[size:], '(')
	results, _ := list(program[open+1:])
	count := int64(0)
	for parameter, output := range outputs {
		if parameter >= len(parameters) || output >= len(results) || tensorType(parameters[parameter]) != tensorType(results[output]) {
			continue
		}
		count++
		parameters[parameter] = withAttribute(parameters[parameter], fmt.Sprintf("tf.aliasing_output = %d : i32", output))
	}
	aliasesMu.Lock()
	aliased += count
	aliasesMu.Unlock()
	return bytes.Join([][]byte{program[:from], []byte(strings.Join(parameters, ",")), program[from+size-1:]}, nil)
}

// moduleName is the name after "module @".
func moduleName(program []byte) string {
	rest, found := bytes.CutPrefix(program, []byte("module @"))
	if !found {
		return ""
	}
	end := bytes.IndexAny(rest, " {")
	return string(rest[:max(0, end)])
}

// list splits text up to the bracket that closes it at the commas outside of all brackets and strings. size includes that
// bracket.
func list(text []byte) (items []string, size int) {
	depth, start, quoted := 0, 0, false
	for i, c := range text {
		switch {
		case c == '"':
			quoted = !quoted
		case quoted:
		case strings.IndexByte("([{<", c) >= 0:
			depth++
		case c == ')' && depth == 0:
			return append(items, string(text[start:i])), i + 1
		case c == '>' && i > 0 && text[i-1] == '-': // an arrow
		case strings.IndexByte(")]}>", c) >= 0:
			depth--
		case c == ',' && depth == 0:
			items, start = append(items, string(text[start:i])), i+1
		}
	}
	return nil, 0
}

// tensorType is the type in an item such as "%x: tensor<2x3xf32> {…}".
func tensorType(item string) string {
	_, rest, found := strings.Cut(item, "tensor<")
	if !found {
		return item
	}
	element, _, _ := strings.Cut(rest, ">")
	return element
}

// withAttribute adds an attribute to a parameter, which may have some in braces already.
func withAttribute(parameter, attribute string) string {
	parameter = strings.TrimRight(parameter, " \n")
	if before, inside, found := strings.Cut(parameter, "{"); found {
		return before + "{" + attribute + ", " + strings.TrimLeft(inside, " ")
	}
	return parameter + " {" + attribute + "}"
}
