package train

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/checkpoints"
	"tandem/checkpoints/safetensors"
	"tandem/loss"
	"tandem/optim"
	"tandem/train/tune"
)

// HeadWeight is the path of the head's rows [C, E] in the store: the parameter of loss.Head. It belongs to no model; a
// step directory keeps it in a file of its own, HeadName.
const (
	HeadWeight = "head/weight"
	HeadName   = "head.safetensors"

	headAverageName = "head_ema.safetensors"
)

// HasHead reports whether the loss is that of a head over classes.
func (s *Stepper) HasHead() bool { return s.Loss.Name == loss.Head }

// headInfo describes the head to the optimiser; none without a head.
func (s *Stepper) headInfo() []optim.ParamInfo {
	if !s.HasHead() {
		return nil
	}
	return []optim.ParamInfo{{Path: HeadWeight, Rank: 2}}
}

// tuneHead freezes what a head's loss does not reach, the text tower and the temperature, and keeps the head trainable
// where the rules name what alone is trained.
func (s *Stepper) tuneHead(c tune.Config) tune.Config {
	if !s.HasHead() {
		return c
	}
	c.LockText, c.LockTemperature = &tune.Lock{}, true
	return c
}

// headRule goes between the user's rules and those of a way of fine-tuning, unless one of the user's is about the head.
func (s *Stepper) headRule(c tune.Config, user []optim.Rule) []optim.Rule {
	if !s.HasHead() || c.LoRA == nil && c.Only == "" {
		return nil
	}
	for _, r := range user {
		if doublestar.MatchUnvalidated(r.Match, HeadWeight) {
			return nil
		}
	}
	return []optim.Rule{{Match: HeadWeight}}
}

// addHead puts the first rows of the head into the store: those of Stepper.Head.
func (s *Stepper) addHead(store *gml.Store) error {
	if !s.HasHead() {
		return nil
	}
	if len(s.Head) < 2 || len(s.Head[0]) != s.Model.EmbedDim {
		return fmt.Errorf("loss.name head needs a row of %d numbers for each of two classes or more, there are %d rows", s.Model.EmbedDim, len(s.Head))
	}
	var flat []float32
	for _, row := range s.Head {
		flat = append(flat, row...)
	}
	_, err := store.CreateVariable("/"+HeadWeight, tensors.FromFlatDataAndDimensions(flat, len(s.Head), s.Model.EmbedDim))
	return err
}

// HeadRows copies the head's rows, or their moving averages.
func (s *Stepper) HeadRows(average bool) ([][]float32, error) {
	return rowsOfTensor(s.served(s.store.GetVariable("/"+HeadWeight), average).MustValue())
}

// headAccuracy is the share of images whose class scores highest. Legend: B images, C classes, E embedding.
func headAccuracy(imagesBE, headCE, classes *Node) *Node {
	logits := Dot(imagesBE, headCE).General([]int{1}, nil, []int{1}, nil) // [B, C]
	return ReduceAllMean(ConvertDType(Equal(ArgMax(logits, -1, dtypes.Int32), classes), dtypes.Float32))
}

// checkClasses refuses classes that the head does not have.
func (s *Stepper) checkClasses(keys []int32) error {
	if !s.HasHead() {
		return nil
	}
	for i, k := range keys {
		if k < 0 || int(k) >= len(s.Head) {
			return fmt.Errorf("pair %d is of class %d, the head has %d", i, k, len(s.Head))
		}
	}
	return nil
}

// apartFromHead tells a model's parameters from the head's.
func apartFromHead(all []*gml.Variable) (weights, head []*gml.Variable) {
	for _, v := range all {
		if v.Path() == "/"+HeadWeight {
			head = append(head, v)
		} else {
			weights = append(weights, v)
		}
	}
	return weights, head
}

// writeHead writes the head into a step directory, and its moving average if one is kept.
func (s *Stepper) writeHead(dir string, head []*gml.Variable) error {
	if len(head) == 0 {
		return nil
	}
	if err := checkpoints.WriteTensors(filepath.Join(dir, HeadName), head); err != nil || !s.HasAverage() {
		return err
	}
	return checkpoints.WriteTensors(filepath.Join(dir, headAverageName), []*gml.Variable{s.served(head[0], true)})
}

// ReadHead reads the rows [C, E] of a head from a step directory: their moving average where one was kept.
func ReadHead(dir string) ([][]float32, error) {
	path := filepath.Join(dir, headAverageName)
	if _, err := os.Stat(path); err != nil {
		path = filepath.Join(dir, HeadName)
	}
	file, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	value, err := checkpoints.ReadTensor(file, file.Tensors()[0])
	if err != nil {
		return nil, err
	}
	return rowsOfTensor(value)
}

// rowsOfTensor cuts a matrix into rows.
func rowsOfTensor(value *tensors.Tensor) ([][]float32, error) {
	flat, err := tensors.CopyFlatData[float32](value)
	if err != nil {
		return nil, err
	}
	rows := make([][]float32, value.Shape().Dim(0))
	for i := range rows {
		rows[i] = flat[i*value.Shape().Dim(1):][:value.Shape().Dim(1)]
	}
	return rows, nil
}
