//go:build !(linux && cgo && (amd64 || arm64) && !asan && !msan)

package hostmem

import "errors"

// Enable says that there is no pool on this platform.
func Enable(limit uint64) error {
	return errors.New("keep large memory blocks: not supported on this platform")
}

// Trim does nothing on this platform.
func Trim() uint64 { return 0 }

// ReadStats returns zeros on this platform.
func ReadStats() Stats { return Stats{} }
