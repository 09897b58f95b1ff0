package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"tandem/configs"
	"tandem/data/shard"
	"tandem/internal/fault"
	"tandem/loss"
)

// load reads the recipe with the changes that the flags stand for. What -set says comes last.
func (o options) load(say func(string, ...any)) (configs.Experiment, error) {
	set := slices.Clone([]string(o.set))
	if o.init != "" {
		set = append(set, "init="+strconv.Quote(o.init))
	}
	if o.data == "" {
		return configs.Load(o.config, set...)
	}
	bare := []string{`dataset={name: ""}`, "data.sources=[{shards: " + strconv.Quote(o.data) + "}]", "eval.hook=[]", "eval.final=[]"}
	recipe, err := configs.Load(o.config, slices.Concat(bare, set)...)
	if err != nil {
		return recipe, err
	}
	own, err := o.openOwn(recipe, say)
	if err != nil {
		return recipe, err
	}
	fitted, err := own.settings()
	if err != nil {
		return recipe, err
	}
	return configs.Load(o.config, slices.Concat(bare, fitted, set)...)
}

// ownData fits a recipe to the shards that -data names: what the recipe asks of its own data set, columns to train on and
// splits to choose and to judge by, is asked of these, or not at all.
type ownData struct {
	options  options
	recipe   configs.Experiment // with the user's settings, on these shards
	manifest *shard.Manifest
	say      func(string, ...any)
}

func (o options) openOwn(recipe configs.Experiment, say func(string, ...any)) (ownData, error) {
	if _, err := os.Stat(o.data); errors.Is(err, fs.ErrNotExist) {
		return ownData{}, fault.Userf("no such directory of shards: %s", o.data)
	}
	if _, err := configs.DirectoryTasks(o.data, ""); err != nil {
		return ownData{}, fault.Userf("-data %w", err)
	}
	path := filepath.Join(o.data, shard.ManifestName)
	content, err := os.ReadFile(path)
	if err != nil {
		return ownData{}, err
	}
	manifest, err := shard.ParseManifest(path, content)
	return ownData{options: o, recipe: recipe, manifest: manifest, say: say}, err
}

// settings are the changes to the recipe.
func (d ownData) settings() ([]string, error) {
	captions, err := d.captions()
	if err != nil {
		return nil, err
	}
	evaluation, err := d.evaluation()
	return slices.Concat(captions, d.columns(), evaluation), err
}

// asked reports whether -set says something about a key, or about what lies below or above it.
func (d ownData) asked(key string) bool {
	return slices.ContainsFunc(d.options.set, func(s string) bool {
		set, _, _ := strings.Cut(s, "=")
		return strings.HasPrefix(set+".", key+".") || strings.HasPrefix(key+".", set+".")
	})
}

// has reports whether the shards have a text column.
func (d ownData) has(column string) bool {
	return slices.Contains(slices.Concat(d.manifest.Columns(shard.RoleCaption), d.manifest.Columns(shard.RoleLabel)), column)
}

// trainSplit is the split to train on.
const trainSplit = "train"

// captions are drawn from the column of classes where no picture has a caption, put into the templates that came with the
// shards.
func (d ownData) captions() ([]string, error) {
	split := d.manifest.Splits[trainSplit]
	if d.asked("data.sources") || split.Rows == 0 || split.Captions > 0 {
		return nil, nil
	}
	column := d.classColumn()
	if column == "" {
		return nil, fault.Userf("-data %s has neither captions nor a label column class or label to take their place: say which column to read with -set 'data.sources=[{shards: %s, captions: [{column: NAME}]}]'; it has %s",
			d.options.data, d.options.data, strings.Join(d.manifest.Columns(shard.RoleLabel), ", "))
	}
	var list []string
	for _, template := range d.templates() {
		list = append(list, fmt.Sprintf("{column: %s, template: %s}", strconv.Quote(column), strconv.Quote(template)))
	}
	d.say("-data %s: its pictures have no captions; the column %s takes their place", d.options.data, column)
	return []string{fmt.Sprintf("data.sources=[{shards: %s, captions: [%s]}]", strconv.Quote(d.options.data), strings.Join(list, ", "))}, nil
}

// templates are those of the shards; without any, the label stands alone.
func (d ownData) templates() []string {
	if len(d.manifest.Templates) > 0 {
		return d.manifest.Templates
	}
	return []string{"{}"}
}

func (d ownData) classColumn() string {
	for _, column := range []string{"class", "label"} {
		if slices.Contains(d.manifest.Columns(shard.RoleLabel), column) {
			return column
		}
	}
	return ""
}

// columns drops what the recipe wants of columns that these shards do not have.
func (d ownData) columns() (set []string) {
	if column := d.recipe.Data.Positives; column != "" && column != "caption" && !d.has(column) && !d.asked("data.positives") {
		d.say("-data %s has no column %s: pictures with one caption are positives of each other", d.options.data, column)
		set = append(set, "data.positives=caption")
	}
	if n := d.recipe.Data.Negatives; n != nil && !d.has(n.Column) && !d.asked("data.negatives") {
		d.say("-data %s has no column %s: there are no hard negatives", d.options.data, n.Column)
		set = append(set, "data.negatives=null")
	}
	return set
}

// evaluation judges by the splits that are held out. Where the recipe chooses a checkpoint and there is a split val besides
// one to judge by, val chooses.
func (d ownData) evaluation() ([]string, error) {
	var set []string
	chooses := d.recipe.Eval.Select
	held := slices.DeleteFunc(d.manifest.SplitNames(), d.isTrained)
	switch {
	case chooses == nil:
	case d.asked("eval.select"):
		held = slices.DeleteFunc(held, d.isChosenBy)
	case slices.Contains(held, "val") && len(held) > 1 && (d.recipe.Loss.Name != loss.Head || d.classColumn() != ""):
		held = slices.DeleteFunc(held, func(split string) bool { return split == "val" })
		set = append(set, fmt.Sprintf(`eval.select={task: %s, metric: ""}`, strconv.Quote(d.task("val"))))
		d.say("-data %s: the split val chooses the checkpoint, %s judges it", d.options.data, strings.Join(held, " and "))
	case d.recipe.Loss.Name == loss.Head:
		return nil, fault.Userf("-data %s: loss.name head needs a labelled split val to start from, besides one to judge by: make them with go run ./cmd/data build -holdout val=0.2 -holdout test=0.2, or name a task with -set eval.select.task=TASK", d.options.data)
	default:
		set = append(set, "eval.select=null", "eval.wise=null")
		d.say("-data %s has no split val besides one to judge by: eval.select and eval.wise are off, the last checkpoint counts", d.options.data)
	}
	if len(held) == 0 && !d.asked("eval.final") {
		d.say("-data %s has no split to judge by: make one with go run ./cmd/data build -holdout test=0.2", d.options.data)
	}
	tasks := make([]string, len(held))
	for i, split := range held {
		tasks[i] = strconv.Quote(d.task(split))
	}
	return append(set, "eval.final=["+strings.Join(tasks, ", ")+"]"), nil
}

// isTrained reports whether a split of these shards is trained on.
func (d ownData) isTrained(split string) bool {
	for _, source := range d.recipe.Data.Sources {
		if samePath(source.Shards, d.options.data) && cmp.Or(source.Split, trainSplit) == split {
			return true
		}
	}
	return false
}

// isChosenBy reports whether the user chooses the checkpoint by a split of these shards.
func (d ownData) isChosenBy(split string) bool {
	tasks, err := configs.Tasks(d.recipe.Eval.Select.Task)
	return err == nil && samePath(tasks[0].Data, d.options.data) && tasks[0].Split == split
}

// task refers to a split in a way that no built-in task's name can be taken for.
func (d ownData) task(split string) string {
	path := filepath.Join(d.options.data, split)
	if !filepath.IsAbs(path) && !strings.HasPrefix(path, ".") {
		path = "." + string(filepath.Separator) + path
	}
	return path
}

func samePath(a, b string) bool {
	x, err := filepath.Abs(a)
	y, failed := filepath.Abs(b)
	return err == nil && failed == nil && x == y
}
