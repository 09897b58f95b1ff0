package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// readTextSidecar takes every line of a .txt file that is not blank as a caption.
func readTextSidecar(r *Row, data []byte, _ *Options) error {
	for line := range strings.Lines(string(bytes.TrimPrefix(data, []byte("\ufeff")))) {
		if line = strings.TrimSpace(line); line != "" {
			r.Captions = append(r.Captions, line)
		}
	}
	return nil
}

// captionNames are the fields that hold captions, best first.
var captionNames = []string{"caption", "captions", "text", "texts", "sentences", "sentence", "title", "description", "alt", "alt_text", "prompt"}

// readJSONSidecar takes captions from the known fields of a .json file, and labels where asked for by name.
func readJSONSidecar(r *Row, data []byte, o *Options) error {
	if !utf8.Valid(data) {
		return skip(BadText, r.At, r.Key, errors.New("the .json beside the image is not UTF-8"))
	}
	fields, err := parseObject(data)
	if err != nil {
		return skip(BadRow, r.At, r.Key, fmt.Errorf("the .json beside the image: %w", err))
	}
	names := o.CaptionColumns
	if len(names) == 0 && len(r.Captions) == 0 {
		names = firstPresent(captionNames, fields)
	}
	for _, name := range names {
		texts, err := textsOf(fields[name])
		if err != nil {
			return skip(BadRow, r.At, r.Key, fmt.Errorf("field %q of the .json: %w", name, err))
		}
		r.Captions = append(r.Captions, texts...)
	}
	for _, name := range o.labelColumns() {
		if s, ok := scalar(fields[name]); ok {
			r.setLabel(name, s)
		}
	}
	return nil
}

func (r *Row) setLabel(name, value string) {
	if r.Labels == nil {
		r.Labels = map[string]string{}
	}
	r.Labels[name] = value
}

func firstPresent(names []string, fields map[string]any) []string {
	for _, name := range names {
		if _, ok := fields[name]; ok {
			return []string{name}
		}
	}
	return nil
}

// parseObject decodes one JSON object, keeping numbers as they are written.
func parseObject(data []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var fields map[string]any
	if err := dec.Decode(&fields); err != nil {
		return nil, err
	}
	if fields == nil {
		return nil, errors.New("null is not an object")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("text after the object")
	}
	return fields, nil
}

// textsOf reads captions: a string, a list of strings, or nothing.
func textsOf(v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		var texts []string
		for _, e := range v {
			t, err := textsOf(e)
			if err != nil {
				return nil, err
			}
			texts = append(texts, t...)
		}
		return texts, nil
	case map[string]any: // COCO's and Flickr's {"raw": "…"}
		if raw, ok := v["raw"]; ok {
			return textsOf(raw)
		}
	}
	return nil, fmt.Errorf("want text or a list of texts, got %s", kindOf(v))
}

func kindOf(v any) string {
	switch v.(type) {
	case json.Number:
		return "a number"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	default:
		return fmt.Sprintf("%T", v)
	}
}

// scalar renders a label's value; lists, objects and nulls have none.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	default:
		return "", false
	}
}
