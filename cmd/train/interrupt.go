package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"tandem/train"
)

// interruption says what an interrupted command leaves, and how to go on.
type interruption struct{ text string }

func (i *interruption) Error() string { return i.text }

// interrupted replaces an error that a cancelled context caused, at whatever point, by an interruption.
func (s *session) interrupted(ctx context.Context, err error) error {
	if !errors.Is(err, train.ErrInterrupted) && (ctx.Err() == nil || !errors.Is(err, ctx.Err())) {
		return err
	}
	if s.options.check {
		return &interruption{"interrupted"}
	}
	o := s.options
	steps, err := s.root().Steps()
	if err == nil && len(steps) == 0 {
		o.resume = false
		return &interruption{"interrupted before the first step was done. Start again with: " + o.command()}
	}
	o.resume = true
	return &interruption{"interrupted; everything so far is saved. Go on with: " + o.command()}
}

// command is the command line for a shell.
func (o options) command() string {
	parts := []string{"train", "-config", quoted(o.config)}
	text := func(name, value, otherwise string) {
		if value != otherwise {
			parts = append(parts, name, quoted(value))
		}
	}
	number := func(name string, value, otherwise int64) { text(name, fmt.Sprint(value), fmt.Sprint(otherwise)) }
	flag := func(name string, set bool) {
		if set {
			parts = append(parts, name)
		}
	}
	text("-dir", o.dir, "")
	text("-data", o.data, "")
	text("-init", o.init, "")
	for _, s := range o.set {
		text("-set", s, "")
	}
	number("-steps", o.steps, 0)
	number("-save-every", o.saveEvery, 0)
	text("-backend", o.backend, "auto")
	number("-devices", int64(o.devices), 1)
	flag("-offline", o.offline)
	flag("-v", o.verbose)
	flag("-resume", o.resume)
	return strings.Join(parts, " ")
}

// plain is what a shell takes as it stands.
var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quoted is one word for a POSIX shell.
func quoted(word string) string {
	if plain.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
