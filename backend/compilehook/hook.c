//go:build linux && cgo

#define _GNU_SOURCE
#include "hook.h"

#include <dlfcn.h>
#include <errno.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "_cgo_export.h"

// Places in the table of functions.
enum { kErrorDestroy = 0, kClientCompile = 20, kExecutableDestroy = 40, kSerialize = 49, kGetExecutable = 51, kDeserialize = 56 };

typedef pjrt_error* (*pjrt_function)(void* args);

static pjrt_api* api;
static pjrt_function compile;

static pjrt_error* call(int function, void* args) { return ((pjrt_function)api->functions[function])(args); }

// failed frees the error, if there is one, and reports it.
static int failed(pjrt_error* error) {
  if (!error) return 0;
  struct { size_t struct_size; void* extension_start; pjrt_error* error; } args = {sizeof args, NULL, error};
  ((void (*)(void*))api->functions[kErrorDestroy])(&args);
  return 1;
}

static int load(pjrt_compile_args* c, const char* bytes, size_t size) {
  struct {
    size_t struct_size;
    void* extension_start;
    void* client;
    const char* serialized;
    size_t serialized_size;
    void* loaded; // out
    const char* options;
    size_t options_size;
  } args = {sizeof args, NULL, c->client, bytes, size, NULL, NULL, 0};
  if (failed(call(kDeserialize, &args))) return 0;
  c->executable = args.loaded;
  return 1;
}

static void store(pjrt_compile_args* c) {
  struct { size_t struct_size; void* extension_start; void* loaded; void* executable; } get = {sizeof get, NULL, c->executable, NULL};
  if (failed(call(kGetExecutable, &get))) return;
  struct {
    size_t struct_size;
    void* extension_start;
    void* executable;
    const char* bytes; // out
    size_t size;
    void* backing;
    void (*free_backing)(void*);
  } s = {sizeof s, NULL, get.executable, NULL, 0, NULL, NULL};
  if (!failed(call(kSerialize, &s))) {
    compilehookStore(c, (char*)s.bytes, s.size);
    if (s.free_backing) s.free_backing(s.backing);
  }
  struct { size_t struct_size; void* extension_start; void* executable; } destroy = {sizeof destroy, NULL, get.executable};
  failed(call(kExecutableDestroy, &destroy));
}

static pjrt_error* cached(pjrt_compile_args* c) {
  size_t size = 0;
  char* bytes = compilehookLoad(c, &size);
  if (bytes) {
    int ok = load(c, bytes, size);
    free(bytes);
    if (ok) return NULL;
  }
  pjrt_error* error = compile(c);
  if (!error) store(c);
#ifdef __GLIBC__
  malloc_trim(0); // what the compiler used would stay with the process, beside what the program needs
#endif
  return error;
}

// hooked_compile compiles a program with its aliases, for which it stands in during the call.
static pjrt_error* hooked_compile(void* args) {
  pjrt_compile_args* c = args;
  size_t size = 0;
  char* code = compilehookProgram(c, &size);
  if (!code) return cached(c);
  const pjrt_program* original = c->program;
  pjrt_program changed = *original;
  changed.code = code;
  changed.code_size = size;
  c->program = &changed;
  pjrt_error* error = cached(c);
  c->program = original;
  free(code);
  return error;
}

int compilehook_install(const char* plugin_path) {
  void* library = dlopen(plugin_path, RTLD_LAZY | RTLD_NOLOAD);
  if (!library) return ENOENT;
  pjrt_api* (*get)(void) = (pjrt_api * (*)(void)) dlsym(library, "GetPjrtApi");
  if (!get) return ENOSYS;
  pjrt_api* table = get();
  if (!table || table->major != 0 || table->struct_size < offsetof(pjrt_api, functions) + (kDeserialize + 1) * sizeof(void*)) return ENOSYS;
  if (!table->functions[kSerialize] || !table->functions[kDeserialize]) return ENOSYS;
  if (table->functions[kClientCompile] == (void*)hooked_compile) return 0;
  if (api) return EBUSY; // one plugin a process
  void** slot = &table->functions[kClientCompile];
  uintptr_t page = (uintptr_t)slot & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
  if (mprotect((void*)page, sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE)) return errno;
  api = table;
  compile = (pjrt_function)*slot;
  *slot = (void*)hooked_compile;
  return 0;
}
