package probe

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"

	"tandem/internal/atomicfile"
	"tandem/internal/fault"
)

// File is a probe as it is kept on disk: JSON, the numbers little-endian float32 in base64.
type File struct {
	Format  string   `json:"format"` // "tandem-probe"
	Version int      `json:"version"`
	Kind    string   `json:"kind"`
	Classes []string `json:"classes"`
	Dim     int      `json:"dim"`
	// Model identifies the encoder whose rows the probe was trained on; a probe fits no other.
	Model string `json:"model"`
	// Notes are for people: the data, the penalty chosen, the accuracy on validation.
	Notes map[string]string `json:"notes,omitempty"`

	Weights []byte `json:"weights,omitempty"` // linear: [classes, dim]
	Bias    []byte `json:"bias,omitempty"`    // linear: [classes]

	Rows   []byte `json:"rows,omitempty"`   // knn, tip-adapter: [n, dim]
	Labels []int  `json:"labels,omitempty"` // [n]

	K           int     `json:"k,omitempty"`           // knn
	Temperature float64 `json:"temperature,omitempty"` // knn
	Text        []byte  `json:"text,omitempty"`        // tip-adapter: [classes, dim]
	Scale       float64 `json:"scale,omitempty"`
	Alpha       float64 `json:"alpha,omitempty"`
	Beta        float64 `json:"beta,omitempty"`
}

const (
	fileFormat  = "tandem-probe"
	fileVersion = 1
)

// Save writes a trained probe (*Linear, *KNN or *TipAdapter). model identifies the encoder it was trained on.
func Save(path string, p Predictor, model string, notes map[string]string) error {
	f := File{Format: fileFormat, Version: fileVersion, Model: model, Notes: notes}
	switch m := p.(type) {
	case *Linear:
		f.Kind, f.Classes, f.Dim = KindLinear, m.Classes, len(m.Weights[0])
		f.Weights, f.Bias = pack(m.Weights), pack([][]float32{m.Bias})
	case *KNN:
		f.Kind, f.Classes, f.Dim = KindKNN, m.Train.Classes, m.Train.Dim()
		f.Rows, f.Labels, f.K, f.Temperature = pack(m.Train.Rows), m.Train.Labels, m.K, m.Temperature
	case *TipAdapter:
		f.Kind, f.Classes, f.Dim = KindTipAdapter, m.Train.Classes, m.Train.Dim()
		f.Rows, f.Labels, f.Text = pack(m.Train.Rows), m.Train.Labels, pack(m.Text)
		f.Scale, f.Alpha, f.Beta = m.Scale, m.Alpha, m.Beta
	default:
		return fmt.Errorf("probe: cannot save a %T", p)
	}
	return atomicfile.Write(path, 0o644, func(w io.Writer) error { return json.NewEncoder(w).Encode(f) })
}

// Load reads a probe. The file's description comes with it.
func Load(path string) (Predictor, File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, File{}, fault.User(err)
	}
	var f File
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, File{}, fault.Userf("%s is not a probe file: %w", path, fault.JSON(err))
	}
	if f.Format != fileFormat || f.Version > fileVersion {
		return nil, File{}, fault.Userf("%s: format %q version %d is not a probe that this program reads (%s, version %d)", path, f.Format, f.Version, fileFormat, fileVersion)
	}
	p, err := f.predictor()
	if err != nil {
		return nil, File{}, fault.Userf("%s: %w", path, err)
	}
	return p, f, nil
}

func (f File) predictor() (Predictor, error) {
	k := len(f.Classes)
	if k < 2 || f.Dim < 1 {
		return nil, fmt.Errorf("%d classes of dimension %d are no classifier", k, f.Dim)
	}
	if f.Kind == KindLinear {
		weights, err := unpack("weights", f.Weights, k, f.Dim)
		if err != nil {
			return nil, err
		}
		bias, err := unpack("bias", f.Bias, 1, k)
		if err != nil {
			return nil, err
		}
		return &Linear{Classes: f.Classes, Weights: weights, Bias: bias[0]}, nil
	}
	rows, err := unpack("rows", f.Rows, len(f.Labels), f.Dim)
	if err != nil {
		return nil, err
	}
	train := Set{Rows: rows, Labels: f.Labels, Classes: f.Classes}
	if err := train.Validate(); err != nil {
		return nil, err
	}
	switch f.Kind {
	case KindKNN:
		if f.K < 1 {
			return nil, fmt.Errorf("k is %d: it must be at least 1", f.K)
		}
		return &KNN{Train: train, K: f.K, Temperature: f.Temperature}, nil
	case KindTipAdapter:
		text, err := unpack("text", f.Text, k, f.Dim)
		if err != nil {
			return nil, err
		}
		return &TipAdapter{Train: train, Text: text, Scale: f.Scale, Alpha: f.Alpha, Beta: f.Beta}, nil
	}
	return nil, fmt.Errorf("kind %q is unknown", f.Kind)
}

func pack(rows [][]float32) []byte {
	var b []byte
	for _, row := range rows {
		for _, x := range row {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
	}
	return b
}

func unpack(what string, b []byte, rows, columns int) ([][]float32, error) {
	if len(b) != 4*rows*columns {
		return nil, fmt.Errorf("%s has %d bytes, not %d × %d float32", what, len(b), rows, columns)
	}
	out := make([][]float32, rows)
	for i := range out {
		out[i] = make([]float32, columns)
		for j := range out[i] {
			out[i][j] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*(i*columns+j):]))
		}
	}
	return out, nil
}
