// Package execcache keeps compiled programs on disk, so that the second start of the same configuration need not compile.
//
// XLA's plugins can serialise an executable and load it again (PJRT_Executable_Serialize, …_DeserializeAndLoad), but the Go
// bindings do not offer it. Enable therefore puts a function of its own into the plugin's table of functions, in the
// place of PJRT_Client_Compile: it looks for the program in a directory first, and stores what had to be compiled.
//
// An entry's name is the SHA-256 of the program, the compile options and everything else that decides the machine code:
// the plugin, XLA_FLAGS and the processor's features. Its content begins with the SHA-256 of the rest: a damaged entry is
// as good as none. Nothing that goes wrong with the cache is an error.
package execcache
