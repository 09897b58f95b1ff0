// Package ingest reads what people have (folders, lists, webdataset tars, parquet files, IDX files, generators) as one
// kind of row, and says of every row that it cannot give why and where.
package ingest

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"

	"tandem/data/shard"
	"tandem/data/source"
)

// Row is one row of an input.
type Row struct {
	source.Example
	// Load completes a row whose image, and perhaps captions, are still to be fetched, so that slow reads happen in a
	// worker; nil for a complete row. It returns a *Skip if the row cannot be had.
	Load func(r *Row) error
	At   Place
	// SpareKey takes the place of a Key that another row has, where Key is only a guess; empty where keys are given.
	SpareKey string
}

// Place says where a row stands.
type Place struct {
	File string `json:"file"`
	Row  int64  `json:"row"` // number of the line, from 1, or of the record in the file, from 0; -1 for the file as a whole
}

func (p Place) String() string {
	if p.Row < 0 {
		return p.File
	}
	return fmt.Sprintf("%s: row %d", p.File, p.Row)
}

// Reason is why a row was not used. The names are the ones that reports count by.
type Reason string

// Every reason there is.
const (
	MissingImage    Reason = "missing image"        // the file that the row names is not there, or a tar has no image for a key
	UnreadableImage Reason = "unreadable image"     // permissions, read errors
	EmptyImage      Reason = "empty image"          // no bytes
	NotAnImage      Reason = "not an image"         // HTML, text, an unknown format
	DamagedImage    Reason = "damaged image"        // a known format that does not decode
	HugeImage       Reason = "image too large"      // more bytes or pixels than allowed: a decompression bomb
	NoCaption       Reason = "no caption"           // none, or none that is not empty
	BadText         Reason = "invalid utf-8"        // the only captions are not UTF-8
	LongCaption     Reason = "caption too long"     // every caption is over the limit
	ShortCaption    Reason = "caption too short"    // every caption is under the limit
	BadRow          Reason = "malformed row"        // wrong number of fields, not JSON, a wrong type
	UnsafeName      Reason = "unsafe name"          // a tar member named /… or ../…
	DamagedFile     Reason = "damaged file"         // the rest of a tar, a parquet row group
	DamagedRow      Reason = "damaged shard row"    // of a shard, found in training
	SymlinkLoop     Reason = "symlink loop"         // a directory that contains itself
	DuplicateKey    Reason = "duplicate key"        //
	DuplicateImage  Reason = "duplicate image"      // the same bytes
	NearDuplicate   Reason = "near-duplicate"       // almost the same picture (dHash)
	SmallImage      Reason = "image too small"      // filters from here on
	ExtremeAspect   Reason = "extreme aspect"       //
	OtherScript     Reason = "other script"         // captions in other writing systems than asked for
	LowScore        Reason = "low image-text score" //
)

// Skip is the error of a row that is left out; reading goes on after it. Rows is how many rows it stands for where the
// input knows, else 1.
type Skip struct {
	Reason Reason
	At     Place
	Key    string
	Rows   int64
	Err    error // the detail; may be nil
}

func (s *Skip) Error() string {
	msg := fmt.Sprintf("%s: %s", s.At, s.Reason)
	if s.Key != "" {
		msg = fmt.Sprintf("%s (key %q): %s", s.At, s.Key, s.Reason)
	}
	if s.Err != nil {
		msg += ": " + s.Err.Error()
	}
	return msg
}

func (s *Skip) Unwrap() error { return s.Err }

// Count is the number of rows that s accounts for.
func (s *Skip) Count() int64 { return max(1, s.Rows) }

func skip(reason Reason, at Place, key string, err error) *Skip {
	return &Skip{Reason: reason, At: at, Key: key, Err: err}
}

// Input is a source of rows, read part by part in a fixed order.
type Input interface {
	// Info describes the input for the manifest.
	Info() shard.SourceInfo
	// Labels are the label columns its rows may have, where that is known before reading.
	Labels() []string
	// Classes are the values of label columns in the source's own order, where it has one.
	Classes() map[string][]string
	// Templates are prompt templates that came with a labelled set.
	Templates() []string
	// Labelled says that a row with a label and no caption is complete.
	Labelled() bool
	// Parts are what the input consists of, in order.
	Parts() []Part
}

// Part is one file of an input, or the input as a whole.
type Part struct {
	Name string
	// Stamp changes when the part's content may have: size and modification time of a file.
	Stamp string
	// Rows yields the rows in order, the same ones every time. A *Skip error takes the place of a row, and reading goes
	// on; any other error ends the input.
	Rows func(ctx context.Context) iter.Seq2[Row, error]
}

// basic carries what most inputs answer with constants.
type basic struct {
	info      shard.SourceInfo
	labels    []string
	classes   map[string][]string
	templates []string
	labelled  bool
	parts     []Part
	estimate  func() int64
}

func (b *basic) Info() shard.SourceInfo       { return b.info }
func (b *basic) Labels() []string             { return b.labels }
func (b *basic) Classes() map[string][]string { return b.classes }
func (b *basic) Templates() []string          { return b.templates }
func (b *basic) Labelled() bool               { return b.labelled }
func (b *basic) Parts() []Part                { return b.parts }

// FromSource makes an input of a generator or fetcher. labels are the label columns of its examples.
func FromSource(s source.Source, labels ...string) Input {
	b := &basic{info: shard.SourceInfo{Name: s.Name(), Kind: "generated", Licences: s.Licences()}, labels: labels}
	b.parts = []Part{{Name: s.Name(), Rows: func(ctx context.Context) iter.Seq2[Row, error] {
		return func(yield func(Row, error) bool) {
			n := int64(0)
			for example, err := range s.Examples(ctx) {
				if !yield(Row{Example: example, At: Place{s.Name(), n}}, err) || err != nil {
					return
				}
				n++
			}
		}
	}}}
	if counted, ok := s.(interface{ Len() int }); ok {
		b.estimate = exactly(int64(counted.Len()))
	}
	return b
}

// FromRows makes an input of rows in memory, mostly for tests.
func FromRows(name string, rows ...Row) Input {
	labels := map[string]bool{}
	for i := range rows {
		rows[i].At = Place{name, int64(i)}
		for l := range rows[i].Labels {
			labels[l] = true
		}
	}
	b := &basic{info: shard.SourceInfo{Name: name, Kind: "rows"}, labels: slices.Sorted(maps.Keys(labels)), estimate: exactly(int64(len(rows)))}
	b.parts = []Part{{Name: name, Rows: func(context.Context) iter.Seq2[Row, error] {
		return func(yield func(Row, error) bool) {
			for _, r := range rows {
				if !yield(r, nil) {
					return
				}
			}
		}
	}}}
	return b
}
