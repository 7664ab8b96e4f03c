#include "mp/pool/internal/cpu_pins.h"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "mp/base/errno_status.h"

namespace mp::internal {
namespace {

// The kernel's own limit of today is 8192.
constexpr int kMaxCpus = 1 << 16;

struct FreeCpuSet {
  void operator()(cpu_set_t* set) const { CPU_FREE(set); }
};
using CpuSet = std::unique_ptr<cpu_set_t, FreeCpuSet>;

}  // namespace

std::vector<int> AllowedCpus() {
  const size_t bytes = CPU_ALLOC_SIZE(kMaxCpus);
  const CpuSet set(CPU_ALLOC(kMaxCpus));
  CPU_ZERO_S(bytes, set.get());
  std::vector<int> cpus;
  if (sched_getaffinity(0, bytes, set.get()) != 0) return cpus;
  for (int cpu = 0; cpu < kMaxCpus; ++cpu) {
    if (CPU_ISSET_S(static_cast<size_t>(cpu), bytes, set.get())) {
      cpus.push_back(cpu);
    }
  }
  return cpus;
}

absl::Status PinProcess(pid_t pid, int cpu) {
  const int count = cpu + 1;
  const size_t bytes = CPU_ALLOC_SIZE(count);
  const CpuSet set(CPU_ALLOC(count));
  CPU_ZERO_S(bytes, set.get());
  CPU_SET_S(static_cast<size_t>(cpu), bytes, set.get());
  if (sched_setaffinity(pid, bytes, set.get()) == 0) return absl::OkStatus();
  return ErrnoStatus(
      errno, absl::StrCat("sched_setaffinity(", pid, ", CPU ", cpu, ")"));
}

int CpuPins::Take(WorkerId worker) {
  std::map<int, int> users;
  for (const auto& [other, cpu] : taken_) ++users[cpu];
  const int best =
      *std::min_element(cpus_.begin(), cpus_.end(),
                        [&](int a, int b) { return users[a] < users[b]; });
  taken_[worker] = best;
  return best;
}

void CpuPins::Release(WorkerId worker) { taken_.erase(worker); }

}  // namespace mp::internal
