#ifndef MP_POOL_INTERNAL_WORKER_MEMORY_USE_H_
#define MP_POOL_INTERNAL_WORKER_MEMORY_USE_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace mp::internal {

// Returns how many bytes of a process are in memory now, those included that it
// shares with others; nullopt if it has ended, or does not let itself be seen.
//
// Source: man 5 proc, /proc/PID/statm.
std::optional<int64_t> ResidentBytes(pid_t pid);

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_WORKER_MEMORY_USE_H_
