package strictyaml

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// checkNumbers finds numbers that the decoder would not take as they stand: fractions where a type takes whole numbers, which
// it would cut off, what is outside the type's range, what is not finite, and lists of another length than an array's. It also
// finds texts that a type cannot read. The error begins with the path of the key.
func checkNumbers(path string, value any, t reflect.Type) error {
	if _, own := reflect.PointerTo(t).MethodByName("UnmarshalYAML"); own {
		return nil
	}
	if t == reflect.TypeFor[time.Duration]() {
		return checkTime(path, value)
	}
	if text, own := reflect.New(t).Interface().(encoding.TextUnmarshaler); own && value != nil {
		if err := text.UnmarshalText(fmt.Append(nil, value)); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		return checkNumbers(path, value, t.Elem())
	case reflect.Slice, reflect.Array:
		return checkElements(path, value, t)
	case reflect.Map:
		m, _ := value.(Map)
		for key, element := range m {
			if err := checkNumbers(path+"."+key, element, t.Elem()); err != nil {
				return err
			}
		}
	case reflect.Struct:
		return checkFields(path, value, t)
	case reflect.Float32, reflect.Float64:
		if f, ok := number(value); ok && !(math.Abs(f) <= math.MaxFloat64) {
			return fmt.Errorf("%s: %v is not a finite number", path, f)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return checkWhole(path, value, t)
	}
	return nil
}

func checkTime(path string, value any) error {
	text, ok := value.(string)
	if _, err := time.ParseDuration(text); value != nil && (!ok || err != nil) {
		return fmt.Errorf("%s: %v is not a time: write 90s or 5m, for example", path, value)
	}
	return nil
}

func checkElements(path string, value any, t reflect.Type) error {
	list, ok := value.([]any)
	if ok && t.Kind() == reflect.Array && len(list) != t.Len() {
		return fmt.Errorf("%s: has %d values, wants %d", path, len(list), t.Len())
	}
	for i, element := range list {
		if err := checkNumbers(fmt.Sprintf("%s[%d]", path, i), element, t.Elem()); err != nil {
			return err
		}
	}
	return nil
}

func checkFields(path string, value any, t reflect.Type) error {
	m, _ := value.(Map)
	for i := range t.NumField() {
		field := t.Field(i)
		key, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		var err error
		if strings.Contains(options, "inline") {
			err = checkFields(path, value, field.Type)
		} else if v, ok := m[key]; ok && key != "" {
			err = checkNumbers(strings.TrimPrefix(path+"."+key, "."), v, field.Type)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkWhole wants what fits an integer type t.
func checkWhole(path string, value any, t reflect.Type) error {
	f, ok := number(value)
	if !ok {
		return nil
	}
	if f != math.Trunc(f) {
		return fmt.Errorf("%s: %v is not a whole number", path, value)
	}
	zero, fits := reflect.Zero(t), true
	switch v := value.(type) {
	case uint64:
		fits = zero.CanUint() && !zero.OverflowUint(v) || zero.CanInt() && v <= math.MaxInt64 && !zero.OverflowInt(int64(v))
	case int64:
		fits = zero.CanInt() && !zero.OverflowInt(v) || zero.CanUint() && v >= 0 && !zero.OverflowUint(uint64(v))
	default: // beyond 2⁶³ no float64 is exact anyway
		fits = math.Abs(f) < 1<<63 && (zero.CanInt() && !zero.OverflowInt(int64(f)) || zero.CanUint() && f >= 0 && !zero.OverflowUint(uint64(f)))
	}
	switch {
	case fits:
		return nil
	case zero.CanUint() && f < 0:
		return fmt.Errorf("%s: %v must not be negative", path, value)
	}
	return fmt.Errorf("%s: %v is out of range", path, value)
}

// number is a decoded number as a float64. What looks like none to the decoder, 1e30 or NaN, is a string that it reads as a
// number where the type is one.
func number(value any) (f float64, ok bool) {
	switch v := value.(type) {
	case string:
		f, err := strconv.ParseFloat(v, 64)
		return f, err == nil || errors.Is(err, strconv.ErrRange)
	case float64:
		return v, true
	case uint64:
		return float64(v), true
	case int64:
		return float64(v), true
	}
	return 0, false
}
