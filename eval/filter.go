package eval

import (
	"context"
	"fmt"
	"iter"
	"slices"
)

// Subset names some examples: of which data and split (empty: the task's own), and which of them.
type Subset struct {
	Data  string `yaml:"data,omitempty" json:"data,omitempty"`
	Split string `yaml:"split,omitempty" json:"split,omitempty"`
	// Where keeps the examples whose metadata columns have these values; Except drops those whose column has one of
	// them, Only keeps these alone.
	Where  map[string]string   `yaml:"where,omitempty" json:"where,omitempty"`
	Only   map[string][]string `yaml:"only,omitempty" json:"only,omitempty"`
	Except map[string][]string `yaml:"except,omitempty" json:"except,omitempty"`
}

// filters reports whether some examples may be left out.
func (s Subset) filters() bool { return len(s.Where)+len(s.Only)+len(s.Except) > 0 }

func (s Subset) wants(e Example) bool {
	for column, value := range s.Where {
		if e.Labels[column] != value {
			return false
		}
	}
	for column, values := range s.Only {
		if !slices.Contains(values, e.Labels[column]) {
			return false
		}
	}
	for column, values := range s.Except {
		if slices.Contains(values, e.Labels[column]) {
			return false
		}
	}
	return true
}

// key is a text that differs where the choice of examples does.
func (s Subset) key() string {
	text := ""
	for _, column := range sortedKeys(s.Where) {
		text += fmt.Sprintf("where %q=%q;", column, s.Where[column])
	}
	for _, column := range sortedKeys(s.Only) {
		text += fmt.Sprintf("only %q=%q;", column, s.Only[column])
	}
	for _, column := range sortedKeys(s.Except) {
		text += fmt.Sprintf("except %q=%q;", column, s.Except[column])
	}
	return text
}

// filtered is a data set without the examples that a subset does not want.
type filtered struct {
	Dataset
	subset Subset
}

// filter applies a subset's conditions.
func filter(set Dataset, s Subset) Dataset {
	if !s.filters() {
		return set
	}
	return filtered{set, s}
}

// Examples implements Dataset.
func (f filtered) Examples(ctx context.Context) iter.Seq2[Example, error] {
	return f.keep(f.Dataset.Examples(ctx))
}

// WithoutImages saves reading what the wrapped set need not read.
func (f filtered) WithoutImages(ctx context.Context) iter.Seq2[Example, error] {
	return f.keep(withoutImages(ctx, f.Dataset))
}

// Fingerprint is the wrapped set's with the conditions, "" where it has none.
func (f filtered) Fingerprint() string {
	if inner := fingerprint(f.Dataset); inner != "" {
		return inner + " " + f.subset.key()
	}
	return ""
}

// LeftOut is the wrapped set's.
func (f filtered) LeftOut() map[string]int64 { return leftOut(f.Dataset) }

// ClassWords are the wrapped set's.
func (f filtered) ClassWords(column string) map[string]string { return classWords(f.Dataset, column) }

// ImageAt implements the shortcut where the wrapped set does.
func (f filtered) ImageAt(ctx context.Context, row int64) ([]byte, error) {
	if set, ok := f.Dataset.(imager); ok {
		return set.ImageAt(ctx, row)
	}
	return nil, errNoShortcut
}

func (f filtered) keep(all iter.Seq2[Example, error]) iter.Seq2[Example, error] {
	return func(yield func(Example, error) bool) {
		for example, err := range all {
			if err == nil && !f.subset.wants(example) {
				continue
			}
			if !yield(example, err) {
				return
			}
		}
	}
}

// fingerprint is "" of a set that has none.
func fingerprint(set Dataset) string {
	if f, ok := set.(fingerprinted); ok {
		return f.Fingerprint()
	}
	return ""
}
