// Package foreign reads and writes the weights and configurations of other CLIP implementations: open_clip, Hugging
// Face transformers and OpenAI. Each mapping is an explicit table of {our tensor, their tensor, transform}, total on
// both sides: a tensor that the table does not name, on either side, is an error that lists it. Transforms move bytes
// and never round, so that there and back again is byte-equal.
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

// theirPart is the shape of the rows of theirs that p reads.
func (p Pair) theirPart() []int {
	if p.Rows == [2]int{} {
		return p.Shape
	}
	part := slices.Clone(p.Shape)
	part[0] = p.Rows[1] - p.Rows[0]
	return part
}

// Check verifies that the table is total: every parameter of c is filled completely, once, and — given the names that
// a file holds — every tensor there is read. known lists names of theirs that carry no weights and may be left over.
func (t Table) Check(c model.Config, names []string, known func(name string) bool) error {
	if err := t.checkOurs(c); err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, p := range t {
		wanted[p.Theirs] = true
	}
	present := map[string]bool{}
	var left, missing []string
	for _, name := range names {
		present[name] = true
		if !wanted[name] && (known == nil || !known(name)) {
			left = append(left, name)
		}
	}
	for name := range wanted {
		if !present[name] {
			missing = append(missing, name)
		}
	}
	if len(left)+len(missing) == 0 {
		return nil
	}
	slices.Sort(left)
	slices.Sort(missing)
	return fmt.Errorf("the weights do not fit the configuration: %s", strings.Join(slices.DeleteFunc([]string{
		listNames("tensors that nothing reads", left), listNames("tensors that are missing", missing),
	}, func(s string) bool { return s == "" }), "; "))
}

func listNames(what string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("%s: %s", what, strings.Join(names, ", "))
}

// checkOurs verifies that the pairs of each of our tensors fill it exactly.
func (t Table) checkOurs(c model.Config) error {
	filled := map[string]int{}
	for _, p := range t {
		n := 1
		for _, d := range p.theirPart() {
			n *= d
		}
		filled[p.Ours] += n
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

// toOurs moves the raw data of their part into the raw data of our whole tensor of shape dims.
func (p Pair) toOurs(ours []byte, dims []int, theirs []byte, size int) {
	p.walk(dims, func(our, their, n int) {
		copy(ours[our*size:(our+n)*size], theirs[their*size:(their+n)*size])
	})
}

// toTheirs is the inverse of toOurs.
func (p Pair) toTheirs(theirs []byte, ours []byte, dims []int, size int) {
	p.walk(dims, func(our, their, n int) {
		copy(theirs[their*size:(their+n)*size], ours[our*size:(our+n)*size])
	})
}

// walk visits every run of n elements that are adjacent on both sides, by their first index on each.
func (p Pair) walk(dims []int, visit func(our, their, n int)) {
	part := p.theirPart()
	total := 1
	for _, d := range part {
		total *= d
	}
	switch p.Transform {
	case CopyElements:
		visit(p.OursAt, 0, total)
	case SwapInOut:
		columns := dims[len(dims)-1]
		rows := part[0]
		inner := total / rows
		for i := range inner {
			for r := range rows {
				visit(i*columns+p.OursAt+r, r*inner+i, 1)
			}
		}
	case ChannelsLast:
		out, in, height, width := part[0], part[1], part[2], part[3]
		our := 0
		for y := range height {
			for x := range width {
				for i := range in {
					for o := range out {
						visit(our, ((o*in+i)*height+y)*width+x, 1)
						our++
					}
				}
			}
		}
	}
}

// dtypeFor is the type that our tensor is stored in when theirs has type d: the same, for exactness.
func dtypeFor(d safetensors.DType) safetensors.DType { return d }
