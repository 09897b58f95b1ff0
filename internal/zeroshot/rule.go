package zeroshot

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"tandem/internal/atomicfile"
	"tandem/internal/fault"
)

// Scores by which an answer may be refused.
const (
	BySimilarity = "similarity" // the best cosine similarity; refused below the threshold
	ByMargin     = "margin"     // the best similarity less the second best; refused below the threshold
	ByEntropy    = "entropy"    // of the probabilities, in nats; refused above the threshold
	// ByProbability is the best probability (Hendrycks and Gimpel, 2017); refused below the threshold.
	ByProbability = "probability"
	// ByEnergy is the logarithm of the sum of exp(scale·similarity), divided by the scale (Liu et al., 2020, with the sign
	// turned): the best similarity where one class stands out, more where several do. Refused below the threshold.
	ByEnergy = "energy"
)

// Rule says when "unknown" is the answer, and which classes cannot be ruled out. Evaluation fits it on validation data;
// classification obeys it. It holds for the model, classes and templates it was fitted to.
type Rule struct {
	Format  string `json:"format"` // "tandem-rule"
	Version int    `json:"version"`

	Score     string  `json:"score"`
	Threshold float64 `json:"threshold"`
	// Scale turns similarities into logits for probabilities and entropy: the temperature fitted on validation.
	Scale float64 `json:"scale"`
	// Conformal, if set, adds prediction sets.
	Conformal *Conformal `json:"conformal,omitempty"`

	// Goal is what the threshold was chosen for, in words: "95 % coverage".
	Goal string `json:"goal,omitempty"`
	// What it was fitted to. Classes and templates replace what the command line would give.
	Task      string   `json:"task,omitempty"`
	Model     string   `json:"model,omitempty"` // fingerprint of checkpoint and preprocessing
	Classes   []Class  `json:"classes,omitempty"`
	Templates []string `json:"templates,omitempty"`
	// Measured are numbers of the rule on data it was not fitted on, for people.
	Measured map[string]float64 `json:"measured,omitempty"`
}

// Methods of conformal prediction.
const (
	LAC = "lac" // classes with probability of at least 1 − quantile (Sadinle et al., 2019)
	APS = "aps" // the most probable classes until their sum reaches the quantile (Romano et al., 2020)
)

// Conformal makes prediction sets that hold the truth with probability 1 − Alpha, over images like those of validation.
type Conformal struct {
	Method   string  `json:"method"`
	Alpha    float64 `json:"alpha"`
	Quantile float64 `json:"quantile"`
}

const (
	ruleFormat  = "tandem-rule"
	ruleVersion = 1
)

// Confidence is the score of an answer, turned so that higher is surer.
func Confidence(score string, similarities []float32, scale float64) float64 {
	switch score {
	case ByMargin:
		first, second := math.Inf(-1), math.Inf(-1)
		for _, s := range similarities {
			if x := float64(s); x > first {
				first, second = x, first
			} else if x > second {
				second = x
			}
		}
		return first - second
	case ByEntropy:
		var entropy float64
		for _, p := range Softmax(similarities, scale) {
			if p > 0 {
				entropy -= p * math.Log(p)
			}
		}
		return -entropy
	case ByProbability:
		return slices.Max(Softmax(similarities, scale))
	case ByEnergy:
		top, sum := float64(slices.Max(similarities)), 0.0
		for _, s := range similarities {
			sum += math.Exp(scale * (float64(s) - top))
		}
		return top + math.Log(sum)/scale
	}
	return float64(slices.Max(similarities))
}

// Known reports whether the best answer counts. Similarities must not be empty.
func (r *Rule) Known(similarities []float32) bool {
	confidence := Confidence(r.Score, similarities, r.Scale)
	if r.Score == ByEntropy {
		return -confidence <= r.Threshold
	}
	return confidence >= r.Threshold
}

// Set lists the classes that cannot be ruled out, best first. It may be empty with LAC: nothing fits.
func (c *Conformal) Set(probabilities []float64) []int {
	order := make([]int, len(probabilities))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case probabilities[a] > probabilities[b]:
			return -1
		case probabilities[a] < probabilities[b]:
			return 1
		}
		return 0
	})
	var sum float64
	for i, class := range order {
		if c.Method == APS && sum >= c.Quantile || c.Method != APS && 1-probabilities[class] > c.Quantile {
			return order[:i]
		}
		sum += probabilities[class]
	}
	return order
}

// Validate reports the first thing that is wrong.
func (r *Rule) Validate() error {
	switch {
	case r.Format != ruleFormat || r.Version > ruleVersion:
		return fmt.Errorf("format %q version %d is not a rule that this program reads (%s, version %d)", r.Format, r.Version, ruleFormat, ruleVersion)
	case !slices.Contains(RuleScores(), r.Score):
		return fmt.Errorf("score %q is unknown: use %s", r.Score, strings.Join(RuleScores(), ", "))
	case math.IsNaN(r.Threshold) || !(r.Scale > 0) || math.IsInf(r.Scale, 0):
		return fmt.Errorf("threshold %g and scale %g must be numbers, the scale above 0", r.Threshold, r.Scale)
	}
	if c := r.Conformal; c != nil && (c.Method != LAC && c.Method != APS || !(c.Alpha > 0 && c.Alpha < 1)) {
		return fmt.Errorf("conformal method %q with alpha %g: use lac or aps and an alpha between 0 and 1", c.Method, c.Alpha)
	}
	return CheckTemplates(r.Templates)
}

// RuleScores lists the scores a rule may use.
func RuleScores() []string {
	return []string{BySimilarity, ByMargin, ByEntropy, ByProbability, ByEnergy}
}

// WriteRule saves a rule.
func WriteRule(path string, r Rule) error {
	r.Format, r.Version = ruleFormat, ruleVersion
	if err := r.Validate(); err != nil {
		return err
	}
	return atomicfile.Write(path, 0o644, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	})
}

// ReadRule loads a rule that evaluation saved.
func ReadRule(path string) (*Rule, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.User(err)
	}
	var r Rule
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fault.Userf("%s is not a rule file: %w", path, fault.JSON(err))
	}
	if err := r.Validate(); err != nil {
		return nil, fault.Userf("%s: %w", path, err)
	}
	return &r, nil
}
