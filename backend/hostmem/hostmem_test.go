//go:build linux && cgo && (amd64 || arm64)

package hostmem

import (
	"sync"
	"syscall"
	"testing"

	"tandem/backend/hostmem/internal/cmem"
	"tandem/internal/prng"
)

func enable(t *testing.T) {
	t.Helper()
	if err := Enable(0); err != nil {
		t.Fatalf("this machine's C library should allow it: %v", err)
	}
}

// block is memory with its own number written at both ends and in the middle.
type block struct {
	data []byte
	mark byte
}

func (b block) fill() {
	for _, i := range []int{0, len(b.data) / 2, len(b.data) - 1} {
		b.data[i] = b.mark
	}
}

func (b block) intact() bool {
	n := len(b.data)
	return b.data[0] == b.mark && b.data[n/2] == b.mark && b.data[n-1] == b.mark
}

// TestNoBlockIsHandedOutTwice allocates, grows and frees blocks around the threshold from several threads; a block that
// overlapped another would lose its marks.
func TestNoBlockIsHandedOutTwice(t *testing.T) {
	before := cmem.Malloc(1 << 20) // from the C library; freed after the pool is on
	enable(t)
	start := ReadStats()
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			r := prng.New(11, uint64(worker))
			var held []block
			for i := range 3000 {
				size := 1 + int(r.Uint32N(64<<10))<<r.Uint32N(7) // up to 4 MiB
				switch n := len(held); {
				case n > 0 && r.Uint32N(2) == 0:
					j := int(r.Uint32N(uint32(n)))
					if !held[j].intact() {
						t.Errorf("worker %d, step %d: a block of %d bytes was overwritten", worker, i, len(held[j].data))
						return
					}
					cmem.Free(held[j].data)
					held[j] = held[n-1]
					held = held[:n-1]
				case n > 0 && r.Uint32N(4) == 0:
					b := &held[r.Uint32N(uint32(n))]
					first := b.data[0]
					b.data = cmem.Realloc(b.data, size)
					if b.data[0] != first {
						t.Errorf("worker %d, step %d: realloc to %d bytes lost the content", worker, i, size)
						return
					}
					b.fill()
				default:
					align := 16 << r.Uint32N(12)
					b := block{cmem.Aligned(align, size), byte(i)}
					if cmem.Address(b.data)%uintptr(align) != 0 || cmem.UsableSize(b.data) < size {
						t.Errorf("worker %d, step %d: %d bytes aligned to %d come at %x with room for %d", worker, i, size, align, cmem.Address(b.data), cmem.UsableSize(b.data))
						return
					}
					b.fill()
					held = append(held, b)
				}
			}
			for _, b := range held {
				cmem.Free(b.data)
			}
		})
	}
	wg.Wait()
	cmem.Free(before)
	end := ReadStats()
	if end.InUse != start.InUse || end.Blocks < start.Blocks+500 {
		t.Errorf("in use %d before and %d after, %d blocks handed out", start.InUse, end.InUse, end.Blocks-start.Blocks)
	}
}

func faults(t *testing.T) int64 {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return usage.Minflt
}

// touch takes a block, writes every page of it and frees it; it returns the page faults.
func touch(t *testing.T, size int) int64 {
	before := faults(t)
	b := cmem.Malloc(size)
	for i := 0; i < size; i += 4096 {
		b[i] = 1
	}
	cmem.Free(b)
	return faults(t) - before
}

func TestFreedMemoryIsKeptAndTrimmed(t *testing.T) {
	enable(t)
	const size = 96 << 20
	Trim()
	touch(t, size)
	if n := touch(t, size); n > 200 {
		t.Errorf("%d page faults on the second use, want next to none", n)
	}
	if kept := ReadStats().Kept; kept < size {
		t.Errorf("%d bytes kept, want %d or more", kept, size)
	}
	if freed := Trim(); freed < size {
		t.Errorf("trimming gave %d bytes back, want %d or more", freed, size)
	}
	if kept := ReadStats().Kept; kept != 0 {
		t.Errorf("%d bytes kept after trimming", kept)
	}
	if n := touch(t, size); n < 40 { // 48 huge pages, or 24,576 small ones
		t.Errorf("%d page faults after trimming: the memory had not gone back", n)
	}
	if err := Enable(1 << 20); err != nil {
		t.Fatal(err)
	}
	touch(t, size)
	if kept := ReadStats().Kept; kept > 1<<20 {
		t.Errorf("%d bytes kept, over the limit", kept)
	}
	enable(t)
}

func TestSmallBlocksAndZeroedOnesStayWithTheCLibrary(t *testing.T) {
	enable(t)
	start := ReadStats().Blocks
	small, zeroed := cmem.Malloc(Threshold-1), cmem.Calloc(4<<20)
	if n := ReadStats().Blocks - start; n != 0 {
		t.Errorf("%d blocks came from the pool, want none", n)
	}
	for i := range zeroed {
		if zeroed[i] != 0 {
			t.Fatalf("byte %d of a zeroed block is %d", i, zeroed[i])
		}
	}
	large := cmem.Malloc(Threshold)
	if n := ReadStats().Blocks - start; n != 1 {
		t.Errorf("%d blocks came from the pool, want one", n)
	}
	for _, b := range [][]byte{small, zeroed, large} {
		cmem.Free(b)
	}
}

func BenchmarkLargeBlock(b *testing.B) {
	if err := Enable(0); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		cmem.Free(cmem.Malloc(8 << 20))
	}
}
