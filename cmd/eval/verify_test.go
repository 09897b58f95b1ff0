package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/eval"
)

// verifiable is a small report, as its file holds it.
const verifiable = `{
  "title": "t", "manifest": {"checkpoint": "c", "model": "m", "seed": 0, "doubt": true, "versions": {"go": "go1"}},
  "results": [{
    "task": {"name": "birds", "kind": "classification", "data": "d", "label": "species"},
    "inputs": {"hash": "h", "data": "d", "examples": 40, "config": "c"},
    "classification": {
      "classes": ["robin", "tit"],
      "metrics": {"acc1": {"value": 0.75, "low": 0.6, "high": 0.86, "n": 40}},
      "per_class": [{"name": "robin", "n": 20, "correct": 15, "predicted": 20}, {"name": "tit", "n": 20, "correct": 15, "predicted": 20}],
      "confusion": [[15, 5], [5, 15]], "skipped": {},
      "groups": [{"column": "g", "groups": [{"name": "x", "accuracy": {"value": 0.5, "low": 0.3, "high": 0.7, "n": 20}, "mean_per_class_recall": 0.5, "error": 0.5}],
        "compared": 1, "gap": {"value": 0, "low": 0, "high": 0, "n": 0}, "missing": 0, "rest": 0}]
    }
  }]
}`

// verifyAgainst compares a changed report's file with the unchanged one.
func verifyAgainst(t *testing.T, report string, tolerance float64) (string, error) {
	t.Helper()
	old, fresh := parsed(t, report), parsed(t, verifiable)
	path := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(path, []byte(report), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	v := verification{path: path, tolerance: tolerance}
	err := v.agree(&old, &fresh, &out)
	return out.String(), err
}

// TestVerifyNamesEachDifference: whatever was changed in a report, a group's number, a count, a word, something that no
// result has, is named by its path, at any tolerance that it exceeds.
func TestVerifyNamesEachDifference(t *testing.T) {
	written, err := json.Marshal(parsed(t, verifiable))
	if err != nil {
		t.Fatal(err)
	}
	canonical := string(written)
	for _, test := range []struct{ from, to, want string }{
		{`"mean_per_class_recall":0.5`, `"mean_per_class_recall":0.52`, "classification.groups[0].groups[0].mean_per_class_recall: 0.5, the report says 0.52"},
		{`"correct":15,"predicted":20},{`, `"correct":16,"predicted":20},{`, "classification.per_class[0].correct: 15, the report says 16"},
		{`[5,15]]`, `[4,15]]`, "classification.confusion[1][0]: 5, the report says 4"},
		{`"high":0.86,"n":40`, `"high":0.86,"n":39`, "classification.metrics.acc1.n: 40, the report says 39"},
		{`"low":0.6,`, `"low":0.61,`, "classification.metrics.acc1.low: 0.6, the report says 0.61"},
		{`["robin","tit"]`, `["robin"]`, "classification.classes: 2 entries, the report has 1"},
		{`"skipped":{}`, `"skipped":{"no label":3}`, "classification.skipped.no label: none, the report says 3"},
		{`"missing":0,`, ``, "classification.groups[0].missing: 0, the report has none"},
		{`"classification":{"classes"`, `"classification":{"proven":true,"classes"`, "classification.proven: none, the report says true"},
		{`"name":"x"`, `"name":"y"`, `classification.groups[0].groups[0].name: "x", the report says "y"`},
	} {
		changed := strings.Replace(canonical, test.from, test.to, 1)
		if changed == canonical {
			t.Fatalf("%s is not in %s", test.from, canonical)
		}
		for _, tolerance := range []float64{0, 0.001} {
			out, err := verifyAgainst(t, changed, tolerance)
			if want := "birds: DIFFERS: 1 value\n  " + test.want + "\n"; err == nil || out != want {
				t.Errorf("within %g: %q (%v), want %q", tolerance, out, err, want)
			}
		}
	}
}

func parsed(t *testing.T, text string) eval.Report {
	t.Helper()
	var r eval.Report
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestVerifyTolerance: numbers may differ by as much as was asked for, wherever they stand.
func TestVerifyTolerance(t *testing.T) {
	if out, err := verifyAgainst(t, verifiable, 0); err != nil || !strings.HasPrefix(out, "birds: the same") {
		t.Errorf("%q, %v", out, err)
	}
	changed := strings.Replace(strings.Replace(verifiable, `"value": 0.75`, `"value": 0.7504`, 1), `"error": 0.5`, `"error": 0.4997`, 1)
	if out, err := verifyAgainst(t, changed, 0.001); err != nil || out != "birds: the same within 0.001\n" {
		t.Errorf("%q, %v", out, err)
	}
	out, err := verifyAgainst(t, changed, 0.00035)
	if err == nil || !strings.Contains(out, "metrics.acc1.value: 0.75, the report says 0.7504") || strings.Contains(out, "error") {
		t.Errorf("%q, %v", out, err)
	}
}
