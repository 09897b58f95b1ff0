package train

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"tandem/internal/atomicfile"
	"tandem/internal/progress"
)

// Float is a number that JSON shows as null where it is not finite.
type Float float64

// MarshalJSON implements json.Marshaler.
func (f Float) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(f))
}

// Record is one step's line in the metrics log.
type Record struct {
	Step     int64   `json:"step"`
	Total    int64   `json:"-"`
	Examples int64   `json:"examples"`
	Epoch    float64 `json:"epoch"`
	Metrics
	LearningRate    float64 `json:"lr"`
	ImagesPerSecond float64 `json:"images_per_s"`
	Wait            float64 `json:"wait_s"` // for data
	Seconds         float64 `json:"step_s"` // without wait and compile
	Compile         float64 `json:"compile_s,omitempty"`
	Data            any     `json:"data,omitempty"` // what became of the data's rows since the run was started (Batch.Books)
}

// Logger writes a training's numbers: one JSON line a step to a file, and what a person wants to see to a console.
type Logger struct {
	file    *os.File
	buffer  *bufio.Writer
	console *progress.Reporter

	from int64           // the step that the log goes on after
	ran  map[string]bool // the events of that step which the log holds already

	lastPrint time.Time
	recent    window
}

// printEvery is the time between console lines where the console is not a terminal.
const printEvery = 5 * time.Second

// OpenLogger continues the metrics file at path after step, dropping later lines: steps that a killed run logged but did
// not save are trained again. A nil console is silent.
func OpenLogger(path string, step int64, console *progress.Reporter) (*Logger, error) {
	ran, err := truncateLog(path, step)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &Logger{file: file, buffer: bufio.NewWriter(file), console: console, from: step, ran: ran}, nil
}

// truncateLog keeps the lines of steps up to step, and of no line that is broken. It returns the names of the events that
// the log holds for step itself.
func truncateLog(path string, step int64) (events map[string]bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	events = map[string]bool{}
	var kept bytes.Buffer
	for line := range bytes.Lines(data) {
		var at struct {
			Step  *int64
			Event string
		}
		if json.Unmarshal(line, &at) != nil || at.Step == nil || *at.Step > step || !bytes.HasSuffix(line, []byte("\n")) {
			continue
		}
		kept.Write(line)
		if *at.Step == step {
			events[at.Event] = true
		}
	}
	if kept.Len() == len(data) {
		return events, nil
	}
	return events, atomicfile.WriteFile(path, kept.Bytes(), 0o644)
}

// has reports whether the log that this one goes on from holds an event of a step.
func (l *Logger) has(event string, step int64) bool { return step == l.from && l.ran[event] }

// TimeSpent adds up what the metrics log at path says that training took: steps, waiting for data, compiling, saving and
// evaluations. What a killed run lost is not in it.
func TimeSpent(path string) (time.Duration, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var sum float64
	for line := range bytes.Lines(data) {
		var took struct {
			Wait    float64 `json:"wait_s"`
			Step    float64 `json:"step_s"`
			Compile float64 `json:"compile_s"`
			Event   float64 `json:"seconds"`
		}
		if err := json.Unmarshal(line, &took); err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		sum += took.Wait + took.Step + took.Compile + took.Event
	}
	return time.Duration(sum * float64(time.Second)), nil
}

// Step logs a step; the console sees one now and then, the last one always.
func (l *Logger) Step(r Record, last bool) error {
	if err := l.line(r); err != nil {
		return err
	}
	l.recent.add(r)
	if r.Compile > 0 {
		l.console.Linef("compiled the training step in %.1f s", r.Compile)
	}
	if !r.Finite {
		l.console.Linef("step %d: loss or gradients are not finite; the weights stay as they were", r.Step)
	}
	now := time.Now()
	interval := printEvery
	if l.console.Terminal() {
		interval = 200 * time.Millisecond
	}
	if !last && r.Step > 1 && now.Sub(l.lastPrint) < interval {
		return nil
	}
	l.lastPrint = now
	l.print(r, last)
	return nil
}

func (l *Logger) print(r Record, last bool) {
	speed, waitShare := l.recent.speed()
	left := time.Duration(float64(r.Total-r.Step) * l.recent.secondsPerStep() * float64(time.Second)).Round(time.Second)
	text := fmt.Sprintf("step %d/%d  epoch %.2f  loss %.4f  in-batch %.1f%%  lr %.2e  |g| %.2f  %.1f images/s  wait %.1f%%  %s left",
		r.Step, r.Total, r.Epoch, r.Loss, 100*r.Accuracy, r.LearningRate, r.GradientNorm, speed, 100*waitShare, left)
	if last {
		l.console.Linef("%s", text)
	} else {
		l.console.Status(text)
	}
}

// Event logs what a hook returned.
func (l *Logger) Event(name string, step int64, took time.Duration, values map[string]float64) error {
	entry := map[string]any{"step": step, "event": name, "seconds": took.Seconds()}
	for k, v := range values {
		entry[name+"/"+k] = Float(v)
	}
	if err := l.line(entry); err != nil {
		return err
	}
	l.console.Linef("%s after step %d: %s (%.1f s)", name, step, formatValues(values), took.Seconds())
	return l.Flush()
}

// formatValues prints "acc1 30.8%  loss 2.1": shares as percentages.
func formatValues(values map[string]float64) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(values)) {
		if v := values[k]; v >= 0 && v <= 1 {
			parts = append(parts, fmt.Sprintf("%s %.1f%%", k, 100*v))
		} else {
			parts = append(parts, fmt.Sprintf("%s %.4g", k, v))
		}
	}
	return strings.Join(parts, "  ")
}

// Saved logs a checkpoint.
func (l *Logger) Saved(dir string, step int64, took time.Duration) error {
	if err := l.line(map[string]any{"step": step, "event": "checkpoint", "seconds": took.Seconds()}); err != nil {
		return err
	}
	l.console.Linef("saved %s (%.1f s)", dir, took.Seconds())
	return l.Flush()
}

func (l *Logger) line(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := l.buffer.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("write %s: %w", l.file.Name(), err)
	}
	return nil
}

// Flush puts the lines so far into the file.
func (l *Logger) Flush() error {
	if err := l.buffer.Flush(); err != nil {
		return fmt.Errorf("write %s: %w", l.file.Name(), err)
	}
	return nil
}

// Close flushes and closes the file.
func (l *Logger) Close() error {
	return errors.Join(l.Flush(), l.file.Close())
}

// window averages the last steps' times.
type window struct {
	steps [32]Record
	n     int
}

func (w *window) add(r Record) {
	w.steps[w.n%len(w.steps)] = r
	w.n++
}

func (w *window) sums() (images, seconds, wait float64) {
	for _, r := range w.steps[:min(w.n, len(w.steps))] {
		images += r.ImagesPerSecond * (r.Seconds + r.Wait)
		seconds += r.Seconds + r.Wait
		wait += r.Wait
	}
	return images, seconds, wait
}

func (w *window) speed() (imagesPerSecond, waitShare float64) {
	images, seconds, wait := w.sums()
	return images / seconds, wait / seconds
}

func (w *window) secondsPerStep() float64 {
	_, seconds, _ := w.sums()
	return seconds / float64(min(w.n, len(w.steps)))
}
