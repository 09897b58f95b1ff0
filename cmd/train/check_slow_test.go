//go:build slow

package main

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
)

// TestCheckEstimatesMemory: what -check estimates for config S lies within 20 % of the peak that it measures, for small
// batches, where the program dominates, and for large ones, where the activations do; for a frozen tower too.
func TestCheckEstimatesMemory(t *testing.T) {
	for _, args := range [][]string{
		{"-set", "data.batch=8"},
		{"-set", "data.batch=32"},
		{"-set", "data.batch=64"},
		{"-set", "data.batch=64", "-set", "tune.lock_image.unlocked_groups=0"},
	} {
		t.Run(fmt.Sprint(args), func(t *testing.T) {
			out := mustRun(t, append([]string{"-config", absolute(t, "testdata/s.yaml"), "-check"}, args...)...)
			estimated, measured := bytesIn(t, out, `memory +([0-9.]+) (MiB|GiB) estimated`), bytesIn(t, out, `\n +([0-9.]+) (MiB|GiB) measured`)
			t.Logf("estimated %.0f MiB, measured %.0f MiB: %+.0f %%", estimated, measured, 100*(estimated/measured-1))
			if ratio := estimated / measured; ratio < 0.8 || ratio > 1.2 {
				t.Errorf("estimated %.0f MiB, measured %.0f MiB\n%s", estimated, measured, out)
			}
		})
	}
}

// bytesIn finds a size in the output, in MiB.
func bytesIn(t *testing.T, out, pattern string) float64 {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("no %s in\n%s", pattern, out)
	}
	value, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	if found[2] == "GiB" {
		value *= 1024
	}
	return value
}
