#include "mp/process/internal/trampoline.h"

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/fork_safe_mutex.h"
#include "mp/base/status_macros.h"
#include "mp/process/decoder.h"
#include "mp/process/encoder.h"
#include "mp/process/internal/hold_across_forks.h"
#include "mp/process/internal/serialize_code.h"

namespace mp::internal {
namespace {

struct Registry {
  ForkSafeMutex mutex;
  // How often each was registered: two libraries may hold the same template.
  absl::flat_hash_map<const void*, int> counts ABSL_GUARDED_BY(mutex);
};

Registry& TheRegistry() {
  static Registry& registry = *new Registry;  // outlives exit handlers
  static const bool held = (HoldAcrossForks(registry.mutex), true);
  static_cast<void>(held);
  return registry;
}

// Before there are threads; see "Locks and forks" in docs/decisions.md.
[[maybe_unused]] const bool made_early = (TheRegistry(), true);

}  // namespace

TrampolineRegistration::TrampolineRegistration(Trampoline trampoline)
    : trampoline_(trampoline) {
  Registry& registry = TheRegistry();
  ForkSafeLock lock(registry.mutex);
  ++registry.counts[reinterpret_cast<const void*>(trampoline_)];
}

TrampolineRegistration::~TrampolineRegistration() {
  Registry& registry = TheRegistry();
  ForkSafeLock lock(registry.mutex);
  const auto found =
      registry.counts.find(reinterpret_cast<const void*>(trampoline_));
  if (--found->second == 0) registry.counts.erase(found);
}

void WriteTrampoline(Trampoline trampoline, Encoder& encoder) {
  WriteCode(reinterpret_cast<const void*>(trampoline), encoder);
}

absl::StatusOr<Trampoline> ReadTrampoline(Decoder& decoder) {
  MP_ASSIGN_OR_RETURN(const void* const address, ReadCode(decoder));
  Registry& registry = TheRegistry();
  ForkSafeLock lock(registry.mutex);
  if (!registry.counts.contains(address)) {
    return absl::DataLossError(
        "the message asks for a call of a kind that this program does not "
        "have");
  }
  return reinterpret_cast<Trampoline>(const_cast<void*>(address));
}

}  // namespace mp::internal
