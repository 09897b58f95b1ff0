// Package progress shows how far a long task is: a bar on a terminal, a plain line every few seconds elsewhere
// (a log file, CI), nothing in tests. Tasks may be fed from several goroutines.
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// Unit says what a task counts.
type Unit string

// Bytes are printed as kB, MB and GB; every other unit is a noun put behind the number.
const Bytes Unit = "bytes"

// Reporter starts tasks. The zero value and nil are silent.
type Reporter struct {
	out      io.Writer
	terminal bool
	interval time.Duration
}

// New returns a reporter that prints on out, as bars if out is a terminal.
func New(out io.Writer) *Reporter {
	f, ok := out.(*os.File)
	return &Reporter{out: out, terminal: ok && term.IsTerminal(int(f.Fd())), interval: 5 * time.Second}
}

// Linef prints one line of its own.
func (r *Reporter) Linef(format string, args ...any) {
	if r != nil && r.out != nil {
		fmt.Fprintf(r.out, r.clear()+format+"\n", args...)
	}
}

// Status shows a line that the next one replaces, on a terminal; elsewhere it is a line like any other.
func (r *Reporter) Status(text string) {
	switch {
	case r == nil || r.out == nil:
	case r.terminal:
		fmt.Fprint(r.out, r.clear()+text)
	default:
		fmt.Fprintln(r.out, text)
	}
}

// clear empties the current line of a terminal.
func (r *Reporter) clear() string {
	if r.terminal {
		return "\r\x1b[K"
	}
	return ""
}

// Terminal reports whether bars are drawn.
func (r *Reporter) Terminal() bool { return r != nil && r.terminal }

// Start begins a task of total units; total < 0 means unknown.
func (r *Reporter) Start(what string, total int64, unit Unit) *Task {
	t := &Task{what: what, total: total, unit: unit, began: time.Now()}
	if r == nil || r.out == nil {
		return t
	}
	t.reporter = r
	t.lastLine = t.began
	if r.terminal {
		t.bar = newBar(r.out, what, total, unit)
	} else {
		r.Linef("%s …", what)
	}
	return t
}

func newBar(out io.Writer, what string, total int64, unit Unit) *progressbar.ProgressBar {
	options := []progressbar.Option{
		progressbar.OptionSetWriter(out),
		progressbar.OptionSetDescription(what),
		progressbar.OptionThrottle(100 * time.Millisecond),
		progressbar.OptionShowCount(),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetWidth(24),
		progressbar.OptionSpinnerType(14),
		progressbar.OptionClearOnFinish(),
	}
	if unit == Bytes {
		options = append(options, progressbar.OptionShowBytes(true))
	} else {
		options = append(options, progressbar.OptionShowIts(), progressbar.OptionSetItsString(string(unit)))
	}
	return progressbar.NewOptions64(total, options...)
}

// Task is one thing that takes a while.
type Task struct {
	reporter *Reporter
	bar      *progressbar.ProgressBar
	what     string
	unit     Unit
	began    time.Time

	mu       sync.Mutex
	total    int64
	done     int64
	lastLine time.Time
	finished bool
}

// Add counts n more units.
func (t *Task) Add(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done += n
	if t.reporter == nil {
		return
	}
	if t.total >= 0 && t.done > t.total { // it was an estimate, too low
		t.total = t.done
		if t.bar != nil {
			t.bar.ChangeMax64(t.total)
		}
	}
	if t.bar != nil {
		t.bar.Add64(n)
		return
	}
	if now := time.Now(); now.Sub(t.lastLine) >= t.reporter.interval {
		t.lastLine = now
		t.reporter.Linef("%s: %s", t.what, t.summary(now))
	}
}

// Write counts len(p) units, so that a task can stand behind an io.TeeReader.
func (t *Task) Write(p []byte) (int, error) {
	t.Add(int64(len(p)))
	return len(p), nil
}

// Done ends the task with one line that says what was done and how long it took.
func (t *Task) Done() { t.end("") }

// Fail ends the task with one line that says where it stopped; the error itself is the caller's to print.
func (t *Task) Fail() { t.end(" (stopped)") }

func (t *Task) end(suffix string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reporter == nil || t.finished {
		return
	}
	t.finished = true
	if t.bar != nil {
		t.bar.Finish()
	}
	elapsed := time.Since(t.began).Round(100 * time.Millisecond)
	t.reporter.Linef("%s: %s in %s%s", t.what, quantity(t.done, t.unit), elapsed, suffix)
}

// summary is "12/40 images, 3.1 images/s, 9s left".
func (t *Task) summary(now time.Time) string {
	elapsed := now.Sub(t.began).Seconds()
	rate := float64(t.done) / elapsed
	if t.total < 0 {
		return fmt.Sprintf("%s, %s/s", quantity(t.done, t.unit), quantityf(rate, t.unit))
	}
	s := fmt.Sprintf("%s of %s, %s/s", quantity(t.done, t.unit), quantity(t.total, t.unit), quantityf(rate, t.unit))
	if rate > 0 && t.done <= t.total {
		left := time.Duration(float64(t.total-t.done) / rate * float64(time.Second))
		s += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	return s
}

func quantity(n int64, unit Unit) string {
	if unit == Bytes {
		return FormatBytes(n)
	}
	return fmt.Sprintf("%d %s", n, unit)
}

func quantityf(x float64, unit Unit) string {
	if unit == Bytes {
		return FormatBytes(int64(x))
	}
	return fmt.Sprintf("%.3g %s", x, unit)
}

// FormatBytes prints a size in decimal units, as disks and downloads are sold.
func FormatBytes(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	default:
		return fmt.Sprintf("%d B", n)
	}
}
