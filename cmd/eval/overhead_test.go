//go:build slow && linux

package main

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"slices"
	"syscall"
	"testing"
	"time"

	"tandem/embed"
	"tandem/eval"
)

var (
	overheadModel   = flag.String("ckpt", "", "checkpoint to measure with")
	overheadData    = flag.String("data", "", "directory of shards")
	overheadLabel   = flag.String("label", "subgroup", "label to classify by (data set emoji)")
	overheadGroup   = flag.String("group", "vendor", "metadata column to part the result by; empty: none")
	overheadSplit   = flag.String("split", "train", "split of it")
	overheadClasses = flag.Int("classes", 1000, "invented classes for the measurement of the texts")
)

// TestOverhead compares a whole evaluation (reading shards, encoding, similarities, doubt, intervals, records, a report on
// disk) with the bare encoding of the same images from memory, in one process, turn by turn. A machine whose speed swings hides
// a few per cent of a minute, so that the figure that counts is another: the evaluation with the images' rows given, which is all
// that an evaluation does besides encoding them, in processor time.
//
//	go test -tags slow ./cmd/eval -run 'Overhead$' -v -timeout 2h -args -ckpt RUN -data DIR [-split train -label class -group ""]
func TestOverhead(t *testing.T) {
	m, set := openOverhead(t)
	files := imagesIn(t, set)
	rows := bareEncoding(t, m, files) // compiles, too
	var shares []float64
	for range 3 {
		bare, bareBusy := timed(t, func() { bareEncoding(t, m, files) })
		full, fullBusy := timed(t, func() { evaluateAll(t, m, set) })
		_, restBusy := timed(t, func() { evaluateAll(t, rememberedImages{m, rows}, set) })
		shares = append(shares, restBusy/bareBusy)
		t.Logf("%d images: bare encoding %.1f s (%.1f s of processors), evaluation %.1f s (%.1f s); without encoding images %.1f s of processors, %.1f %%",
			len(files), bare, bareBusy, full, fullBusy, restBusy, 100*restBusy/bareBusy)
	}
	slices.Sort(shares)
	if shares[1] > 0.05 {
		t.Errorf("an evaluation takes %.1f %% more than encoding its images, not at most 5 %%", 100*shares[1])
	}
}

// rememberedImages reads the image files it is given and answers with rows computed before.
type rememberedImages struct {
	eval.Encoder
	rows [][]float32
}

func (r rememberedImages) EncodeImageSeq(_ context.Context, images iter.Seq2[[]byte, error]) iter.Seq2[[]float32, error] {
	return func(yield func([]float32, error) bool) {
		i := 0
		for _, err := range images {
			if !yield(r.rows[i], err) {
				return
			}
			i++
		}
	}
}

// openOverhead opens what the command line names.
func openOverhead(t *testing.T) (*embed.Model, *eval.Shards) {
	t.Helper()
	if *overheadModel == "" || *overheadData == "" {
		t.Fatal("name a checkpoint with -ckpt and shards with -data")
	}
	m, err := embed.Load(*overheadModel)
	if err != nil {
		t.Fatal(err)
	}
	set, err := eval.OpenShards(t.Context(), *overheadData, *overheadSplit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return m, set
}

// TestOverheadOfClasses asks two tasks with the same classes and templates of one session: the second encodes no text.
// It wants the data set emoji.
func TestOverheadOfClasses(t *testing.T) {
	m, set := openOverhead(t)
	texts := 0
	session := eval.NewSession(countedTexts{m, &texts}, eval.Options{})
	task := eval.Task{Name: "many", Data: "d", Split: *overheadSplit, Label: "name", Where: map[string]string{"group": "flags"}}
	for i := range *overheadClasses {
		task.Classes = append(task.Classes, eval.Class{Name: fmt.Sprintf("thing number %d", i)})
	}
	for i := range 80 {
		task.Templates = append(task.Templates, fmt.Sprintf("a photo of a {}, kind %d.", i))
	}
	var seconds [2]float64
	for i := range seconds {
		seconds[i], _ = timed(t, func() {
			if _, err := session.Run(t.Context(), task, set); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Logf("%d classes × 80 templates: %d texts encoded; first task %.1f s, second with the same classes %.2f s", *overheadClasses, texts, seconds[0], seconds[1])
	if texts != 80**overheadClasses {
		t.Errorf("%d texts were encoded, not %d", texts, 80**overheadClasses)
	}
}

type countedTexts struct {
	eval.Encoder
	texts *int
}

func (c countedTexts) EncodeTexts(ctx context.Context, texts []string) ([][]float32, error) {
	*c.texts += len(texts)
	return c.Encoder.EncodeTexts(ctx, texts)
}

func imagesIn(t *testing.T, set *eval.Shards) (files [][]byte) {
	t.Helper()
	for e, err := range set.Examples(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, slices.Clone(e.Image))
	}
	return files
}

func bareEncoding(t *testing.T, m *embed.Model, files [][]byte) (rows [][]float32) {
	t.Helper()
	var sequence iter.Seq2[[]byte, error] = func(yield func([]byte, error) bool) {
		for _, f := range files {
			if !yield(f, nil) {
				return
			}
		}
	}
	for row, err := range m.EncodeImageSeq(t.Context(), sequence) {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

func evaluateAll(t *testing.T, enc eval.Encoder, set *eval.Shards) {
	t.Helper()
	task := eval.Task{Name: "overhead", Data: "d", Split: *overheadSplit, Label: *overheadLabel}
	if *overheadGroup != "" {
		task.Groups = []string{*overheadGroup}
	}
	result, err := eval.NewSession(enc, eval.Options{Doubt: true, Pictures: true}).Run(t.Context(), task, set)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeDirectory(t.TempDir(), &eval.Report{Title: "overhead", Results: []eval.Result{result}}); err != nil {
		t.Fatal(err)
	}
}

// timed is how long something took, and how much time of all processors.
func timed(t *testing.T, do func()) (wall, busy float64) {
	t.Helper()
	usage := func() float64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
	}
	began, before := time.Now(), usage()
	do()
	return time.Since(began).Seconds(), usage() - before
}
