// Package hostmem keeps the large memory blocks of the C side of a program, so that the next ones need not come fresh from
// the kernel.
//
// XLA's CPU client allocates the temporaries and results of every step anew and frees them after it. The C library gives
// such blocks back to the kernel at once, and every page of the next step's is faulted in and zeroed again, which
// costs a third of a training step. With this package linked in and Enable called, freed blocks stay with the process.
//
// The package replaces malloc and its family for the whole process, at link time, on Linux with glibc (see pool.c).
// Before Enable, and for blocks under the threshold always, it passes every call on to glibc. On other platforms Enable
// says that it is not supported, and nothing else happens.
package hostmem
