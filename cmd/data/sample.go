package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"tandem/data/stats"
	"tandem/imaging"
	"tandem/internal/atomicfile"
	"tandem/internal/fault"
)

// sampleLine is what sample prints of a row.
type sampleLine struct {
	File     string            `json:"file"`
	Row      int64             `json:"row"`
	Key      string            `json:"key"`
	Source   string            `json:"source"`
	Width    int               `json:"width"`
	Height   int               `json:"height"`
	Bytes    int               `json:"bytes"`
	Captions []string          `json:"captions"`
	Labels   map[string]string `json:"labels,omitempty"`
	Image    string            `json:"image,omitempty"` // the file that was written
}

func runSample(ctx context.Context, e *env, args []string) error {
	split := e.flags.String("split", "", "split to draw from (default: all)")
	n := e.flags.Int("n", 10, "number of rows")
	seed := e.flags.Uint64("seed", 0, "which rows")
	out := e.flags.String("out", "", "directory to write the pictures to")
	where, err := e.parse(args, 1, 1)
	if err != nil {
		return err
	}
	set, closeSet, err := openSet(ctx, where[0], *split)
	if err != nil {
		return err
	}
	defer closeSet()
	samples, err := stats.Draw(ctx, set, *n, *seed)
	if err != nil {
		return err
	}
	if *out != "" {
		if err := os.MkdirAll(*out, 0o755); err != nil {
			return fault.User(err)
		}
	}
	enc := json.NewEncoder(e.stdout)
	enc.SetEscapeHTML(false)
	for _, s := range samples {
		line := sampleLine{s.File, s.At, s.Key, s.Source, s.Width, s.Height, len(s.Image), s.Captions, s.Labels, ""}
		if *out != "" {
			line.Image = filepath.Join(*out, imageName(s))
			if err := atomicfile.WriteFile(line.Image, s.Image, 0o644); err != nil {
				return err
			}
		}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// imageName makes a file name of a key, which may hold anything.
func imageName(s stats.Sample) string {
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r) {
			return r
		}
		return '_'
	}, s.Key)
	if len(plain) > 100 {
		plain = plain[:100]
	}
	ext := "bin"
	if f, ok := imaging.Sniff(s.Image); ok {
		ext = strings.Replace(string(f), "jpeg", "jpg", 1)
	}
	return strings.TrimLeft(plain, ".") + "." + ext
}
