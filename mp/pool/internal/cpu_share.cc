#include "mp/pool/internal/cpu_share.h"

#include <algorithm>
#include <optional>

namespace mp::internal {
namespace {

thread_local std::optional<int> cpu_share;

}  // namespace

std::optional<int> CpuShare() { return cpu_share; }

CpuShareScope::CpuShareScope(int share) : before_(cpu_share) {
  cpu_share = std::max(share, 1);
}

CpuShareScope::~CpuShareScope() { cpu_share = before_; }

}  // namespace mp::internal
