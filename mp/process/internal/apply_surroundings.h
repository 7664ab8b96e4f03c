#ifndef MP_PROCESS_INTERNAL_APPLY_SURROUNDINGS_H_
#define MP_PROCESS_INTERNAL_APPLY_SURROUNDINGS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "mp/process/internal/resolve_surroundings.h"

namespace mp::internal {

// Takes on, in a new process of a function: umask, CPUs, limits, nice value,
// stdio, working directory and environment, in this order.
absl::Status ApplySurroundings(ResolvedSurroundings surroundings);

// The same but for the environment, as plain numbers and arrays, for a process
// that may allocate nothing.
struct SurroundingsPlan {
  struct Limit {
    uint64_t soft_and_hard[2];  // as prlimit64(2) has it
    int resource;
  };

  uint32_t umask;
  bool has_umask;
  const uint64_t* cpus;  // a bit each
  size_t cpus_bytes;     // 0: any
  const Limit* limits;
  size_t limit_count;
  int nice;
  bool has_nice;
  int stdio[3];  // each 3 or above, or -1
  int cwd;       // or -1
};

// How far a plan was carried out.
struct PlanFailure {
  // What could not be set, in the words of a message; nullptr: nothing.
  const char* what;
  int error;   // errno
  int number;  // which limit, which stream
};

// Carries a plan out. System calls only, and no sanitizer: it runs between
// clone() and exec() too, in the memory of the parent.
PlanFailure CarryOut(const SurroundingsPlan& plan);

absl::Status ToStatus(const PlanFailure& failure);

// Holds the arrays of a plan. Refers to `surroundings`, which must live longer.
class SurroundingsPlanner {
 public:
  explicit SurroundingsPlanner(const ResolvedSurroundings& surroundings);
  SurroundingsPlanner(const SurroundingsPlanner&) = delete;
  SurroundingsPlanner& operator=(const SurroundingsPlanner&) = delete;

  const SurroundingsPlan& plan() const { return plan_; }

 private:
  SurroundingsPlan plan_;
  std::vector<uint64_t> cpus_;
  std::vector<SurroundingsPlan::Limit> limits_;
};

}  // namespace mp::internal

#endif  // MP_PROCESS_INTERNAL_APPLY_SURROUNDINGS_H_
