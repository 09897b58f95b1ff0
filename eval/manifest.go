package eval

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
)

// Inputs identify what a result was measured on: another template, another order of classes or a part of the data
// changes the hash.
type Inputs struct {
	Hash string `json:"hash"` // of everything below but what was left out
	// Data is a hash of the examples, Others those of validation and out-of-set images.
	Data     string            `json:"data"`
	Others   map[string]string `json:"others,omitempty"`
	Examples int               `json:"examples"` // skipped ones included
	// LeftOut counts what the data lost, over all splits, when they were made into shards: pictures that do not decode,
	// duplicates. OthersLeftOut is of validation and unknown sets from other data. Both say where the data come from, not
	// what was measured: the hash leaves them out.
	LeftOut       map[string]int64            `json:"left_out,omitempty"`
	OthersLeftOut map[string]map[string]int64 `json:"others_left_out,omitempty"`
	// Classes and Templates are hashes of both in order; Config of the rest of the task.
	Classes   string `json:"classes,omitempty"`
	Templates string `json:"templates,omitempty"`
	Config    string `json:"config"`
}

// inputsOf hashes the task's own text. Names, licences and where the data lie change no number.
func inputsOf(t Task) Inputs {
	in := Inputs{Templates: hashOf(t.Templates), Others: map[string]string{}}
	t.Name, t.Licence, t.Citation, t.Data, t.Classes, t.Templates = "", "", "", "", nil, nil
	content, _ := json.Marshal(t) // plain fields: it cannot fail
	in.Config = hashOf(string(content))
	return in
}

// seal completes the hash.
func (in *Inputs) seal() {
	measured := *in
	measured.Hash, measured.LeftOut, measured.OthersLeftOut = "", nil, nil
	content, _ := json.Marshal(measured)
	in.Hash = hashOf(string(content))
}

func (in *Inputs) saw(e *Embedded) {
	in.Data, in.Examples = e.Data, len(e.Examples)
}

// Differences names what two results of a task do not share, nil if their inputs are the same.
func (r Result) Differences(other Result) []string {
	a, b := r.Inputs, other.Inputs
	var list []string
	note := func(differs bool, format string, args ...any) {
		if differs {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	note(a.Data != b.Data && a.Examples == b.Examples, "other data")
	note(a.Examples != b.Examples, "%d and %d examples", a.Examples, b.Examples)
	note(!maps.Equal(a.Others, b.Others), "other validation or out-of-set data")
	note(a.Templates != b.Templates, "templates: %s", firstDifference(r.Task.Templates, other.Task.Templates))
	if a.Classes != b.Classes {
		list = append(list, "classes: "+firstDifference(r.classNames(), other.classNames()))
	}
	note(a.Config != b.Config, "task configuration: %s", configDifference(r.Task, other.Task))
	return list
}

func (r Result) classNames() []string {
	switch {
	case r.Classification != nil:
		return r.Classification.Classes
	case r.MultiLabel != nil:
		return r.MultiLabel.Classes
	}
	return nil
}

// firstDifference says in a few words how two lists differ.
func firstDifference(a, b []string) string {
	if len(a) != len(b) {
		return fmt.Sprintf("%d and %d", len(a), len(b))
	}
	sortedA, sortedB := slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	if slices.Equal(sortedA, sortedB) && !slices.Equal(a, b) {
		return "another order"
	}
	for i := range a {
		if a[i] != b[i] {
			return fmt.Sprintf("number %d is %q and %q", i, a[i], b[i])
		}
	}
	return "other words for the same names"
}

// configDifference lists the fields of two tasks that differ.
func configDifference(a, b Task) string {
	var fields [2]map[string]json.RawMessage
	for i, t := range []Task{a, b} {
		t.Name, t.Licence, t.Citation, t.Data, t.Classes, t.Templates = "", "", "", "", nil, nil
		content, _ := json.Marshal(t)
		if json.Unmarshal(content, &fields[i]) != nil {
			return "unreadable"
		}
	}
	var names []string
	for _, f := range slices.Sorted(maps.Keys(fields[0])) {
		if string(fields[0][f]) != string(fields[1][f]) {
			names = append(names, f)
		}
	}
	for _, f := range slices.Sorted(maps.Keys(fields[1])) {
		if _, ok := fields[0][f]; !ok {
			names = append(names, f)
		}
	}
	return strings.Join(names, ", ")
}

// Manifest says what produced a report, so that it can be made again.
type Manifest struct {
	Checkpoint string `json:"checkpoint"` // where it was
	// Model is a hash over weights, configuration, preprocessing and tokenizer.
	Model   string `json:"model"`
	Backend string `json:"backend,omitempty"` // the one that ran, never "auto"
	Devices int    `json:"devices,omitempty"` // that batches were split over
	Seed    uint64 `json:"seed"`
	Doubt   bool   `json:"doubt"`
	// Versions of Go, of the modules that can change a number, and, under the backend's name, of XLA's plugin.
	Versions map[string]string `json:"versions,omitempty"`
}

// Versions of the program and the modules that can change a number.
func Versions() map[string]string {
	out := map[string]string{}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return out
	}
	out["go"] = info.GoVersion
	for _, dep := range info.Deps {
		for _, name := range []string{"github.com/gomlx/gomlx", "github.com/gomlx/compute", "github.com/gomlx/go-xla", "gonum.org/v1/gonum"} {
			if dep.Path == name {
				out[name] = dep.Version
			}
		}
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			out["revision"] = setting.Value
		}
	}
	return out
}
