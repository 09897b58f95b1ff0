//go:build slow && linux

package retrieve

import (
	"flag"
	"os"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"
)

var (
	millionRows  = flag.Int("rows", 1_000_000, "rows on each side")
	millionDim   = flag.Int("dim", 64, "numbers in a row")
	millionShare = flag.Float64("share", 1, "share of the pairs to look at: memory is that of all, time a part")
)

// TestMillion ranks a million random rows against a million, both ways, and reports time and peak memory. The rows alone
// take 512 MB; a matrix of similarities would take 4 TB.
//
//	go test -tags slow ./eval/retrieve -run Million -v -timeout 3h [-args -share 0.05]
func TestMillion(t *testing.T) {
	n, dim := *millionRows, *millionDim
	a, b := random(n, dim, 0, 1), random(n, dim, 0, 2)
	relevant := Links{Start: make([]int, n+1), Candidates: make([]int32, n)}
	for i := range n {
		relevant.Start[i+1], relevant.Candidates[i] = i+1, int32(i)
	}
	reverse := relevant.reverse(n)
	s := search{a: a, b: b, rows: newThresholds(a, b, relevant), columns: newThresholds(b, a, reverse)}
	bands := (n + tileColumns - 1) / tileColumns
	s.bands = max(1, int(*millionShare*float64(bands)))
	start, busy := time.Now(), processorSeconds(t)
	s.run()
	seconds := time.Since(start).Seconds()
	busy = processorSeconds(t) - busy
	pairs := float64(n) * float64(min(n, s.bands*tileColumns))
	peak := peakMemory(t)
	t.Logf("%s kernel, %d × %d rows of %d: %.3g pairs in %.1f s (%.1f s of processors), %.0f million pairs a second, all in %.0f s; peak memory %d MB",
		chosen.name, n, n, dim, pairs, seconds, busy, pairs/seconds/1e6, float64(n)*float64(n)/pairs*seconds, peak>>20)
	if limit := int64(64<<20) + 4*int64(len(a.Data)+len(b.Data))*3; peak > limit {
		t.Errorf("peak memory %d MB, the rows and three times as much are %d MB", peak>>20, limit>>20)
	}
	if s.bands < bands {
		return
	}
	if m := MedianRank(s.rows.ranks(relevant, n).FirstRanks()[:min(n, 10000)], nil, 1); m.Value < 0.4*float64(n) || m.Value > 0.6*float64(n) {
		t.Errorf("median rank %g of random rows", m.Value)
	}
}

// processorSeconds is the time that the process has used on all processors.
func processorSeconds(t *testing.T) float64 {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// peakMemory is the process's largest resident size in bytes.
func peakMemory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatal("no VmHWM in /proc/self/status")
	}
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}
