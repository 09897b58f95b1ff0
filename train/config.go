package train

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute/dtypes"

	"tandem/internal/duration"
)

// Config is the course of a training, apart from model, data, loss and optimiser.
type Config struct {
	// Length is how long to train.
	Length duration.Duration `yaml:"length" json:"length"`
	// Seed of the initial weights and of patch dropout. (The data have a seed of their own.)
	Seed uint64 `yaml:"seed" json:"seed"`
	// Precision of activations and matrix products: float32, bfloat16, or auto, the default, which is bfloat16 on GPU and TPU
	// and float32 on a processor, where bfloat16 is slower. Weights and optimiser state are float32.
	Precision string `yaml:"precision" json:"precision"`
	// Rematerialise recomputes each transformer block in the backward pass: less memory, about a third more work.
	Rematerialise bool `yaml:"rematerialise,omitempty" json:"rematerialise,omitempty"`
	// Chunk keeps the activations of only this many pairs in memory at a time, so that data.batch may outgrow the memory:
	// the same result for a second forward pass. It must divide data.batch. 0: the whole batch at once. See loss.block too.
	Chunk int `yaml:"chunk,omitempty" json:"chunk,omitempty"`

	// Norms logs the norms of parameters and updates too. Large models train a few per cent slower with it.
	Norms bool `yaml:"norms,omitempty" json:"norms,omitempty"`

	SaveEvery duration.Duration `yaml:"save_every" json:"save_every"`
	EvalEvery duration.Duration `yaml:"eval_every" json:"eval_every"`
	// Keep is how many checkpoints to keep, KeepEvery spares every step it divides.
	Keep      int   `yaml:"keep" json:"keep"`
	KeepEvery int64 `yaml:"keep_every,omitempty" json:"keep_every,omitempty"`

	// MaxBadSteps stops the run after that many steps in a row whose loss or gradients were not finite.
	MaxBadSteps int `yaml:"max_bad_steps" json:"max_bad_steps"`
}

// WithDefaults fills the fields that zero leaves open.
func (c Config) WithDefaults() Config {
	if c.Precision == "" {
		c.Precision = AutoPrecision
	}
	if c.Keep == 0 {
		c.Keep = 2
	}
	if c.MaxBadSteps == 0 {
		c.MaxBadSteps = 10
	}
	return c
}

// Validate reports the first thing that is wrong, naming the field.
func (c Config) Validate() error {
	switch {
	case c.Length.IsZero():
		return fmt.Errorf("train.length is not set: write \"700 steps\" or \"10 epochs\", for example")
	case c.Length.IsPercent():
		return fmt.Errorf("train.length %s is a percentage of nothing: write steps, examples or epochs", c.Length)
	case !slices.Contains([]string{AutoPrecision, "float32", "bfloat16"}, c.Precision):
		return fmt.Errorf("train.precision %q is unknown: use auto, float32 or bfloat16", c.Precision)
	case c.Chunk < 0:
		return fmt.Errorf("train.chunk must not be negative: %d", c.Chunk)
	case c.Keep < 0:
		return fmt.Errorf("train.keep must not be negative: %d", c.Keep)
	case c.KeepEvery < 0:
		return fmt.Errorf("train.keep_every must not be negative: %d", c.KeepEvery)
	case c.MaxBadSteps < 0:
		return fmt.Errorf("train.max_bad_steps must not be negative: %d", c.MaxBadSteps)
	}
	return nil
}

// AutoPrecision leaves the precision to the device.
const AutoPrecision = "auto"

// On settles what depends on the device, also where defaults are not filled in yet.
func (c Config) On(accelerator bool) Config {
	switch {
	case c.Precision != AutoPrecision && c.Precision != "":
	case accelerator:
		c.Precision = "bfloat16"
	default:
		c.Precision = "float32"
	}
	return c
}

// DType is the precision as a GoMLX type; call On first.
func (c Config) DType() dtypes.DType {
	if c.Precision == "bfloat16" {
		return dtypes.BFloat16
	}
	return dtypes.Float32
}
