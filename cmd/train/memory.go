package main

import (
	"bufio"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// peakMemory is the most resident memory that this process had, in bytes, as Linux counts it; elsewhere what Go's heap
// took from the system.
func peakMemory() int64 { return memoryOf("VmHWM:") }

// residentMemory is what this process has now.
func residentMemory() int64 { return memoryOf("VmRSS:") }

func memoryOf(key string) int64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.Sys)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), key)
		if !ok {
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
		if err == nil {
			return kilobytes << 10
		}
	}
	return 0
}

// memoryAvailable is what the system could still give, 0 where that is not known.
func memoryAvailable() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "MemAvailable:"); ok {
			kilobytes, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			return kilobytes << 10
		}
	}
	return 0
}
