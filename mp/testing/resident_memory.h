#ifndef MP_TESTING_RESIDENT_MEMORY_H_
#define MP_TESTING_RESIDENT_MEMORY_H_

#include <malloc.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>

#include "mp/base/sanitizers.h"

namespace mp::testing {

// Whether memory that is freed stays with the process: sanitizers keep it, to
// see it used again.
inline constexpr bool kKeepsFreedMemory = kAddressSanitizer || kThreadSanitizer;

// Returns how much memory this process holds of its own, in bytes: of what it
// shares with others or has mapped from files, nothing counts. What the
// allocator has only kept is given back first.
//
// Source: man 5 proc, /proc/PID/statm; man 3 malloc_trim.
inline int64_t ResidentBytes() {
  malloc_trim(0);
  std::ifstream statm("/proc/self/statm");
  int64_t size = 0, resident = 0, shared = 0;
  statm >> size >> resident >> shared;
  return (resident - shared) * sysconf(_SC_PAGESIZE);
}

}  // namespace mp::testing

#endif  // MP_TESTING_RESIDENT_MEMORY_H_
