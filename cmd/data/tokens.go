package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"tandem/data"
	"tandem/internal/fault"
	"tandem/tokenizer"
)

// clipName selects CLIP's own tokenizer.
const clipName = "clip"

func runTokens(ctx context.Context, e *env, args []string) error {
	name := e.flags.String("tokenizer", clipName, "clip, or the directory of a tokenizer or model")
	length := e.flags.Int("context", 0, "ids of a line (default: the tokenizer's own context)")
	if _, err := e.parse(args, 0, 0); err != nil {
		return err
	}
	t, err := openTokenizer(*name)
	if err != nil {
		return err
	}
	if *length == 0 {
		*length = t.Context()
	}
	if *length == 0 {
		*length = tokenizer.CLIP().Context()
	}
	if *length < 2 || *length > 1<<20 {
		return fault.Userf("-context %d: want room for the start, the end and some tokens", *length)
	}
	return tokenLines(ctx, e.stdin, e.stdout, t, *length)
}

// openTokenizer loads a tokenizer by the name CLIP has, or from its own or a model's directory.
func openTokenizer(name string) (tokenizer.Tokenizer, error) {
	if name == clipName {
		return tokenizer.CLIP(), nil
	}
	if inside := filepath.Join(name, "tokenizer"); isDir(inside) {
		name = inside
	}
	return tokenizer.Load(name)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// tokenLines writes one JSON array of ids for each line read.
func tokenLines(ctx context.Context, in io.Reader, out io.Writer, t tokenizer.Tokenizer, length int) error {
	r := bufio.NewReaderSize(in, 1<<16)
	w := bufio.NewWriterSize(out, 1<<16)
	ids := make([]int32, length)
	var line []byte
	for {
		text, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) && text == "" {
			return w.Flush()
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		t.Encode(ids, strings.TrimRight(text, "\r\n"))
		line = append(line[:0], '[')
		for i, id := range ids {
			if i > 0 {
				line = append(line, ", "...)
			}
			line = strconv.AppendInt(line, int64(id), 10)
		}
		if _, err := w.Write(append(line, "]\n"...)); err != nil {
			return err
		}
	}
}

func runTokenizer(ctx context.Context, e *env, args []string) error {
	out := e.flags.String("out", "", "directory to write the tokenizer to")
	size := e.flags.Int("size", 8192, "ids of the vocabulary, 514 at least; CLIP's has 49408")
	length := e.flags.Int("context", 77, "ids of a caption's row, start and end included")
	least := e.flags.Int64("min-count", 0, "how often a pair must occur to be merged (default 2)")
	split := e.flags.String("split", "train", "split of the shards to learn from; \"\" for all")
	asJSON := e.flags.Bool("json", false, "print the coverage as one line of JSON")
	where, err := e.parse(args, 1, -1)
	if err != nil {
		return err
	}
	if *out == "" {
		return fault.Userf("no directory for the tokenizer given: say -out DIR")
	}
	texts := &texts{ctx: ctx, locations: where, split: *split}
	t, coverage, err := tokenizer.Train(texts.all, *size, tokenizer.TrainOptions{MinCount: *least, Context: *length})
	if texts.err != nil {
		return texts.err
	}
	if err != nil {
		return fault.User(err)
	}
	if err := t.Save(*out); err != nil {
		return err
	}
	if *asJSON {
		return printJSON(e.stdout, coverage)
	}
	_, err = fmt.Fprintf(e.stdout, "%s\nwrote %s\n", strings.TrimSpace(coverage.String()), *out)
	return err
}

// texts yields the captions of shard sets and the lines of text files. Its error is left in err.
type texts struct {
	ctx       context.Context
	locations []string
	split     string
	err       error
}

func (t *texts) all(yield func(string) bool) {
	for _, location := range t.locations {
		goOn := true
		if isDir(location) || strings.Contains(location, "://") {
			goOn = t.shards(location, yield)
		} else {
			goOn = t.lines(location, yield)
		}
		if !goOn {
			return
		}
	}
}

func (t *texts) shards(location string, yield func(string) bool) bool {
	s, err := data.OpenShards(t.ctx, location, t.split)
	if err != nil {
		t.err = err
		return false
	}
	defer s.Close()
	for c, err := range s.Captions(t.ctx) {
		if err != nil {
			t.err = err
			return false
		}
		if !yield(c) {
			return false
		}
	}
	return true
}

func (t *texts) lines(file string, yield func(string) bool) bool {
	f, err := os.Open(file)
	if err != nil {
		t.err = fault.User(err)
		return false
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<16)
	for {
		line, err := r.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" && !yield(line) {
			return false
		}
		if errors.Is(err, io.EOF) {
			return true
		}
		if err == nil {
			err = t.ctx.Err()
		}
		if err != nil {
			t.err = err
			return false
		}
	}
}
