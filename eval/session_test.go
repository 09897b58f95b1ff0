package eval

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tandem/eval/doubt"
	"tandem/eval/record"
	"tandem/internal/fault"
)

// countingEncoder counts what it is asked to encode.
type countingEncoder struct {
	fakeEncoder
	images, texts *int
}

func (e countingEncoder) EncodeTexts(ctx context.Context, texts []string) ([][]float32, error) {
	*e.texts += len(texts)
	return e.fakeEncoder.EncodeTexts(ctx, texts)
}

func (e countingEncoder) EncodeImageSeq(ctx context.Context, images iter.Seq2[[]byte, error]) iter.Seq2[[]float32, error] {
	return func(yield func([]float32, error) bool) {
		for row, err := range e.fakeEncoder.EncodeImageSeq(ctx, images) {
			*e.images++
			if !yield(row, err) {
				return
			}
		}
	}
}

// markedSet has a fingerprint, so that it may be cached.
type markedSet struct {
	fakeSet
	mark string
}

func (s markedSet) Fingerprint() string { return s.mark }

// bigSet has n examples of each colour; every fifth is labelled with the next colour, and vendor and tone vary.
func bigSet(n int) fakeSet {
	var set fakeSet
	for i := range 3 * n {
		shown := i % 3
		label := colours[shown]
		if i%5 == 0 {
			label = colours[(shown+1)%3]
		}
		e := example(fmt.Sprintf("e%03d", i), shown, label, "a "+colours[shown]+" thing")
		e.Labels["vendor"], e.Labels["tone"], e.Labels["concept"] = []string{"x", "y"}[i/3%2], []string{"light", "dark"}[i%2], fmt.Sprint(i/6)
		set = append(set, e)
	}
	return set
}

func colourTask() Task {
	task := Task{Name: "colours", Data: "d", Split: "test", Label: "colour", Templates: []string{"a {} thing"}, Groups: []string{"vendor"}}
	for _, name := range colours {
		task.Classes = append(task.Classes, Class{Name: name})
	}
	return task
}

func counting() (countingEncoder, *int, *int) {
	images, texts := 0, 0
	return countingEncoder{fakeEncoder{10}, &images, &texts}, &images, &texts
}

// TestSessionEncodesOnce: two tasks on one set encode it once, a later session with the same cache not at all, and the
// numbers are the same to the byte.
func TestSessionEncodesOnce(t *testing.T) {
	dir := t.TempDir()
	set := markedSet{bigSet(30), "v1"}
	run := func(model, mark string) (string, int, int) {
		t.Helper()
		enc, images, texts := counting()
		s := NewSession(enc, Options{Cache: dir, Model: model, Doubt: true})
		var report Report
		for range 2 {
			result, err := s.Run(context.Background(), colourTask(), markedSet{set.fakeSet, mark})
			if err != nil {
				t.Fatal(err)
			}
			report.Results = append(report.Results, result)
		}
		var b bytes.Buffer
		report.WriteJSON(&b)
		return b.String(), *images, *texts
	}
	first, images, texts := run("m1", "v1")
	if images != 90 || texts != 3 {
		t.Errorf("%d images and %d texts encoded, want 90 and 3", images, texts)
	}
	again, images, texts := run("m1", "v1")
	if images != 0 || texts != 0 || again != first {
		t.Errorf("%d images and %d texts encoded again; same report: %v", images, texts, again == first)
	}
	if _, images, _ := run("m2", "v1"); images != 90 {
		t.Errorf("another model used the first one's embeddings: %d encoded", images)
	}
	if _, images, _ := run("m1", "v2"); images != 90 {
		t.Errorf("other data used the first ones' embeddings: %d encoded", images)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*.emb"))
	for _, f := range files { // a damaged file is computed again
		data, _ := os.ReadFile(f)
		data[len(data)/2] ^= 1
		os.WriteFile(f, data, 0o644)
	}
	repaired, images, _ := run("m1", "v1")
	if len(files) == 0 || images != 90 || repaired != first {
		t.Errorf("%d damaged files: %d images encoded, same report: %v", len(files), images, repaired == first)
	}
}

// TestManifestNamesWhatChanged: other templates, another order of classes and a part of the data change the hash, and the
// comparison says which.
func TestManifestNamesWhatChanged(t *testing.T) {
	run := func(change func(*Task, *fakeSet)) Result {
		t.Helper()
		task, set := colourTask(), bigSet(10)
		change(&task, &set)
		r, err := Run(context.Background(), fakeEncoder{10}, task, set)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	base := run(func(*Task, *fakeSet) {})
	if again := run(func(task *Task, _ *fakeSet) { task.Name, task.Licence = "other", "MIT" }); again.Inputs.Hash != base.Inputs.Hash || again.Differences(base) != nil {
		t.Errorf("a name changed the inputs: %v", again.Differences(base))
	}
	for want, change := range map[string]func(*Task, *fakeSet){
		"templates: number 0":        func(task *Task, _ *fakeSet) { task.Templates = []string{"the {}"} },
		"classes: another order":     func(task *Task, _ *fakeSet) { task.Classes[0], task.Classes[1] = task.Classes[1], task.Classes[0] },
		"30 and 29 examples":         func(_ *Task, set *fakeSet) { *set = (*set)[:29] },
		"other data":                 func(_ *Task, set *fakeSet) { (*set)[3].Image = picture(1) },
		"task configuration: groups": func(task *Task, _ *fakeSet) { task.Groups = nil },
	} {
		other := run(change)
		differences := strings.Join(base.Differences(other), "; ")
		if other.Inputs.Hash == base.Inputs.Hash || !strings.Contains(differences, want) {
			t.Errorf("%s: differences %q, same hash %v", want, differences, other.Inputs.Hash == base.Inputs.Hash)
		}
	}
}

// TestEverything runs a classification with doubt, out-of-set images, groups and counterfactual pairs, and checks that the
// records hold what the numbers are made of.
func TestEverything(t *testing.T) {
	task := colourTask()
	task.Classes = task.Classes[:2] // blue is unknown
	task.Except = map[string][]string{"colour": {"blue"}}
	task.Unknown = &Subset{Only: map[string][]string{"colour": {"blue"}}}
	task.Doubt = &doubt.Config{Coverage: 0.9}
	task.Counterfactual = &Counterfactual{Match: "concept", Attribute: "tone"}
	result, err := NewSession(fakeEncoder{10}, Options{Doubt: true, Pictures: true}).Run(context.Background(), task, bigSet(60))
	if err != nil {
		t.Fatal(err)
	}
	c := result.Classification
	if c.Doubt == nil || c.Doubt.UnknownN != 60 || len(c.Groups) != 1 || c.Counterfactual.Sets == 0 {
		t.Fatalf("doubt %+v, groups %+v, pairs %+v", c.Doubt, c.Groups, c.Counterfactual)
	}
	hits, n, strangers := 0.0, 0, 0
	for _, r := range c.Records {
		switch {
		case r.Skipped != "":
		case r.Set == "unknown":
			strangers++
		default:
			n++
			hits += r.Score
		}
	}
	if m := c.Metrics[Acc1]; strangers != 60 || n != m.N || hits/float64(n) != m.Value {
		t.Errorf("records give %g of %d and %d strangers, the report %+v", hits/float64(n), n, strangers, m)
	}
	path := filepath.Join(t.TempDir(), "r.parquet")
	if err := record.Write(path, c.Records); err != nil {
		t.Fatal(err)
	}
	report := Report{Title: "all", Results: []Result{result}}
	var page, words bytes.Buffer
	if err := report.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	if err := report.WriteBias(&words); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", "AUROC", "By vendor", "If only tone changes", "data:image/png"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("page lacks %q", want)
		}
	}
	for _, want := range []string{"Column `vendor`", "differ in `tone`", "of none of the classes", "no task of kind `selection`"} {
		if !strings.Contains(words.String(), want) {
			t.Errorf("bias.md lacks %q:\n%s", want, words.String())
		}
	}
}

func TestMultiLabelAndSelection(t *testing.T) {
	set := fakeSet{example("a", 0, "red|green"), example("b", 1, "green"), example("c", 2, ""), example("d", 2, "blue | red")}
	task := Task{Name: "m", Kind: MultiLabel, Data: "d", Label: "colour"}
	r, err := Run(context.Background(), fakeEncoder{10}, task, set)
	if err != nil {
		t.Fatal(err)
	}
	// Red: a first, then b, c and d level: (1 + 2/4)/2. Green: b first, then the rest level: the same. Blue: c and d level.
	const want = (0.75 + 0.75 + 0.5) / 3
	if m := r.MultiLabel.Metrics[MAP]; m.N != 4 || m.Value < want-1e-6 || m.Value > want+1e-6 {
		t.Errorf("mAP %+v, want %g", m, want)
	}
	pair := func(id, key string, shown int, caption string) Example {
		e := example(id, shown, "", caption)
		e.Labels["pair"], e.Labels["lie"] = key, "something "+colours[(shown+1)%3]
		return e
	}
	pairs := fakeSet{pair("a", "1", 0, "red"), pair("b", "1", 1, "green"), pair("c", "2", 1, "red"), pair("d", "2", 2, "green"), pair("e", "3", 0, "red")}
	p, err := Run(context.Background(), fakeEncoder{10}, Task{Name: "w", Kind: Selection, Data: "d", Pairs: "pair"}, pairs)
	if err != nil {
		t.Fatal(err)
	}
	if m := p.Selection.Metrics; m[GroupScore].N != 2 || m[GroupScore].Value != 0.5 || m[TextScore].Value != 0.5 || p.Selection.Skipped["1 examples of a pair"] != 1 {
		t.Errorf("pairs %+v, skipped %v", m, p.Selection.Skipped)
	}
	lies, err := Run(context.Background(), fakeEncoder{10}, Task{Name: "s", Kind: Selection, Data: "d", Wrong: []string{"lie"}}, pairs)
	if err != nil {
		t.Fatal(err)
	}
	if m := lies.Selection.Metrics[Chosen]; m.N != 5 || m.Value != 3.0/5 || *m.Chance != 0.5 {
		t.Errorf("chosen %+v, want 3 of 5", m)
	}
}

// wordedSet has labels that say more than a name.
type wordedSet struct {
	fakeSet
	words map[string]string
}

func (s wordedSet) ClassWords(string) map[string]string { return s.words }

// TestClassesOfOneName: two classes of one name are two answers, asked for with the same words, whether the task lists
// them or the set's labels are the classes.
func TestClassesOfOneName(t *testing.T) {
	set := wordedSet{fakeSet{example("a", 0, "red (0)"), example("b", 1, "green"), example("c", 0, "red (2)")}, map[string]string{"red (0)": "red", "red (2)": "red"}}
	listed := Task{Name: "t", Data: "d", Label: "colour", Templates: []string{"{}"}, Classes: NamedClasses([]string{"red", "green", "red"})}
	found := Task{Name: "t", Data: "d", Label: "colour", Templates: []string{"{}"}, Except: map[string][]string{"colour": {"blue"}}}
	for name, task := range map[string]Task{"listed": listed, "found": found} {
		enc := &texts{fakeEncoder: fakeEncoder{10}}
		r, err := Run(context.Background(), enc, task, set)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := len(r.Classification.Classes); n != 3 || r.Classification.Metrics[Acc1].N != 3 || strings.Contains(strings.Join(enc.asked, ""), "(") {
			t.Errorf("%s: %d classes %q, asked for %q", name, n, r.Classification.Classes, enc.asked)
		}
		for i, c := range r.Classification.PerClass {
			if c.N != 1 {
				t.Errorf("%s: class %d %q has %d examples", name, i, c.Name, c.N)
			}
		}
	}
	listed.Classes[2] = listed.Classes[0]
	if _, err := Run(context.Background(), fakeEncoder{10}, listed, set); err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), "positions 1 and 3") {
		t.Errorf("two classes of the same name: %v", err)
	}
}

// texts remembers what it was asked to encode.
type texts struct {
	fakeEncoder
	asked []string
}

func (e *texts) EncodeTexts(ctx context.Context, list []string) ([][]float32, error) {
	e.asked = append(e.asked, list...)
	return e.fakeEncoder.EncodeTexts(ctx, list)
}

func TestBadTasks(t *testing.T) {
	for want, task := range map[string]Task{
		"name is missing":     {Data: "d"},
		"kind \"magic\"":      {Name: "t", Data: "d", Kind: "magic"},
		"label is missing":    {Name: "t", Data: "d"},
		"false_accept needs":  {Name: "t", Data: "d", Label: "c", Doubt: &doubt.Config{FalseAccept: 0.1}},
		"score \"luck\"":      {Name: "t", Data: "d", Label: "c", Doubt: &doubt.Config{Score: "luck"}},
		"a selection needs":   {Name: "t", Data: "d", Kind: Selection},
		"association:":        {Name: "t", Data: "d", Kind: Association},
		"metric \"acc9\"":     {Name: "t", Data: "d", Label: "c", Metric: "acc9"},
		"positions 1 and 3":   {Name: "t", Data: "d", Label: "c", Classes: []Class{{Name: "green"}, {Name: "red"}, {Name: "green"}}},
		"at position 2 has":   {Name: "t", Data: "d", Label: "c", Classes: []Class{{Name: "green"}, {}}},
		"probe: generated":    {Name: "t", Data: "shapes", Label: "name", Probe: "count"},
		"probe \"luck\"":      {Name: "t", Data: "shapes", Kind: Selection, Probe: "luck"},
		"count: -5":           {Name: "t", Data: "shapes", Kind: Selection, Probe: "count", Count: -5},
		"there is no probe":   {Name: "t", Data: "shapes", Kind: Selection, Wrong: []string{"lie"}, Count: 5},
		"needs one of wrong":  {Name: "t", Data: "shapes", Kind: Selection, Wrong: []string{"lie"}, Probe: "count"},
		"metric \"nosuch\"":   {Name: "t", Data: "d", Label: "c", Metric: "nosuch"},
		"own: text_score":     {Name: "t", Data: "d", Kind: Selection, Pairs: "p", Metric: "chosen"},
		"match and attribute": {Name: "t", Data: "d", Label: "c", Counterfactual: &Counterfactual{Match: "x"}},
	} {
		if err := task.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
		if _, err := Run(context.Background(), fakeEncoder{10}, task, nil); err == nil || !fault.IsUser(err) {
			t.Errorf("running it: %v", err)
		}
	}
}

// TestMetricsOfKinds: the names that a task's metric may have are those that its result has.
func TestMetricsOfKinds(t *testing.T) {
	set := bigSet(3)
	for i := range set {
		set[i].Labels["lie"], set[i].Labels["pair"] = "a "+colours[(i+1)%3]+" lie", fmt.Sprint(i/2)
	}
	for _, task := range []Task{
		{Kind: Classification, Label: "colour"}, {Kind: MultiLabel, Label: "colour"}, {Kind: Retrieval}, {Kind: Selection, Wrong: []string{"lie"}}, {Kind: Selection, Pairs: "pair"},
	} {
		task.Name, task.Data = "t", "d"
		r := runTask(t, task, set, Options{})
		for _, m := range r.Ordered() {
			if !slices.Contains(task.MetricNames(), m.Name) {
				t.Errorf("%s has %s, which a task cannot name", task.Kind, m.Name)
			}
		}
		for _, name := range task.MetricNames() {
			if _, ok := r.Metrics()[name]; !ok && name != Acc5 {
				t.Errorf("a %s may name %s and has no such number", task.Kind, name)
			}
		}
	}
	task := Task{Name: "t", Data: "d", Label: "colour", Metric: Acc5}
	if _, err := Run(context.Background(), fakeEncoder{10}, task, set); err == nil || !fault.IsUser(err) || !strings.Contains(err.Error(), "more than 5 classes") {
		t.Errorf("top-5 of three classes: %v", err)
	}
}

// bookedSet lost something when it was made.
type bookedSet struct {
	fakeSet
	lost map[string]int64
}

func (s bookedSet) LeftOut() map[string]int64 { return s.lost }

// TestLeftOut: what the sets lost when they were made and what was skipped of each part is said for each, in all reports;
// what was measured is the same without it.
func TestLeftOut(t *testing.T) {
	task := colourTask()
	task.Validation, task.Unknown = &Subset{Data: "other", Split: "val"}, &Subset{Split: "strange"}
	validation, unknown := bigSet(20), bigSet(20)
	validation[0].Labels["colour"], validation[1].Image = "", []byte("no picture")
	for i := range unknown {
		if i%4 > 0 {
			unknown[i].Labels["colour"] = "violet"
		}
	}
	run := func(lost map[string]int64) Result {
		t.Helper()
		open := func(_ context.Context, data, split string) (Dataset, error) {
			return bookedSet{map[string]fakeSet{"val": validation, "strange": unknown}[split], map[string]int64{data + " image": 2}}, nil
		}
		s := NewSession(fakeEncoder{10}, Options{Open: open, Doubt: true})
		r, err := s.Run(context.Background(), task, filter(bookedSet{bigSet(20), lost}, Subset{Where: map[string]string{"vendor": "x"}}))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := run(map[string]int64{"damaged image": 3})
	want := []string{
		"of the validation examples: 1 image: corrupt, 1 no label", "of the unknown images: 15 label is a class",
		"3 damaged image when the data were read, over all splits (skipped.jsonl beside the shards lists them)",
		"when the data of validation were read, over all splits: 2 other image",
	}
	if got := r.LeftOut(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("left out:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	report := Report{Results: []Result{r}}
	for name, write := range map[string]func(io.Writer) error{"table": report.WriteTable, "markdown": report.WriteMarkdown, "html": report.WriteHTML} {
		var b strings.Builder
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		for _, line := range want {
			if !strings.Contains(b.String(), line) {
				t.Errorf("%s does not say %q", name, line)
			}
		}
	}
	whole := run(nil)
	if whole.Inputs.Hash != r.Inputs.Hash || r.Inputs.LeftOut["damaged image"] != 3 || len(whole.Inputs.LeftOut) > 0 {
		t.Errorf("inputs %+v and %+v", r.Inputs, whole.Inputs)
	}
}

// TestNoUnknown: a task whose unknown images are all of its classes, or none, is told so; a rule that is chosen by them is
// refused.
func TestNoUnknown(t *testing.T) {
	for want, unknown := range map[string]Subset{
		"60 of 60 images have a label that is a class (red, green, blue)": {}, "no example is chosen": {Where: map[string]string{"vendor": "z"}},
	} {
		task := colourTask()
		task.Unknown = &unknown
		s := NewSession(fakeEncoder{10}, Options{Doubt: true})
		r, err := s.Run(context.Background(), task, bigSet(20))
		if err != nil || !strings.Contains(strings.Join(r.Warnings, "\n"), "unknown: "+want) {
			t.Errorf("warnings %q (%v), want %q", r.Warnings, err, want)
		}
		task.Doubt = &doubt.Config{FalseAccept: 0.1}
		if _, err := s.Run(context.Background(), task, bigSet(20)); !fault.IsUser(err) || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("false_accept: %v, want %q", err, want)
		}
	}
}

// TestClassesWithoutExamples: a class that no example has is named, for it changes what guessing gives.
func TestClassesWithoutExamples(t *testing.T) {
	task := colourTask()
	task.Only = map[string][]string{"colour": {"red", "green"}}
	r, err := Run(context.Background(), fakeEncoder{10}, task, bigSet(10))
	want := `1 class of 3 without an example in split "test" can only be a wrong answer: blue`
	if err != nil || !slices.Contains(r.Warnings, want) {
		t.Errorf("warnings %q (%v), want %q", r.Warnings, err, want)
	}
	if r, err := Run(context.Background(), fakeEncoder{10}, colourTask(), bigSet(10)); err != nil || len(r.Warnings) > 0 {
		t.Errorf("warnings %q (%v), want none", r.Warnings, err)
	}
	task.Label = "color"
	if _, err := Run(context.Background(), fakeEncoder{10}, task, bigSet(10)); !fault.IsUser(err) || !strings.Contains(err.Error(), `no column "color" in split "test" of d; it has colour, concept, tone, vendor`) {
		t.Errorf("a misspelt column: %v", err)
	}
}
