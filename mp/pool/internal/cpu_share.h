#ifndef MP_POOL_INTERNAL_CPU_SHARE_H_
#define MP_POOL_INTERNAL_CPU_SHARE_H_

#include <optional>

namespace mp::internal {

// How many CPUs this thread has for a pool of its own: set in a worker of a
// pool, which shares those of the machine with the others.
std::optional<int> CpuShare();

// Sets it for this thread, to at least 1.
class CpuShareScope {
 public:
  explicit CpuShareScope(int share);
  ~CpuShareScope();
  CpuShareScope(const CpuShareScope&) = delete;
  CpuShareScope& operator=(const CpuShareScope&) = delete;

 private:
  const std::optional<int> before_;
};

}  // namespace mp::internal

#endif  // MP_POOL_INTERNAL_CPU_SHARE_H_
