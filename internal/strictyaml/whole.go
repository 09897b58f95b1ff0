package strictyaml

import (
	"fmt"
	"math"
	"reflect"
	"strings"
)

// checkWhole finds fractions where a type takes whole numbers: the decoder would cut them off. The error begins with the
// path of the key.
func checkWhole(path string, value any, t reflect.Type) error {
	if _, own := reflect.PointerTo(t).MethodByName("UnmarshalYAML"); own {
		return nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		return checkWhole(path, value, t.Elem())
	case reflect.Slice, reflect.Array:
		list, _ := value.([]any)
		for i, element := range list {
			if err := checkWhole(fmt.Sprintf("%s[%d]", path, i), element, t.Elem()); err != nil {
				return err
			}
		}
	case reflect.Struct:
		return checkWholeFields(path, value, t)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if f, ok := value.(float64); ok && f != math.Trunc(f) {
			return fmt.Errorf("%s: %v is not a whole number", path, f)
		}
	}
	return nil
}

func checkWholeFields(path string, value any, t reflect.Type) error {
	m, _ := value.(Map)
	for i := range t.NumField() {
		field := t.Field(i)
		key, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		var err error
		if strings.Contains(options, "inline") {
			err = checkWholeFields(path, value, field.Type)
		} else if v, ok := m[key]; ok && key != "" {
			err = checkWhole(strings.TrimPrefix(path+"."+key, "."), v, field.Type)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
