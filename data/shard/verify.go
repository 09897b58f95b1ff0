package shard

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"tandem/data/store"
)

// Check looks at one image: it returns the picture's size, or why it cannot be used.
type Check func(image []byte) (width, height int, err error)

// VerifyOptions say how deep Verify looks.
type VerifyOptions struct {
	Check   func() Check    // makes a Check for one worker; nil leaves the images undecoded
	Workers int             // files at a time; at least 1
	Read    func(n int64)   // told of progress in rows; may be nil
	Problem func(err error) // told of every problem, possibly from several goroutines; may be nil
}

// VerifyReport sums up what Verify saw.
type VerifyReport struct {
	Files    int   `json:"files"`
	Rows     int64 `json:"rows"`
	Bytes    int64 `json:"bytes"`
	Problems int64 `json:"problems"`
}

// Verify compares every file with the manifest (size, sha256, rows, row groups) and reads every row. It returns an error if
// there was a problem, and goes on to the end before it does.
func Verify(ctx context.Context, s store.Store, o VerifyOptions) (VerifyReport, error) {
	set, err := OpenSet(ctx, s, "")
	if err != nil {
		return VerifyReport{}, err
	}
	defer set.Close()
	results := make([]VerifyReport, len(set.files))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, o.Workers))
	for i := range set.files {
		group.Go(func() error {
			v := verifier{set: set, o: o, report: &results[i]}
			v.file(ctx, i)
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return VerifyReport{}, err
	}
	var total VerifyReport
	for _, r := range results {
		total.Files += r.Files
		total.Rows += r.Rows
		total.Bytes += r.Bytes
		total.Problems += r.Problems
	}
	if total.Problems > 0 {
		return total, fmt.Errorf("%s: %d problems found", s, total.Problems)
	}
	if want := set.NumRows(); total.Rows != want {
		return total, fmt.Errorf("%s: read %d rows, the manifest says %d", s, total.Rows, want)
	}
	return total, nil
}

type verifier struct {
	set    *Set
	o      VerifyOptions
	report *VerifyReport
}

func (v *verifier) problem(err error) {
	v.report.Problems++
	if v.o.Problem != nil {
		v.o.Problem(err)
	}
}

func (v *verifier) file(ctx context.Context, i int) {
	info := v.set.files[i]
	v.report.Files, v.report.Bytes = 1, info.Bytes
	if err := v.hash(ctx, info); err != nil {
		v.problem(err)
	}
	if err := v.set.Use(i, func(f *File) error { return v.rows(ctx, f, info) }); err != nil {
		v.problem(err)
	}
}

func (v *verifier) hash(ctx context.Context, info FileInfo) error {
	o, err := v.set.store.Open(ctx, info.Name)
	if err != nil {
		return nil // Use reports it
	}
	defer o.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(o, 0, o.Size())); err != nil {
		return fmt.Errorf("%s/%s: %w", v.set.store, info.Name, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != info.SHA256 {
		return &DamageError{fmt.Sprintf("%s/%s", v.set.store, info.Name), -1, fmt.Errorf("sha256 is %.12s…, the manifest says %.12s…", got, info.SHA256)}
	}
	return nil
}

func (v *verifier) rows(ctx context.Context, f *File, info FileInfo) error {
	if f.NumGroups() != info.RowGroups {
		v.problem(&DamageError{f.name, -1, fmt.Errorf("%d row groups, the manifest says %d", f.NumGroups(), info.RowGroups)})
	}
	if err := f.needColumns(v.set.Manifest.textColumns()); err != nil {
		v.problem(err)
	}
	var check Check
	if v.o.Check != nil {
		check = v.o.Check()
	}
	for i := range f.NumGroups() {
		g, err := f.Group(i)
		if err != nil {
			v.problem(err)
			continue
		}
		for row := range g.Rows {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			v.row(f, g, row, check)
		}
	}
	return nil
}

func (v *verifier) row(f *File, g *Group, row int, check Check) {
	v.report.Rows++
	if v.o.Read != nil {
		v.o.Read(1)
	}
	r, err := f.ReadRow(g, row)
	if err != nil {
		v.problem(err)
		return
	}
	at := g.First + int64(row)
	if len(r.Captions) == 0 && len(r.Labels) == 0 {
		v.problem(fmt.Errorf("%s: row %d (key %q): no caption and no label", f.name, at, r.Key))
	}
	if check == nil {
		return
	}
	w, h, err := check(r.Image)
	if err != nil {
		v.problem(fmt.Errorf("%s: row %d (key %q): %w", f.name, at, r.Key, err))
	} else if r.Width != 0 && (w != r.Width || h != r.Height) {
		v.problem(fmt.Errorf("%s: row %d (key %q): picture of %d×%d, the columns say %d×%d", f.name, at, r.Key, w, h, r.Width, r.Height))
	}
}

// textColumns are the columns that every file must have.
func (m *Manifest) textColumns() []string {
	var names []string
	for _, c := range m.Schema {
		if c.Type == "string" || c.Type == "list<string>" {
			names = append(names, c.Name)
		}
	}
	return names
}
