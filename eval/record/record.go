// Package record keeps what an evaluation thought of every example in parquet files, from which a report's metrics can be
// computed again, by this program or another. docs/format/records.md says which numbers from which columns.
package record

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/parquet-go/parquet-go"

	"tandem/internal/atomicfile"
	"tandem/internal/fault"
)

// Record is one example, or one query of a retrieval. Numbers that do not apply are zero.
type Record struct {
	// Set is the role of the example: test, validation or unknown (none of the classes) of a classification,
	// image_to_text or text_to_image of a retrieval, x or y of an association.
	Set string `parquet:"set,dict"`
	ID  string `parquet:"id"`
	// Part is what doubt did with the example: Fitted, Measured, or "" if neither.
	Part string `parquet:"part,dict"`
	// Skipped says why the example was not scored, "" if it was.
	Skipped    string `parquet:"skipped,dict"`
	Label      string `parquet:"label,dict"`      // the truth
	Prediction string `parquet:"prediction,dict"` //
	Correct    bool   `parquet:"correct"`
	// Known is the chosen rule's answer: false means "unknown". Without a rule it is true.
	Known bool `parquet:"known"`
	// Of the prediction, at the model's own temperature; Similarity is a cosine.
	Probability      float64 `parquet:"probability"`
	Similarity       float64 `parquet:"similarity"`
	Margin           float64 `parquet:"margin"`  // between the best similarities
	Entropy          float64 `parquet:"entropy"` // in nats
	LabelProbability float64 `parquet:"label_probability"`
	// At the scale that was fitted: the prediction's and the truth's. Confidence is the chosen rule's score, turned so that
	// higher is surer. SetSize is the number of classes in the prediction set, and SetHolds says that the truth is one.
	FittedProbability      float64 `parquet:"fitted_probability"`
	FittedLabelProbability float64 `parquet:"fitted_label_probability"`
	Confidence             float64 `parquet:"confidence"`
	SetSize                int64   `parquet:"set_size"`
	SetHolds               bool    `parquet:"set_holds"`
	// The first five answers, best first; of several labels an image, all classes and all similarities.
	TopClasses       []string  `parquet:"top_classes,list" parquet-element:",dict"`
	TopProbabilities []float64 `parquet:"top_probabilities,list"`
	TopSimilarities  []float64 `parquet:"top_similarities,list"`
	// Score is 1 or 0 for a right or wrong answer, a query's R@1, and of an association's image the mean similarity to the
	// words A less that to B.
	Score float64 `parquet:"score"`
	// Of a pair of a selection: each image found its caption, each caption its image.
	TextCorrect  bool `parquet:"text_correct"`
	ImageCorrect bool `parquet:"image_correct"`
	// Rank (from 1) of the first relevant candidate, and average precision among the first ten, of a query; 0 without a
	// relevant one.
	Rank             int64   `parquet:"rank"`
	AveragePrecision float64 `parquet:"average_precision"`
	// Cluster groups examples that are not independent; "" means that the example stands alone.
	Cluster string `parquet:"cluster,dict"`
	// Metadata are the columns of the data set.
	Metadata map[string]string `parquet:"metadata"`
}

// Parts of the examples that doubt uses.
const (
	Fitted   = "fitted"   // the scale, the threshold and the sets were chosen on them
	Measured = "measured" // what the report says of doubt was measured on them
)

// Write writes records to a file, whole or not at all.
func Write(path string, records []Record) error {
	return atomicfile.Write(path, 0o644, func(w io.Writer) error {
		p := parquet.NewGenericWriter[Record](w, parquet.Compression(&parquet.Zstd))
		if _, err := p.Write(records); err != nil {
			return err
		}
		return p.Close()
	})
}

// Read reads a file that Write wrote.
func Read(path string) (records []Record, err error) {
	defer func() { // the parquet library panics on some damaged files
		if r := recover(); r != nil {
			records, err = nil, fault.Userf("%s: damaged: %v", path, r)
		}
	}()
	records, err = parquet.ReadFile[Record](path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.User(err)
	}
	if err != nil {
		if info, statErr := os.Stat(path); statErr == nil && info.Size() < 12 {
			err = fmt.Errorf("%d bytes are no parquet file", info.Size())
		}
		return nil, fault.Userf("%s: %w", path, err)
	}
	return records, nil
}
