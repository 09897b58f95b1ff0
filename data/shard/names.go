package shard

import (
	"fmt"
	"strings"
)

// DistinctNames tells the classes of a list apart: a name that stands in it more than once gets its place, from 0, behind
// it in brackets: ImageNet's two classes "missile" become "missile (657)" and "missile (744)". The result is a new list of
// the same length; a list without repeats is unchanged. An empty name is its place alone: CLEVR's closest objects in
// CLIP_benchmark have one.
func DistinctNames(names []string) []string {
	count, taken := map[string]int{}, map[string]bool{}
	for _, name := range names {
		count[name]++
		taken[name] = true
	}
	distinct := make([]string, len(names))
	for i, name := range names {
		distinct[i] = name
		if count[name] == 1 && name != "" {
			continue
		}
		for taken[distinct[i]] { // more than once only where another class has the new name
			distinct[i] = strings.TrimSpace(fmt.Sprintf("%s (%d)", distinct[i], i))
		}
		taken[distinct[i]] = true
	}
	return distinct
}

// ClassWords are the source's names of those values of a label column that DistinctNames made: what to say for them.
func (m *Manifest) ClassWords(column string) map[string]string {
	return RepeatedNames(m.Classes[column])
}

// RepeatedNames maps the names that DistinctNames made to those in the list.
func RepeatedNames(names []string) map[string]string {
	words := map[string]string{}
	for i, name := range DistinctNames(names) {
		if name != names[i] {
			words[name] = names[i]
		}
	}
	return words
}
