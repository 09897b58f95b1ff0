// A pool of large memory blocks under malloc. See doc.go for what it is for.
//
// The functions of malloc are defined here, in the program itself, and so take the place of the C library's for every
// shared library that the program loads. Until hostmem_enable is called they only pass on to the C library. Afterwards
// blocks of `threshold` bytes and more come from one reserved range of addresses, in which freed blocks are joined with
// their neighbours and kept. A pointer's owner is told by its address alone, so that blocks of both origins may be freed
// by anyone at any time.
//
// Blocks are kept by two-level segregated fit (Masmano et al., "TLSF: a new dynamic memory allocator for real-time
// systems", 2004), in units of 16 KiB, with the bookkeeping beside the range and not in it: freed pages are never
// touched, and may be given back to the kernel one by one.

//go:build linux && cgo && (amd64 || arm64) && !asan && !msan

#define _GNU_SOURCE
#include "pool.h"

#ifdef __GLIBC__

#include <dlfcn.h>
#include <errno.h>
#include <gnu/libc-version.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

// next is the allocator behind this one: the C library's, or one that the user has put in front of it (LD_PRELOAD).
static struct {
  atomic_int ready; // 0: not looked up, 1: being looked up, 2: ready
  void *(*malloc)(size_t);
  void *(*calloc)(size_t, size_t);
  void *(*realloc)(void *, size_t);
  void *(*memalign)(size_t, size_t);
  void *(*valloc)(size_t);
  void *(*pvalloc)(size_t);
  void (*free)(void *);
  size_t (*usable_size)(void *);
} next;

// The dynamic linker may ask for memory while the next allocator is looked up. That memory is never freed.
static struct {
  _Alignas(16) char bytes[16 << 10];
  size_t used;
} early;

static void *take_early(size_t size) {
  size_t start = early.used;
  size = (size + 15) / 16 * 16;
  if (size > sizeof early.bytes - start) return NULL;
  early.used += size;
  return early.bytes + start;
}

static inline int is_early(const void *p) { return (uintptr_t)p - (uintptr_t)early.bytes < sizeof early.bytes; }

// look_up fills in next. The first call comes before the program has a second thread. It returns 0 while it runs.
static int look_up(void) {
  if (atomic_exchange(&next.ready, 1) == 1) return 0;
  next.malloc = dlsym(RTLD_NEXT, "malloc");
  next.calloc = dlsym(RTLD_NEXT, "calloc");
  next.realloc = dlsym(RTLD_NEXT, "realloc");
  next.memalign = dlsym(RTLD_NEXT, "memalign");
  next.valloc = dlsym(RTLD_NEXT, "valloc");
  next.pvalloc = dlsym(RTLD_NEXT, "pvalloc");
  next.free = dlsym(RTLD_NEXT, "free");
  next.usable_size = dlsym(RTLD_NEXT, "malloc_usable_size");
  atomic_store(&next.ready, 2);
  return 1;
}

// next_is_libc compares where the next allocator and a function that nothing but the C library defines were loaded.
static int next_is_libc(void) {
  Dl_info allocator, library;
  return dladdr((void *)next.malloc, &allocator) && dladdr((void *)gnu_get_libc_version, &library) &&
         allocator.dli_fbase == library.dli_fbase;
}

static inline int ready(void) { return atomic_load_explicit(&next.ready, memory_order_acquire) == 2 || look_up(); }

enum {
  unit_bits = 14,             // 16 KiB
  second_bits = 4,            // classes per power of two
  first_levels = 32,
  second_levels = 1 << second_bits,
};
static const size_t unit = (size_t)1 << unit_bits;
static const size_t grain = (size_t)64 << 20; // the range is made usable in steps of this
static const uint32_t large = (64 << 20) >> unit_bits; // units; see take
static const long patience = 10 * 1000 * 1000;         // nanoseconds
static const uint32_t none = UINT32_MAX;

// A block is known by its first unit; its first and last units' entries hold its length and whether it is free.
struct entry {
  uint32_t units;      // length of the block that begins or ends here
  uint32_t free;       // 1: free; of the first entry only, 2: free and given back to the kernel
  uint32_t next, prev; // in the list of free blocks of this class
};

static struct {
  atomic_uintptr_t base; // of the range; 0 until enabled
  size_t span;           // its bytes
  size_t threshold;
  size_t limit;       // of free bytes kept
  uint32_t top;       // units handed out so far, the range's end in use
  uint32_t usable;    // units that may be touched
  struct entry *entry; // one per unit
  uint32_t large_in_use; // blocks of `large` units and more
  uint32_t first_map, second_map[first_levels];
  uint32_t list[first_levels][second_levels];
  struct hostmem_stats stats;
  pthread_mutex_t lock;
  pthread_cond_t freed;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .freed = PTHREAD_COND_INITIALIZER};

static inline int ours(const void *p) {
  uintptr_t base = atomic_load_explicit(&pool.base, memory_order_acquire);
  return base != 0 && (uintptr_t)p - base < pool.span;
}

static inline int wanted(size_t size, size_t align) {
  return atomic_load_explicit(&pool.base, memory_order_acquire) != 0 && size >= pool.threshold && align <= unit &&
         size < pool.span;
}

// class_of maps a length to its class. Lengths of one class differ by less than a sixteenth.
static void class_of(uint32_t units, int *first, int *second) {
  int high = 31 - __builtin_clz(units);
  if (high < second_bits) {
    *first = 0;
    *second = units;
  } else {
    *first = high - second_bits + 1;
    *second = (units >> (high - second_bits)) - second_levels;
  }
}

static void set_block(uint32_t at, uint32_t units, uint32_t free) {
  pool.entry[at].units = pool.entry[at + units - 1].units = units;
  pool.entry[at].free = pool.entry[at + units - 1].free = free;
}

static void list_add(uint32_t at) {
  int f, s;
  class_of(pool.entry[at].units, &f, &s);
  uint32_t head = pool.list[f][s];
  pool.entry[at].next = head;
  pool.entry[at].prev = none;
  if (head != none) pool.entry[head].prev = at;
  pool.list[f][s] = at;
  pool.second_map[f] |= 1u << s;
  pool.first_map |= 1u << f;
}

static void list_remove(uint32_t at) {
  int f, s;
  class_of(pool.entry[at].units, &f, &s);
  struct entry *e = &pool.entry[at];
  if (e->next != none) pool.entry[e->next].prev = e->prev;
  if (e->prev != none) {
    pool.entry[e->prev].next = e->next;
  } else if ((pool.list[f][s] = e->next) == none) {
    if ((pool.second_map[f] &= ~(1u << s)) == 0) pool.first_map &= ~(1u << f);
  }
}

// find returns a free block of at least `units`: the best of the length's own class, else the first of the next class
// that has one.
static uint32_t find(uint32_t units) {
  int f, s;
  class_of(units, &f, &s);
  uint32_t best = none;
  for (uint32_t at = pool.list[f][s]; at != none; at = pool.entry[at].next) {
    uint32_t n = pool.entry[at].units;
    if (n >= units && (best == none || n < pool.entry[best].units)) best = at;
    if (n == units) break;
  }
  if (best != none) return best;
  uint32_t seconds = s + 1 < second_levels ? pool.second_map[f] & (~0u << (s + 1)) : 0;
  if (seconds == 0) {
    uint32_t firsts = f + 1 < first_levels ? pool.first_map & (~0u << (f + 1)) : 0;
    if (firsts == 0) return none;
    f = __builtin_ctz(firsts);
    seconds = pool.second_map[f];
  }
  return pool.list[f][__builtin_ctz(seconds)];
}

// extend takes a new block from the end of the range.
static uint32_t extend(uint32_t units) {
  if (units > (pool.span >> unit_bits) - pool.top) return none;
  uint32_t need = pool.top + units;
  if (need > pool.usable) {
    size_t from = (size_t)pool.usable << unit_bits;
    size_t to = (((size_t)need << unit_bits) + grain - 1) / grain * grain;
    if (to > pool.span) to = pool.span;
    char *start = (char *)pool.base + from;
    if (mprotect(start, to - from, PROT_READ | PROT_WRITE) != 0) return none;
    madvise(start, to - from, MADV_HUGEPAGE); // only a wish
    pool.usable = to >> unit_bits;
  }
  uint32_t at = pool.top;
  // A free block at the end grows instead of leaving a hole.
  if (at > 0 && pool.entry[at - 1].free) {
    uint32_t n = pool.entry[at - 1].units;
    at -= n;
    list_remove(at);
    pool.stats.kept -= pool.entry[at].free == 1 ? (uint64_t)n << unit_bits : 0;
    pool.top += units - n; // the caller wants more than n: find would have returned it
  } else {
    pool.top += units;
  }
  set_block(at, units, 0);
  return at;
}

// await waits a little for a large block to be freed, before the pool grows. XLA reports a step's results a moment before
// it frees the step's temporaries: without the pause the next step would now and then take a second set of them, which the
// pool would keep.
static uint32_t await(uint32_t units) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += patience;
  if (until.tv_nsec >= 1000000000) {
    until.tv_nsec -= 1000000000;
    until.tv_sec++;
  }
  uint32_t at = none;
  while (at == none && pthread_cond_timedwait(&pool.freed, &pool.lock, &until) == 0) at = find(units);
  return at;
}

static void *take(size_t size) {
  uint32_t units = (size + unit - 1) >> unit_bits;
  pthread_mutex_lock(&pool.lock);
  uint32_t at = find(units);
  if (at == none && units >= large && pool.large_in_use > 0) at = await(units);
  if (at != none) {
    list_remove(at);
    uint32_t n = pool.entry[at].units, state = pool.entry[at].free;
    if (state == 1) pool.stats.kept -= (uint64_t)n << unit_bits;
    set_block(at, units, 0);
    if (n > units) {
      set_block(at + units, n - units, state);
      list_add(at + units);
      if (state == 1) pool.stats.kept += (uint64_t)(n - units) << unit_bits;
    }
  } else {
    at = extend(units);
  }
  if (at != none) {
    pool.stats.blocks++;
    pool.large_in_use += units >= large;
    pool.stats.in_use += (uint64_t)units << unit_bits;
    if (pool.stats.in_use > pool.stats.peak) pool.stats.peak = pool.stats.in_use;
  }
  pthread_mutex_unlock(&pool.lock);
  return at == none ? NULL : (char *)pool.base + ((size_t)at << unit_bits);
}

static void give_back(uint32_t at, uint32_t units) {
  madvise((char *)pool.base + ((size_t)at << unit_bits), (size_t)units << unit_bits, MADV_DONTNEED);
  pool.stats.given_back += (uint64_t)units << unit_bits;
}

// join puts a free block on its list, with its free neighbours. Blocks that were given back to the kernel and blocks
// that were not are kept apart.
static void join(uint32_t at, uint32_t units, uint32_t state) {
  uint32_t after = at + units;
  if (after < pool.top && pool.entry[after].free == state) {
    list_remove(after);
    units += pool.entry[after].units;
  }
  if (at > 0 && pool.entry[at - 1].free == state) {
    uint32_t n = pool.entry[at - 1].units;
    at -= n;
    list_remove(at);
    units += n;
  }
  set_block(at, units, state);
  list_add(at);
}

static void put(void *p) {
  pthread_mutex_lock(&pool.lock);
  uint32_t at = ((uintptr_t)p - pool.base) >> unit_bits;
  uint32_t units = pool.entry[at].units;
  uint64_t bytes = (uint64_t)units << unit_bits;
  pool.stats.in_use -= bytes;
  pool.large_in_use -= units >= large;
  if (pool.stats.kept + bytes > pool.limit) {
    give_back(at, units);
    join(at, units, 2);
  } else {
    pool.stats.kept += bytes;
    join(at, units, 1);
  }
  if (units >= large) pthread_cond_broadcast(&pool.freed);
  pthread_mutex_unlock(&pool.lock);
}

static size_t room(const void *p) { // of one of our blocks, which its owner holds
  return (size_t)pool.entry[((uintptr_t)p - pool.base) >> unit_bits].units << unit_bits;
}

int hostmem_enable(size_t threshold, size_t limit) {
  if (!ready() || !next_is_libc()) return EEXIST; // the user's own choice of an allocator goes first
  pthread_mutex_lock(&pool.lock);
  size_t memory = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
  if (limit == 0) limit = memory / 2;
  if (pool.base != 0) {
    pool.limit = limit;
    pthread_mutex_unlock(&pool.lock);
    return 0;
  }
  size_t span = (2 * memory + grain - 1) / grain * grain;
  if (span > ((size_t)1 << (31 + unit_bits))) span = (size_t)1 << (31 + unit_bits);
  size_t table = (span >> unit_bits) * sizeof(struct entry);
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  char *range = mmap(NULL, span + grain, PROT_NONE, flags, -1, 0);
  void *entries = mmap(NULL, table, PROT_READ | PROT_WRITE, flags, -1, 0);
  int failed = range == MAP_FAILED || entries == MAP_FAILED ? errno : 0;
  if (!failed) {
    for (int f = 0; f < first_levels; f++)
      for (int s = 0; s < second_levels; s++) pool.list[f][s] = none;
    pool.span = span;
    pool.threshold = threshold < unit ? unit : threshold;
    pool.limit = limit;
    pool.entry = entries;
    // Huge pages want their own alignment.
    uintptr_t huge = (size_t)2 << 20;
    atomic_store_explicit(&pool.base, ((uintptr_t)range + huge - 1) / huge * huge, memory_order_release);
  }
  pthread_mutex_unlock(&pool.lock);
  return failed;
}

uint64_t hostmem_trim(void) {
  if (atomic_load(&pool.base) == 0) return 0;
  pthread_mutex_lock(&pool.lock);
  uint64_t before = pool.stats.given_back;
  for (uint32_t at = 0; at < pool.top;) {
    uint32_t units = pool.entry[at].units, next = at + units;
    if (pool.entry[at].free == 1) {
      list_remove(at);
      give_back(at, units);
      join(at, units, 2);
    }
    at = next;
  }
  pool.stats.kept = 0;
  uint64_t freed = pool.stats.given_back - before;
  pthread_mutex_unlock(&pool.lock);
  return freed;
}

struct hostmem_stats hostmem_read_stats(void) {
  pthread_mutex_lock(&pool.lock);
  struct hostmem_stats stats = pool.stats;
  pthread_mutex_unlock(&pool.lock);
  stats.enabled = atomic_load(&pool.base) != 0;
  return stats;
}

// ---- the functions of malloc ----

void *malloc(size_t size) {
  if (wanted(size, 16)) {
    void *p = take(size);
    if (p != NULL) return p;
  }
  return ready() ? next.malloc(size) : take_early(size);
}

void free(void *p) {
  if (ours(p)) {
    put(p);
  } else if (p != NULL && !is_early(p) && ready()) {
    next.free(p);
  }
}

// calloc stays with the next allocator: fresh pages from the kernel are zero already, kept ones are not.
void *calloc(size_t n, size_t size) {
  if (ready()) return next.calloc(n, size);
  return size != 0 && n > SIZE_MAX / size ? NULL : take_early(n * size);
}

static void *move(void *p, size_t had, size_t size) {
  void *q = malloc(size);
  if (q == NULL) return NULL;
  memcpy(q, p, size < had ? size : had);
  free(p);
  return q;
}

void *realloc(void *p, size_t size) {
  if (p != NULL && is_early(p)) return move(p, (size_t)(early.bytes + early.used - (char *)p), size);
  if (!ours(p)) return ready() ? next.realloc(p, size) : take_early(size); // a block that outgrows the threshold stays
  if (size == 0) {
    free(p);
    return NULL;
  }
  size_t had = room(p);
  return size <= had && size >= had / 2 ? p : move(p, had, size);
}

void *memalign(size_t align, size_t size) {
  if (wanted(size, align)) {
    void *p = take(size);
    if (p != NULL) return p;
  }
  return ready() ? next.memalign(align, size) : NULL;
}

void *aligned_alloc(size_t align, size_t size) { return memalign(align, size); }

int posix_memalign(void **out, size_t align, size_t size) {
  if (align % sizeof(void *) != 0 || align == 0 || (align & (align - 1)) != 0) return EINVAL;
  int saved = errno;
  void *p = memalign(align, size);
  errno = saved;
  if (p == NULL) return ENOMEM;
  *out = p;
  return 0;
}

void *valloc(size_t size) { return ready() ? next.valloc(size) : NULL; }

void *pvalloc(size_t size) { return ready() ? next.pvalloc(size) : NULL; }

size_t malloc_usable_size(void *p) {
  if (p == NULL || is_early(p)) return 0;
  if (ours(p)) return room(p);
  return ready() ? next.usable_size(p) : 0;
}

#else // another C library: nothing is replaced

#include <errno.h>

int hostmem_enable(size_t threshold, size_t limit) { return ENOSYS; }
uint64_t hostmem_trim(void) { return 0; }
struct hostmem_stats hostmem_read_stats(void) { return (struct hostmem_stats){0}; }

#endif
