#include "mp/sharedmem/internal/block_name.h"

#include <limits.h>
#include <sys/random.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "mp/base/io.h"

namespace mp::internal {
namespace {

// 2^64 divided by the golden ratio, which spreads what follows one another.
constexpr uint64_t kStep = 0x9e3779b97f4a7c15;

}  // namespace

absl::StatusOr<std::string> CheckedBlockName(absl::string_view name) {
  const auto refuse = [name](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("SharedMemory: the name \"",
                     absl::CHexEscape(name.substr(0, 300)), "\" ", why));
  };
  absl::string_view bare = name;
  while (!bare.empty() && bare.front() == '/') bare.remove_prefix(1);
  if (bare.empty()) return refuse("is empty");
  if (bare.find('\0') != bare.npos) return refuse("has a NUL in it");
  if (bare.find('/') != bare.npos) return refuse("has a slash in it");
  if (bare == "." || bare == "..") return refuse("is that of a folder");
  if (bare.size() > NAME_MAX) {
    return refuse(
        absl::StrCat("has ", bare.size(), " bytes, the limit is ", NAME_MAX));
  }
  return std::string(bare);
}

std::string NewBlockName() {
  static constinit std::atomic<uint64_t> next{0};
  uint64_t number = next.load(std::memory_order_relaxed);
  if (number == 0) {
    // Fails only for kernels without the call.
    RetryOnEintr([&] { return getrandom(&number, sizeof(number), 0); });
    next.store(number | 1, std::memory_order_relaxed);
  }
  // An odd number a step, so that all come up before one does again. A forked
  // child has the same ones as its parent, and tries again where they clash.
  number = next.fetch_add(kStep, std::memory_order_relaxed);
  return absl::StrFormat("psm_%08x", static_cast<uint32_t>(number >> 32));
}

}  // namespace mp::internal
