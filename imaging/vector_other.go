//go:build !amd64

package imaging

func (a *axis) prepareVector() {}

func (a *axis) columns8(dst, src plane) { a.columns8Go(dst, src) }

func (a *axis) rows8(dst []byte, src plane, y0 int) { a.rows8Go(dst, src, y0) }
