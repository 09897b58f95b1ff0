// Package compilehook stands between the Go bindings and an XLA plugin's compiler, for two things that the plugin can do and
// the bindings do not offer. It puts a function of its own into the plugin's table of functions, in the place of
// PJRT_Client_Compile. Without it everything works, with more memory and longer starts.
//
// Aliases: a donated buffer, a weight's old value say, is reused for an output, the new value, only if the program says
// so. Alias declares the pairs, and the hook writes them into the program (the attribute tf.aliasing_output, as JAX does).
// XLA keeps the meaning: it copies where an old value is still needed.
//
// Compiled programs: XLA's plugins can serialise an executable and load it again (PJRT_Executable_Serialize,
// …_DeserializeAndLoad). With Keep the hook looks for a program in a directory first, and stores what had to be compiled. An
// entry's name is the SHA-256 of the program, the compile options and everything else that decides the machine code: the
// plugin, XLA_FLAGS, the processor's features, and on GPUs their models and driver. Its content begins with the SHA-256 of
// the rest: a damaged entry is as good as none. Nothing that goes wrong with the cache is an error.
package compilehook
