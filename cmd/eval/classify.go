package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"tandem/embed"
	"tandem/internal/fault"
	"tandem/internal/progress"
)

const classifyUsage = `usage: eval classify -ckpt DIR -labels "dog,cat,…" [-template "a photo of a {}."] [-min-similarity X] IMAGE…

Prints for each image "label: probability" lines, best first, or "unknown" where no label is similar enough.
`

// runClassify scores images against labels.
func runClassify(ctx context.Context, c *common, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("eval classify", flag.ContinueOnError)
	c.register(flags)
	labels := flags.String("labels", "", "the answers, separated by commas")
	var templates list
	flags.Var(&templates, "template", "prompt with a {} where the label goes; repeatable, several are averaged (default \"a photo of a {}.\")")
	minSimilarity := flags.Float64("min-similarity", -1, "answer unknown if the best cosine similarity is under this")
	asJSON := flags.Bool("json", false, "print one line of JSON for each image")
	if err := parse(flags, args, stderr, classifyUsage); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return fault.Userf("no images: name at least one file")
	}
	files, err := readFiles(flags.Args())
	if err != nil {
		return err
	}
	options := []embed.ClassifyOption{embed.WithMinSimilarity(*minSimilarity)}
	if len(templates) > 0 {
		options = append(options, embed.WithTemplates(templates...))
	}
	m, err := c.open(progress.New(io.Discard))
	if err != nil {
		return err
	}
	classifier, err := m.NewClassifier(ctx, splitLabels(*labels), options...)
	if err != nil {
		return err
	}
	for i, path := range flags.Args() {
		predictions, err := classifier.Classify(ctx, files[i])
		if err != nil {
			return fault.Userf("%s: %w", path, err)
		}
		if err := printPredictions(stdout, path, predictions, flags.NArg() > 1, *asJSON); err != nil {
			return err
		}
	}
	return nil
}

// readFiles reads all images before anything is computed, so that a misspelt name costs no waiting.
func readFiles(paths []string) ([][]byte, error) {
	files := make([][]byte, len(paths))
	for i, path := range paths {
		var err error
		if files[i], err = os.ReadFile(path); err != nil {
			return nil, fault.User(err)
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
		if _, err := fmt.Fprintf(w, "%s: %.4f\n", p.Label, p.Probability); err != nil {
			return err
		}
	}
	return nil
}
