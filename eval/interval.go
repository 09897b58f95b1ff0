package eval

import "math"

// z95 is the standard normal's 97.5 % quantile.
const z95 = 1.959963984540054

// Metric is a number with its 95 % interval and what guessing would give.
type Metric struct {
	Value  float64  `json:"value"`
	Low    float64  `json:"low"`
	High   float64  `json:"high"`
	N      int      `json:"n"`
	Chance *float64 `json:"chance,omitempty"`
}

// Share is hits out of n with Wilson's interval (Wilson, 1927).
func Share(hits, n int, chance float64) Metric {
	m := Metric{N: n, Chance: &chance}
	if n == 0 {
		return m
	}
	p, size := float64(hits)/float64(n), float64(n)
	denominator := 1 + z95*z95/size
	centre := (p + z95*z95/(2*size)) / denominator
	half := z95 / denominator * math.Sqrt(p*(1-p)/size+z95*z95/(4*size*size))
	m.Value, m.Low, m.High = p, math.Max(0, centre-half), math.Min(1, centre+half)
	return m
}
