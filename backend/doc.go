// Package backend finds or installs an XLA (PJRT) plugin and opens it as a GoMLX backend. It is the only importer of
// go-xla: everything else takes a compute.Backend.
//
// Where a plugin comes from, in this order:
//
//  1. a plugin on go-xla's search path: the directories of PJRT_PLUGIN_LIBRARY_PATH, else go-xla's own directory in the
//     home directory (~/.local/lib/go-xla on Linux) and /usr/local/lib/go-xla;
//  2. for the CPU of a linux/amd64 machine the Python wheel lammps-jax-pjrt-cpu, pinned by version and sha256, got with
//     pip, which honours the user's mirror, or without Python through go-xla's installer package;
//  3. for everything else go-xla's own installer;
//  4. for auto alone, where none of these can be had, GoMLX's pure-Go backend, with a warning.
//
// A library is opened by its absolute path after its ELF tables were checked against its size, because loading a
// truncated one kills the process with SIGBUS, which no Go code can turn into an error.
package backend
