//go:build linux && cgo && (amd64 || arm64) && !asan && !msan

package hostmem

// #cgo LDFLAGS: -ldl
// #include "pool.h"
import "C"

import (
	"errors"
	"fmt"
	"syscall"
)

// Enable switches the pool on for the rest of the process; limit bounds the free memory that it keeps, in bytes (0:
// half of the machine's), and a second call changes it. It fails where the C library is not glibc, address space is restricted or another
// allocator was preloaded: the program then runs as before.
func Enable(limit uint64) error {
	switch errno := C.hostmem_enable(Threshold, C.size_t(limit)); syscall.Errno(errno) {
	case 0:
		return nil
	case syscall.EEXIST:
		return errors.New("keep large memory blocks: another allocator is in front of the C library's and is left in charge")
	default:
		return fmt.Errorf("keep large memory blocks: %w", syscall.Errno(errno))
	}
}

// Trim gives all free memory of the pool back to the kernel and returns how many bytes that was. Call it when nothing
// large is to be computed for a while.
func Trim() uint64 { return uint64(C.hostmem_trim()) }

// ReadStats returns the pool's state.
func ReadStats() Stats {
	s := C.hostmem_read_stats()
	return Stats{s.enabled != 0, uint64(s.blocks), uint64(s.in_use), uint64(s.peak), uint64(s.kept), uint64(s.given_back)}
}
