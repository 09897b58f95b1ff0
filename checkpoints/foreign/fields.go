package foreign

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
)

// section is one object of a configuration file, read field by field. Every field must be read, be given with a value
// that changes nothing, or be named as one that concerns nobody here; done reports all others. A JSON null is an absent
// field, as it is for the peers.
type section struct {
	path   string
	values map[string]any
	used   map[string]bool
	faults *[]string // shared by all sections of a file
}

// parseFields reads a file's object. name stands before the fields in messages.
func parseFields(name string, data []byte) (*section, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	values := map[string]any{}
	if err := dec.Decode(&values); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("%s: more than one JSON value", name)
	}
	return &section{path: name, values: values, used: map[string]bool{}, faults: new([]string)}, nil
}

func (s *section) fault(key, format string, args ...any) {
	*s.faults = append(*s.faults, fmt.Sprintf("%s.%s %s", s.path, key, fmt.Sprintf(format, args...)))
}

// err is what was wrong with the whole file, in one line.
func (s *section) err() error {
	if len(*s.faults) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(*s.faults, "; "))
}

// get returns a field's value, nil if it is absent.
func (s *section) get(key string) any {
	s.used[key] = true
	return s.values[key]
}

func (s *section) has(key string) bool { return s.values[key] != nil }

// sub is an object within s; an absent one is empty.
func (s *section) sub(key string) *section {
	child := &section{path: s.path + "." + key, values: map[string]any{}, used: map[string]bool{}, faults: s.faults}
	switch value := s.get(key).(type) {
	case nil:
	case map[string]any:
		child.values = value
	default:
		s.fault(key, "must be an object")
	}
	return child
}

func (s *section) number(key string, absent float64) float64 {
	switch value := s.get(key).(type) {
	case nil:
		return absent
	case json.Number:
		if x, err := value.Float64(); err == nil && !math.IsInf(x, 0) {
			return x
		}
	}
	s.fault(key, "must be a number, not %s", brief(s.values[key]))
	return absent
}

// maxSize bounds every whole number of a configuration: products of a few of them still fit.
const maxSize = 1 << 24

func (s *section) integer(key string, absent int) int {
	x := s.number(key, float64(absent))
	if x != math.Trunc(x) || math.Abs(x) > maxSize {
		s.fault(key, "must be a whole number, not %s", brief(s.values[key]))
		return absent
	}
	return int(x)
}

func (s *section) flag(key string, absent bool) bool {
	switch value := s.get(key).(type) {
	case nil:
		return absent
	case bool:
		return value
	}
	s.fault(key, "must be true or false, not %s", brief(s.values[key]))
	return absent
}

func (s *section) text(key, absent string) string {
	switch value := s.get(key).(type) {
	case nil:
		return absent
	case string:
		return value
	}
	s.fault(key, "must be a string, not %s", brief(s.values[key]))
	return absent
}

// square is a side length, given as one number or as two equal ones.
func (s *section) square(key string, absent int) int {
	list, isList := s.values[key].([]any)
	if !isList {
		return s.integer(key, absent)
	}
	s.used[key] = true
	if len(list) == 2 && reflect.DeepEqual(list[0], list[1]) {
		if n, ok := list[0].(json.Number); ok {
			if x, err := n.Int64(); err == nil && x > 0 && x <= maxSize {
				return int(x)
			}
		}
	}
	s.fault(key, "must be a number or two equal ones, not %s", brief(s.values[key]))
	return absent
}

// numbers is a list of exactly n numbers; nil if it is absent.
func (s *section) numbers(key string, n int) []float64 {
	value := s.get(key)
	if value == nil {
		return nil
	}
	list, ok := value.([]any)
	var out []float64
	for _, element := range list {
		number, isNumber := element.(json.Number)
		x, err := number.Float64()
		ok = ok && isNumber && err == nil
		out = append(out, x)
	}
	if !ok || len(out) != n {
		s.fault(key, "must be %d numbers, not %s", n, brief(value))
		return nil
	}
	return out
}

// integers is a list of exactly n whole numbers; nil if it is absent.
func (s *section) integers(key string, n int) []int {
	var out []int
	for _, x := range s.numbers(key, n) {
		if x != math.Trunc(x) || math.Abs(x) > maxSize {
			s.fault(key, "must be whole numbers, not %s", brief(s.values[key]))
			return nil
		}
		out = append(out, int(x))
	}
	return out
}

// only accepts an absent field or one of the given values, which mean what is done anyway.
func (s *section) only(key string, allowed ...any) {
	value := s.get(key)
	if value == nil {
		return
	}
	for _, a := range allowed {
		if reflect.DeepEqual(plain(value), plain(a)) {
			return
		}
	}
	s.fault(key, "= %s is not implemented", brief(value))
}

// ignore names fields that do not concern what a model computes.
func (s *section) ignore(keys ...string) {
	for _, key := range keys {
		s.used[key] = true
	}
}

// done reports every field that nothing has read.
func (s *section) done() {
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		if !s.used[key] && s.values[key] != nil {
			s.fault(key, "is not implemented")
		}
	}
}

// plain makes values comparable: all numbers are float64.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		x, err := v.Float64()
		if err != nil {
			return v
		}
		return x
	case int:
		return float64(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	default:
		return v
	}
}

// brief shows a value in a message.
func brief(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if len(text) > 60 {
		return string(text[:57]) + "..."
	}
	return string(text)
}
