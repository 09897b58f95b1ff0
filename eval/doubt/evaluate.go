package doubt

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"tandem/eval/metrics"
	"tandem/internal/fault"
	"tandem/internal/zeroshot"
)

// Config says what to choose the rule for. A task's YAML holds it under "doubt".
type Config struct {
	// Score decides what is unknown: similarity, margin (the default), entropy, probability or energy.
	Score string `yaml:"score,omitempty" json:"score,omitempty"`
	// Coverage is the share of images of known classes that must be answered; default 0.95. FalseAccept, the share of
	// images of no class that may be, replaces it; it needs out-of-set images.
	Coverage    float64 `yaml:"coverage,omitempty" json:"coverage,omitempty"`
	FalseAccept float64 `yaml:"false_accept,omitempty" json:"false_accept,omitempty"`
	// Conformal is lac (the default) or aps; Alpha the wanted rate of sets without the truth, default 0.1.
	Conformal string  `yaml:"conformal,omitempty" json:"conformal,omitempty"`
	Alpha     float64 `yaml:"alpha,omitempty" json:"alpha,omitempty"`
}

// WithDefaults fills what zero leaves open.
func (c Config) WithDefaults() Config {
	if c.Score == "" {
		c.Score = zeroshot.ByMargin
	}
	if c.Coverage == 0 && c.FalseAccept == 0 {
		c.Coverage = 0.95
	}
	if c.Conformal == "" {
		c.Conformal = zeroshot.LAC
	}
	if c.Alpha == 0 {
		c.Alpha = 0.1
	}
	return c
}

// Validate reports the first thing that is wrong, naming the field. It expects the defaults filled in.
func (c Config) Validate() error {
	switch {
	case !slices.Contains(zeroshot.RuleScores(), c.Score):
		return fmt.Errorf("score %q is unknown: use %s", c.Score, strings.Join(zeroshot.RuleScores(), ", "))
	case c.Coverage != 0 && c.FalseAccept != 0:
		return fmt.Errorf("coverage and false_accept exclude each other: a threshold meets one goal")
	case c.Coverage < 0 || c.Coverage > 1 || c.FalseAccept < 0 || c.FalseAccept >= 1:
		return fmt.Errorf("coverage %g and false_accept %g are shares between 0 and 1", c.Coverage, c.FalseAccept)
	case c.Conformal != zeroshot.LAC && c.Conformal != zeroshot.APS:
		return fmt.Errorf("conformal %q is unknown: use lac or aps", c.Conformal)
	case c.Alpha <= 0 || c.Alpha >= 1:
		return fmt.Errorf("alpha %g must be between 0 and 1", c.Alpha)
	}
	return nil
}

// Goal is what the threshold is chosen for, in words.
func (c Config) Goal() string {
	if c.FalseAccept > 0 {
		return fmt.Sprintf("%.4g %% false accepts", 100*c.FalseAccept)
	}
	return fmt.Sprintf("%.4g %% coverage", 100*c.Coverage)
}

// Result is everything measured about doubt. Numbers are of test examples; scale, threshold and quantile come from
// validation.
type Result struct {
	ValidationN int     `json:"validation_n"`
	TestN       int     `json:"test_n"`
	UnknownN    int     `json:"unknown_n"`
	Scale       float64 `json:"scale"`        // the model's own
	FittedScale float64 `json:"fitted_scale"` // of least log loss on validation

	LogLoss       float64        `json:"log_loss"`
	LogLossFitted float64        `json:"log_loss_fitted"`
	ECE           metrics.Metric `json:"ece"`             // equal width, at the model's scale
	ECEMass       metrics.Metric `json:"ece_mass"`        // equal mass
	ECEFitted     metrics.Metric `json:"ece_fitted"`      // equal width, at the fitted scale
	ECEMassFitted metrics.Metric `json:"ece_mass_fitted"` //
	// What an honest model would show in their place: the errors are to be held against these, not against 0.
	ECEHonest           Honest `json:"ece_honest"`
	ECEMassHonest       Honest `json:"ece_mass_honest"`
	ECEFittedHonest     Honest `json:"ece_fitted_honest"`
	ECEMassFittedHonest Honest `json:"ece_mass_fitted_honest"`

	Bins       []Bin `json:"bins"`
	BinsFitted []Bin `json:"bins_fitted"`

	Rules     []RuleResult        `json:"rules"` // one for each score; the first is the chosen one
	Conformal []Coverage          `json:"conformal"`
	Chosen    zeroshot.Rule       `json:"-"`
	Unknown   map[string]Detected `json:"unknown,omitempty"` // by score, where there are out-of-set images
}

// CalibrationLine is one calibration error beside an honest model's.
type CalibrationLine struct {
	Name   string
	Error  metrics.Metric
	Honest Honest
}

// Calibration lists the calibration errors for people.
func (r *Result) Calibration() []CalibrationLine {
	return []CalibrationLine{
		{fmt.Sprintf("the model's scale, %.1f; bins of equal width", r.Scale), r.ECE, r.ECEHonest},
		{"the same; bins of equal mass", r.ECEMass, r.ECEMassHonest},
		{fmt.Sprintf("the fitted scale, %.1f; bins of equal width", r.FittedScale), r.ECEFitted, r.ECEFittedHonest},
		{"the same; bins of equal mass", r.ECEMassFitted, r.ECEMassFittedHonest},
	}
}

// Metric is the honest model's error with the range of its draws, for a table.
func (h Honest) Metric(n int) metrics.Metric {
	return metrics.Metric{Value: h.Value, Low: h.Low, High: h.High, N: n}
}

// Detected is how well a score tells known from unknown images.
type Detected = metrics.Detection

// RuleResult is one rule on test examples.
type RuleResult struct {
	Score     string  `json:"score"`
	Goal      string  `json:"goal"`
	Threshold float64 `json:"threshold"` // ±math.MaxFloat64 where all is answered or all refused: see Note
	// Note says that there are too few examples to meet the goal with a threshold, and what the rule does instead.
	Note string `json:"note,omitempty"`
	// Coverage is the share of images of known classes that got an answer, Accuracy the share of right ones among these;
	// FalseAccept is the share of out-of-set images that got one.
	Coverage    metrics.Metric  `json:"coverage"`
	Accuracy    metrics.Metric  `json:"accuracy"`
	FalseAccept *metrics.Metric `json:"false_accept,omitempty"`
	AURC        float64         `json:"aurc"`
	Curve       []CoveragePoint `json:"curve"`
}

// Evaluate fits on validation and measures on test. unknown holds out-of-set images, which may be none: half of them (every
// other one) choose a false-accept threshold where that is the goal, and the other half measures it.
func Evaluate(c Config, validation, test, unknown Answers, scale float64, seed uint64) (*Result, error) {
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if validation.Len() == 0 || test.Len() == 0 {
		return nil, fmt.Errorf("doubt needs examples to fit on and examples to measure on, not %d and %d", validation.Len(), test.Len())
	}
	if c.FalseAccept > 0 && unknown.Len() < 2 {
		return nil, fault.Userf("false_accept needs out-of-set images: say where they are under unknown")
	}
	fitted := FitScale(validation)
	r := &Result{ValidationN: validation.Len(), TestN: test.Len(), UnknownN: unknown.Len(), Scale: scale, FittedScale: fitted}
	r.calibrate(test, seed)
	r.rules(c, validation, test, unknown, seed)
	other := map[string]string{zeroshot.LAC: zeroshot.APS, zeroshot.APS: zeroshot.LAC}
	for _, method := range []string{c.Conformal, other[c.Conformal]} {
		coverage, sets, err := MeasureConformal(method, c.Alpha, validation, test, fitted, seed)
		if err != nil {
			return nil, err
		}
		r.Conformal = append(r.Conformal, coverage)
		if method == c.Conformal {
			r.Chosen.Conformal = sets
		}
	}
	if unknown.Len() > 0 {
		r.Unknown = map[string]Detected{}
		for _, score := range zeroshot.RuleScores() {
			r.Unknown[score] = metrics.Detect(test.scores(score, fitted), unknown.scores(score, fitted), seed)
		}
	}
	return r, nil
}

func (r *Result) calibrate(test Answers, seed uint64) {
	correct := test.Correct()
	own, fitted := test.TopProbabilities(r.Scale), test.TopProbabilities(r.FittedScale)
	r.LogLoss, r.LogLossFitted = test.LogLoss(r.Scale), test.LogLoss(r.FittedScale)
	r.Bins, r.BinsFitted = EqualWidth(own, correct), EqualWidth(fitted, correct)
	r.ECE, r.ECEFitted = equalWidthError(own, correct, test.Clusters, seed), equalWidthError(fitted, correct, test.Clusters, seed)
	r.ECEMass, r.ECEMassFitted = equalMassError(own, correct, test.Clusters, seed), equalMassError(fitted, correct, test.Clusters, seed)
	r.ECEHonest, r.ECEMassHonest = honestErrors(own, r.ECE.Value, r.ECEMass.Value, seed)
	r.ECEFittedHonest, r.ECEMassFittedHonest = honestErrors(fitted, r.ECEFitted.Value, r.ECEMassFitted.Value, seed)
}

// scores are the confidences with their clusters.
func (a Answers) scores(score string, scale float64) metrics.Scores {
	return metrics.Scores{Values: a.Confidences(score, scale), Clusters: a.Clusters}
}

// rules measures a rule for each score, the chosen one first.
func (r *Result) rules(c Config, validation, test, unknown Answers, seed uint64) {
	scores := slices.Clone(zeroshot.RuleScores())
	slices.SortStableFunc(scores, func(a, b string) int {
		if (a == c.Score) != (b == c.Score) {
			if a == c.Score {
				return -1
			}
			return 1
		}
		return 0
	})
	first, second := Divide(c, unknown)
	choosing, measuring := unknown.Pick(first), unknown.Pick(second)
	for _, score := range scores {
		threshold, note := chooseThreshold(c, score, validation, choosing, r.FittedScale)
		rule := zeroshot.Rule{Score: score, Threshold: threshold, Scale: r.FittedScale, Goal: c.Goal()}
		if score == zeroshot.ByEntropy {
			rule.Threshold = -threshold
		}
		result := measure(rule, test, measuring, seed)
		result.Note = note
		r.Rules = append(r.Rules, result)
		if score == c.Score {
			rule.Measured = map[string]float64{"coverage": result.Coverage.Value}
			if result.Accuracy.N > 0 {
				rule.Measured["accuracy"] = result.Accuracy.Value
			}
			if result.FalseAccept != nil {
				rule.Measured["false_accept"] = result.FalseAccept.Value
			}
			r.Chosen = rule
		}
	}
}

// Divide says which out-of-set examples choose the threshold, every other one (every other cluster) where a false-accept
// rate is the goal, and which measure it.
func Divide(c Config, unknown Answers) (choosing, measuring []int) {
	for i := range unknown.Len() {
		place := i
		if unknown.Clusters != nil {
			place = unknown.Clusters[i]
		}
		if c.FalseAccept > 0 && place%2 == 0 {
			choosing = append(choosing, i)
		} else {
			measuring = append(measuring, i)
		}
	}
	return choosing, measuring
}

// chooseThreshold is the confidence that the wanted share of images of known classes reaches, or that no more than the
// wanted share of out-of-set images does. The next image is as likely to fall into any of the n + 1 gaps between n
// examples: below the k-th smallest confidence with probability k/(n+1). Where no example meets the goal the threshold
// answers or refuses everything, and the note says so.
func chooseThreshold(c Config, score string, validation, unknown Answers, scale float64) (threshold float64, note string) {
	if c.FalseAccept > 0 {
		return acceptFew(c.FalseAccept, unknown.Confidences(score, scale))
	}
	confidence := validation.Confidences(score, scale)
	k := int(math.Floor((1-c.Coverage)*float64(len(confidence)+1) + 1e-9))
	switch {
	case c.Coverage == 1:
		return -math.MaxFloat64, "answers everything, as 100 % coverage asks"
	case k == 0:
		return -math.MaxFloat64, fmt.Sprintf("answers everything: with %d validation examples no threshold can promise %.4g %% coverage (%d can)",
			len(confidence), 100*c.Coverage, int(math.Ceil(1/(1-c.Coverage)-1-1e-9)))
	}
	slices.Sort(confidence)
	return confidence[k-1], ""
}

// acceptFew is the least confidence above which no more than a share of images like these falls.
func acceptFew(share float64, confidence []float64) (threshold float64, note string) {
	k := int(math.Ceil((1-share)*float64(len(confidence)+1) - 1e-9))
	if k > len(confidence) {
		needed := int(math.Ceil(1/share - 1 - 1e-9))
		return math.MaxFloat64, fmt.Sprintf("refuses everything: %d out-of-set images to choose by cannot promise %.4g %% false accepts (%d can; half of those under unknown choose)",
			len(confidence), 100*share, needed)
	}
	slices.Sort(confidence)
	return math.Nextafter(confidence[k-1], math.Inf(1)), ""
}

func measure(rule zeroshot.Rule, test, unknown Answers, seed uint64) RuleResult {
	answered, indices := known(rule, test)
	among := test.Pick(indices)
	out := RuleResult{Score: rule.Score, Goal: rule.Goal, Threshold: rule.Threshold,
		Coverage: metrics.Rate(answered, test.Clusters, seed), Accuracy: metrics.Rate(indicators(among.Correct()), among.Clusters, seed)}
	out.Curve, out.AURC = RiskCoverage(test.Confidences(rule.Score, rule.Scale), test.Correct(), 100)
	if unknown.Len() > 0 {
		accepted, _ := known(rule, unknown)
		m := metrics.Rate(accepted, unknown.Clusters, seed)
		out.FalseAccept = &m
	}
	return out
}

// known says of each example whether the rule answers it, as 1 or 0, and lists those that it does.
func known(rule zeroshot.Rule, a Answers) (answered []float64, indices []int) {
	answered = make([]float64, a.Len())
	for i, s := range a.Similarities {
		if rule.Known(s) {
			answered[i], indices = 1, append(indices, i)
		}
	}
	return answered, indices
}

func indicators(list []bool) []float64 {
	out := make([]float64, len(list))
	for i, b := range list {
		if b {
			out[i] = 1
		}
	}
	return out
}

// ThresholdText is the threshold for people.
func (r RuleResult) ThresholdText() string {
	switch {
	case math.Abs(r.Threshold) < math.MaxFloat64:
		return fmt.Sprintf("%.4f", r.Threshold)
	case (r.Threshold > 0) == (r.Score == zeroshot.ByEntropy):
		return "none"
	}
	return "refuse all"
}
