package foreign

// toOurs moves theirs, the rows of p's tensor from row from on, into our whole tensor of shape dims.
func toOurs[E any](p Pair, dims []int, ours, theirs []E, from int) {
	first, _ := p.rows()
	inner := p.inner()
	if p.Transform == CopyElements {
		copy(ours[p.OursAt+(from-first)*inner:], theirs)
		return
	}
	columns, order := dims[len(dims)-1], p.order()
	ours = ours[p.OursAt+from-first:]
	eachBlock(len(theirs)/inner, inner, func(r0, r1, i0, i1 int) {
		for i := i0; i < i1; i++ {
			row := ours[order[i]*columns:]
			for r := r0; r < r1; r++ {
				row[r] = theirs[r*inner+i]
			}
		}
	})
}

// toTheirs is the inverse of toOurs: it fills theirs from our whole tensor.
func toTheirs[E any](p Pair, dims []int, theirs, ours []E, from int) {
	first, _ := p.rows()
	inner := p.inner()
	if p.Transform == CopyElements {
		copy(theirs, ours[p.OursAt+(from-first)*inner:])
		return
	}
	columns, order := dims[len(dims)-1], p.order()
	ours = ours[p.OursAt+from-first:]
	eachBlock(len(theirs)/inner, inner, func(r0, r1, i0, i1 int) {
		for i := i0; i < i1; i++ {
			row := ours[order[i]*columns:]
			for r := r0; r < r1; r++ {
				theirs[r*inner+i] = row[r]
			}
		}
	})
}

// order tells, for each element of one of their rows, which row of ours it belongs to: theirs count input channels,
// height and width, ours height, width and input channels. A matrix is a convolution of height and width 1.
func (p Pair) order() []int {
	order := make([]int, p.inner())
	if p.Transform != ChannelsLast {
		for i := range order {
			order[i] = i
		}
		return order
	}
	in, area := p.Shape[1], p.Shape[2]*p.Shape[3]
	for i := range order {
		order[i] = i%area*in + i/area
	}
	return order
}

// eachBlock cuts a matrix into blocks whose both sides fit the cache: turned over row by row, every element would be a
// cache miss.
func eachBlock(rows, columns int, visit func(r0, r1, c0, c1 int)) {
	const side = 32
	for r := 0; r < rows; r += side {
		for c := 0; c < columns; c += side {
			visit(r, min(r+side, rows), c, min(c+side, columns))
		}
	}
}
