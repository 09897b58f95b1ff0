package eval

import "tandem/eval/metrics"

// Metric is a number with its 95 % interval and what guessing would give.
type Metric = metrics.Metric

// Share is hits out of n with Wilson's interval (Wilson, 1927).
func Share(hits, n int, chance float64) Metric { return metrics.Share(hits, n, chance) }
