//go:build cgo

// Package cmem calls the C library's memory functions, for the tests of hostmem: test files themselves cannot use cgo.
package cmem

/*
#define _GNU_SOURCE
#include <malloc.h>
#include <stdlib.h>

static void *aligned(size_t align, size_t size) {
  void *p = NULL;
  return posix_memalign(&p, align, size) == 0 ? p : NULL;
}
*/
import "C"

import "unsafe"

func bytes(p unsafe.Pointer, n int) []byte {
	if p == nil {
		return nil
	}
	return unsafe.Slice((*byte)(p), n)
}

// Malloc returns n bytes; n must be positive here and below. Free the result.
func Malloc(n int) []byte { return bytes(C.malloc(C.size_t(n)), n) }

// Calloc returns n zero bytes.
func Calloc(n int) []byte { return bytes(C.calloc(1, C.size_t(n)), n) }

// Aligned returns n bytes from posix_memalign, or nil.
func Aligned(align, n int) []byte { return bytes(C.aligned(C.size_t(align), C.size_t(n)), n) }

// Realloc grows or shrinks a block.
func Realloc(b []byte, n int) []byte {
	return bytes(C.realloc(unsafe.Pointer(unsafe.SliceData(b)), C.size_t(n)), n)
}

// UsableSize returns malloc_usable_size of a block.
func UsableSize(b []byte) int {
	return int(C.malloc_usable_size(unsafe.Pointer(unsafe.SliceData(b))))
}

// Free frees a block.
func Free(b []byte) { C.free(unsafe.Pointer(unsafe.SliceData(b))) }

// Address tells where a block begins.
func Address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
