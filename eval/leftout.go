package eval

import (
	"fmt"
	"path/filepath"
	"strings"

	"tandem/data/shard"
)

// booked is a Dataset that knows what was left out of it when it was made.
type booked interface{ LeftOut() map[string]int64 }

// leftOut are the counts of a set by reason, nil where it knows none.
func leftOut(set Dataset) map[string]int64 {
	if b, ok := set.(booked); ok {
		return b.LeftOut()
	}
	return nil
}

// LeftOut says what no number of the result counts, a line for each part of the data; none where everything counts.
func (r Result) LeftOut() (lines []string) {
	add := func(words, of string) {
		if words != "" {
			lines = append(lines, of+words)
		}
	}
	add(SkippedWords(r.skipped()), "")
	if c := r.Classification; c != nil {
		add(SkippedWords(c.SkippedValidation), "of the validation examples: ")
		add(SkippedWords(c.SkippedUnknown), "of the unknown images: ")
	}
	if counts := r.Inputs.LeftOut; len(counts) > 0 {
		lines = append(lines, IngestWords(counts, r.Task.Data))
	}
	for _, part := range sortedKeys(r.Inputs.OthersLeftOut) {
		add(SkippedWords(r.Inputs.OthersLeftOut[part]), "when the data of "+part+" were read, over all splits: ")
	}
	return lines
}

// IngestWords say what was left out when shards were made of some data, and where the rows are listed.
func IngestWords(counts map[string]int64, data string) string {
	list := shard.SkippedName + " beside the shards"
	if strings.ContainsRune(data, filepath.Separator) {
		list = filepath.Join(data, shard.SkippedName)
	}
	return fmt.Sprintf("%s when the data were read, over all splits (%s lists them)", SkippedWords(counts), list)
}
