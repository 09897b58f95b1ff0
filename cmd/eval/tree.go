package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// treeDifferences compares what a report says with what was measured again, both JSON: every value of both trees, each
// difference by its path ("classification.per_class[3].n: 12, the report says 11"). Numbers that differ by no more than the
// tolerance agree; everything else must be equal.
func treeDifferences(report, now []byte, tolerance float64) ([]string, error) {
	var trees [2]any
	for i, text := range [][]byte{report, now} {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		if err := decoder.Decode(&trees[i]); err != nil {
			return nil, err
		}
	}
	w := treeWalk{tolerance: tolerance}
	w.compare("", trees[0], trees[1])
	return w.lines, nil
}

// treeWalk collects differences.
type treeWalk struct {
	tolerance float64
	lines     []string
}

func (w *treeWalk) compare(path string, report, now any) {
	switch a := report.(type) {
	case map[string]any:
		if b, ok := now.(map[string]any); ok {
			w.objects(path, a, b)
			return
		}
	case []any:
		if b, ok := now.([]any); ok {
			w.arrays(path, a, b)
			return
		}
	case json.Number:
		if b, ok := now.(json.Number); ok && (a == b || near(a, b, w.tolerance)) {
			return
		}
	default:
		if report == now {
			return
		}
	}
	w.lines = append(w.lines, fmt.Sprintf("%s: %s, the report says %s", strings.TrimPrefix(path, "."), short(now), short(report)))
}

// near compares two numbers.
func near(a, b json.Number, tolerance float64) bool {
	x, errX := a.Float64()
	y, errY := b.Float64()
	return errX == nil && errY == nil && math.Abs(x-y) <= tolerance
}

func (w *treeWalk) objects(path string, report, now map[string]any) {
	keys := maps.Clone(report)
	maps.Copy(keys, now)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		at := path + "." + key
		a, inReport := report[key]
		b, inNow := now[key]
		switch {
		case !inReport:
			w.lines = append(w.lines, fmt.Sprintf("%s: %s, the report has none", at[1:], short(b)))
		case !inNow:
			w.lines = append(w.lines, fmt.Sprintf("%s: none, the report says %s", at[1:], short(a)))
		default:
			w.compare(at, a, b)
		}
	}
}

func (w *treeWalk) arrays(path string, report, now []any) {
	if len(report) != len(now) {
		w.lines = append(w.lines, fmt.Sprintf("%s: %d entries, the report has %d", strings.TrimPrefix(path, "."), len(now), len(report)))
	}
	for i := range min(len(report), len(now)) {
		w.compare(fmt.Sprintf("%s[%d]", path, i), report[i], now[i])
	}
}

// short writes a value in few characters.
func short(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	if runes := []rune(string(text)); len(runes) > 60 {
		return string(runes[:59]) + "…"
	}
	return string(text)
}
