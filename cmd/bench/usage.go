package main

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// used is what the process has used so far.
type used struct {
	cpu    time.Duration
	faults int64
	rss    int64 // peak, KiB
}

func usage() used {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return used{}
	}
	return used{time.Duration(u.Utime.Nano() + u.Stime.Nano()), u.Minflt, u.Maxrss}
}

// peakRSS is the most memory the process has held, in MiB.
func peakRSS() float64 { return float64(usage().rss) / 1024 }

// devicePeak is the memory that this process holds on NVIDIA GPUs, in MiB, or 0 without one. XLA's allocator never gives memory
// back, so what it holds now is its peak.
func devicePeak() float64 {
	out, err := exec.Command("nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits").Output()
	if err != nil {
		return 0
	}
	total := 0.0
	for line := range strings.Lines(string(out)) {
		pid, memory, ok := strings.Cut(strings.TrimSpace(line), ", ")
		if mib, err := strconv.ParseFloat(memory, 64); ok && err == nil && pid == strconv.Itoa(os.Getpid()) {
			total += mib
		}
	}
	return total
}
