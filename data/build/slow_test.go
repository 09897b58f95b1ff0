//go:build slow

package build

import (
	"os"
	"regexp"
	"strconv"
	"testing"
)

// TestBooksBalanceAtSize is TestBooksBalance with 100,000 rows, and bounds the memory. Run it alone:
//
//	go test -tags slow -run AtSize -v ./data/build
func TestBooksBalanceAtSize(t *testing.T) {
	newFaulty(t, 100_000).build()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	peak, err := strconv.Atoi(string(regexp.MustCompile(`VmHWM:\s+(\d+)`).FindSubmatch(status)[1]))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("peak memory %d MB", peak>>10)
	if peak > 1<<20 {
		t.Errorf("peak memory of %d kB, want at most 1 GiB", peak)
	}
}
