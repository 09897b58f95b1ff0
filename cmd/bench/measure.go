package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"tandem/backend"
)

// Result is one measurement. Times of the first step are apart: building the graph, compiling it, running it.
type Result struct {
	Config   string `json:"config"`
	Model    string `json:"model"`
	What     string `json:"what"` // train, images or texts
	Batch    int    `json:"batch"`
	Steps    int    `json:"steps"`
	DType    string `json:"dtype"`
	Captions string `json:"captions"`
	Backend  string `json:"backend"`
	Devices  int    `json:"devices"`

	Rate      float64 `json:"images_per_s"` // of the median step; texts with -infer texts
	MedianMS  float64 `json:"step_ms_median"`
	MinMS     float64 `json:"step_ms_min"`
	MaxMS     float64 `json:"step_ms_max"`
	CPUMS     float64 `json:"cpu_ms_median"`  // processor time of a step, all threads
	GFLOPs    float64 `json:"gflops"`         // matrix products of the whole context, a second
	PeakGFLOP float64 `json:"matmul_gflops"`  // what one large float32 product reaches here
	OfPeak    float64 `json:"of_matmul_peak"` // GFLOPs / PeakGFLOP
	BuildS    float64 `json:"build_s"`
	CompileS  float64 `json:"compile_s"`
	FirstS    float64 `json:"first_run_s"`
	PeakRSS   float64 `json:"peak_rss_mib"`
	DeviceMiB float64 `json:"device_peak_mib,omitempty"`
	Faults    float64 `json:"minor_faults_per_step"`
	Allocs    float64 `json:"go_allocs_per_step"`
	AllocKiB  float64 `json:"go_alloc_kib_per_step"`
	Loss      float64 `json:"loss,omitempty"`
}

// workload is what is measured: one call of step a time.
type workload struct {
	what  string
	flops float64 // of one step
	step  func(i int) error
	// first reports what of the calls so far went into building and compiling graphs.
	first func() (build, compile time.Duration)
	loss  func() float64
}

// measure runs the warm-up and the steps.
func measure(ctx context.Context, o options, b *backend.Backend) (Result, error) {
	r := Result{Config: o.config, Model: o.name, Batch: o.batch, Steps: o.steps, DType: o.dtype, Captions: o.captions,
		Backend: b.Info.Name, Devices: max(1, o.devices)}
	w, err := newWorkload(o, b.Backend)
	if err != nil {
		return r, err
	}
	r.What = w.what
	began := time.Now()
	for i := range o.warmup {
		if err := step(ctx, w, i); err != nil {
			return r, err
		}
		if i == 0 {
			build, compile := w.first()
			r.BuildS, r.CompileS = build.Seconds(), compile.Seconds()
			r.FirstS = (time.Since(began) - build - compile).Seconds()
		}
	}
	if err := r.measureSteps(ctx, o, w); err != nil {
		return r, err
	}
	r.PeakRSS = peakRSS()
	r.DeviceMiB = devicePeak()
	if w.loss != nil {
		r.Loss = w.loss()
	}
	r.GFLOPs = w.flops / (r.MedianMS / 1000) / 1e9
	if r.PeakGFLOP, err = matmulPeak(b.Backend); err != nil {
		return r, err
	}
	r.OfPeak = r.GFLOPs / r.PeakGFLOP
	return r, nil
}

func step(ctx context.Context, w workload, i int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return w.step(i)
}

func (r *Result) measureSteps(ctx context.Context, o options, w workload) error {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	faults := usage().faults
	var wall, cpu []float64
	for i := range o.steps {
		used, began := usage().cpu, time.Now()
		if err := step(ctx, w, o.warmup+i); err != nil {
			return err
		}
		wall = append(wall, time.Since(began).Seconds()*1000)
		cpu = append(cpu, (usage().cpu-used).Seconds()*1000)
	}
	n := float64(o.steps)
	r.Faults = float64(usage().faults-faults) / n
	runtime.ReadMemStats(&after)
	r.Allocs = float64(after.Mallocs-before.Mallocs) / n
	r.AllocKiB = float64(after.TotalAlloc-before.TotalAlloc) / n / 1024
	r.MedianMS, r.MinMS, r.MaxMS, r.CPUMS = median(wall), slices.Min(wall), slices.Max(wall), median(cpu)
	r.Rate = float64(o.batch) / (r.MedianMS / 1000)
	return nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

const peakSide = 2048 // of the matrices whose product measures the peak

// matmulPeak is the rate of the best of a few float32 products of large matrices, GFLOP/s.
func matmulPeak(b compute.Backend) (float64, error) {
	side, repeats := peakSide, 8
	if b.Name() == "go" {
		side, repeats = 256, 3
	}
	exec, err := NewExec(b, func(x, y *Node) *Node { return ReduceAllMax(Dot(x, y).MatMul()) })
	if err != nil {
		return 0, err
	}
	x := tensors.FromFlatDataAndDimensions(noise(side*side), side, side)
	best := 0.0
	for range repeats {
		began := time.Now()
		outputs, err := exec.Call(x, x)
		if err != nil {
			return 0, fmt.Errorf("measure the matrix-product peak: %w", err)
		}
		tensors.ToScalar[float32](outputs[0])
		best = max(best, 2*float64(side)*float64(side)*float64(side)/time.Since(began).Seconds()/1e9)
	}
	return best, nil
}

// write prints the result for people.
func (r Result) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	unit := "images/s"
	if r.What == "texts" {
		unit = "texts/s"
	}
	fmt.Fprintf(t, "%s (%s), %s, batch %d, %s, %s captions\t%s, %d device(s)\n", r.Config, r.Model, r.What, r.Batch, r.DType, r.Captions, r.Backend, r.Devices)
	fmt.Fprintf(t, "throughput\t%.1f %s\n", r.Rate, unit)
	fmt.Fprintf(t, "step\tmedian %.0f ms, min %.0f, max %.0f (%d steps); %.0f ms of processor time\n", r.MedianMS, r.MinMS, r.MaxMS, r.Steps, r.CPUMS)
	fmt.Fprintf(t, "matrix products\t%.0f GFLOP/s, %.0f %% of the %.0f that one large product reaches\n", r.GFLOPs, 100*r.OfPeak, r.PeakGFLOP)
	fmt.Fprintf(t, "first step\tbuild %.2f s, compile %.2f s, run %.2f s\n", r.BuildS, r.CompileS, r.FirstS)
	fmt.Fprintf(t, "memory\tpeak %.0f MiB; a step: %.0f page faults, %.0f Go allocations of %.0f KiB\n", r.PeakRSS, r.Faults, r.Allocs, r.AllocKiB)
	if r.DeviceMiB > 0 {
		fmt.Fprintf(t, "device memory\tpeak %.0f MiB\n", r.DeviceMiB)
	}
	return t.Flush()
}
