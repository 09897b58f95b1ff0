package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"tandem/internal/npy"
)

// classList turns a NumPy vector of zeros and ones, one for each class, into a JSON list of the names that apply.
func classList(data []byte, names []string) (string, error) {
	a, err := npy.Read(bytes.NewReader(data))
	if err != nil {
		return "", fmt.Errorf(".npy: %w", err)
	}
	marks, err := marksOf(a)
	if err != nil {
		return "", fmt.Errorf(".npy: %w", err)
	}
	if len(names) > 0 && len(marks) != len(names) {
		return "", fmt.Errorf(".npy: %d marks for %d class names", len(marks), len(names))
	}
	apply := []string{}
	for i, on := range marks {
		switch {
		case on && len(names) > 0:
			apply = append(apply, names[i])
		case on:
			apply = append(apply, strconv.Itoa(i))
		}
	}
	list, err := json.Marshal(apply)
	return string(list), err
}

func marksOf(a npy.Array) ([]bool, error) {
	if v, err := npy.As[uint8](a); err == nil {
		return positive(v), nil
	}
	if v, err := npy.As[int32](a); err == nil {
		return positive(v), nil
	}
	if v, err := npy.As[float32](a); err == nil {
		return positive(v), nil
	}
	v, err := npy.As[int64](a)
	if err != nil {
		return nil, err
	}
	return positive(v), nil
}

func positive[T uint8 | int32 | int64 | float32](v []T) []bool {
	marks := make([]bool, len(v))
	for i, x := range v {
		marks[i] = x > 0
	}
	return marks
}
