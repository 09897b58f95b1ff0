package train

import (
	"path/filepath"

	"github.com/gomlx/gomlx/core/tensors"
	gml "github.com/gomlx/gomlx/ml/model"

	"tandem/checkpoints"
	"tandem/checkpoints/peft"
	"tandem/model"
	"tandem/optim"
)

// AdapterName is the directory inside a step's that holds its low-rank adapters alone, as peft reads them. The weights
// beside it have them merged in; going on needs the adapters and the model they were put on (Trainer.Base).
const AdapterName = "adapter"

// Snapshot copies the model's parameters into a new store as inference wants them: adapters merged, and, if average is
// set, their moving averages in place of the parameters that have one.
func (s *Stepper) Snapshot(average bool) (*gml.Store, error) {
	store := gml.NewStore()
	return store, s.eachServed(average, func(p model.Param, value *tensors.Tensor) error { return model.AddVariable(store, p, value) })
}

// Refresh brings a store that Snapshot made up to date.
func (s *Stepper) Refresh(store *gml.Store, average bool) error {
	return s.eachServed(average, func(p model.Param, value *tensors.Tensor) error {
		return store.GetVariable("/" + p.Path).SetValue(value)
	})
}

// eachServed visits the parameters of the model as inference wants them.
func (s *Stepper) eachServed(average bool, visit func(model.Param, *tensors.Tensor) error) error {
	adapters := map[string]model.Adapter{}
	for _, a := range s.Model.Adapters(s.store) {
		a.A, a.B = s.served(a.A, average), s.served(a.B, average)
		adapters[a.Weight] = a
	}
	for _, p := range s.Model.Params() {
		value, err := s.served(s.store.GetVariable("/"+p.Path), average).MustValue().LocalClone()
		if err != nil {
			return err
		}
		if a, ok := adapters[p.Path]; ok {
			flat, err := a.Merge(tensors.MustCopyFlatData[float32](value))
			if err != nil {
				return err
			}
			value = tensors.FromFlatDataAndDimensions(flat, p.Dims...)
		}
		if err := visit(p, value); err != nil {
			return err
		}
	}
	return nil
}

// served is a variable, or its moving average.
func (s *Stepper) served(v *gml.Variable, average bool) *gml.Variable {
	if ema := s.store.GetVariable("/" + optim.Average + v.Path()[1:]); average && ema != nil {
		return ema
	}
	return v
}

// HasAverage reports whether a moving average of the weights is kept: checkpoints then serve it.
func (s *Stepper) HasAverage() bool { return s.Optim.EMA > 0 }

// HasAdapters reports whether low-rank adapters are trained.
func (s *Stepper) HasAdapters() bool { return len(s.Model.Adapters(s.store)) > 0 }

// writeWeights writes the model's weights into a step directory: as they are, with adapters merged, and the moving
// average if there is one; and the adapters alone.
func (t *Trainer) writeWeights(dir string, weights []*gml.Variable) error {
	s := t.Stepper
	weights, head := apartFromHead(weights)
	if err := s.writeHead(dir, head); err != nil {
		return err
	}
	if s.HasAdapters() {
		merged, err := s.Snapshot(false)
		if err != nil {
			return err
		}
		weights = variablesOf(merged)
		if err := peft.Write(filepath.Join(dir, AdapterName), t.Base, s.Model, s.Model.Adapters(s.store), s.AdapterDropout); err != nil {
			return err
		}
	}
	if err := checkpoints.WriteTensors(filepath.Join(dir, checkpoints.WeightsName), weights); err != nil || !s.HasAverage() {
		return err
	}
	average, err := s.Snapshot(true)
	if err != nil {
		return err
	}
	return checkpoints.WriteTensors(filepath.Join(dir, checkpoints.AverageName), variablesOf(average))
}

// readWeights is the way back: into the parameters, or, where adapters are trained, into them alone.
func (t *Trainer) readWeights(dir string, weights []*gml.Variable) error {
	s := t.Stepper
	weights, head := apartFromHead(weights)
	if s.HasHead() {
		if err := checkpoints.ReadTensors(filepath.Join(dir, HeadName), head); err != nil {
			return err
		}
	}
	if !s.HasAdapters() {
		return checkpoints.ReadTensors(filepath.Join(dir, checkpoints.WeightsName), weights)
	}
	adapters, err := peft.Read(filepath.Join(dir, AdapterName), s.Model)
	if err != nil {
		return err
	}
	return adapters.Load(s.Model.Adapters(s.store))
}

func variablesOf(store *gml.Store) []*gml.Variable {
	var list []*gml.Variable
	for v := range store.IterVariables() {
		list = append(list, v)
	}
	return list
}
