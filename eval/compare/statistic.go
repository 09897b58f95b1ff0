package compare

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"tandem/eval"
	"tandem/eval/bias"
	"tandem/eval/metrics"
	"tandem/eval/record"
)

// statistic computes a metric from records.
type statistic struct {
	set string // the records that it is of; "" means all
	// score is what the metric is the mean of; nil where it is no mean, and of computes it instead.
	score func(record.Record) float64
	of    func([]record.Record) func(items []int) float64
	// right says that the score is 1 for a right answer and 0 for a wrong one: McNemar's test applies.
	right bool
	// low says that less is better.
	low bool
}

// right is a statistic that is a share of right answers.
func right(set string, is func(record.Record) bool) statistic {
	return statistic{set: set, right: true, score: func(r record.Record) float64 {
		if is(r) {
			return 1
		}
		return 0
	}}
}

// statistics are what the records give, by the metric's name.
var statistics = map[string]statistic{
	eval.Acc1:               right("test", func(r record.Record) bool { return r.Correct }),
	eval.Acc5:               right("test", func(r record.Record) bool { return slices.Contains(r.TopClasses, r.Label) }),
	eval.MeanPerClassRecall: {set: "test", of: meanRecall},
	eval.MAP:                {set: "test", of: meanAveragePrecision},
	eval.Chosen:             right("test", func(r record.Record) bool { return r.Correct }),
	eval.GroupScore:         right("test", func(r record.Record) bool { return r.Correct }),
	eval.TextScore:          right("test", func(r record.Record) bool { return r.TextCorrect }),
	eval.ImageScore:         right("test", func(r record.Record) bool { return r.ImageCorrect }),
	eval.EffectSize:         {of: effectSize},
}

// Both directions of a retrieval have the same metrics.
var directions = []string{eval.ImageToText, eval.TextToImage}

func init() {
	for _, d := range directions {
		for _, k := range []int64{1, 5, 10} {
			statistics[fmt.Sprintf("%s_R@%d", d, k)] = right(d, func(r record.Record) bool { return r.Rank > 0 && r.Rank <= k })
		}
		statistics[d+"_mAP@10"] = statistic{set: d, score: func(r record.Record) float64 { return r.AveragePrecision }}
		statistics[d+"_median_rank"] = statistic{set: d, of: medianRank, low: true}
	}
}

// tested are the metrics that are compared example by example: the headline, and of a retrieval the other direction's.
func tested(result eval.Result) []eval.NamedMetric {
	headline := result.Headline()
	list := []eval.NamedMetric{headline}
	for i, d := range directions {
		rest, ok := strings.CutPrefix(headline.Name, d)
		if !ok {
			continue
		}
		for _, m := range result.Ordered() {
			if m.Name == directions[1-i]+rest {
				list = append(list, m)
			}
		}
	}
	return list
}

// all computes the metric of all records.
func (s statistic) all(records []record.Record) float64 {
	items := make([]int, len(records))
	for i := range items {
		items[i] = i
	}
	return s.function(records)(items)
}

// function is the metric as a function of the examples drawn.
func (s statistic) function(records []record.Record) func(items []int) float64 {
	if s.of != nil {
		return s.of(records)
	}
	return func(items []int) float64 {
		sum := 0.0
		for _, i := range items {
			sum += s.score(records[i])
		}
		return sum / float64(len(items))
	}
}

// gives reports whether the records are those of the report's number.
func (s statistic) gives(m eval.NamedMetric, records []record.Record) bool {
	if len(records) == 0 {
		return m.N == 0
	}
	return math.Abs(s.all(records)-m.Value) <= 1e-6*max(1, math.Abs(m.Value))
}

// paired compares two models' records of the same examples.
func (s statistic) paired(a, b []record.Record, clusters []int) metrics.Paired {
	if s.of != nil {
		return metrics.PairedStatistic(len(a), clusters, 0, s.of(a), s.of(b))
	}
	scoresA, scoresB := make([]float64, len(a)), make([]float64, len(b))
	for i := range a {
		scoresA[i], scoresB[i] = s.score(a[i]), s.score(b[i])
	}
	return metrics.PairedBootstrap(scoresA, scoresB, clusters, 0)
}

// meanRecall is the mean over the classes that were drawn of the share of right answers.
func meanRecall(records []record.Record) func(items []int) float64 {
	index := map[string]int{}
	class := make([]int, len(records))
	for i, r := range records {
		c, ok := index[r.Label]
		if !ok {
			c = len(index)
			index[r.Label] = c
		}
		class[i] = c
	}
	n, hits := make([]float64, len(index)), make([]float64, len(index))
	return func(items []int) float64 {
		clear(n)
		clear(hits)
		for _, i := range items {
			if n[class[i]]++; records[i].Correct {
				hits[class[i]]++
			}
		}
		sum, present := 0.0, 0.0
		for c := range n {
			if n[c] > 0 {
				sum += hits[c] / n[c]
				present++
			}
		}
		return sum / present
	}
}

// notANumber stands for a metric that the records do not give.
func notANumber([]int) float64 { return math.NaN() }

// meanAveragePrecision needs the similarities of all classes.
func meanAveragePrecision(records []record.Record) func(items []int) float64 {
	index := map[string]int{}
	for _, r := range records {
		for _, name := range r.TopClasses {
			if _, ok := index[name]; !ok {
				index[name] = len(index)
			}
		}
	}
	var scores [][]float64
	var positive [][]bool
	for _, r := range records {
		row, is := make([]float64, len(index)), make([]bool, len(index))
		if len(r.TopClasses) != len(index) || len(r.TopSimilarities) != len(index) {
			return notANumber // a report that was written with the first five only
		}
		for k, name := range r.TopClasses {
			row[index[name]] = r.TopSimilarities[k]
		}
		for _, name := range eval.SplitLabels(r.Label) {
			if c, ok := index[name]; ok {
				is[c] = true
			}
		}
		scores, positive = append(scores, row), append(positive, is)
	}
	if stat := metrics.MeanAveragePrecisionOf(scores, positive); stat != nil {
		return stat
	}
	return notANumber
}

// medianRank is of the queries that have a relevant candidate.
func medianRank(records []record.Record) func(items []int) float64 {
	var ranks []int64
	return func(items []int) float64 {
		ranks = ranks[:0]
		for _, i := range items {
			if records[i].Rank > 0 {
				ranks = append(ranks, records[i].Rank)
			}
		}
		if len(ranks) == 0 {
			return math.NaN()
		}
		slices.Sort(ranks)
		n := len(ranks)
		return float64(ranks[(n-1)/2]+ranks[n/2]) / 2
	}
}

// effectSize takes the images of X first, as the records of both models are sorted by set.
func effectSize(records []record.Record) func(items []int) float64 {
	var scores []float64
	nx := 0
	for _, r := range records {
		if scores = append(scores, r.Score); r.Set == "x" {
			nx++
		}
	}
	return bias.EffectOf(scores, nx)
}
