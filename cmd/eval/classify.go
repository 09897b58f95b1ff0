package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"tandem/embed"
	"tandem/eval/metrics"
	"tandem/eval/probe"
	"tandem/internal/fault"
	"tandem/internal/progress"
	"tandem/internal/zeroshot"
)

const classifyUsage = `usage: go run ./cmd/eval classify -ckpt DIR -labels "dog,cat,…" [-template "a photo of a {}."] [-min-similarity X] IMAGE…
       go run ./cmd/eval classify -ckpt DIR -rule FILE [-labels …] IMAGE…
       go run ./cmd/eval classify -ckpt DIR -probe FILE IMAGE…

Prints for each image "label: probability" lines, best first, or "unknown" where no label fits. A rule, which an
evaluation with -out saved under rules/, brings labels and templates, says what is unknown, and marks with a * the labels
that cannot be ruled out. A probe, which probe -save wrote, brings its own labels.
`

// classifyFlags are what classify understands.
type classifyFlags struct {
	labels, rule, probe string
	templates           list
	minSimilarity       float64
	json                bool
	top                 int
}

// runClassify scores images against labels.
func runClassify(ctx context.Context, c *common, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("eval classify", flag.ContinueOnError)
	c.register(flags)
	var f classifyFlags
	flags.StringVar(&f.labels, "labels", "", "the answers, separated by commas")
	flags.Var(&f.templates, "template", "prompt with a {} where the label goes; repeatable, several are averaged (default \"a photo of a {}.\")")
	flags.Float64Var(&f.minSimilarity, "min-similarity", -1, "answer unknown if the best cosine similarity is under this")
	flags.StringVar(&f.rule, "rule", "", "`file` of a rule for \"unknown\" that an evaluation saved")
	flags.StringVar(&f.probe, "probe", "", "`file` of a probe that probe -save wrote")
	flags.BoolVar(&f.json, "json", false, "print one line of JSON for each image")
	flags.IntVar(&f.top, "top", 0, "print only so many answers of an image (0: all)")
	if err := parse(flags, args, stderr, classifyUsage); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return fault.Userf("no images: name at least one file")
	}
	if f.probe != "" && (f.rule != "" || f.labels != "" || len(f.templates) > 0) {
		return fault.Userf("-probe brings its own labels: leave out -labels, -template and -rule")
	}
	if err := zeroshot.CheckTemplates(f.templates); err != nil {
		return fault.Userf("-template: %w", err)
	}
	files, err := readFiles(flags.Args())
	if err != nil {
		return err
	}
	classify, err := f.classifier(ctx, c, stderr)
	if err != nil {
		return err
	}
	return f.classifyAll(ctx, classify, flags.Args(), files, stdout, stderr)
}

// classifyAll prints the answers of every image. One that cannot be decoded ends it only where it is the only one.
func (f *classifyFlags) classifyAll(ctx context.Context, classify classifyFunc, paths []string, files []file, stdout, stderr io.Writer) error {
	failed := 0
	for i, path := range paths {
		predictions, err := []embed.Prediction(nil), files[i].err
		if err == nil {
			predictions, err = classify(ctx, files[i].content)
		}
		_, undecodable := errors.AsType[*embed.ImageError](err)
		switch {
		case err != nil && !undecodable && files[i].err == nil:
			return fmt.Errorf("%s: %w", path, err)
		case err != nil && len(paths) == 1:
			return fault.Userf("%s: %w", path, err)
		case err != nil:
			failed++
			fmt.Fprintf(stderr, "eval: %s: %s\n", path, fault.OneLine(err))
			continue
		}
		if f.top > 0 {
			predictions = predictions[:min(f.top, len(predictions))]
		}
		if err := printPredictions(stdout, path, predictions, len(paths) > 1, f.json); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d images could not be read", failed, len(paths))
	}
	return nil
}

// classifyFunc answers for one image.
type classifyFunc func(ctx context.Context, image []byte) ([]embed.Prediction, error)

func (f *classifyFlags) classifier(ctx context.Context, c *common, stderr io.Writer) (classifyFunc, error) {
	if f.probe != "" {
		return f.probeClassifier(c, stderr)
	}
	labels := splitLabels(f.labels)
	options := []embed.ClassifyOption{embed.WithMinSimilarity(f.minSimilarity)}
	if len(f.templates) > 0 {
		options = append(options, embed.WithTemplates(f.templates...))
	}
	var rule *zeroshot.Rule
	if f.rule != "" {
		var err error
		if rule, err = zeroshot.ReadRule(f.rule); err != nil {
			return nil, err
		}
		option, err := embed.WithRule(f.rule)
		if err != nil {
			return nil, err
		}
		options = append(options, option)
		if len(labels) == 0 {
			for _, class := range rule.Classes {
				labels = append(labels, class.Name)
			}
		}
	}
	m, err := c.open(progress.New(stderr)) // warnings, and what has to be downloaded first
	if err != nil {
		return nil, err
	}
	classifier, err := m.NewClassifier(ctx, labels, options...)
	if err != nil {
		return nil, err
	}
	if rule != nil {
		f.warnOfLabels(rule, labels, stderr)
	}
	return classifier.Classify, nil
}

// warnOfLabels says where other labels or templates than a rule's make it a guess.
func (f *classifyFlags) warnOfLabels(rule *zeroshot.Rule, labels []string, stderr io.Writer) {
	names := make([]string, len(rule.Classes))
	for i, class := range rule.Classes {
		names[i] = class.Name
	}
	if !slices.Equal(names, labels) || len(f.templates) > 0 && !slices.Equal(f.templates, rule.Templates) {
		fmt.Fprintf(stderr, "eval: %s was fitted to other labels or templates: its threshold and sets promise nothing here\n", f.rule)
	}
}

func (f *classifyFlags) probeClassifier(c *common, stderr io.Writer) (classifyFunc, error) {
	p, file, err := probe.Load(f.probe)
	if err != nil {
		return nil, err
	}
	m, err := c.open(progress.New(stderr))
	if err != nil {
		return nil, err
	}
	same, err := m.IsFor(file.Model)
	if err != nil {
		return nil, err
	}
	if file.Dim != m.Dim() || !same {
		return nil, fault.Userf("%s was trained on the embeddings of another model (%.12s): train it again with %s probe", f.probe, file.Model, program)
	}
	return func(ctx context.Context, image []byte) ([]embed.Prediction, error) {
		rows, err := m.EncodeImages(ctx, image)
		if err != nil {
			return nil, err
		}
		probabilities := p.Probabilities(rows[0])
		var predictions []embed.Prediction
		for _, i := range metrics.Descending(probabilities) {
			predictions = append(predictions, embed.Prediction{Label: file.Classes[i], Probability: probabilities[i], Known: true})
		}
		return predictions, nil
	}, nil
}

// file is an image's content, or why it could not be read.
type file struct {
	content []byte
	err     error
}

// readFiles reads all images before anything is computed, so that a misspelt name costs no waiting.
func readFiles(paths []string) ([]file, error) {
	files := make([]file, len(paths))
	for i, path := range paths {
		files[i].content, files[i].err = os.ReadFile(path)
		if errors.Is(files[i].err, fs.ErrNotExist) {
			return nil, fault.Userf("%s: no such file", path)
		}
		if wrapped, ok := errors.AsType[*fs.PathError](files[i].err); ok {
			files[i].err = wrapped.Err // the name is said anyway
		}
	}
	return files, nil
}

func splitLabels(s string) []string {
	var labels []string
	for _, l := range strings.Split(s, ",") {
		if l = strings.TrimSpace(l); l != "" {
			labels = append(labels, l)
		}
	}
	return labels
}

func printPredictions(w io.Writer, path string, predictions []embed.Prediction, named, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(map[string]any{"image": path, "known": predictions[0].Known, "predictions": predictions})
	}
	if named {
		fmt.Fprintf(w, "%s\n", path)
	}
	if !predictions[0].Known {
		_, err := fmt.Fprintf(w, "unknown (best: %s, similarity %.3f)\n", predictions[0].Label, predictions[0].Similarity)
		return err
	}
	for _, p := range predictions {
		mark := ""
		if p.Possible {
			mark = " *"
		}
		if _, err := fmt.Fprintf(w, "%s: %.4f%s\n", p.Label, p.Probability, mark); err != nil {
			return err
		}
	}
	return nil
}
