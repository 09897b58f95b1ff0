package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tandem/checkpoints/foreign"
	"tandem/internal/fault"
	"tandem/tokenizer"
)

// tokenCase is one text with what the peer makes of it. Fields that are absent are not compared.
type tokenCase struct {
	Text   string  `json:"text"`
	Clean  *string `json:"clean"`
	IDs    []int32 `json:"ids"`    // what the model sees
	Encode []int32 `json:"encode"` // without start, end, padding and truncation
	Decode *string `json:"decode"` // of Encode
}

// compareTokens compares CLIP's own tokenizer with open_clip's cases: a list, or an object with rows.
func compareTokens(path string) (*report, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.User(err)
	}
	var file struct {
		Rows []tokenCase `json:"rows"`
	}
	if json.Unmarshal(data, &file.Rows) != nil {
		if err := json.Unmarshal(data, &file); err != nil {
			return nil, fault.Userf("no golden cases of a tokenizer: %w", err)
		}
	}
	if len(file.Rows) == 0 {
		return nil, fault.User(errNoCases)
	}
	out := &report{dir: path, title: fmt.Sprintf("%d texts for CLIP's tokenizer", len(file.Rows))}
	out.add("texts", compareCases(tokenizer.CLIP(), tokenizer.CLIP(), file.Rows)...)
	return out, nil
}

// tokenizerBeside compares a model's own tokenizer with tokenizer_golden.json, where there is one.
func tokenizerBeside(out *report, dir string, c *foreign.Checkpoint) error {
	var cases []tokenCase
	path := filepath.Join(dir, "tokenizer_golden.json")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := readJSON(path, &cases); err != nil {
		return err
	}
	tok, err := c.Tokenizer()
	if err != nil {
		return err
	}
	out.add("tokenizer", compareCases(tok, nil, cases)...)
	return nil
}

// compareCases makes a check of each text: the number of differences, of which none is tolerated. clip, if not nil, is the
// tokenizer whose steps are compared one by one.
func compareCases(tok tokenizer.Tokenizer, clip *tokenizer.BPE, cases []tokenCase) (checks []check) {
	for _, c := range cases {
		result := check{name: fmt.Sprintf("%.60q", c.Text)}
		differ := func(what string, ours, theirs any) {
			if a, b := fmt.Sprint(ours), fmt.Sprint(theirs); a != b {
				result.absolute++
				result.missing = fmt.Sprintf("%s: %.200s, the reference has %.200s", what, a, b)
			}
		}
		ids := make([]int32, len(c.IDs))
		tok.Encode(ids, c.Text)
		differ("ids", ids, c.IDs)
		if clip != nil && c.Clean != nil {
			differ("cleaned text", tokenizer.Clean(c.Text), *c.Clean)
		}
		if clip != nil && c.Encode != nil {
			differ("ids of the whole text", clip.AppendIDs([]int32{}, c.Text), c.Encode)
		}
		if clip != nil && c.Decode != nil {
			differ("decoded text", clip.Decode(c.Encode), *c.Decode)
		}
		checks = append(checks, result)
	}
	return checks
}
