package embed

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tandem/internal/fault"
	"tandem/internal/zeroshot"
)

// writeRule saves a rule and returns the option that obeys it.
func writeRule(t *testing.T, r zeroshot.Rule) ClassifyOption {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rule.json")
	if err := zeroshot.WriteRule(path, r); err != nil {
		t.Fatal(err)
	}
	option, err := WithRule(path)
	if err != nil {
		t.Fatal(err)
	}
	return option
}

// TestWithRule: the rule decides what is known, its scale makes the probabilities, its templates the prompts, its words
// stand for the classes, and its sets say what is possible.
func TestWithRule(t *testing.T) {
	m, labels := mustLoad(t, "testdata/hf"), []string{"cat", "dog", "astronaut"}
	plain, err := m.Classify(t.Context(), picture(t), labels, WithTemplates("a {}"))
	if err != nil {
		t.Fatal(err)
	}
	best := plain[0].Similarity
	rule := zeroshot.Rule{Score: zeroshot.BySimilarity, Threshold: best - 1e-4, Scale: 7, Templates: []string{"a {}"}}
	known, err := m.Classify(t.Context(), picture(t), labels, writeRule(t, rule))
	if err != nil {
		t.Fatal(err)
	}
	var sims []float64
	for _, p := range known {
		sims = append(sims, p.Similarity)
	}
	for i, p := range zeroshot.Softmax(sims, 7) {
		if !known[i].Known || known[i].Possible || known[i].Label != plain[i].Label || math.Abs(known[i].Probability-p) > 1e-6 || math.Abs(known[i].Similarity-plain[i].Similarity) > 1e-6 {
			t.Errorf("answer %d is %+v, want %+v at scale 7, known", i, known[i], plain[i])
		}
	}
	rule.Threshold = best + 1e-4
	rule.Conformal = &zeroshot.Conformal{Method: zeroshot.LAC, Alpha: 0.1, Quantile: 1 - known[1].Probability + 1e-6}
	unknown, err := m.Classify(t.Context(), picture(t), labels, writeRule(t, rule))
	if err != nil {
		t.Fatal(err)
	}
	var possible []bool
	for _, p := range unknown {
		possible = append(possible, p.Possible)
		if p.Known {
			t.Errorf("known below the threshold: %+v", p)
		}
	}
	if !slices.Equal(possible, []bool{true, true, false}) {
		t.Errorf("possible: %v, want the first two", possible)
	}
}

// TestRuleBringsLabels: without labels the rule's classes are asked for; without either there is nothing to ask.
func TestRuleBringsLabels(t *testing.T) {
	m := mustLoad(t, "testdata/hf")
	rule := zeroshot.Rule{Score: zeroshot.ByMargin, Threshold: -1, Scale: 10, Classes: []zeroshot.Class{{Name: "cat", Words: []string{"kitten"}}, {Name: "dog"}}}
	given, err := m.Classify(t.Context(), picture(t), []string{"cat", "dog"}, writeRule(t, rule))
	if err != nil {
		t.Fatal(err)
	}
	brought, err := m.Classify(t.Context(), picture(t), nil, writeRule(t, rule))
	if err != nil || !slices.Equal(brought, given) {
		t.Errorf("the rule's own labels: %+v (%v), want %+v", brought, err, given)
	}
	rule.Classes = nil
	if _, err := m.Classify(t.Context(), picture(t), nil, writeRule(t, rule)); !fault.IsUser(err) {
		t.Errorf("a rule without classes and no labels: %v", err)
	}
	if _, err := m.Classify(t.Context(), picture(t), []string{}, writeRule(t, rule)); !fault.IsUser(err) {
		t.Errorf("an empty list: %v", err)
	}
}

// TestRuleAndOtherOptions: templates of the caller win; a minimum similarity holds beside the rule; words of the rule's
// classes are asked for.
func TestRuleAndOtherOptions(t *testing.T) {
	m := mustLoad(t, "testdata/hf")
	rule := zeroshot.Rule{Score: zeroshot.ByMargin, Threshold: -1, Scale: 10, Templates: []string{"a {}"}, Classes: []zeroshot.Class{{Name: "cat", Words: []string{"kitten"}}}}
	with := writeRule(t, rule)
	similarity := func(label string, opts ...ClassifyOption) float64 {
		t.Helper()
		answers, err := m.Classify(t.Context(), picture(t), []string{label, "dog"}, opts...)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(answers, func(p Prediction) bool { return p.Label == label })
		return answers[i].Similarity
	}
	if got, want := similarity("cat", with), similarity("kitten", WithTemplates("a {}")); math.Abs(got-want) > 1e-6 {
		t.Errorf("the rule's word has similarity %g, %g alone", got, want)
	}
	if got, want := similarity("cat", with, WithTemplates("{} twice")), similarity("kitten", WithTemplates("{} twice")); math.Abs(got-want) > 1e-6 {
		t.Errorf("the caller's template has similarity %g, want %g", got, want)
	}
	answers, err := m.Classify(t.Context(), picture(t), []string{"cat", "dog"}, with, WithMinSimilarity(0.999))
	if err != nil || answers[0].Known {
		t.Errorf("known below the minimum similarity: %+v (%v)", answers, err)
	}
}

// TestRuleOfAnotherModel: a rule that names another model is refused; one that names this one, with or without the backend
// that an evaluation puts behind it, and one that names none are obeyed.
func TestRuleOfAnotherModel(t *testing.T) {
	m := mustLoad(t, "testdata/hf")
	own, err := m.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	other, err := mustLoad(t, "testdata/open_clip").Fingerprint()
	if err != nil || other == own || len(own) != 64 {
		t.Fatalf("fingerprints %q and %q, %v", own, other, err)
	}
	for model, want := range map[string]string{
		"": "", own: "", own + " xla:cpu (PJRT API 0.1, plugin 12)": "", own + "0": "was fitted to another model", own[:20]: "was fitted to another model",
		other: "rule.json was fitted to another model (" + other[:12] + ", this is " + own[:12] + "): evaluate this one to get its rule",
	} {
		option := writeRule(t, zeroshot.Rule{Score: zeroshot.ByMargin, Scale: 10, Model: model})
		_, err := m.Classify(t.Context(), picture(t), []string{"cat", "dog"}, option)
		if (err == nil) != (want == "") || err != nil && (!fault.IsUser(err) || !strings.Contains(err.Error(), want)) {
			t.Errorf("a rule of %q: error %v, want %q", model, err, want)
		}
	}
}

func TestBadRules(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"not a rule": "[]", "format \"\"": "{}", "score \"luck\"": `{"format": "tandem-rule", "version": 1, "score": "luck", "scale": 1}`,
		"the scale above 0": `{"format": "tandem-rule", "version": 1, "score": "margin", "scale": 0}`, "version 9": `{"format": "tandem-rule", "version": 9}`,
	} {
		path := filepath.Join(dir, "rule.json")
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := WithRule(path); err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %q", content, err, name)
		}
	}
	if _, err := WithRule(filepath.Join(dir, "missing.json")); err == nil || !fault.IsUser(err) {
		t.Errorf("a missing file: error %v", err)
	}
}
