// Package strictyaml decodes YAML into structs without mercy: an unknown key is an error that names file, line and the
// nearest known key. Documents may be laid over one another.
package strictyaml

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/token"

	"tandem/internal/fault"
)

// Map is a decoded mapping.
type Map = map[string]any

// Decode decodes a document into the struct v points to. name is for messages: a file's path, "-set lr=1".
func Decode(name string, data []byte, v any) (err error) {
	defer func() {
		if r := recover(); r != nil { // of the decoder, over a document that it did not expect
			err = fault.Userf("%s: cannot be read: %v", name, r)
		}
	}()
	var tree any
	if err := yaml.Unmarshal(data, &tree); err != nil {
		return explain(name, err, v)
	}
	if err := checkNumbers("", tree, reflect.TypeOf(v)); err != nil {
		return fault.Userf("%s: %w", name, err)
	}
	if err := yaml.UnmarshalWithOptions(data, v, yaml.Strict()); err != nil {
		return explain(name, err, v)
	}
	return nil
}

// DecodeMap decodes a document to a Map, after checking it strictly against the struct type that shape points to.
func DecodeMap(name string, data []byte, shape any) (Map, error) {
	fresh := reflect.New(reflect.TypeOf(shape).Elem()).Interface()
	if err := Decode(name, data, fresh); err != nil {
		return nil, err
	}
	m := Map{}
	if err := yaml.Unmarshal(data, &m); err != nil {
		return nil, explain(name, err, shape)
	}
	return m, nil
}

// DecodeInto decodes a Map into the struct v points to.
func DecodeInto(name string, m Map, v any) error {
	data, err := yaml.Marshal(m)
	if err != nil {
		return err
	}
	return Decode(name, data, v)
}

// Merge lays over on base: mappings are merged key by key, everything else is replaced.
func Merge(base, over Map) Map {
	merged := Map{}
	for k, v := range base {
		merged[k] = v
	}
	for k, v := range over {
		below, isMap := merged[k].(Map)
		above, alsoMap := v.(Map)
		if isMap && alsoMap {
			merged[k] = Merge(below, above)
		} else {
			merged[k] = v
		}
	}
	return merged
}

// Override is the Map that "path.to.key=value" stands for; the value is read as YAML.
func Override(assignment string, shape any) (Map, error) {
	path, text, ok := strings.Cut(assignment, "=")
	if !ok || path == "" {
		return nil, fault.Userf("-set %s: write path=value, for example optim.lr=1e-3", assignment)
	}
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		return nil, fault.Userf("-set %s: the value is not YAML: %s", assignment, firstLine(err))
	}
	keys := strings.Split(path, ".")
	var node any = value
	for _, key := range slices.Backward(keys) {
		node = Map{key: node}
	}
	m := node.(Map)
	fresh := reflect.New(reflect.TypeOf(shape).Elem()).Interface()
	if err := DecodeInto("-set "+assignment, m, fresh); err != nil {
		return nil, err
	}
	return m, nil
}

// explain turns a decoder's error into one line with the place and, for an unknown key, the nearest known one.
func explain(name string, err error, v any) error {
	var unknown *yaml.UnknownFieldError
	if errors.As(err, &unknown) {
		token := unknown.GetToken()
		message := fmt.Sprintf("%s: unknown key %q", place(name, token.Position.Line), token.Value)
		if near := nearest(token.Value, Keys(reflect.TypeOf(v))); near != "" {
			message += fmt.Sprintf(" (did you mean %q?)", near)
		}
		return fault.Userf("%s", message)
	}
	var mismatch *yaml.TypeError
	if errors.As(err, &mismatch) && mismatch.Token != nil {
		return fault.Userf("%s: %s%q is not %s", place(name, mismatch.Token.Position.Line), keyOf(mismatch.Token), mismatch.Token.Value, wanted(mismatch.DstType))
	}
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		return fault.Userf("%s: %s", place(name, at.GetToken().Position.Line), at.GetMessage())
	}
	return fault.Userf("%s: %s", name, firstLine(err))
}

// keyOf is the key that a value's token belongs to, as "key: ", or "" if the value stands elsewhere.
func keyOf(value *token.Token) string {
	if colon := value.Prev; colon != nil && colon.Type == token.MappingValueType && colon.Prev != nil {
		return colon.Prev.Value + ": "
	}
	return ""
}

// wanted says in plain words what a type takes.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "a group of keys"
	case reflect.String:
		return "text"
	}
	return "a whole number"
}

// place is file and line; a flag's value has no lines.
func place(name string, line int) string {
	if strings.HasPrefix(name, "-") {
		return name
	}
	return fmt.Sprintf("%s:%d", name, line)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// Keys lists every key that a struct type and the structs inside it know.
func Keys(t reflect.Type) []string {
	seen := map[reflect.Type]bool{}
	keys := map[string]bool{}
	collectKeys(t, seen, keys)
	var list []string
	for k := range keys {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

func collectKeys(t reflect.Type, seen map[reflect.Type]bool, keys map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		collectKeys(t.Elem(), seen, keys)
	case reflect.Struct:
		if seen[t] {
			return
		}
		seen[t] = true
		for i := range t.NumField() {
			field := t.Field(i)
			if !field.IsExported() {
				continue
			}
			if key, _, _ := strings.Cut(field.Tag.Get("yaml"), ","); key != "" && key != "-" {
				keys[key] = true
			}
			collectKeys(field.Type, seen, keys)
		}
	}
}

// nearest is the candidate with the smallest edit distance, or "" if none is near. A word cut short or continued is as near
// as one wrong letter.
func nearest(word string, candidates []string) string {
	best, bestDistance := "", 1+len(word)/2
	for _, c := range candidates {
		d := editDistance(word, c)
		if len(c) > 1 && (strings.HasPrefix(word, c) || strings.HasPrefix(c, word)) {
			d = min(d, 1)
		}
		if d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
