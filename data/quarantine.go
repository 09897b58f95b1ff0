package data

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"tandem/data/ingest"
	"tandem/internal/fault"
)

// badRow is one encounter with an unusable row.
type badRow struct {
	index   int // of the pair in its batch
	attempt int
	at      place
	reason  ingest.Reason
	err     error
}

// BadRow is a line of the quarantine file: one for each unusable row, in the order in which training met them.
type BadRow struct {
	Reason   ingest.Reason `json:"reason"`
	File     string        `json:"file"`
	Row      int64         `json:"row"` // in the file
	Key      string        `json:"key,omitempty"`
	Error    string        `json:"error"`
	Source   int           `json:"source"`
	SetRow   int64         `json:"set_row"`  // in the source's split
	Position int64         `json:"position"` // of the pair that it was drawn for
}

// quarantine keeps the list of unusable rows, and the budget.
type quarantine struct {
	path  string // "" keeps the list in memory only
	limit int64  // rows; more stop the run
	known map[place]bool
	met   []place // the known rows in the order in which they were met
	lines int64   // of the file, or that it would have
	file  *os.File
}

// open takes up the first `lines` lines of the file, which a resumed run has met, and drops the rest. Without a file
// only the rows that this process has met are known.
func (q *quarantine) open(lines int64) error {
	q.met = q.met[:min(lines, int64(len(q.met)))]
	q.known, q.lines = map[place]bool{}, lines
	for _, at := range q.met {
		q.known[at] = true
	}
	if q.path == "" {
		return nil
	}
	clear(q.known)
	q.met = nil
	if err := q.close(); err != nil {
		return err
	}
	if lines == 0 {
		if err := os.Remove(q.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	f, err := os.OpenFile(q.path, os.O_RDWR, 0)
	if err != nil {
		return fault.Userf("quarantine file of the run to resume: %w", err)
	}
	end, err := q.replay(f, lines)
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		_, err = f.Seek(end, io.SeekStart)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", q.path, err), f.Close())
	}
	q.file = f
	return nil
}

func (q *quarantine) replay(r io.Reader, lines int64) (end int64, err error) {
	b := bufio.NewReader(r)
	for n := range lines {
		line, err := b.ReadBytes('\n')
		if err != nil {
			return 0, fmt.Errorf("line %d of %d that the checkpoint knows of: %w", n+1, lines, err)
		}
		var bad BadRow
		if err := json.Unmarshal(line, &bad); err != nil {
			return 0, fmt.Errorf("line %d: %w", n+1, err)
		}
		q.remember(place{bad.Source, bad.SetRow})
		end += int64(len(line))
	}
	return end, nil
}

func (q *quarantine) remember(at place) {
	q.known[at] = true
	q.met = append(q.met, at)
}

// add lists a row that is not known yet, and reports an exceeded budget.
func (q *quarantine) add(at place, bad BadRow) error {
	if q.known[at] {
		return nil
	}
	q.remember(at)
	q.lines++
	if err := q.write(bad); err != nil {
		return err
	}
	if q.lines > q.limit {
		return fmt.Errorf("%d rows are unusable, more than the %d that data.max_bad_fraction allows; the last: %s: row %d (key %q): %s: %s%s",
			q.lines, q.limit, bad.File, bad.Row, bad.Key, bad.Reason, bad.Error, q.hint())
	}
	return nil
}

func (q *quarantine) hint() string {
	if q.path == "" {
		return ""
	}
	return "; all are listed in " + q.path
}

func (q *quarantine) write(bad BadRow) error {
	if q.path == "" {
		return nil
	}
	if q.file == nil {
		f, err := os.OpenFile(q.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
		if err != nil {
			return fmt.Errorf("quarantine file: %w", err)
		}
		q.file = f
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(bad); err != nil {
		return err
	}
	_, err := q.file.Write(b.Bytes())
	return err
}

func (q *quarantine) close() error {
	if q.file == nil {
		return nil
	}
	f := q.file
	q.file = nil
	return f.Close()
}
