#include <stddef.h>
#include <stdint.h>

struct hostmem_stats {
  uint64_t blocks;     // taken so far
  uint64_t in_use;     // bytes
  uint64_t peak;       // the most bytes in use so far
  uint64_t kept;       // free bytes that still hold memory
  uint64_t given_back; // bytes given back to the kernel so far
  int enabled;
};

int hostmem_enable(size_t threshold, size_t limit); // 0 or an errno
uint64_t hostmem_trim(void);
struct hostmem_stats hostmem_read_stats(void);
