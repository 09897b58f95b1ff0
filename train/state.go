package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/checkpoints"
	"tandem/internal/fault"
	"tandem/optim"
)

// Files of a step directory, besides those of the model.
const (
	stateName     = "state.json"
	optimizerName = "optimizer.safetensors"
)

const stateFormat = "tandem-state/1"

// State is where a training stands: with the weights, the optimiser's moments and this, it goes on bit for bit.
type State struct {
	Format   string            `json:"format"`
	Step     int64             `json:"step"`
	Examples int64             `json:"examples"`
	Total    int64             `json:"total_steps"`
	Cursor   json.RawMessage   `json:"cursor,omitempty"` // the data source's own
	Identity map[string]string `json:"identity"`
	Versions map[string]string `json:"versions"`
}

// save writes the step directory of the current state.
func (t *Trainer) save() error {
	t.clock.lap()
	if err := t.Log.Flush(); err != nil { // the log must not miss steps that a checkpoint holds
		return err
	}
	state := t.state
	state.Format, state.Total, state.Identity, state.Versions = stateFormat, t.Total, t.Identity, t.Versions
	dir, err := t.Root.Save(state.Step, func(tmp string) error {
		weights, moments := t.variables()
		if err := t.writeWeights(tmp, weights); err != nil {
			return err
		}
		if err := checkpoints.WriteTensors(filepath.Join(tmp, optimizerName), moments); err != nil {
			return err
		}
		if err := checkpoints.WriteJSON(filepath.Join(tmp, stateName), state); err != nil {
			return err
		}
		return t.Export(tmp)
	})
	if err != nil {
		return err
	}
	t.saved = state.Step
	return t.Log.Saved(dir, state.Step, t.clock.lap())
}

// variables are the tensors of a checkpoint: the model's, and the optimiser's state.
func (t *Trainer) variables() (weights, moments []*gml.Variable) {
	for v := range t.Stepper.Store().IterVariables() {
		switch {
		case strings.HasPrefix(v.Path(), "/"+optim.StateScope):
			moments = append(moments, v)
		case !strings.HasPrefix(v.Path(), "/"+sumScope):
			weights = append(weights, v)
		}
	}
	return weights, moments
}

// ReadState reads the state of a step directory.
func ReadState(dir string) (State, error) {
	var s State
	path := filepath.Join(dir, stateName)
	if err := checkpoints.ReadJSON(path, &s); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return s, fault.Userf("%s holds a model but no training state: start from it with -init instead of -resume", dir)
		}
		return s, err
	}
	if s.Format != stateFormat {
		return s, fmt.Errorf("%s: format %q is not %q", path, s.Format, stateFormat)
	}
	return s, nil
}

// Restore continues from a step directory whose state ReadState returned. A changed model, data, loss or optimiser is
// refused with the keys that differ.
func (t *Trainer) Restore(dir string, state State) error {
	if diff := differences(state.Identity, t.Identity); len(diff) > 0 {
		return fault.Userf("%s was trained under another configuration, resuming would mix the two: %s (use another -dir, or change it back)",
			dir, strings.Join(diff, "; "))
	}
	weights, moments := t.variables()
	if err := t.readWeights(dir, weights); err != nil {
		return err
	}
	if err := checkpoints.ReadTensors(filepath.Join(dir, optimizerName), moments); err != nil {
		return err
	}
	t.state, t.saved = state, state.Step
	return nil
}

// differences lists the keys whose values differ, as "key was old, now new".
func differences(old, now map[string]string) []string {
	keys := maps.Clone(old)
	maps.Copy(keys, now)
	var diff []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if a, b := orUnset(old, key), orUnset(now, key); a != b {
			diff = append(diff, fmt.Sprintf("%s was %s, now %s", key, a, b))
		}
	}
	return diff
}

func orUnset(m map[string]string, key string) string {
	if v, ok := m[key]; ok {
		return v
	}
	return "unset"
}

// State is where the training stands.
func (t *Trainer) State() State { return t.state }
