#ifndef MP_POOL_INTERNAL_CPU_PINS_H_
#define MP_POOL_INTERNAL_CPU_PINS_H_

#include <sys/types.h>

#include <map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "mp/pool/internal/task.h"

namespace mp::internal {

// Returns the CPUs that the calling thread may run on, in order; empty if the
// kernel does not tell.
//
// Source: man 2 sched_getaffinity.
std::vector<int> AllowedCpus();

// Has a process run on one CPU only.
//
// Errors: those of sched_setaffinity(2).
absl::Status PinProcess(pid_t pid, int cpu);

// Which worker has which of some CPUs. One gets the CPU that the fewest have,
// and leaves it to the next.
//
// Threads: for one at a time.
class CpuPins {
 public:
  explicit CpuPins(std::vector<int> cpus) : cpus_(std::move(cpus)) {}

  // There is at least one CPU, and the worker has none yet.
  int Take(WorkerId worker);
  // Nothing happens if it has none.
  void Release(WorkerId worker);

  bool empty() const { return cpus_.empty(); }

 private:
  std::vector<int> cpus_;
  std::map<WorkerId, int> taken_;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_CPU_PINS_H_
