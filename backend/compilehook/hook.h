#pragma once
#include <stddef.h>

// The parts of OpenXLA's pjrt_c_api.h that the hook touches. The interface only ever grows at the end of each struct.

typedef struct pjrt_error pjrt_error;

typedef struct {
  size_t struct_size;
  void* extension_start;
  size_t version_size;
  void* version_extension;
  int major, minor;
  void* functions[];
} pjrt_api;

typedef struct {
  size_t struct_size;
  void* extension_start;
  char* code;
  size_t code_size;
  const char* format;
  size_t format_size;
} pjrt_program;

typedef struct {
  size_t struct_size;
  void* extension_start;
  void* client;
  const pjrt_program* program;
  const char* compile_options;
  size_t compile_options_size;
  void* executable; // out
} pjrt_compile_args;

// 0 or an errno. The plugin must be open already.
int compilehook_install(const char* plugin_path);
