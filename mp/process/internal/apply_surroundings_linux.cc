#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "mp/base/errno_status.h"
#include "mp/base/status_macros.h"
#include "mp/process/internal/apply_surroundings.h"
#include "mp/process/internal/environment.h"
#include "mp/process/internal/resolve_surroundings.h"
#include "mp/process/internal/vfork_child.h"
#include "mp/process/surroundings.h"

namespace mp::internal {
namespace {

// 8192 CPUs: the most that a kernel can be built for.
constexpr size_t kMaxCpuWords = 128;
constexpr int kBitsPerWord = 64;

MP_IN_VFORKED_CHILD bool SetUmask(const SurroundingsPlan& plan) {
  if (plan.has_umask) syscall(SYS_umask, plan.umask);
  return true;
}

// The kernel drops those CPUs that the process may not use, without a word, as
// long as one is left; that would not be what was asked for.
MP_IN_VFORKED_CHILD bool SetCpus(const SurroundingsPlan& plan) {
  if (plan.cpus_bytes == 0) return true;
  if (syscall(SYS_sched_setaffinity, 0, plan.cpus_bytes, plan.cpus) != 0) {
    return false;
  }
  uint64_t got[kMaxCpuWords];
  for (uint64_t& word : got) word = 0;
  if (syscall(SYS_sched_getaffinity, 0, sizeof(got), got) < 0) return false;
  for (size_t i = 0; i < plan.cpus_bytes / sizeof(uint64_t); ++i) {
    if ((plan.cpus[i] & ~got[i]) == 0) continue;
    errno = EINVAL;
    return false;
  }
  return true;
}

MP_IN_VFORKED_CHILD bool SetLimits(const SurroundingsPlan& plan, int& number) {
  for (size_t i = 0; i < plan.limit_count; ++i) {
    number = plan.limits[i].resource;
    if (syscall(SYS_prlimit64, 0, number, plan.limits[i].soft_and_hard,
                nullptr) != 0) {
      return false;
    }
  }
  return true;
}

MP_IN_VFORKED_CHILD bool SetNice(const SurroundingsPlan& plan) {
  return !plan.has_nice ||
         syscall(SYS_setpriority, PRIO_PROCESS, 0, plan.nice) == 0;
}

MP_IN_VFORKED_CHILD bool SetStdio(const SurroundingsPlan& plan, int& number) {
  for (number = 0; number < 3; ++number) {
    if (plan.stdio[number] < 0) continue;
    // Not close-on-exec, as dup2() makes it.
    if (syscall(SYS_dup3, plan.stdio[number], number, 0) < 0) return false;
  }
  return true;
}

MP_IN_VFORKED_CHILD bool SetCwd(const SurroundingsPlan& plan) {
  return plan.cwd < 0 || syscall(SYS_fchdir, plan.cwd) == 0;
}

}  // namespace

MP_IN_VFORKED_CHILD PlanFailure CarryOut(const SurroundingsPlan& plan) {
  int number = -1;
  if (!SetUmask(plan)) return {"umask", errno, -1};
  if (!SetCpus(plan)) return {"cpu_affinity", errno, -1};
  if (!SetLimits(plan, number)) return {"rlimits: resource", errno, number};
  if (!SetNice(plan)) return {"nice", errno, plan.nice};
  if (!SetStdio(plan, number)) return {"stdio: descriptor", errno, number};
  if (!SetCwd(plan)) return {"cwd", errno, -1};
  return {nullptr, 0, -1};
}

absl::Status ToStatus(const PlanFailure& failure) {
  if (failure.what == nullptr) return absl::OkStatus();
  return ErrnoStatus(failure.error,
                     failure.number == -1
                         ? std::string(failure.what)
                         : absl::StrCat(failure.what, " ", failure.number));
}

SurroundingsPlanner::SurroundingsPlanner(
    const ResolvedSurroundings& surroundings)
    : plan_() {
  for (const int cpu : surroundings.cpu_affinity) {
    const size_t word = static_cast<size_t>(cpu / kBitsPerWord);
    if (cpu < 0 || word >= kMaxCpuWords) continue;  // refused by Resolve()
    cpus_.resize(std::max(cpus_.size(), word + 1));
    cpus_[word] |= uint64_t{1} << (cpu % kBitsPerWord);
  }
  for (const ResourceLimit& limit : surroundings.rlimits) {
    limits_.push_back({{limit.soft, limit.hard}, limit.resource});
  }
  plan_.umask = surroundings.umask.value_or(0);
  plan_.has_umask = surroundings.umask.has_value();
  plan_.cpus = cpus_.data();
  plan_.cpus_bytes = cpus_.size() * sizeof(uint64_t);
  plan_.limits = limits_.data();
  plan_.limit_count = limits_.size();
  plan_.nice = surroundings.nice.value_or(0);
  plan_.has_nice = surroundings.nice.has_value();
  for (int stream = 0; stream < 3; ++stream) {
    plan_.stdio[stream] = surroundings.stdio[stream].get();
  }
  plan_.cwd = surroundings.cwd.get();
}

absl::Status ApplySurroundings(ResolvedSurroundings surroundings) {
  const SurroundingsPlanner planner(surroundings);
  MP_RETURN_IF_ERROR(ToStatus(CarryOut(planner.plan())));
  if (surroundings.environment.has_value()) {
    ReplaceEnvironment(*std::move(surroundings.environment));
  }
  return absl::OkStatus();
}

}  // namespace mp::internal
