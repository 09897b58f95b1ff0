package fault

import (
	"encoding/json"
	"errors"
	"fmt"
)

// JSON says what is wrong with a JSON file in words of the file, not of the program that reads it.
func JSON(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrong.Field == "" {
			return fmt.Errorf("it holds a JSON %s where an object is wanted", wrong.Value)
		}
		return fmt.Errorf("%s is a JSON %s, which cannot be", wrong.Field, wrong.Value)
	}
	if bad, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("no JSON at byte %d: %w", bad.Offset, err)
	}
	return err
}
