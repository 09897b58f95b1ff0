package eval

import (
	"fmt"
	"slices"
	"strings"

	"tandem/internal/fault"
)

// checkMeasured refuses a result that no example counts in: its numbers would say nothing and look like some. counted are
// the examples that do, of those that the task chose.
func checkMeasured(task Task, examples []Example, counted int, skipped map[string]int) error {
	switch {
	case counted > 0:
		return nil
	case len(examples) > 0:
		return fault.Userf("nothing was measured: %s of %s in all%s", SkippedWords(skipped), plural(len(examples), "example"), labelHint(task, examples, skipped))
	case task.subset().filters():
		return fault.Userf("nothing was measured: no example of split %q of %s is left by where, only and except (%s)", task.Split, task.Data, strings.Trim(task.subset().key(), ";"))
	}
	return fault.Userf("nothing was measured: split %q of %s has no example", task.Split, task.Data)
}

// notClass is why an example is skipped whose label the task's classes do not have.
const notClass = "label is no class"

// labelHint shows classes and labels where no label is a class: most often they are written differently.
func labelHint(task Task, examples []Example, skipped map[string]int) string {
	if skipped[notClass] == 0 {
		return ""
	}
	var classes, labels []string
	for _, class := range task.Classes {
		classes = append(classes, class.Name)
	}
	for _, e := range examples {
		labels = append(labels, labelsOf(task, e)...)
	}
	slices.Sort(labels)
	return fmt.Sprintf(": the classes are %s, the labels in column %q %s", some(classes), task.Label, some(slices.Compact(labels)))
}

// some are the first few of a list.
func some(list []string) string {
	const few = 4
	var b strings.Builder
	for i, name := range list[:min(few, len(list))] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", name)
	}
	if len(list) > few {
		b.WriteString(" …")
	}
	return b.String()
}
