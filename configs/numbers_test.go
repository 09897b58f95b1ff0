package configs

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"tandem/checkpoints"
	"tandem/internal/duration"
	"tandem/internal/fault"
	"tandem/internal/strictyaml"
)

// Recipes that between them have every list and every group that a number can stand in.
var numberRecipes = []string{`
name: scratch
dataset: {name: shapes}
model:
  embed_dim: 64
  vision: {image_size: 64, patch_size: 8, width: 64, layers: 2}
  text: {context: 16, width: 64, layers: 2, vocab: 640, lengths: [8]}
tokenizer: {kind: train, vocab: 640}
data:
  batch: 64
  sources: [{shards: shapes, captions: [{column: a}]}]
  negatives: {column: wrong}
loss: {distill: {}}
optim: {rules: [{match: "**"}]}
train: {length: 10 epochs, eval_every: 1 epoch}
`, `
name: resnet
dataset: {name: shapes}
model:
  embed_dim: 64
  vision: {kind: resnet, image_size: 64, width: 64, stages: [1, 1, 1, 1]}
  text: {context: 16, width: 64, layers: 2, vocab: 640}
tokenizer: {kind: train, vocab: 640}
data: {batch: 64}
train: {length: 10 epochs}
`, `
name: tuned
init: model
dataset: {name: shapes}
data: {batch: 64}
tune: {lora: {rank: 2}, lock_image: {}, lock_text: {}}
train: {length: 10 epochs, eval_every: 1 epoch}
eval: {select: {task: a}, wise: {alphas: [0, 0.5, 1]}}
`}

// anyNumber lists the keys whose every number, however large, means something.
var anyNumber = []string{
	"train.keep", "train.keep_every", "train.max_bad_steps", "train.seed", "data.seed", "dataset.shapes.seed", "loss.block",
	"eval.select.patience", "tune.lock_image.unlocked_groups", "tune.lock_text.unlocked_groups",
	"preprocess.fill", // imaging.EvalConfig bounds it
	"data.cache.bytes", "data.store.cache_bytes", "data.limits.max_bytes", "data.limits.max_pixels", "data.limits.max_memory",
}

// TestNumbers sets every numeric key of a recipe to what no one means. Each gives a recipe that can be used, or an error that
// names the key.
func TestNumbers(t *testing.T) {
	seen := map[string]bool{}
	path := filepath.Join(t.TempDir(), "recipe.yaml")
	for _, recipe := range numberRecipes {
		tree := strictyaml.Map{}
		if err := yaml.Unmarshal([]byte(recipe), &tree); err != nil {
			t.Fatal(err)
		}
		if err := loadTree(t, path, tree); err != nil {
			t.Fatal(err)
		}
		for _, n := range numbersOf(tree, reflect.TypeFor[Experiment](), nil) {
			if !seen[n.key()] {
				seen[n.key()] = true
				tryValues(t, n, func(v any) error { return loadTree(t, path, n.put(tree, v)) })
			}
		}
	}
	for _, key := range everyNumber(reflect.TypeFor[Experiment]()) {
		if !seen[key] {
			t.Errorf("no recipe of this test has a place for %s", key)
		}
	}
}

// tryValues gives a key one bad value after the other.
func tryValues(t *testing.T, n number, load func(any) error) {
	key := n.key()
	for _, v := range badValues(n.t) {
		err := load(v.value)
		switch {
		case err != nil && !n.namedIn(err.Error()):
			t.Errorf("%s = %v: the error does not name the key: %v", key, v.value, err)
		case err != nil && !fault.IsUser(err):
			t.Errorf("%s = %v: not marked as the user's mistake: %v", key, v.value, err)
		case err == nil && v.never && !slices.Contains(anyNumber, key):
			t.Errorf("%s = %v is accepted", key, v.value)
		}
	}
}

// badValue is a value; never says that no key takes it, but those of anyNumber.
type badValue struct {
	value any
	never bool
}

func badValues(t reflect.Type) []badValue {
	switch {
	case t == reflect.TypeFor[duration.Duration]():
		return []badValue{{"nan steps", true}, {"-1 steps", true}, {"1e30 steps", true}, {"1e400", true}, {math.MaxInt64, true}, {"1e12 epochs", true}, {"200%", true}, {"0.1 steps", false}, {"1e6 epochs", false}}
	case t == reflect.TypeFor[time.Duration]():
		return []badValue{{-1, true}, {"-5m", true}, {"1e30h", true}}
	case t.Kind() == reflect.Float64:
		return []badValue{{math.NaN(), true}, {math.Inf(-1), true}, {1e300, true}, {-1, false}, {0, false}, {1e-300, false}}
	case t.Kind() == reflect.Uint64:
		return []badValue{{math.NaN(), true}, {-1, true}, {uint64(math.MaxUint64), false}, {"1e30", true}}
	}
	return []badValue{{math.NaN(), true}, {0.5, true}, {-1, false}, {0, false}, {1, false}, {1 << 31, false}, {1 << 62, true}, {"1e30", true}}
}

// loadTree reads a recipe, and uses what it says as a training would before it looks at data.
func loadTree(t *testing.T, path string, tree any) error {
	t.Helper()
	content, err := yaml.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("%v over\n%s", r, content)
		}
	}()
	e, err := Load(path)
	if err == nil && e.Init != "" {
		if e, err = e.Adopt(initialModel()); err != nil {
			err = fault.User(err)
		}
	}
	if err != nil {
		return err
	}
	use(t, e)
	return nil
}

// initialModel is small.
func initialModel() checkpoints.Model {
	m := checkpoints.Model{}
	m.Config.EmbedDim = 64
	m.Config.Vision.ImageSize, m.Config.Vision.PatchSize, m.Config.Vision.Width, m.Config.Vision.Layers = 64, 8, 64, 2
	m.Config.Text.Context, m.Config.Text.Width, m.Config.Text.Layers, m.Config.Text.Vocab = 16, 64, 2, 640
	return m
}

// use makes of a valid recipe what a training makes of it.
func use(t *testing.T, e Experiment) {
	t.Helper()
	const rows = 1 << 40
	batch := int64(e.Data.Batch)
	total := e.Train.Length.ToSteps(batch, rows, 0)
	save, measure := e.Train.SaveEvery.ToSteps(batch, rows, total), e.Train.EvalEvery.ToSteps(batch, rows, total)
	if total < 1 || save < 0 || measure < 0 || total*batch/batch != total {
		t.Errorf("%d steps of %d, saved every %d and measured every %d", total, batch, save, measure)
	}
	curve := e.Optim.Schedule.Over(total, batch, rows)
	for _, step := range []int64{0, total / 2, total - 1} {
		if f := curve.Factor(step) * e.Optim.LearningRate; !(f >= 0 && f <= math.MaxFloat32) {
			t.Errorf("the learning rate is %g after step %d of %d", f, step, total)
		}
	}
	image, text := e.Model.FLOPs()
	if n := e.Model.NumParams(); n < 1 || !(image > 0 && text > 0 && image+text < math.MaxFloat64) {
		t.Errorf("%d parameters, %g and %g FLOP", n, image, text)
	}
	if _, err := json.Marshal(e); err != nil {
		t.Errorf("%v: %+v", err, e)
	}
	if _, err := e.Identity(); err != nil {
		t.Error(err)
	}
}

// number is the place of a number in a recipe: keys, and indices of lists.
type number struct {
	path []place
	t    reflect.Type
}

// place is a key of a group, or an index of a list of length n.
type place struct {
	key      string
	index, n int
}

// key is the path as messages write it.
func (n number) key() string {
	var b strings.Builder
	for i, p := range n.path {
		switch {
		case p.key == "":
			fmt.Fprintf(&b, "[%d]", p.index)
		case i > 0:
			b.WriteString("." + p.key)
		default:
			b.WriteString(p.key)
		}
	}
	return b.String()
}

// group is the key without the index of a number in a list of numbers: messages show such a list whole.
func (n number) group() string {
	if last := n.path[len(n.path)-1]; last.key == "" {
		return number{n.path[:len(n.path)-1], nil}.key()
	}
	return n.key()
}

// namedIn reports whether a message names the number's key, at least after another of the same group: "a.b and c".
func (n number) namedIn(message string) bool {
	key := n.group()
	if key == "model.embed_dim" && strings.Contains(message, "there is no model") {
		return true
	}
	dot := strings.LastIndex(key, ".")
	return strings.Contains(message, key[:max(dot, 0)]) && strings.Contains(message, key[dot+1:])
}

// numbersOf lists the places of numbers that a type has and a tree has room for.
func numbersOf(node any, t reflect.Type, path []place) (all []number) {
	below := func(node any, t reflect.Type, p place) {
		all = append(all, numbersOf(node, t, append(slices.Clone(path), p))...)
	}
	switch {
	case isNumber(t):
		return []number{{path, t}}
	case t.Kind() == reflect.Pointer && (node != nil || isNumber(t.Elem())):
		return numbersOf(node, t.Elem(), path)
	case t.Kind() == reflect.Array:
		for i := range t.Len() {
			below(nil, t.Elem(), place{index: i, n: t.Len()})
		}
	case t.Kind() == reflect.Slice:
		list, _ := node.([]any)
		for i, element := range list {
			below(element, t.Elem(), place{index: i, n: len(list)})
		}
	case t.Kind() == reflect.Struct:
		m, _ := node.(strictyaml.Map)
		for i := range t.NumField() {
			field := t.Field(i)
			key, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			if strings.Contains(options, "inline") {
				all = append(all, numbersOf(node, field.Type, path)...)
			} else if key != "" && key != "-" {
				below(m[key], field.Type, place{key: key})
			}
		}
	}
	return all
}

func isNumber(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Int, reflect.Int64, reflect.Uint64, reflect.Float64:
		return true
	}
	return t == reflect.TypeFor[duration.Duration]()
}

// put is a copy of a tree with v at the place.
func (n number) put(tree any, v any) any {
	if len(n.path) == 0 {
		return v
	}
	p, rest := n.path[0], number{n.path[1:], n.t}
	if p.key != "" {
		m := strictyaml.Map{}
		if was, ok := tree.(strictyaml.Map); ok {
			m = maps.Clone(was)
		}
		m[p.key] = rest.put(m[p.key], v)
		return m
	}
	list := slices.Repeat([]any{0.5}, p.n)
	if was, ok := tree.([]any); ok {
		list = slices.Clone(was)
	}
	list[p.index] = rest.put(list[p.index], v)
	return list
}

// everyNumber lists the keys of all numbers of a type, each list with one element.
func everyNumber(t reflect.Type) (keys []string) {
	for _, n := range numbersOf(room(t), t, nil) {
		keys = append(keys, n.key())
	}
	return keys
}

// room is a tree with a place for everything of a type.
func room(t reflect.Type) any {
	switch t.Kind() {
	case reflect.Pointer:
		return room(t.Elem())
	case reflect.Slice:
		return []any{room(t.Elem())}
	case reflect.Struct:
		m := strictyaml.Map{}
		for i := range t.NumField() {
			key, options, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
			below := room(t.Field(i).Type)
			if inline, ok := below.(strictyaml.Map); ok && strings.Contains(options, "inline") {
				maps.Copy(m, inline)
			} else {
				m[key] = below
			}
		}
		return m
	}
	return strictyaml.Map{}
}
