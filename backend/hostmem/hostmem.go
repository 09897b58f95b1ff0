package hostmem

// Threshold is the size in bytes from which on blocks come from the pool. Smaller ones stay with the C library, which keeps
// them by itself.
const Threshold = 128 << 10

// Stats tells what the pool has done and holds, in bytes.
type Stats struct {
	Enabled   bool
	Blocks    uint64 // blocks handed out so far
	InUse     uint64
	Peak      uint64 // the most that was in use at once
	Kept      uint64 // free, and still held by the process
	GivenBack uint64 // given back to the kernel so far, by Trim or over the limit
}
