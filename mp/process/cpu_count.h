#ifndef MP_PROCESS_CPU_COUNT_H_
#define MP_PROCESS_CPU_COUNT_H_

#include <optional>
#include <string>

namespace mp {

// Returns the number of CPUs of the machine, at least 1.
//
// Source: CPython multiprocessing.cpu_count(); man 3 sysconf,
//         _SC_NPROCESSORS_ONLN. Differs: is never unknown.
int CpuCount();

// Returns how many CPUs the calling thread can keep busy, at least 1: no more
// than its affinity allows, nor than its control group (version 2) grants. A
// quota of 2.5 CPUs counts as 3, or half a CPU would lie idle.
//
// Example:
//   const int workers = mp::UsableCpuCount();
//
// Threads: the affinity is that of the calling thread.
// Source:  CPython os.process_cpu_count() (3.13), which knows no quota; man 2
//          sched_getaffinity; kernel Documentation/admin-guide/cgroup-v2.rst,
//          cpu.max.
int UsableCpuCount();

namespace internal {

// Where the kernel tells of control groups.
struct CgroupPaths {
  std::string membership = "/proc/self/cgroup";  // man 7 cgroups
  std::string root = "/sys/fs/cgroup";
};

// Returns the smallest quota of the group that this process is in and of those
// above it, in whole CPUs, or nothing if there is none.
std::optional<int> CgroupCpuLimit(const CgroupPaths& paths = {});

}  // namespace internal
}  // namespace mp

#endif  // MP_PROCESS_CPU_COUNT_H_
