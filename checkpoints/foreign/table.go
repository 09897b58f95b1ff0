// Package foreign reads and writes the weights and configurations of other CLIP implementations: open_clip (with its own
// towers and with timm's), Hugging Face transformers (CLIPModel, SiglipModel) and OpenAI's names. Each mapping is an
// explicit table of {our tensor, their tensor, transform}, total on both sides: a tensor that the table does not name, on
// either side, is an error that lists it. Transforms move elements and never round, so that there and back again is
// byte-equal; what a file holds beyond weights (the order of its header, its metadata, buffers, the configuration's
// wording) is kept beside them for the way back.
//
// Open reads any of these formats and tandem's own directory; Export writes any of them.
package foreign

import (
	"fmt"
	"slices"
	"strings"

	"tandem/checkpoints/safetensors"
	"tandem/model"
)

// Transform says how our layout of a tensor differs from theirs.
type Transform int

const (
	// CopyElements keeps the order of elements; shapes may differ by axes of length 1.
	CopyElements Transform = iota
	// SwapInOut: ours is [in, out], theirs [out, in].
	SwapInOut
	// ChannelsLast: ours is [height, width, in, out] (possibly flattened to [height·width·in, out]), theirs [out, in, height, width].
	ChannelsLast
)

func (t Transform) String() string {
	return [...]string{"copy elements", "swap in and out", "channels last"}[t]
}

// Pair maps one tensor of theirs to one of ours, or parts of them: fused projections on one side are separate on the other.
type Pair struct {
	Ours   string
	Theirs string
	// Shape is the shape of their whole tensor.
	Shape     []int
	Transform Transform
	// OursAt is the first column (last axis) of ours that this pair fills; their part gives the number of columns.
	OursAt int
	// Rows are the rows (first axis) of theirs that this pair reads; {0, 0} means all.
	Rows [2]int
}

// Table is a whole mapping.
type Table []Pair

// rows is the range of p's rows in their tensor. A scalar is one row.
func (p Pair) rows() (from, to int) {
	switch {
	case p.Rows != [2]int{}:
		return p.Rows[0], p.Rows[1]
	case len(p.Shape) == 0:
		return 0, 1
	default:
		return 0, p.Shape[0]
	}
}

// inner is the number of elements in one row of theirs.
func (p Pair) inner() int {
	n := 1
	for _, d := range p.Shape[min(1, len(p.Shape)):] {
		n *= d
	}
	return n
}

// size is the number of elements that p moves.
func (p Pair) size() int {
	from, to := p.rows()
	return (to - from) * p.inner()
}

// byOurs groups the pairs by our tensor.
func (t Table) byOurs() map[string][]Pair {
	groups := map[string][]Pair{}
	for _, p := range t {
		groups[p.Ours] = append(groups[p.Ours], p)
	}
	return groups
}

// byTheirs groups the pairs by their tensor.
func (t Table) byTheirs() map[string][]Pair {
	groups := map[string][]Pair{}
	for _, p := range t {
		groups[p.Theirs] = append(groups[p.Theirs], p)
	}
	return groups
}

// Check verifies that the table is total: every parameter of c is filled completely, once, and – given the tensors of a
// file – every tensor there is read and has the shape that the configuration asks for. known tells names of theirs that
// carry no weights and may be left over; it may be nil.
func (t Table) Check(c model.Config, tensors []safetensors.Info, known func(name string) bool) error {
	if err := t.checkOurs(c); err != nil {
		return err
	}
	wanted := t.byTheirs()
	present := map[string]bool{}
	var left, missing, misshapen []string
	for _, info := range tensors {
		present[info.Name] = true
		pairs := wanted[info.Name]
		switch {
		case len(pairs) == 0 && (known == nil || !known(info.Name)):
			left = append(left, info.Name)
		case len(pairs) > 0 && !sameShape(pairs[0], info.Shape):
			misshapen = append(misshapen, fmt.Sprintf("%s is %v instead of %v", info.Name, info.Shape, pairs[0].Shape))
		}
	}
	for name := range wanted {
		if !present[name] {
			missing = append(missing, name)
		}
	}
	return describeMisfit(left, missing, misshapen)
}

func describeMisfit(left, missing, misshapen []string) error {
	var parts []string
	for _, list := range []struct {
		what  string
		names []string
	}{{"tensors that nothing reads", left}, {"tensors that are missing", missing}, {"other shapes", misshapen}} {
		if slices.Sort(list.names); len(list.names) > 0 {
			parts = append(parts, fmt.Sprintf("%s: %s", list.what, strings.Join(list.names, ", ")))
		}
	}
	if len(parts) == 0 {
		return nil
	}
	return fmt.Errorf("the weights do not fit the configuration: %s", strings.Join(parts, "; "))
}

// sameShape compares a file's shape with the table's. Where only elements are copied, axes of length 1 do not count.
func sameShape(p Pair, shape []int) bool {
	want := p.Shape
	if p.Transform == CopyElements {
		isOne := func(d int) bool { return d == 1 }
		want, shape = slices.DeleteFunc(slices.Clone(want), isOne), slices.DeleteFunc(slices.Clone(shape), isOne)
	}
	return slices.Equal(want, shape)
}

// checkOurs verifies that the pairs of each of our tensors fill it exactly.
func (t Table) checkOurs(c model.Config) error {
	filled := map[string]int{}
	for _, p := range t {
		filled[p.Ours] += p.size()
	}
	for _, p := range c.Params() {
		if filled[p.Path] != p.Size() {
			return fmt.Errorf("table fills %d of the %d elements of %s", filled[p.Path], p.Size(), p.Path)
		}
		delete(filled, p.Path)
	}
	for path := range filled {
		return fmt.Errorf("table names %s, which the model does not have", path)
	}
	return nil
}

// Theirs makes all tensors of their side from values of ours, which are in our layouts, by our paths.
func Theirs[E any](t Table, params []model.Param, values map[string][]E) (map[string][]E, error) {
	dims := map[string][]int{}
	for _, p := range params {
		dims[p.Path] = p.Dims
	}
	theirs := map[string][]E{}
	for name, pairs := range t.byTheirs() {
		whole := make([]E, Pair{Shape: pairs[0].Shape}.size())
		for _, p := range pairs {
			ours, ok := values[p.Ours]
			if !ok {
				return nil, fmt.Errorf("no values of %s, which %s is made from", p.Ours, name)
			}
			from, _ := p.rows()
			toTheirs(p, dims[p.Ours], whole[from*p.inner():][:p.size()], ours, from)
		}
		theirs[name] = whole
	}
	return theirs, nil
}
