package fault

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestJSON(t *testing.T) {
	for text, want := range map[string]string{
		"[]": "it holds a JSON array where an object is wanted", `{"threshold": "x"}`: "threshold is a JSON string, which cannot be",
		`{"threshold":`: "no JSON at byte 13: unexpected end of JSON input", "": "no JSON at byte 0: unexpected end of JSON input",
	} {
		var rule struct{ Threshold float64 }
		err := json.Unmarshal([]byte(text), &rule)
		if got := JSON(err); got == nil || !strings.EqualFold(got.Error(), want) {
			t.Errorf("%q: %v, want %s", text, got, want)
		}
	}
}
